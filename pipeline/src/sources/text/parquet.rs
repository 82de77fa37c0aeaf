//! Parquet files as rows of text, so that a format that reads CSV reads the same table in Parquet too.

use std::fs::File;

use arrow::array::{AsArray, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use arrow::util::display::FormatOptions;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::super::Place;
use crate::{Error, Result};

const MAGIC: &[u8] = b"PAR1";
/// Times as the parsers of text read them.
const TIME: &str = "%Y-%m-%dT%H:%M:%S%.6f";

/// A Parquet file that is read batch by batch.
pub(crate) struct ParquetFile {
    place: Place,
    names: Vec<String>,
    batches: ParquetRecordBatchReader,
    next_row: u64,
}

impl ParquetFile {
    /// Opens a file if it is Parquet.
    ///
    /// # Errors
    /// When it begins as Parquet and is none, or is not on this machine.
    pub(crate) fn open(place: &Place, rows: usize) -> Result<Option<Self>> {
        if !place.starts_with(MAGIC)? {
            return Ok(None);
        }
        let Some(path) = place.local_path() else {
            let message =
                format!("{}: Parquet is read from files of this machine only; fetch it first", place.path().display());
            return Err(Error::Invalid(message));
        };
        let invalid = |e: parquet::errors::ParquetError| Error::format(path, 1, format!("not a Parquet file: {e}"));
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(invalid)?;
        let names = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
        let batches = builder.with_batch_size(rows.max(1)).build().map_err(invalid)?;
        Ok(Some(Self { place: place.clone(), names, batches, next_row: 1 }))
    }

    /// The columns' names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// The next rows, each column as text, and the 1-based number of the first.
    ///
    /// # Errors
    /// When the file cannot be read on, or a column has no text form (lists, structs).
    pub(crate) fn next_texts(&mut self) -> Result<Option<(u64, Vec<StringArray>)>> {
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let wrong = |e: &dyn std::fmt::Display| Error::format(self.place.path(), self.next_row, e.to_string());
        let batch = batch.map_err(|e| wrong(&e))?;
        let format = FormatOptions::default().with_timestamp_format(Some(TIME)).with_timestamp_tz_format(Some(TIME));
        let options = CastOptions { safe: true, format_options: format };
        let mut columns = Vec::with_capacity(batch.num_columns());
        for column in batch.columns() {
            let text = cast_with_options(column, &DataType::Utf8, &options).map_err(|e| wrong(&e))?;
            columns.push(text.as_string::<i32>().clone());
        }
        let first = self.next_row;
        self.next_row += batch.num_rows() as u64;
        Ok(Some((first, columns)))
    }
}
