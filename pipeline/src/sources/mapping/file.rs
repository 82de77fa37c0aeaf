//! The mapping file: YAML that says, table by table and column by column, what a row of a file becomes.

use std::collections::BTreeMap;
use std::path::Path;

use generel_schemas::Table;
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, GWAS_ASSOCIATIONS, KG_EDGES, PATIENT_EVENTS};
use serde::Deserialize;

use crate::{Error, Result};

/// Tables that a mapping can fill.
pub(super) const TABLES: &[&Table] = &[&CONCEPTS, &CONCEPT_NAMES, &PATIENT_EVENTS, &KG_EDGES, &GWAS_ASSOCIATIONS];
/// Texts that mean that there is no value, where the mapping does not say.
const MISSING: [&str; 5] = ["", "NA", "N/A", "NULL", "."];

/// A mapping as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MappingFile {
    /// Lake table → lake column → SQL expression over the file's columns.
    pub(super) tables: BTreeMap<String, BTreeMap<String, String>>,
    /// SQL condition; rows for which it is not true are ignored, and counted.
    #[serde(default, rename = "where")]
    pub(super) condition: Option<String>,
    /// Texts that mean that there is no value.
    #[serde(default)]
    pub(super) missing: Option<Vec<String>>,
    /// How the file is written, where its looks do not tell.
    #[serde(default)]
    pub(super) read: ReadAs,
}

/// How a file is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadAs {
    /// One character; `blanks` for runs of blanks.
    pub(super) delimiter: Option<String>,
    /// Whether `"` quotes fields.
    pub(super) quoted: Option<bool>,
    /// Lines before the header that begin with it are comments.
    pub(super) comment: Option<String>,
    /// Keys of NDJSON that the file's first lines do not have.
    #[serde(default)]
    pub(super) columns: Vec<String>,
}

impl MappingFile {
    /// Reads and checks a mapping.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let file: Self = serde_saphyr::from_str(&text).map_err(|e| {
            let line = e.location().map_or(1, |l| l.line()).max(1);
            Error::format(path, line, format!("not a mapping: {}", e.to_string().lines().next().unwrap_or_default()))
        })?;
        for (table, columns) in &file.tables {
            let known = table_named(table).ok_or_else(|| {
                let names: Vec<&str> = TABLES.iter().map(|t| t.name).collect();
                Error::format(path, 1, format!("no table {table} to map to; known: {}", names.join(", ")))
            })?;
            let own = own_columns(known);
            if let Some(unknown) = columns.keys().find(|c| !own.contains(&c.as_str())) {
                let message = format!("table {table} has no column {unknown}; it has: {}", own.join(", "));
                return Err(Error::format(path, 1, message));
            }
            let needed = known.columns[1..known.columns.len() - 1].iter().filter(|c| !c.nullable).map(|c| c.name);
            if let Some(missing) = needed.into_iter().find(|c| !columns.contains_key(*c) && !has_default(known, c)) {
                return Err(Error::format(
                    path,
                    1,
                    format!("table {table} needs an expression for its column {missing}"),
                ));
            }
        }
        if file.tables.is_empty() {
            return Err(Error::format(path, 1, "no tables: say what a row becomes under tables:"));
        }
        Ok(file)
    }

    /// Whether a text means that there is no value.
    pub(super) fn is_missing(&self, text: &str) -> bool {
        match &self.missing {
            Some(missing) => missing.iter().any(|m| m == text),
            None => MISSING.contains(&text),
        }
    }
}

/// The table of a mapping's word.
pub(super) fn table_named(name: &str) -> Option<&'static Table> {
    TABLES.iter().copied().find(|t| t.name == name)
}

/// A table's columns without the engine's.
pub(super) fn own_columns(table: &'static Table) -> Vec<&'static str> {
    table.columns[1..table.columns.len() - 1].iter().map(|c| c.name).collect()
}

/// What a column is where a mapping does not say: names are English labels, codes are in use.
pub(super) fn has_default(table: &Table, column: &str) -> bool {
    default(table, column).is_some()
}

/// The default as an SQL expression.
pub(super) fn default(table: &Table, column: &str) -> Option<&'static str> {
    match (table.name, column) {
        ("concept_names", "language") => Some("'en'"),
        ("concept_names", "name_type") => Some("'label'"),
        ("concepts", "obsolete") => Some("false"),
        _ => None,
    }
}
