//! Rows of the lake on their way into batches: one builder a table, made when its first row comes.

mod columns;

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{Date32Type, Float64Type, Int32Type, Int64Type};
use generel_schemas::Table;
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, GWAS_ASSOCIATIONS, KG_EDGES, NameType, PATIENT_EVENTS};

pub(crate) use self::columns::Many;
use self::columns::{Moments, Numbers, Texts, Truths};
use super::{Chunk, Nulled, batch};
use crate::Result;

/// What the rows of a chunk become.
#[derive(Default)]
pub(crate) struct Output {
    concepts: Option<Box<Concepts>>,
    names: Option<Box<Names>>,
    edges: Option<Box<Edges>>,
    events: Option<Box<Events>>,
    associations: Option<Box<Associations>>,
    nulled: Nulled,
    noted: BTreeMap<&'static str, u64>,
    /// Rows as they stand in the file, for formats that look at many at once.
    pub(crate) loose: Option<Box<Loose>>,
}

/// Rows as they stand in a file.
#[derive(Default)]
pub(crate) struct Loose {
    /// One a column of the file.
    pub(crate) columns: Vec<StringBuilder>,
    /// Lines on which the rows begin.
    pub(crate) lines: Vec<u64>,
}

impl Output {
    /// A row of `concepts`.
    pub(crate) fn concept(&mut self, row: &Concept<'_>) {
        self.concepts.get_or_insert_default().push(row);
    }

    /// A row of `concept_names`.
    pub(crate) fn name(&mut self, code: &str, name: &str, name_type: NameType, language: &str) {
        self.names.get_or_insert_default().push(code, name, name_type, language);
    }

    /// A row of `kg_edges`.
    pub(crate) fn edge(&mut self, row: &Edge<'_>) {
        self.edges.get_or_insert_default().push(row);
    }

    /// A row of `patient_events`.
    pub(crate) fn event(&mut self, row: &Event<'_>) {
        self.events.get_or_insert_default().push(row);
    }

    /// A row of `gwas_associations`.
    #[inline]
    pub(crate) fn association(&mut self, row: &Association<'_>) {
        self.associations.get_or_insert_default().push(row);
    }

    /// Rows of `gwas_associations`, column by column.
    pub(crate) fn associations(&mut self, rows: usize, columns: &AssociationColumns<'_>) {
        self.associations.get_or_insert_default().extend(rows, columns);
    }

    /// Counts an optional value that was there but could not be read.
    #[cold]
    pub(crate) fn hole(&mut self, column: &'static str) {
        *self.nulled.entry(column).or_default() += 1;
    }

    /// Counts a row that was kept otherwise than it stands in the file.
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.noted.entry(what).or_default() += 1;
    }

    /// An optional value, counted where it could not be read.
    pub(crate) fn or_hole<T, E>(
        &mut self,
        column: &'static str,
        value: Option<std::result::Result<T, E>>,
    ) -> Option<T> {
        match value? {
            Ok(value) => Some(value),
            Err(_) => {
                self.hole(column);
                None
            }
        }
    }

    /// Moves everything into a chunk.
    ///
    /// # Errors
    /// When a builder and its table disagree: a defect of the program.
    pub(crate) fn finish_into(self, chunk: &mut Chunk) -> Result<()> {
        let mut add = |table: &'static Table, columns: Option<Vec<ArrayRef>>| -> Result<()> {
            if let Some(columns) = columns {
                chunk.batches.push((table, batch(table, columns)?));
            }
            Ok(())
        };
        add(&CONCEPTS, self.concepts.map(|b| b.finish()))?;
        add(&CONCEPT_NAMES, self.names.map(|b| b.finish()))?;
        add(&KG_EDGES, self.edges.map(|b| b.finish()))?;
        add(&PATIENT_EVENTS, self.events.map(|b| b.finish()))?;
        add(&GWAS_ASSOCIATIONS, self.associations.map(|b| b.finish()))?;
        for (column, count) in self.nulled {
            *chunk.nulled.entry(column).or_default() += count;
        }
        for (what, count) in self.noted {
            *chunk.noted.entry(what).or_default() += count;
        }
        Ok(())
    }
}

