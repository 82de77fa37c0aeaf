//! One column of a row group. How it is encoded is decided when its first values are there, and costs nothing until
//! then: most columns of most files are NULL or the same text in all rows, and neither needs an encoder.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, StringArray, new_null_array};
use arrow::datatypes::{FieldRef, Float64Type, Int32Type, Schema};
use generel_schemas::tables::{Column, Kind};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;

use super::constant;
use super::pages::Encoded;
use super::text::TextWriter;

/// Zstandard's level: the fastest, since a lake is written more often than it is full.
pub(super) const LEVEL: i32 = 1;
/// Values by which the encoding of numbers is chosen.
const SAMPLE: usize = 4096;
/// A dictionary pays where at most one in so many of the sampled values is new.
const DISTINCT: usize = 8;
/// Compression pays where the sample loses at least a quarter.
const WORTH: (usize, usize) = (3, 4);

/// What all files of all tables have in common.
pub(super) fn common() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Row groups are small, and a constant column has no pages to point to.
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None)
}

/// How a column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Coding {
    dictionary: bool,
    compressed: bool,
    delta: bool,
}

/// Makes the writers of one column. Shared by all threads.
pub(super) struct ColumnEncoder {
    field: FieldRef,
    descriptor: ColumnDescPtr,
    kind: Kind,
    /// Whether a row group was met in which a dictionary of its texts did not pay.
    plain: AtomicBool,
    /// `None` where the values decide.
    fixed: Option<Coding>,
    factory: OnceLock<ArrowRowGroupWriterFactory>,
}

impl ColumnEncoder {
    pub(super) fn new(column: &Column, field: FieldRef, descriptor: ColumnDescPtr) -> Self {
        let coding = |dictionary, compressed, delta| Some(Coding { dictionary, compressed, delta });
        let fixed = match column.kind {
            // Neighbours are near each other (positions, times, sizes), and what is packed needs no compression.
            Kind::Long | Kind::Timestamp => coding(false, false, true),
            Kind::Double => None,
            Kind::Text | Kind::Int | Kind::Date => coding(true, true, false),
            Kind::Bool | Kind::Float | Kind::Vector => coding(false, true, false),
        };
        Self { field, descriptor, kind: column.kind, plain: AtomicBool::new(false), fixed, factory: OnceLock::new() }
    }

    /// Begins a column of a row group.
    pub(super) fn begin(&self) -> ColumnWriter<'_> {
        ColumnWriter { encoder: self, state: State::Empty }
    }

    /// An encoder. How the first row group's values look decides for all: row groups of a file are alike.
    fn writer(&self, values: &ArrayRef) -> Result<ArrowColumnWriter> {
        let factory = match self.factory.get() {
            Some(factory) => factory,
            None => {
                let made = self.factory_for(self.fixed.unwrap_or_else(|| coding_of(values)))?;
                self.factory.get_or_init(|| made)
            }
        };
        let mut writers = factory.create_column_writers(0)?;
        writers.pop().ok_or_else(|| ParquetError::General("a column without a writer".into()))
    }

    fn factory_for(&self, coding: Coding) -> Result<ArrowRowGroupWriterFactory> {
        let mut properties = common().set_dictionary_enabled(coding.dictionary);
        if coding.compressed {
            properties = properties.set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?));
        }
        if coding.delta {
            properties = properties.set_encoding(Encoding::DELTA_BINARY_PACKED);
        }
        let schema = Arc::new(Schema::new(vec![Arc::clone(&self.field)]));
        let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
        let file = SerializedFileWriter::new(Vec::new(), root, Arc::new(properties.build()))?;
        Ok(ArrowRowGroupWriterFactory::new(&file, schema))
    }
}

/// Numbers that come again and again (counts, rounded values) go through a dictionary; digits that predict nothing are
/// not compressed, since that would take time and give nothing.
fn coding_of(values: &ArrayRef) -> Coding {
    let sample: Vec<f64> = match values.as_primitive_opt::<Float64Type>() {
        Some(values) => values.iter().flatten().take(SAMPLE).collect(),
        None => Vec::new(),
    };
    let distinct = sample.iter().map(|value| value.to_bits()).collect::<HashSet<_>>().len();
    let dictionary = distinct * DISTINCT <= sample.len();
    let bytes: Vec<u8> = sample.iter().flat_map(|value| value.to_le_bytes()).collect();
    let small = zstd::bulk::compress(&bytes, LEVEL).map_or(0, |compressed| compressed.len());
    Coding { dictionary, compressed: dictionary || small * WORTH.1 <= bytes.len() * WORTH.0, delta: false }
}

/// An encoded column of a row group.
pub(super) enum EncodedColumn {
    Chunk(Box<ArrowColumnChunk>),
    Ready(Box<Encoded>),
}

