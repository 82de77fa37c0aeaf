//! Parquet as the lake writes it: row groups encoded on any thread, files put together by one.
//!
//! Encoding is most of the work of an ingest, and a row group needs nothing of its file; so each worker encodes whole
//! row groups and [`FileWriter`] only appends their bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use bytes::Bytes;
use generel_schemas::Table;
use generel_schemas::tables::Kind;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, ColumnPath};

use super::constant;
use crate::{Error, Result};

/// Rows of a row group where they come in batches.
pub(super) const GROUP_ROWS: usize = 256 * 1024;

/// Encodes row groups of one table. Shared by all threads.
pub(crate) struct GroupEncoder {
    table: &'static Table,
    schema: SchemaRef,
    columns: Vec<usize>,
    properties: Arc<WriterProperties>,
    factory: ArrowRowGroupWriterFactory,
    /// One a leaf column; every column but a vector is one.
    descriptors: Vec<ColumnDescPtr>,
}

/// An encoded row group.
pub(crate) struct EncodedGroup {
    chunks: Vec<EncodedColumn>,
    rows: u64,
}

enum EncodedColumn {
    Chunk(Box<ArrowColumnChunk>),
    Constant(Box<(Bytes, ColumnCloseResult)>),
}

impl EncodedGroup {
    /// Its rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

impl GroupEncoder {
    /// For a table's files, which hold every column but the partition's.
    pub(crate) fn new(table: &'static Table) -> Result<Self> {
        let full = table.schema();
        let columns: Vec<usize> =
            (0..table.columns.len()).filter(|i| Some(table.columns[*i].name) != table.unit).collect();
        let schema = Arc::new(full.project(&columns)?);
        let properties = Arc::new(properties(table)?);
        let file = open_file(table, &schema, &properties)?;
        let factory = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&schema));
        let descriptors = file.schema_descr().columns().to_vec();
        Ok(Self { table, schema, columns, properties, factory, descriptors })
    }

    /// Begins a row group.
    pub(crate) fn begin(&self) -> Result<GroupWriter<'_>> {
        let writers = self.factory.create_column_writers(0).map_err(|e| encoding(self.table, &e))?;
        Ok(GroupWriter { encoder: self, columns: writers.into_iter().map(ColumnWriter::new).collect(), rows: 0 })
    }

    /// Begins a file.
    pub(super) fn file(&self) -> Result<FileWriter> {
        Ok(FileWriter { table: self.table, writer: open_file(self.table, &self.schema, &self.properties)?, rows: 0 })
    }
}

/// A row group in the making.
pub(crate) struct GroupWriter<'a> {
    encoder: &'a GroupEncoder,
    columns: Vec<ColumnWriter>,
    rows: u64,
}

/// A column of a row group; while all its rows have the same text only that is kept.
struct ColumnWriter {
    writer: ArrowColumnWriter,
    constant: Option<String>,
    /// Whether the writer has rows.
    begun: bool,
}

impl ColumnWriter {
    fn new(writer: ArrowColumnWriter) -> Self {
        Self { writer, constant: None, begun: false }
    }

    /// Adds rows behind those that are there.
    fn write(&mut self, field: &Field, array: &ArrayRef, rows_before: u64) -> ParquetResult<()> {
        if !self.begun
            && let Some(text) = array.as_string_opt::<i32>().and_then(constant::only_text)
        {
            match &self.constant {
                Some(same) if same == text => return Ok(()),
                None if rows_before == 0 => {
                    self.constant = Some(text.to_string());
                    return Ok(());
                }
                _ => {}
            }
        }
        if let Some(text) = self.constant.take() {
            let rows = usize::try_from(rows_before).unwrap_or(usize::MAX);
            let before: ArrayRef = Arc::new(StringArray::new_repeated(text, rows));
            self.write_on(field, &before)?;
        }
        self.write_on(field, array)
    }

    fn write_on(&mut self, field: &Field, array: &ArrayRef) -> ParquetResult<()> {
        self.begun = true;
        compute_leaves(field, array)?.iter().try_for_each(|leaf| self.writer.write(leaf))
    }

