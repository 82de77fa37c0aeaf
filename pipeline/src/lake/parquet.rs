//! Parquet as the lake writes it: row groups encoded on any thread, files put together by one.
//!
//! Encoding is most of the work of an ingest, and a row group needs nothing of its file; so each worker encodes whole
//! row groups and [`FileWriter`] only appends their bytes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use generel_schemas::Table;
use generel_schemas::tables::Kind;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

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
}

/// An encoded row group.
pub(crate) struct EncodedGroup {
    chunks: Vec<ArrowColumnChunk>,
    rows: u64,
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
        let columns: Vec<usize> = (0..table.columns.len()).filter(|i| Some(table.columns[*i].name) != table.unit).collect();
        let schema = Arc::new(full.project(&columns)?);
        let properties = Arc::new(properties(table)?);
        let file = open_file(table, &schema, &properties)?;
        let factory = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&schema));
        Ok(Self { table, schema, columns, properties, factory })
    }

    /// Begins a row group.
    pub(crate) fn begin(&self) -> Result<GroupWriter<'_>> {
        let writers = self.factory.create_column_writers(0).map_err(|e| encoding(self.table, &e))?;
        Ok(GroupWriter { encoder: self, writers, rows: 0 })
    }

    /// Begins a file.
    pub(super) fn file(&self) -> Result<FileWriter> {
        Ok(FileWriter { table: self.table, writer: open_file(self.table, &self.schema, &self.properties)?, rows: 0 })
    }
}

/// A row group in the making.
pub(crate) struct GroupWriter<'a> {
    encoder: &'a GroupEncoder,
    writers: Vec<ArrowColumnWriter>,
    rows: u64,
}

impl GroupWriter<'_> {
    /// Adds rows with the table's columns; the partition's column may be missing.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let encoder = self.encoder;
        let whole = batch.num_columns() == encoder.table.columns.len();
        if !whole && batch.num_columns() != encoder.columns.len() {
            return Err(Error::Internal(format!("a batch of {} has not its columns", encoder.table.name)));
        }
        for (position, writer) in self.writers.iter_mut().enumerate() {
            let array = batch.column(if whole { encoder.columns[position] } else { position });
            let field = encoder.schema.field(position);
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(Error::Internal(format!("NULL in {}.{}", encoder.table.name, field.name())));
            }
            for leaf in compute_leaves(field, array).map_err(|e| encoding(encoder.table, &e))? {
                writer.write(&leaf).map_err(|e| encoding(encoder.table, &e))?;
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// The encoded row group.
    pub(crate) fn finish(self) -> Result<EncodedGroup> {
        let table = self.encoder.table;
        let chunks: std::result::Result<Vec<_>, _> = self.writers.into_iter().map(ArrowColumnWriter::close).collect();
        Ok(EncodedGroup { chunks: chunks.map_err(|e| encoding(table, &e))?, rows: self.rows })
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
            chunk.append_to_row_group(&mut row_group).map_err(failed)?;
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
        .set_max_row_group_row_count(None);
    for column in table.columns {
        let numeric = !matches!(column.kind.data_type(), DataType::Utf8 | DataType::Int32 | DataType::Date32);
        let path = ColumnPath::from(column.name);
        if numeric || !column.repeats {
            builder = builder.set_column_dictionary_enabled(path.clone(), false);
        }
        if matches!(column.kind, Kind::Long | Kind::Timestamp) {
            // Neighbours are near each other: positions, times, sizes.
            builder = builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
    }
    Ok(builder.build())
}

fn encoding(table: &Table, error: &ParquetError) -> Error {
    Error::Internal(format!("table {}: {error}", table.name))
}