/// Declares a row type and the builder of its columns, in the order of the table's columns without the engine's; and,
/// where a third name is given, the columns of several rows.
macro_rules! rows {
    ($(#[$doc:meta])* $row:ident, $builder:ident, $many:ident: $($field:ident: $type:ty => $array:ty),+ $(,)?) => {
        rows! { $(#[$doc])* $row, $builder: $($field: $type => $array),+ }

        /// Several of them, column by column.
        #[derive(Clone, Copy)]
        pub(crate) struct $many<'a> {
            $(pub(crate) $field: Many<'a, $type>,)+
        }

        impl<'a> $many<'a> {
            /// Every row the same.
            pub(crate) fn same(row: $row<'a>) -> Self {
                Self { $($field: Many::Same(row.$field),)+ }
            }

            /// Some of the rows.
            pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
                Self { $($field: self.$field.slice(rows.clone()),)+ }
            }
        }

        impl $builder {
            fn extend(&mut self, rows: usize, columns: &$many<'_>) {
                $(self.$field.extend(rows, columns.$field);)+
            }
        }
    };
    ($(#[$doc:meta])* $row:ident, $builder:ident: $($field:ident: $type:ty => $array:ty),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Default, Clone, Copy)]
        #[allow(missing_docs, reason = "the table's schema documents its columns")]
        pub(crate) struct $row<'a> {
            $(pub(crate) $field: $type,)+
        }

        #[derive(Default)]
        struct $builder {
            $($field: $array,)+
        }

        impl $builder {
            #[inline]
            fn push(&mut self, row: &$row<'_>) {
                $(self.$field.push(row.$field);)+
            }

            fn finish(self: Box<Self>) -> Vec<ArrayRef> {
                vec![$(self.$field.finish(),)+]
            }
        }
    };
}

rows! {
    /// A row of `concepts`.
    Concept, Concepts:
    code: Option<&'a str> => Texts,
    curie: Option<&'a str> => Texts,
    name: Option<&'a str> => Texts,
    category: Option<&'a str> => Texts,
    definition: Option<&'a str> => Texts,
    obsolete: Option<bool> => Truths,
}

rows! {
    /// A row of `kg_edges`.
    Edge, Edges:
    subject: Option<&'a str> => Texts,
    subject_name: Option<&'a str> => Texts,
    subject_category: Option<&'a str> => Texts,
    predicate: Option<&'a str> => Texts,
    object: Option<&'a str> => Texts,
    object_name: Option<&'a str> => Texts,
    object_category: Option<&'a str> => Texts,
    weight: Option<f64> => Numbers<Float64Type>,
    provenance: Option<&'a str> => Texts,
}

rows! {
    /// A row of `patient_events`. `person_id` is a pseudonym already.
    Event, Events:
    person_id: Option<&'a str> => Texts,
    event_table: Option<&'a str> => Texts,
    event_date: Option<i32> => Numbers<Date32Type>,
    event_datetime: Option<i64> => Moments,
    source_vocabulary: Option<&'a str> => Texts,
    source_code: Option<&'a str> => Texts,
    source_name: Option<&'a str> => Texts,
    concept_id: Option<i64> => Numbers<Int64Type>,
    value_as_number: Option<f64> => Numbers<Float64Type>,
    value_as_string: Option<&'a str> => Texts,
    unit: Option<&'a str> => Texts,
}

rows! {
    /// A row of `gwas_associations`.
    Association, Associations, AssociationColumns:
    study_id: Option<&'a str> => Texts,
    trait_name: Option<&'a str> => Texts,
    trait_curie: Option<&'a str> => Texts,
    chromosome: Option<i32> => Numbers<Int32Type>,
    base_pair_location: Option<i64> => Numbers<Int64Type>,
    effect_allele: Option<&'a str> => Texts,
    other_allele: Option<&'a str> => Texts,
    beta: Option<f64> => Numbers<Float64Type>,
    odds_ratio: Option<f64> => Numbers<Float64Type>,
    hazard_ratio: Option<f64> => Numbers<Float64Type>,
    standard_error: Option<f64> => Numbers<Float64Type>,
    z_score: Option<f64> => Numbers<Float64Type>,
    effect_allele_frequency: Option<f64> => Numbers<Float64Type>,
    neg_log_10_p_value: Option<f64> => Numbers<Float64Type>,
    variant_id: Option<&'a str> => Texts,
    rsid: Option<&'a str> => Texts,
    n: Option<i64> => Numbers<Int64Type>,
    ci_lower: Option<f64> => Numbers<Float64Type>,
    ci_upper: Option<f64> => Numbers<Float64Type>,
    info: Option<f64> => Numbers<Float64Type>,
    mapped_gene: Option<&'a str> => Texts,
    genome_build: Option<&'a str> => Texts,
    consequence: Option<&'a str> => Texts,
}

#[derive(Default)]
struct Names {
    code: Texts,
    name: Texts,
    name_type: Texts,
    language: Texts,
}

impl Names {
    fn push(&mut self, code: &str, name: &str, name_type: NameType, language: &str) {
        self.code.push(Some(code));
        self.name.push(Some(name));
        self.name_type.push(Some(name_type.as_str()));
        self.language.push(Some(language));
    }

    fn finish(self: Box<Self>) -> Vec<ArrayRef> {
        vec![self.code.finish(), self.name.finish(), self.name_type.finish(), self.language.finish()]
    }
}