    fn finish(self, descriptor: &ColumnDescPtr, rows: u64) -> ParquetResult<EncodedColumn> {
        match self.constant {
            Some(text) => Ok(EncodedColumn::Constant(Box::new(constant::column_chunk(descriptor, &text, rows)?))),
            None => self.writer.close().map(|chunk| EncodedColumn::Chunk(Box::new(chunk))),
        }
    }
}

impl GroupWriter<'_> {
    /// Adds rows with the table's columns; the partition's column may be missing.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let encoder = self.encoder;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let whole = batch.num_columns() == encoder.table.columns.len();
        if !whole && batch.num_columns() != encoder.columns.len() {
            return Err(Error::Internal(format!("a batch of {} has not its columns", encoder.table.name)));
        }
        for (position, column) in self.columns.iter_mut().enumerate() {
            let array = batch.column(if whole { encoder.columns[position] } else { position });
            let field = encoder.schema.field(position);
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(Error::Internal(format!("NULL in {}.{}", encoder.table.name, field.name())));
            }
            column.write(field, array, self.rows).map_err(|e| encoding(encoder.table, &e))?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// The encoded row group.
    pub(crate) fn finish(self) -> Result<EncodedGroup> {
        let (encoder, rows) = (self.encoder, self.rows);
        let mut chunks = Vec::with_capacity(self.columns.len());
        for (column, descriptor) in self.columns.into_iter().zip(&encoder.descriptors) {
            chunks.push(column.finish(descriptor, rows).map_err(|e| encoding(encoder.table, &e))?);
        }
        Ok(EncodedGroup { chunks, rows })
    }
}

/// A file in the making; its bytes are taken out as they come.
pub(super) struct FileWriter {
    table: &'static Table,
    writer: SerializedFileWriter<Vec<u8>>,
    rows: u64,
}

impl FileWriter {
    /// Appends a row group and takes out the bytes that are ready.
    pub(super) fn append(&mut self, group: EncodedGroup) -> Result<Vec<u8>> {
        let failed = |e: ParquetError| encoding(self.table, &e);
        self.rows += group.rows;
        let mut row_group = self.writer.next_row_group().map_err(failed)?;
        for chunk in group.chunks {
            match chunk {
                EncodedColumn::Chunk(chunk) => chunk.append_to_row_group(&mut row_group).map_err(failed)?,
                EncodedColumn::Constant(constant) => {
                    row_group.append_column(&constant.0, constant.1).map_err(failed)?
                }
            }
        }
        row_group.close().map_err(failed)?;
        self.writer.flush().map_err(|e| Error::Internal(e.to_string()))?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }

    /// Ends the file: its last bytes and its metadata.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, ParquetMetaData)> {
        let metadata = self.writer.finish().map_err(|e| encoding(self.table, &e))?;
        Ok((std::mem::take(self.writer.inner_mut()), metadata))
    }
}

fn open_file(
    table: &Table,
    schema: &SchemaRef,
    properties: &Arc<WriterProperties>,
) -> Result<SerializedFileWriter<Vec<u8>>> {
    let root = ArrowSchemaConverter::new().convert(schema).map_err(|e| encoding(table, &e))?;
    SerializedFileWriter::new(Vec::new(), root.root_schema_ptr(), Arc::clone(properties))
        .map_err(|e| encoding(table, &e))
}

/// Dictionaries only where values repeat: elsewhere each would be hashed for nothing.
fn properties(table: &Table) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(1).map_err(|e| encoding(table, &e))?;
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Row groups are small, and a constant column has no pages to point to.
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None);
    for column in table.columns {
        let numeric = !matches!(column.kind.data_type(), DataType::Utf8 | DataType::Int32 | DataType::Date32);
        let path = ColumnPath::from(column.name);
        if numeric || !column.repeats {
            builder = builder.set_column_dictionary_enabled(path.clone(), false);
        }
        if matches!(column.kind, Kind::Long | Kind::Timestamp) {
            // Neighbours are near each other: positions, times, sizes.
            builder = builder.set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        if matches!(column.kind, Kind::Long | Kind::Timestamp) || column.name == "neg_log_10_p_value" {
            // Packed already, or full of digits that nothing predicts: zstd would take time and give nothing.
            builder = builder.set_column_compression(path, Compression::UNCOMPRESSED);
        }
    }
    Ok(builder.build())
}

fn encoding(table: &Table, error: &ParquetError) -> Error {
    Error::Internal(format!("table {}: {error}", table.name))
}
