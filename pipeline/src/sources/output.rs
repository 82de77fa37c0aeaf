//! Rows of the lake on their way into batches: one builder a table, made when its first row comes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use generel_schemas::Table;
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, GWAS_ASSOCIATIONS, KG_EDGES, NameType, PATIENT_EVENTS};

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

    /// Counts an optional value that was there but could not be read.
    #[cold]
    pub(crate) fn hole(&mut self, column: &'static str) {
        *self.nulled.entry(column).or_default() += 1;
    }

    /// An optional value, counted where it could not be read.
    pub(crate) fn or_hole<T, E>(&mut self, column: &'static str, value: Option<std::result::Result<T, E>>) -> Option<T> {
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
        Ok(())
    }
}

/// Declares a row type and the builder of its columns, in the order of the table's columns without the engine's.
macro_rules! rows {
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
                $(self.$field.append_option(row.$field);)+
            }

            fn finish(mut self: Box<Self>) -> Vec<ArrayRef> {
                vec![$(Arc::new(self.$field.finish()),)+]
            }
        }
    };
}

rows! {
    /// A row of `concepts`.
    Concept, Concepts:
    code: Option<&'a str> => StringBuilder,
    curie: Option<&'a str> => StringBuilder,
    name: Option<&'a str> => StringBuilder,
    category: Option<&'a str> => StringBuilder,
    definition: Option<&'a str> => StringBuilder,
    obsolete: Option<bool> => BooleanBuilder,
}

rows! {
    /// A row of `kg_edges`.
    Edge, Edges:
    subject: Option<&'a str> => StringBuilder,
    subject_name: Option<&'a str> => StringBuilder,
    subject_category: Option<&'a str> => StringBuilder,
    predicate: Option<&'a str> => StringBuilder,
    object: Option<&'a str> => StringBuilder,
    object_name: Option<&'a str> => StringBuilder,
    object_category: Option<&'a str> => StringBuilder,
    weight: Option<f64> => Float64Builder,
    provenance: Option<&'a str> => StringBuilder,
}

rows! {
    /// A row of `patient_events`. `person_id` is a pseudonym already.
    Event, Events:
    person_id: Option<&'a str> => StringBuilder,
    event_table: Option<&'a str> => StringBuilder,
    event_date: Option<i32> => Date32Builder,
    event_datetime: Option<i64> => Utc,
    source_vocabulary: Option<&'a str> => StringBuilder,
    source_code: Option<&'a str> => StringBuilder,
    source_name: Option<&'a str> => StringBuilder,
    concept_id: Option<i64> => Int64Builder,
    value_as_number: Option<f64> => Float64Builder,
    value_as_string: Option<&'a str> => StringBuilder,
    unit: Option<&'a str> => StringBuilder,
}

rows! {
    /// A row of `gwas_associations`.
    Association, Associations:
    study_id: Option<&'a str> => StringBuilder,
    trait_name: Option<&'a str> => StringBuilder,
    trait_curie: Option<&'a str> => StringBuilder,
    chromosome: Option<i32> => Int32Builder,
    base_pair_location: Option<i64> => Int64Builder,
    effect_allele: Option<&'a str> => StringBuilder,
    other_allele: Option<&'a str> => StringBuilder,
    beta: Option<f64> => Float64Builder,
    odds_ratio: Option<f64> => Float64Builder,
    hazard_ratio: Option<f64> => Float64Builder,
    standard_error: Option<f64> => Float64Builder,
    z_score: Option<f64> => Float64Builder,
    effect_allele_frequency: Option<f64> => Float64Builder,
    neg_log_10_p_value: Option<f64> => Float64Builder,
    variant_id: Option<&'a str> => StringBuilder,
    rsid: Option<&'a str> => StringBuilder,
    n: Option<i64> => Int64Builder,
    ci_lower: Option<f64> => Float64Builder,
    ci_upper: Option<f64> => Float64Builder,
    info: Option<f64> => Float64Builder,
    mapped_gene: Option<&'a str> => StringBuilder,
    genome_build: Option<&'a str> => StringBuilder,
}

/// Microseconds since the epoch, UTC.
#[derive(Default)]
struct Utc(TimestampMicrosecondBuilder);

impl Utc {
    fn append_option(&mut self, value: Option<i64>) {
        self.0.append_option(value);
    }

    fn finish(&mut self) -> impl arrow::array::Array + use<> {
        self.0.finish().with_timezone("UTC")
    }
}

#[derive(Default)]
struct Names {
    code: StringBuilder,
    name: StringBuilder,
    name_type: StringBuilder,
    language: StringBuilder,
}

impl Names {
    fn push(&mut self, code: &str, name: &str, name_type: NameType, language: &str) {
        self.code.append_value(code);
        self.name.append_value(name);
        self.name_type.append_value(name_type.as_str());
        self.language.append_value(language);
    }

    fn finish(mut self: Box<Self>) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.code.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.name_type.finish()),
            Arc::new(self.language.finish()),
        ]
    }
}
