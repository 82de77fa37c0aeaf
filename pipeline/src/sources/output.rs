//! Rows of the lake on their way into batches: one builder a table, made when its first row comes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
    StringArray, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
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
                vec![$(self.$field.finish(),)+]
            }
        }
    };
}

rows! {
    /// A row of `concepts`.
    Concept, Concepts:
    code: Option<&'a str> => TextColumn,
    curie: Option<&'a str> => TextColumn,
    name: Option<&'a str> => TextColumn,
    category: Option<&'a str> => TextColumn,
    definition: Option<&'a str> => TextColumn,
    obsolete: Option<bool> => Lazy<BooleanBuilder>,
}

rows! {
    /// A row of `kg_edges`.
    Edge, Edges:
    subject: Option<&'a str> => TextColumn,
    subject_name: Option<&'a str> => TextColumn,
    subject_category: Option<&'a str> => TextColumn,
    predicate: Option<&'a str> => TextColumn,
    object: Option<&'a str> => TextColumn,
    object_name: Option<&'a str> => TextColumn,
    object_category: Option<&'a str> => TextColumn,
    weight: Option<f64> => Lazy<Float64Builder>,
    provenance: Option<&'a str> => TextColumn,
}

rows! {
    /// A row of `patient_events`. `person_id` is a pseudonym already.
    Event, Events:
    person_id: Option<&'a str> => TextColumn,
    event_table: Option<&'a str> => TextColumn,
    event_date: Option<i32> => Lazy<Date32Builder>,
    event_datetime: Option<i64> => Lazy<Utc>,
    source_vocabulary: Option<&'a str> => TextColumn,
    source_code: Option<&'a str> => TextColumn,
    source_name: Option<&'a str> => TextColumn,
    concept_id: Option<i64> => Lazy<Int64Builder>,
    value_as_number: Option<f64> => Lazy<Float64Builder>,
    value_as_string: Option<&'a str> => TextColumn,
    unit: Option<&'a str> => TextColumn,
}

rows! {
    /// A row of `gwas_associations`.
    Association, Associations:
    study_id: Option<&'a str> => TextColumn,
    trait_name: Option<&'a str> => TextColumn,
    trait_curie: Option<&'a str> => TextColumn,
    chromosome: Option<i32> => Lazy<Int32Builder>,
    base_pair_location: Option<i64> => Lazy<Int64Builder>,
    effect_allele: Option<&'a str> => TextColumn,
    other_allele: Option<&'a str> => TextColumn,
    beta: Option<f64> => Lazy<Float64Builder>,
    odds_ratio: Option<f64> => Lazy<Float64Builder>,
    hazard_ratio: Option<f64> => Lazy<Float64Builder>,
    standard_error: Option<f64> => Lazy<Float64Builder>,
    z_score: Option<f64> => Lazy<Float64Builder>,
    effect_allele_frequency: Option<f64> => Lazy<Float64Builder>,
    neg_log_10_p_value: Option<f64> => Lazy<Float64Builder>,
    variant_id: Option<&'a str> => TextColumn,
    rsid: Option<&'a str> => TextColumn,
    n: Option<i64> => Lazy<Int64Builder>,
    ci_lower: Option<f64> => Lazy<Float64Builder>,
    ci_upper: Option<f64> => Lazy<Float64Builder>,
    info: Option<f64> => Lazy<Float64Builder>,
    mapped_gene: Option<&'a str> => TextColumn,
    genome_build: Option<&'a str> => TextColumn,
}

/// A builder of Arrow's.
trait Column: Default {
    fn append_null(&mut self);
    fn finish(&mut self) -> ArrayRef;
}

/// Says of Arrow's builders what they have in common, with the type of their values.
macro_rules! columns {
    ($($builder:ty: $value:ty),+ $(,)?) => {
        $(impl Column for $builder {
            fn append_null(&mut self) {
                <$builder>::append_null(self);
            }

            fn finish(&mut self) -> ArrayRef {
                Arc::new(<$builder>::finish(self))
            }
        }

        impl Lazy<$builder> {
            #[inline]
            fn append_option(&mut self, value: Option<$value>) {
                match (&mut self.builder, value) {
                    (None, None) => self.nulls += 1,
                    (Some(builder), Some(value)) => builder.append_value(value),
                    (Some(builder), None) => builder.append_null(),
                    (None, Some(value)) => self.begin().append_value(value),
                }
            }
        })+
    };
}

columns!(BooleanBuilder: bool, Int32Builder: i32, Int64Builder: i64, Float64Builder: f64, Date32Builder: i32, Utc: i64);

/// A column that costs nothing until its first value comes: most columns of most files stay empty.
struct Lazy<B> {
    builder: Option<B>,
    nulls: usize,
}

impl<B> Default for Lazy<B> {
    fn default() -> Self {
        Self { builder: None, nulls: 0 }
    }
}

impl<B: Column> Lazy<B> {
    /// The builder with the NULLs so far.
    fn begin(&mut self) -> &mut B {
        let nulls = std::mem::take(&mut self.nulls);
        self.builder.get_or_insert_with(|| {
            let mut builder = B::default();
            (0..nulls).for_each(|_| builder.append_null());
            builder
        })
    }

    fn finish(&mut self) -> ArrayRef {
        self.begin().finish()
    }
}

impl Column for StringBuilder {
    fn append_null(&mut self) {
        StringBuilder::append_null(self);
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(StringBuilder::finish(self))
    }
}

impl Lazy<StringBuilder> {
    #[inline]
    fn append_text(&mut self, value: Option<&str>) {
        match (&mut self.builder, value) {
            (None, None) => self.nulls += 1,
            (Some(builder), Some(value)) => builder.append_value(value),
            (Some(builder), None) => StringBuilder::append_null(builder),
            (None, Some(value)) => self.begin().append_value(value),
        }
    }
}

/// A text column. While every value is the same text (the study's name, say) only their number is kept.
#[derive(Default)]
struct TextColumn {
    builder: Lazy<StringBuilder>,
    same: String,
    count: usize,
}

impl TextColumn {
    #[inline]
    fn append_option(&mut self, value: Option<&str>) {
        if let Some(text) = value
            && self.count > 0
            && text == self.same
        {
            self.count += 1;
            return;
        }
        self.append_other(value);
    }

    fn append_other(&mut self, value: Option<&str>) {
        if let (Some(text), 0, None, 0) = (value, self.count, &self.builder.builder, self.builder.nulls) {
            (self.same, self.count) = (text.to_string(), 1);
            return;
        }
        self.spell_out();
        self.builder.append_text(value);
    }

    /// Ends the time in which all values were the same.
    fn spell_out(&mut self) {
        for _ in 0..std::mem::take(&mut self.count) {
            self.builder.append_text(Some(&self.same));
        }
    }

    fn finish(&mut self) -> ArrayRef {
        if self.count > 0 {
            return Arc::new(StringArray::new_repeated(&self.same, self.count));
        }
        self.builder.finish()
    }
}

/// Microseconds since the epoch, UTC.
#[derive(Default)]
struct Utc(TimestampMicrosecondBuilder);

impl Utc {
    fn append_value(&mut self, value: i64) {
        self.0.append_value(value);
    }

    fn append_null(&mut self) {
        self.0.append_null();
    }

    fn finish(&mut self) -> TimestampMicrosecondArray {
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
