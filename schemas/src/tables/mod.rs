//! The lake's tables: one file a table, every column with its meaning.

mod concept_names;
mod concepts;
mod embeddings;
mod gwas_associations;
mod harmonized;
mod harmonized_records;
mod kg_edges;
mod mappings;
mod name_neighbors;
mod patient_events;
mod quarantine;
mod runs;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

pub use concept_names::{CONCEPT_NAMES, NameType};
pub use concepts::CONCEPTS;
pub use embeddings::EMBEDDINGS;
pub use gwas_associations::GWAS_ASSOCIATIONS;
pub use harmonized::HARMONIZED;
pub use harmonized_records::HARMONIZED_RECORDS;
pub use kg_edges::{HAS_DB_XREF, KG_EDGES, NEGATED, SUB_CLASS_OF};
pub use mappings::MAPPINGS;
pub use name_neighbors::NAME_NEIGHBORS;
pub use patient_events::PATIENT_EVENTS;
pub use quarantine::QUARANTINE;
pub use runs::RUNS;

/// Every table of the lake, in the order in which `generel` lists them.
pub const ALL: &[&Table] = &[
    &CONCEPTS,
    &CONCEPT_NAMES,
    &PATIENT_EVENTS,
    &KG_EDGES,
    &GWAS_ASSOCIATIONS,
    &EMBEDDINGS,
    &MAPPINGS,
    &NAME_NEIGHBORS,
    &HARMONIZED,
    &HARMONIZED_RECORDS,
    &QUARANTINE,
    &RUNS,
];

/// Name of the column that says which input file a row came from: a hash, since file names may name persons.
/// `runs.inputs` holds the names.
pub const INPUT_ID: &str = "input_id";
/// Field metadata key under which a column's meaning travels into Delta.
pub const COMMENT: &str = "comment";

const INPUT_ID_COLUMN: Column = text(INPUT_ID, "hash of the input file that the row came from; see runs.inputs");

/// A table of the lake.
#[derive(Debug)]
pub struct Table {
    /// The name in SQL and the folder below the lake.
    pub name: &'static str,
    /// One line on what a row is.
    pub doc: &'static str,
    /// The columns, in order.
    pub columns: &'static [Column],
    /// The column whose values are the units of replacement: a changed input file, a repeated alignment replaces the
    /// rows of its own unit in one commit. Also Delta's partition column, so that a unit is always whole files.
    pub unit: Option<&'static str>,
}

/// A column of a table.
#[derive(Debug)]
pub struct Column {
    /// The name, in the words of the field's standard.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// What it means, with units.
    pub doc: &'static str,
}

/// The types that the lake uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Utf8.
    Text,
    /// Boolean.
    Bool,
    /// 32-bit integer.
    Int,
    /// 64-bit integer.
    Long,
    /// 32-bit float.
    Float,
    /// 64-bit float.
    Double,
    /// Date without time.
    Date,
    /// Microseconds since the epoch, UTC.
    Timestamp,
    /// List of Float32: what Delta keeps of a vector, since it has no fixed-size list. The scan restores the type.
    Vector,
}

impl Kind {
    /// The Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Vector => DataType::List(Arc::new(Field::new("element", DataType::Float32, true))),
        }
    }
}

impl Table {
    /// The Arrow schema; each column's meaning stands in its metadata under [`COMMENT`].
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|c| {
                Field::new(c.name, c.kind.data_type(), c.nullable)
                    .with_metadata(HashMap::from([(COMMENT.to_string(), c.doc.to_string())]))
            })
            .collect();
        Arc::new(Schema::new(fields))
    }
}

impl Table {
    /// The table with further columns, which are texts that may be NULL. Made once a process and column list, and kept.
    pub fn with_columns(&self, names: &[String], doc: &'static str) -> &'static Table {
        static MADE: Mutex<Vec<&'static Table>> = Mutex::new(Vec::new());
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.columns.len();
        let same = |t: &&&Table| {
            t.name == self.name && t.columns[own..].iter().map(|c| c.name).eq(names.iter().map(String::as_str))
        };
        if let Some(known) = made.iter().find(same) {
            return known;
        }
        let of = |c: &Column| Column { name: c.name, kind: c.kind, nullable: c.nullable, doc: c.doc };
        let further = names.iter().map(|name| optional(String::leak(name.clone()), Kind::Text, doc));
        let columns: Vec<Column> = self.columns.iter().map(of).chain(further).collect();
        let table = Box::leak(Box::new(Table { columns: Vec::leak(columns), ..*self }));
        made.push(table);
        table
    }
}

/// The table of this name.
pub fn by_name(name: &str) -> Option<&'static Table> {
    ALL.iter().find(|t| t.name == name).copied()
}

const fn column(name: &'static str, kind: Kind, nullable: bool, doc: &'static str) -> Column {
    Column { name, kind, nullable, doc }
}

const fn text(name: &'static str, doc: &'static str) -> Column {
    column(name, Kind::Text, false, doc)
}

const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    column(name, kind, true, doc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for table in ALL {
            assert_eq!(by_name(table.name).unwrap().doc, table.doc);
            let mut names: Vec<_> = table.columns.iter().map(|c| c.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.columns.len(), "{}", table.name);
            assert!(table.columns.iter().all(|c| !c.doc.is_empty()));
            assert!(table.unit.is_none_or(|unit| table.columns.iter().any(|c| c.name == unit)));
        }
        assert!(by_name("nothing").is_none());
    }
}
