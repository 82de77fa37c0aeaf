//! Formats: how the bytes of a file become typed batches and rejected rows.
//!
//! A source states what it reads, it does not infer: its name, an example and the tables it fills stand in one
//! [`FORMATS`] table from which `generel formats`, `--format` and the docs are derived. Rejected rows are part of a
//! [`Chunk`], so that `rows read = rows taken + rows ignored + rows rejected` is checked per file and cannot drift.
//!
//! `docs/formats.md` shows how to add one.

mod graphs;
mod gwas;
mod input;
mod mapping;
mod ontologies;
mod output;
mod patients;
mod recognize;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod testing;
mod text;
mod vocabularies;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use generel_schemas::{RejectedRow, Table};

pub(crate) use ontologies::SssomMetadata;
pub(crate) use patients::vocabulary_of_system;

pub use input::{Encoding, Fingerprint, Found, InputFile, Place};
pub use recognize::{Head, Likeness, recognize};

use text::delimited::Taken;
pub use text::slabs::SlabReader;
pub(crate) use text::slabs::{Slab, SlabParser};

use crate::person::PersonKey;
use crate::{Error, Result};

/// Every format, in the order in which `generel formats` lists them.
pub const FORMATS: &[&dyn Source] = &[
    &ontologies::Obo,
    &ontologies::OboGraphs,
    &ontologies::Rdf,
    &ontologies::Sssom,
    &ontologies::Babelon,
    &vocabularies::BioPortalCsv,
    &vocabularies::Umls,
    &vocabularies::OmopVocabulary,
    &vocabularies::Icd,
    &vocabularies::IcdGem,
    &vocabularies::Phecode,
    &graphs::Kgx,
    &graphs::PrimeKg,
    &graphs::Hetionet,
    &graphs::Hpoa,
    &patients::Omop,
    &patients::Fhir,
    &patients::SyntheaCsv,
    &patients::MimicIv,
    &gwas::GwasCatalog,
    &gwas::GWAS_SSF,
    &gwas::REGENIE,
    &gwas::PLINK1,
    &gwas::PLINK2,
    &gwas::SAIGE,
    &gwas::BOLT_LMM,
    &gwas::METAL,
    &gwas::FINNGEN,
    &gwas::NEALE,
    &gwas::LDSC,
    &gwas::GwasVcf,
    &gwas::EQTL,
    &gwas::SUMSTATS,
    &mapping::AnyTable,
];

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

    /// The tables that it fills with these options, where they decide.
    ///
    /// # Errors
    /// When the options are not usable.
    fn tables_for(&self, _: &ReadOptions) -> Result<Vec<&'static Table>> {
        Ok(self.tables().to_vec())
    }

    /// Whether [`ReadOptions::reference`] means anything to it.
    fn takes_reference(&self) -> bool {
        false
    }

    /// Whether a file looks like this format, how sure that is, and what was seen: for `--format auto`.
    fn recognize(&self, head: &Head) -> Option<Likeness>;

    /// The files behind what a person gave: the file itself, or what the format finds in a folder.
    ///
    /// # Errors
    /// When nothing readable is there.
    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        Ok(vec![InputFile::open(found.file()?)?])
    }

    /// Opens a file: reads the header and whatever companions the format needs, no rows yet.
    ///
    /// # Errors
    /// When the file is empty, unreadable or has not the format's header.
    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader>;
}

/// How a file's rows are read.
pub enum Reader {
    /// One after the other, on one thread.
    Chunks(Box<dyn ChunkReader>),
    /// In slabs that any thread can parse.
    Slabs(SlabReader),
}

impl Reader {
    /// All rows in order on the calling thread.
    pub fn into_chunks(self) -> Box<dyn ChunkReader> {
        match self {
            Self::Chunks(chunks) => chunks,
            Self::Slabs(slabs) => Box::new(InOrder { slabs, buffer: Vec::new() }),
        }
    }
}

struct InOrder {
    slabs: SlabReader,
    buffer: Vec<u8>,
}

impl ChunkReader for InOrder {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let quote = self.slabs.slabs.quote();
        match self.slabs.slabs.next(&mut self.buffer)? {
            None => Ok(None),
            Some(first_line) => self.slabs.parser.parse(&Slab { bytes: &self.buffer, first_line, quote }).map(Some),
        }
    }
}