/// A column of a row group in the making.
pub(super) struct ColumnWriter<'a> {
    encoder: &'a ColumnEncoder,
    state: State,
}

enum State {
    /// No rows, or only NULLs.
    Empty,
    /// Every row has this text.
    Same(String),
    Texts(TextWriter),
    Begun(Box<ArrowColumnWriter>),
}

impl ColumnWriter<'_> {
    /// Adds rows behind the `before` that are there.
    pub(super) fn write(&mut self, array: &ArrayRef, before: u64) -> Result<()> {
        let flat = self.encoder.descriptor.max_rep_level() == 0;
        let null = || flat && array.logical_null_count() == array.len();
        match &self.state {
            State::Begun(_) | State::Texts(_) => {}
            State::Empty if null() => return Ok(()),
            State::Empty if before == 0 => {
                if let Some(text) = only_text(array) {
                    self.state = State::Same(text.to_string());
                    return Ok(());
                }
            }
            State::Same(same) if only_text(array) == Some(same) => return Ok(()),
            State::Empty | State::Same(_) => {}
        }
        if !matches!(self.state, State::Begun(_) | State::Texts(_)) {
            self.begin(array, usize::try_from(before).unwrap_or(usize::MAX))?;
        }
        self.encode(array)
    }

    /// Ends the time in which nothing had to be encoded, and writes those rows.
    fn begin(&mut self, array: &ArrayRef, before: usize) -> Result<()> {
        let same = match &self.state {
            State::Same(text) => Some(text.as_str()),
            _ => None,
        };
        if self.encoder.kind == Kind::Text {
            let mut texts = TextWriter::new(
                !self.encoder.plain.load(Ordering::Relaxed),
                self.encoder.descriptor.max_def_level() > 0,
            );
            texts.repeat(same, before)?;
            self.state = State::Texts(texts);
            return Ok(());
        }
        self.state = State::Begun(Box::new(self.encoder.writer(array)?));
        if before > 0 {
            self.encode(&new_null_array(self.encoder.field.data_type(), before))?;
        }
        Ok(())
    }

    fn encode(&mut self, array: &ArrayRef) -> Result<()> {
        match &mut self.state {
            State::Begun(writer) => {
                compute_leaves(&self.encoder.field, array)?.iter().try_for_each(|leaf| writer.write(leaf))
            }
            State::Texts(texts) => match (array.as_string_opt::<i32>(), keyed(array)) {
                (Some(array), _) => texts.write(array),
                (None, Some((keys, values))) => texts.write_keyed(keys, values),
                (None, None) => Err(ParquetError::General(format!("{} where texts should be", array.data_type()))),
            },
            State::Empty | State::Same(_) => Ok(()),
        }
    }

    /// The encoded column.
    pub(super) fn finish(self, rows: u64) -> Result<EncodedColumn> {
        let descriptor = &self.encoder.descriptor;
        let ready = match self.state {
            State::Texts(texts) => {
                let (ready, paid) = texts.finish(descriptor)?;
                // Row groups of a file are alike: the others need not try.
                self.encoder.plain.fetch_or(!paid, Ordering::Relaxed);
                ready
            }
            State::Begun(writer) => return writer.close().map(|chunk| EncodedColumn::Chunk(Box::new(chunk))),
            State::Same(text) => constant::text_chunk(descriptor, &text, rows)?,
            State::Empty => constant::null_chunk(descriptor, rows)?,
        };
        Ok(EncodedColumn::Ready(Box::new(ready)))
    }
}

/// The one text of an array, if it has no other.
fn only_text(array: &ArrayRef) -> Option<&str> {
    match keyed(array) {
        Some((keys, values)) => {
            (values.len() == 1 && values.null_count() == 0 && !keys.is_empty()).then(|| values.value(0))
        }
        None => array.as_string_opt::<i32>().and_then(constant::only_text),
    }
}

/// The keys and texts of a dictionary, none of whose keys is NULL.
fn keyed(array: &ArrayRef) -> Option<(&[i32], &StringArray)> {
    let keyed = array.as_dictionary_opt::<Int32Type>().filter(|keyed| keyed.keys().null_count() == 0)?;
    Some((keyed.keys().values(), keyed.values().as_string_opt::<i32>()?))
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;

    use super::*;

    #[test]
    fn numbers_decide_how_they_are_written() {
        let coding = |value: &dyn Fn(u32) -> f64| {
            let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..10_000).map(value)));
            let Coding { dictionary, compressed, .. } = coding_of(&values);
            (dictionary, compressed)
        };
        assert_eq!(coding(&|i| f64::from(i % 100) / 100.0), (true, true), "few values");
        assert_eq!(coding(&|i| f64::from(i)), (false, true), "small whole numbers");
        assert_eq!(coding(&|i| f64::from(i).sin()), (false, false), "digits that predict nothing");
    }
}
