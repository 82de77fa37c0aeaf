//! Query results as table, CSV, JSON, NDJSON or Parquet, to stdout or a file.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder as JsonBuilder};
use arrow::json::{ArrayWriter, LineDelimitedWriter};
use arrow::util::pretty::pretty_format_batches;
use clap::ValueEnum;
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;

use crate::exit::UsageError;

/// The form of a query's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A table for people.
    Table,
    /// Comma-separated with a header.
    Csv,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}

impl Form {
    /// The form that a file's extension says; `what` the file is for stands in the error.
    ///
    /// # Errors
    /// [`UsageError`] for another extension.
    pub(crate) fn of_path(path: &Path, what: &str) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()).unwrap_or("") {
            "csv" => Ok(Self::Csv),
            "json" => Ok(Self::Json),
            "ndjson" | "jsonl" => Ok(Self::Ndjson),
            "parquet" => Ok(Self::Parquet),
            _ => {
                let problem = format!("{what} {}: the extension must be csv, json, ndjson or parquet", path.display());
                Err(UsageError(problem).into())
            }
        }
    }
}

/// Runs a query and writes its result as it comes; a table is gathered first, since its columns need widths.
pub(crate) async fn write(frame: DataFrame, form: Form, out: &mut (dyn Write + Send)) -> Result<()> {
    let schema: SchemaRef = frame.schema().inner().clone();
    if form == Form::Table {
        let batches = frame.collect().await?;
        let batches = if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
        writeln!(out, "{}", pretty_format_batches(&batches)?)?;
        return Ok(());
    }
    let mut stream = frame.execute_stream().await?;
    let schema = stream.schema();
    let mut sink = Sink::new(form, schema, out)?;
    while let Some(batch) = stream.next().await {
        sink.write(&batch?)?;
    }
    sink.finish()
}

/// Writes a query's result into a file, whole or not at all.
pub(crate) async fn write_file(frame: DataFrame, form: Form, path: &Path) -> Result<()> {
    let mut buffer = Vec::new();
    write(frame, form, &mut buffer).await?;
    replace_file(path, &buffer)
}

/// Puts a file in place by renaming, so that nobody ever sees half of it.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    let place = || path.display().to_string();
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).with_context(place)?;
    }
    let mut name = path.file_name().with_context(|| format!("{}: not a file name", path.display()))?.to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    fs::write(&part, content).and_then(|()| fs::rename(&part, path)).with_context(place)
}

enum Sink<'a> {
    Csv(Box<arrow::csv::Writer<&'a mut (dyn Write + Send)>>),
    Json(ArrayWriter<&'a mut (dyn Write + Send)>),
    Ndjson(LineDelimitedWriter<&'a mut (dyn Write + Send)>),
    Parquet(Box<ArrowWriter<&'a mut (dyn Write + Send)>>),
}

impl<'a> Sink<'a> {
    fn new(form: Form, schema: SchemaRef, out: &'a mut (dyn Write + Send)) -> Result<Self> {
        // A column without a value is still a column.
        let json = || JsonBuilder::new().with_explicit_nulls(true);
        Ok(match form {
            Form::Table => bail!("a table is not streamed"),
            Form::Csv => {
                if let Some(nested) = schema.fields().iter().find(|f| f.data_type().is_nested()) {
                    bail!(
                        "column '{}' is a list, which CSV cannot hold; use --output ndjson or parquet",
                        nested.name()
                    );
                }
                let mut writer = WriterBuilder::new().with_header(true).build(out);
                writer.write(&RecordBatch::new_empty(schema))?;
                Self::Csv(Box::new(writer))
            }
            Form::Json => Self::Json(json().build::<_, JsonArray>(out)),
            Form::Ndjson => Self::Ndjson(json().build::<_, LineDelimited>(out)),
            Form::Parquet => Self::Parquet(Box::new(ArrowWriter::try_new(out, schema, None)?)),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Csv(writer) => writer.write(batch)?,
            Self::Json(writer) => writer.write(batch)?,
            Self::Ndjson(writer) => writer.write(batch)?,
            Self::Parquet(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Csv(_) => {}
            Self::Json(mut writer) => {
                writer.finish()?;
                writeln!(writer.into_inner())?;
            }
            Self::Ndjson(mut writer) => writer.finish()?,
            Self::Parquet(writer) => {
                writer.close()?;
            }
        }
        Ok(())
    }
}
