//! Parquet as the lake writes it: row groups encoded on any thread, files put together by one.
//!
//! Encoding is most of the work of an ingest, and a row group needs nothing of its file; so each worker encodes whole
//! row groups and [`FileWriter`] only appends their bytes.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use generel_schemas::Table;
use parquet::arrow::ArrowSchemaConverter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::writer::SerializedFileWriter;

use super::column::{self, ColumnEncoder, ColumnWriter, EncodedColumn};
use crate::{Error, Result};

/// Rows of a row group where they come in batches.
pub(super) const GROUP_ROWS: usize = 256 * 1024;

/// Encodes row groups of one table. Shared by all threads.
pub(crate) struct GroupEncoder {
    table: &'static Table,
    schema: SchemaRef,
    columns: Vec<usize>,
    encoders: Vec<ColumnEncoder>,
}

/// An encoded row group.
pub(crate) struct EncodedGroup {
    chunks: Vec<EncodedColumn>,
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
        let columns: Vec<usize> =
            (0..table.columns.len()).filter(|i| Some(table.columns[*i].name) != table.unit).collect();
        let schema = Arc::new(full.project(&columns)?);
        let file = open_file(table, &schema)?;
        // Every column of the lake, a list too, is one leaf.
        let leaves = file.schema_descr().columns();
        let encoders = columns.iter().zip(schema.fields()).zip(leaves).map(|((column, field), leaf)| {
            ColumnEncoder::new(&table.columns[*column], Arc::clone(field), Arc::clone(leaf))
        });
        let encoders = encoders.collect();
        Ok(Self { table, schema, columns, encoders })
    }

    /// The table.
    pub(super) fn table(&self) -> &'static Table {
        self.table
    }

    /// Begins a row group.
    pub(crate) fn begin(&self) -> GroupWriter<'_> {
        GroupWriter { encoder: self, columns: self.encoders.iter().map(ColumnEncoder::begin).collect(), rows: 0 }
    }

    /// Begins a file.
    pub(super) fn file(&self) -> Result<FileWriter> {
        Ok(FileWriter { table: self.table, writer: open_file(self.table, &self.schema)?, rows: 0 })
    }
}

/// A row group in the making.
pub(crate) struct GroupWriter<'a> {
    encoder: &'a GroupEncoder,
    columns: Vec<ColumnWriter<'a>>,
    rows: u64,
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
            column.write(array, self.rows).map_err(|e| encoding(encoder.table, &e))?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// The encoded row group.
    pub(crate) fn finish(self) -> Result<EncodedGroup> {
        let (encoder, rows) = (self.encoder, self.rows);
        let mut chunks = Vec::with_capacity(self.columns.len());
        for column in self.columns {
            chunks.push(column.finish(rows).map_err(|e| encoding(encoder.table, &e))?);
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
                EncodedColumn::Ready(ready) => row_group.append_column(&ready.0, ready.1).map_err(failed)?,
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

fn open_file(table: &Table, schema: &SchemaRef) -> Result<SerializedFileWriter<Vec<u8>>> {
    let root = ArrowSchemaConverter::new().convert(schema).map_err(|e| encoding(table, &e))?;
    SerializedFileWriter::new(Vec::new(), root.root_schema_ptr(), Arc::new(column::common().build()))
        .map_err(|e| encoding(table, &e))
}

fn encoding(table: &Table, error: &ParquetError) -> Error {
    Error::Internal(format!("table {}: {error}", table.name))
}