/// Reads a file chunk by chunk, in the order of its rows. Blocking; runs on a thread of its own.
pub trait ChunkReader: Send {
    /// The next chunk of about [`ReadOptions::chunk_rows`] rows, or `None` at the end of the file.
    ///
    /// # Errors
    /// Only when the file as a whole cannot be read on (I/O, corrupt compression). A bad row is a rejected row.
    fn next_chunk(&mut self) -> Result<Option<Chunk>>;
}

/// Optional values that became NULL: column → count.
pub(crate) type Nulled = BTreeMap<&'static str, u64>;

/// Some rows of a file: what was kept, what was ignored or rejected, and what was kept with a hole in it.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Rows read, by the format's own notion of a row.
    pub rows_read: u64,
    /// Rows that became rows of the lake: one, or several where a record says several things.
    pub rows_taken: u64,
    /// Rows that the format has no use for: why → count.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Rows of the lake by table. A batch has the table's columns without `source` and `input_id`, which are the engine's.
    pub batches: Vec<(&'static Table, RecordBatch)>,
    /// Rejected rows.
    pub rejected: Vec<RejectedRow>,
    /// Optional values that could not be read and became NULL: column → count.
    pub nulled: BTreeMap<&'static str, u64>,
    /// What else people should know of rows that were kept: what → count.
    pub noted: BTreeMap<&'static str, u64>,
}

impl Chunk {
    /// Rows of the lake, over all tables.
    pub fn rows_kept(&self) -> u64 {
        self.batches.iter().map(|(_, batch)| batch.num_rows() as u64).sum()
    }

    /// Counts a row that was read and not refused.
    pub(crate) fn take(&mut self, taken: Taken) {
        match taken {
            Taken::Kept => self.rows_taken += 1,
            Taken::Ignored(why) => *self.ignored.entry(why).or_default() += 1,
        }
    }

    /// Whether every row read has a fate.
    pub fn is_balanced(&self) -> bool {
        self.rows_read == self.rows_taken + self.ignored.values().sum::<u64>() + self.rejected.len() as u64
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
    /// Rows of a chunk, where a file is read in order.
    pub chunk_rows: usize,
    /// Bytes of a slab, where it is not.
    pub slab_bytes: usize,
    /// Text encoding; `None` is UTF-8.
    pub encoding: Option<Encoding>,
    /// Key with which person identifiers are hashed.
    pub person_key: PersonKey,
    /// `study_id` of a summary-statistics file; the file's name without extensions if not given.
    pub study_id: Option<String>,
    /// Trait of a summary-statistics file; from the metadata file beside it if not given.
    pub trait_name: Option<String>,
    /// Genome build of a summary-statistics file; from the metadata file beside it if not given.
    pub genome_build: Option<String>,
    /// Reference genome (FASTA) that a summary-statistics file's alleles are compared with.
    pub reference: Option<PathBuf>,
    /// Columns of the lake by hand: lake column → the file's column.
    pub columns: BTreeMap<String, String>,
    /// The mapping file of the format `mapping`.
    pub mapping: Option<PathBuf>,
}

impl ReadOptions {
    /// Options with defaults for everything but the source's name and the key.
    pub fn new(source: impl Into<String>, person_key: PersonKey) -> Self {
        Self {
            source: source.into(),
            chunk_rows: 16 * 1024,
            slab_bytes: text::slabs::SLAB_BYTES,
            encoding: None,
            columns: BTreeMap::new(),
            mapping: None,
            person_key,
            study_id: None,
            trait_name: None,
            genome_build: None,
            reference: None,
        }
    }

    /// What a run records of them, to read the file again in the same way.
    pub(crate) fn recorded(&self) -> BTreeMap<String, String> {
        let text = |name: &str, value: &Option<String>| value.clone().map(|value| (name.to_string(), value));
        let mut all: BTreeMap<String, String> = [
            text("study_id", &self.study_id),
            text("trait", &self.trait_name),
            text("genome_build", &self.genome_build),
            text("encoding", &self.encoding.map(|e| format!("{e:?}"))),
            text("mapping", &self.mapping.as_ref().map(|path| path.display().to_string())),
            text("reference", &self.reference.as_ref().map(|path| path.display().to_string())),
            text("columns", &(!self.columns.is_empty()).then(|| serde_json::json!(self.columns).to_string())),
        ]
        .into_iter()
        .flatten()
        .collect();
        all.insert("source".to_string(), self.source.clone());
        all
    }
}
