//! Formats: how the bytes of a file become typed batches and rejected rows.
//!
//! A source states what it reads, it does not infer: its name, an example and the tables it fills stand in one
//! [`FORMATS`] table from which `generel formats`, `--format` and the docs are derived. Rejected rows are part of a
//! [`Chunk`], so that `rows read = rows kept + rows rejected` is checked per chunk and cannot drift.

mod delimited;
mod gwas;
mod gwas_catalog;
mod gwas_ssf;
mod input;
mod lines;
mod obo;
mod omop;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use generel_schemas::{RejectedRow, Table};

pub use input::{Fingerprint, InputFile};

use crate::person::PersonKey;
use crate::{Error, Result};

/// Every format, in the order in which `generel formats` lists them.
pub const FORMATS: &[&dyn Source] = &[&obo::Obo, &omop::OmopCsv, &gwas_catalog::GwasCatalog, &gwas_ssf::GwasSsf];

/// The format of this name.
///
/// # Errors
/// [`Error::UnknownFormat`], with the names there are.
pub fn format(name: &str) -> Result<&'static dyn Source> {
    FORMATS.iter().find(|f| f.name() == name).copied().ok_or_else(|| Error::UnknownFormat {
        name: name.to_string(),
        known: FORMATS.iter().map(|f| f.name()).collect::<Vec<_>>().join(", "),
    })
}

/// A format that can be ingested.
pub trait Source: Send + Sync {
    /// The word after `--format`.
    fn name(&self) -> &'static str;

    /// One line on what it is.
    fn doc(&self) -> &'static str;

    /// A command line that ingests it.
    fn example(&self) -> &'static str;

    /// The tables that it fills.
    fn tables(&self) -> &'static [&'static Table];

    /// The files behind a path that a person gave: the file itself, or what the format finds in a folder.
    ///
    /// # Errors
    /// When nothing readable is there.
    fn files(&self, path: &Path) -> Result<Vec<InputFile>> {
        Ok(vec![InputFile::open(path)?])
    }

    /// Opens a file: reads the header and whatever companions the format needs, no rows yet.
    ///
    /// # Errors
    /// When the file is empty, unreadable or has not the format's header.
    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Box<dyn ChunkReader>>;
}

/// Reads a file chunk by chunk, in the order of its rows. Blocking; runs on a thread of its own.
pub trait ChunkReader: Send {
    /// The next chunk of about [`ReadOptions::chunk_rows`] rows, or `None` at the end of the file.
    ///
    /// # Errors
    /// Only when the file as a whole cannot be read on (I/O, corrupt compression). A bad row is a rejected row.
    fn next_chunk(&mut self) -> Result<Option<Chunk>>;
}

/// Some rows of a file: what was kept, what was rejected, and what was kept with a hole in it.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Rows read, by the format's own notion of a row.
    pub rows_read: u64,
    /// Kept rows by table. A batch has the table's columns without `source` and `input_id`, which are the engine's.
    pub batches: Vec<(&'static Table, RecordBatch)>,
    /// Rejected rows.
    pub rejected: Vec<RejectedRow>,
    /// Optional values that could not be read and became NULL: column → count.
    pub nulled: BTreeMap<&'static str, u64>,
}

impl Chunk {
    /// Rows kept, over all tables.
    pub fn rows_kept(&self) -> u64 {
        self.batches.iter().map(|(_, batch)| batch.num_rows() as u64).sum()
    }
}

/// A batch of a table without the columns that are the engine's: the first, `source`, and the last, `input_id`.
///
/// # Errors
/// When the columns and the table disagree: a defect of the program.
pub(super) fn batch(table: &'static Table, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let inner: Vec<usize> = (1..table.columns.len().saturating_sub(1)).collect();
    let schema = table.schema().project(&inner)?;
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// What a source may need to know beyond the file.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The source's name; equal person identifiers of two sources get different pseudonyms.
    pub source: String,
    /// Rows of a chunk.
    pub chunk_rows: usize,
    /// Key with which person identifiers are hashed.
    pub person_key: PersonKey,
    /// `study_id` of a summary-statistics file; the file's name without extensions if not given.
    pub study_id: Option<String>,
    /// Trait of a summary-statistics file; from the metadata file beside it if not given.
    pub trait_name: Option<String>,
    /// Genome build of a summary-statistics file; from the metadata file beside it if not given.
    pub genome_build: Option<String>,
}

impl ReadOptions {
    /// Options with defaults for everything but the source's name and the key.
    pub fn new(source: impl Into<String>, person_key: PersonKey) -> Self {
        Self {
            source: source.into(),
            chunk_rows: 8192,
            person_key,
            study_id: None,
            trait_name: None,
            genome_build: None,
        }
    }
}
