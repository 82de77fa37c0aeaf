//! What the tests of the formats share.

use arrow::array::Array;
use arrow::util::display::array_value_to_string;
use generel_schemas::{RejectReason, Table};

use super::{Chunk, Found, ReadOptions, Source};
use crate::Result;
use crate::person::PersonKey;

/// Options with chunks of two rows and slabs of a few.
pub(super) fn options() -> ReadOptions {
    let mut options = ReadOptions::new("test", PersonKey::new(b"key"));
    options.chunk_rows = 2;
    options.slab_bytes = 64;
    options
}

/// Reads files (the first one is opened) and checks each chunk's balance and schema.
pub(super) fn read(format: &dyn Source, files: &[(&str, &[u8])], options: &ReadOptions) -> Result<Vec<Chunk>> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    read_path(format, &folder.path().join(files[0].0), options)
}

/// Reads a file or folder of this machine.
pub(super) fn read_path(format: &dyn Source, path: &std::path::Path, options: &ReadOptions) -> Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    for found in Found::resolve(&path.display().to_string(), &[])? {
        for file in format.files(&found)? {
            let mut reader = format.open(&file, options)?.into_chunks();
            while let Some(chunk) = reader.next_chunk()? {
                assert!(chunk.is_balanced(), "{chunk:?}");
                for (table, batch) in &chunk.batches {
                    assert!(format.tables().iter().any(|t| t.name == table.name), "{}", table.name);
                    let names: Vec<&str> = table.columns.iter().map(|c| c.name).collect();
                    let schema = batch.schema();
                    let found: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                    assert_eq!(found, names[1..names.len() - 1]);
                }
                chunks.push(chunk);
            }
            assert!(reader.next_chunk()?.is_none());
        }
    }
    Ok(chunks)
}

/// A column of all kept rows as text, of whatever table has it; NULL is `-`.
pub(super) fn cells(chunks: &[Chunk], column: &str) -> Vec<String> {
    column_of(chunks, None, column)
}

/// A column of all kept rows of a table as text; NULL is `-`.
pub(super) fn table_cells(chunks: &[Chunk], table: &Table, column: &str) -> Vec<String> {
    column_of(chunks, Some(table), column)
}

fn column_of(chunks: &[Chunk], table: Option<&Table>, column: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (of, batch) in chunks.iter().flat_map(|chunk| &chunk.batches) {
        if table.is_some_and(|t| t.name != of.name) {
            continue;
        }
        let Some(array) = batch.column_by_name(column) else { continue };
        for row in 0..array.len() {
            let value = (!array.is_null(row)).then(|| array_value_to_string(array, row).unwrap());
            all.push(value.unwrap_or_else(|| "-".to_string()));
        }
    }
    all
}

/// Line, column and reason of each rejected row.
pub(super) fn rejected(chunks: &[Chunk]) -> Vec<(u64, &str, RejectReason)> {
    let rows = chunks.iter().flat_map(|chunk| &chunk.rejected);
    rows.map(|row| (row.line, row.column.as_deref().unwrap_or("-"), row.reason)).collect()
}

/// How often a column's value became NULL.
pub(super) fn nulled(chunks: &[Chunk], column: &str) -> u64 {
    chunks.iter().filter_map(|chunk| chunk.nulled.get(column)).sum()
}

/// How many rows were ignored.
pub(super) fn ignored(chunks: &[Chunk]) -> u64 {
    chunks.iter().flat_map(|chunk| chunk.ignored.values()).sum()
}
