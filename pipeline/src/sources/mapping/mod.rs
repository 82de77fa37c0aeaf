//! Any table: a small YAML says in SQL what its rows become, so that nobody waits for a release to read their own
//! extract. Delimited text, Parquet and NDJSON.

mod evaluate;
mod file;
mod ndjson;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use generel_schemas::{RejectedRow, Table};

use self::evaluate::{Mapped, Mapping};
use self::file::{MappingFile, TABLES, table_named};
use self::ndjson::Ndjson;
use super::output::Output;
use super::recognize::{Head, Likeness};
use super::text::delimited::{Delimited, Delimiter, Dialect, Kept, Row, RowParser, Taken};
use super::text::lines::Lines;
use super::{Chunk, InputFile, ReadOptions, Reader, SlabReader, Source};
use crate::{Error, Result};

/// The format `mapping`.
pub(super) struct AnyTable;

impl Source for AnyTable {
    fn name(&self) -> &'static str {
        "mapping"
    }

    fn doc(&self) -> &'static str {
        "any delimited, Parquet or NDJSON table, mapped by a YAML file with SQL expressions (docs/mapping.md)"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format mapping --mapping registry.yaml --source registry extract.csv"
    }

    fn tables(&self) -> &'static [&'static Table] {
        TABLES
    }

    fn tables_for(&self, options: &ReadOptions) -> Result<Vec<&'static Table>> {
        let file = MappingFile::read(mapping_path(options)?)?;
        Ok(file.tables.keys().filter_map(|name| table_named(name)).collect())
    }

    /// Never by itself: what a table means cannot be seen.
    fn recognize(&self, _: &Head) -> Option<Likeness> {
        None
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let mapping = MappingFile::read(mapping_path(options)?)?;
        let head = Head::read_as(&file.place, options.encoding)?;
        if ndjson::looks_like(&head) {
            let names = ndjson::columns(file.path(), &head, &mapping.read.columns)?;
            let parser = Ndjson::new(Rows::new(mapping, &names, options)?);
            let lines = Lines::new(file.reader(options.encoding)?, file.path().to_path_buf());
            let slabs = lines.into_slabs(None).with_slab_bytes(options.slab_bytes);
            return Ok(Reader::Slabs(SlabReader { slabs, parser: Arc::new(parser), recognized: None }));
        }
        let mut delimited = Delimited::open(file, options, dialect(&head, &mapping)?)?;
        let rows = Rows::new(mapping, delimited.header.names(), options)?;
        delimited.header.mask(|name| rows.mapping.masked.iter().any(|m| m == name));
        Ok(delimited.into_reader(rows))
    }
}

/// Rows as a mapping sees them: text under the file's names.
struct Rows {
    mapping: Mapping,
    file: MappingFile,
    schema: Arc<Schema>,
}

impl RowParser for Rows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        self.push((0..self.schema.fields().len()).map(|index| Some(row.get(index))), row.line, out);
        Ok(Taken::Kept)
    }

    /// The expressions see all rows at once; what they refuse was counted as taken.
    fn finish(&self, out: &mut Output, chunk: &mut Chunk) -> Result<()> {
        let Some(mut loose) = out.loose.take() else { return Ok(()) };
        let columns: Vec<ArrayRef> = loose.columns.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let Mapped { batches, fates } = self.mapping.apply(&batch)?;
        for (row, fate) in fates.into_iter().enumerate() {
            let Some(fate) = fate else { continue };
            chunk.rows_taken -= 1;
            match fate {
                Ok(()) => chunk.take(Taken::Ignored("excluded by where")),
                Err(fault) => chunk.rejected.push(RejectedRow {
                    line: loose.lines[row],
                    column: Some(fault.column.to_string()),
                    reason: fault.reason,
                    message: fault.message.to_string(),
                    raw: self.raw(&batch, row),
                }),
            }
        }
        chunk.rejected.sort_by_key(|row| row.line);
        chunk.batches.extend(batches);
        Ok(())
    }
}

impl Rows {
    fn new(file: MappingFile, names: &[String], options: &ReadOptions) -> Result<Self> {
        let fields: Vec<Field> = names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let persons = (options.person_key.clone(), options.source.clone());
        let mapping = Mapping::new(&file, &schema, persons)?;
        Ok(Self { mapping, file, schema })
    }

    /// Keeps a row until all of its chunk are there.
    fn push<'a>(&self, values: impl Iterator<Item = Option<&'a str>>, line: u64, out: &mut Output) {
        let loose = out.loose.get_or_insert_default();
        loose.columns.resize_with(self.schema.fields().len(), StringBuilder::new);
        loose.lines.push(line);
        for (column, value) in loose.columns.iter_mut().zip(values) {
            column.append_option(value.filter(|text| !self.file.is_missing(text)));
        }
    }

    /// The row's fields as JSON, with those masked that no column of the lake but the person's shows.
    fn raw(&self, batch: &RecordBatch, row: usize) -> String {
        let shown = self.schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            let text = column.as_string::<i32>();
            let masked = self.mapping.masked.contains(field.name());
            let value = match (text.is_null(row), masked) {
                (true, _) => serde_json::Value::Null,
                (_, true) => "***".into(),
                _ => text.value(row).into(),
            };
            (field.name().clone(), value)
        });
        serde_json::Value::Object(shown.collect()).to_string()
    }
}

fn mapping_path(options: &ReadOptions) -> Result<&Path> {
    options.mapping.as_deref().ok_or_else(|| Error::Invalid("--format mapping needs --mapping FILE.yaml".into()))
}

/// How the file is written: as the mapping says, else as the header looks.
fn dialect(head: &Head, mapping: &MappingFile) -> Result<Dialect> {
    let header = head.header();
    let guess = [b'\t', b',', b';', b'|'].into_iter().find(|byte| header.contains(char::from(*byte)));
    let delimiter = match mapping.read.delimiter.as_deref() {
        Some("blanks") => Delimiter::Blanks,
        Some("\\t" | "tab") => Delimiter::Byte(b'\t'),
        Some(text) if text.len() == 1 => Delimiter::Byte(text.as_bytes()[0]),
        Some(_) => return Err(Error::Invalid("mapping, read.delimiter: expected one character, or blanks".into())),
        None => guess.map_or(Delimiter::Blanks, Delimiter::Byte),
    };
    let quoted = mapping.read.quoted.unwrap_or(matches!(delimiter, Delimiter::Byte(b',' | b';')));
    let comment = match mapping.read.comment.as_deref() {
        None => None,
        Some("#") => Some("#"),
        Some("##") => Some("##"),
        Some("//") => Some("//"),
        Some(_) => return Err(Error::Invalid("mapping, read.comment: expected #, ## or //".into())),
    };
    Ok(Dialect { delimiter, quoted, comment, columns: None, short_rows: false })
}
