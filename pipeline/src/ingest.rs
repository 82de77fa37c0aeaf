//! The ingest stage: files in, rows in their tables, rejected rows in quarantine, each table in one commit a file.
//!
//! A blocking thread parses and the async side writes; a bounded channel between them is all the memory a file needs.
//! `rows read = rows kept + rows quarantined` is checked for every file before anything is committed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use generel_schemas::tables::{PATIENT_EVENTS, QUARANTINE};
use generel_schemas::{RejectedRow, Table};
use tokio::sync::mpsc;

use crate::lake::marks::InputMarks;
use crate::lake::{Commit, Lake, TableWriter};
use crate::sources::{Chunk, Fingerprint, InputFile, ReadOptions, Source};
use crate::{Error, Result};

/// Chunks parsed ahead of the writer.
const CHUNKS_AHEAD: usize = 4;

/// How many rejected rows a file may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxRejects {
    /// At most so many rows.
    Rows(u64),
    /// At most this part of the rows read, 0–1.
    Share(f64),
}

impl std::fmt::Display for MaxRejects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows}"),
            Self::Share(share) => write!(f, "{}%", share * 100.0),
        }
    }
}

impl std::str::FromStr for MaxRejects {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let expected = || "expected a number of rows (10) or a share (0.5%)".to_string();
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim().parse::<f64>() {
                Ok(p) if (0.0..=100.0).contains(&p) => Ok(Self::Share(p / 100.0)),
                _ => Err(expected()),
            },
            None => text.parse().map(Self::Rows).map_err(|_| expected()),
        }
    }
}

/// One ingest.
#[derive(Clone)]
pub struct Ingest<'a> {
    /// The format.
    pub format: &'static dyn Source,
    /// What the format may need to know, the source's name among it.
    pub options: ReadOptions,
    /// Limit of rejected rows a file; above it nothing of the file is written.
    pub max_rejects: Option<MaxRejects>,
    /// The run, for commits and quarantine.
    pub run_id: &'a str,
    /// Told of the rows read so far.
    pub progress: Arc<dyn Fn(u64) + Send + Sync>,
}

/// What became of a file.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct FileReport {
    /// The file's name.
    pub file: String,
    /// The file's identity in the lake's `input_id` columns.
    pub input_id: String,
    /// Hash of its content and of the options it was read with.
    pub fingerprint: String,
    /// Whether everything was in the lake already; then no row was read.
    pub skipped: bool,
    /// Rows read.
    pub rows_read: u64,
    /// Rows kept, by table.
    pub rows_kept: BTreeMap<String, u64>,
    /// Rows quarantined.
    pub rows_quarantined: u64,
    /// Rows quarantined, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Optional values that could not be read and became NULL, by column.
    pub nulled: BTreeMap<String, u64>,
    /// New versions of the tables written.
    pub versions: BTreeMap<String, u64>,
    /// Where the first few rejected rows stood and why, without their values.
    pub first_rejects: Vec<String>,
}

impl FileReport {
    /// Rows kept in all tables.
    pub fn total_kept(&self) -> u64 {
        self.rows_kept.values().sum()
    }
}

impl Ingest<'_> {
    /// Ingests the files behind a path.
    ///
    /// # Errors
    /// When a file cannot be read or written; the files before it are in the lake.
    pub async fn path(&self, lake: &Lake, path: &Path) -> Result<Vec<FileReport>> {
        let mut reports = Vec::new();
        for file in self.format.files(path)? {
            reports.push(self.file(lake, file).await?);
        }
        Ok(reports)
    }

    /// Ingests one file.
    ///
    /// # Errors
    /// As [`Ingest::path`]; nothing of the file is written then, but for its quarantined rows if the failure came after
    /// their commit. Running again completes it.
    pub async fn file(&self, lake: &Lake, file: InputFile) -> Result<FileReport> {
        let for_hash = file.clone();
        let fingerprint = self.fingerprint(blocking(move || for_hash.fingerprint()).await?);
        let input_id = self.input_id(&file);
        let mut report = FileReport {
            file: file.name(),
            input_id: input_id.clone(),
            fingerprint: fingerprint.to_string(),
            ..Default::default()
        };
        let mut outputs = Outputs::open(lake, self, &input_id, fingerprint).await?;
        if outputs.pending.is_empty() {
            report.skipped = true;
            return Ok(report);
        }
        self.read(file, &input_id, &mut outputs, &mut report).await?;
        self.check(&report)?;
        report.versions = outputs.commit(&input_id, self.run_id).await?;
        Ok(report)
    }

    async fn read(
        &self,
        file: InputFile,
        input_id: &str,
        outputs: &mut Outputs,
        report: &mut FileReport,
    ) -> Result<()> {
        let (sender, mut chunks) = mpsc::channel::<Result<Chunk>>(CHUNKS_AHEAD);
        let (format, options) = (self.format, self.options.clone());
        let parser = tokio::task::spawn_blocking(move || {
            let mut reader = match format.open(&file, &options) {
                Ok(reader) => reader,
                Err(error) => return drop(sender.blocking_send(Err(error))),
            };
            while let Some(chunk) = reader.next_chunk().transpose() {
                let failed = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        });
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            report.rows_read += chunk.rows_read;
            report.rows_quarantined += chunk.rejected.len() as u64;
            for row in &chunk.rejected {
                *report.reasons.entry(row.reason.to_string()).or_default() += 1;
                if report.first_rejects.len() < 5 {
                    report.first_rejects.push(row.to_string());
                }
            }
            for (column, count) in &chunk.nulled {
                *report.nulled.entry((*column).to_string()).or_default() += count;
            }
            let rejected = quarantine_batch(&chunk.rejected, self, &report.file, input_id)?;
            outputs.write(&QUARANTINE, rejected).await?;
            for (table, batch) in chunk.batches {
                *report.rows_kept.entry(table.name.to_string()).or_default() += batch.num_rows() as u64;
                outputs.write(table, complete(table, &batch, &self.options.source, input_id)?).await?;
            }
            (self.progress)(report.rows_read);
        }
        parser.await.map_err(|e| Error::Internal(format!("the parser of {} panicked: {e}", report.file)))
    }

    fn check(&self, report: &FileReport) -> Result<()> {
        let (read, kept, rejected) = (report.rows_read, report.total_kept(), report.rows_quarantined);
        if read != kept + rejected {
            return Err(Error::Unbalanced { file: report.file.clone(), read, kept, rejected });
        }
        let over = match self.max_rejects {
            None => false,
            Some(MaxRejects::Rows(most)) => rejected > most,
            Some(MaxRejects::Share(share)) => rejected as f64 > share * read as f64,
        };
        match (over, self.max_rejects) {
            (true, Some(allowed)) => Err(Error::TooManyRejects {
                file: report.file.clone(),
                read,
                rejected,
                allowed: allowed.to_string(),
                first: report.first_rejects.first().cloned().unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// Content is the same content when bytes, format and all options that decide about rows are; the key of pseudonyms
    /// counts where there are persons.
    fn fingerprint(&self, bytes: Fingerprint) -> Fingerprint {
        let options = &self.options;
        let text = |option: &Option<String>| format!("{option:?}");
        let persons = self.format.tables().iter().any(|t| t.name == PATIENT_EVENTS.name);
        let key = if persons { options.person_key.pseudonym(&options.source, "") } else { String::new() };
        Fingerprint::of(&[
            &bytes.as_i64().to_le_bytes(),
            self.format.name().as_bytes(),
            text(&options.study_id).as_bytes(),
            text(&options.trait_name).as_bytes(),
            text(&options.genome_build).as_bytes(),
            key.as_bytes(),
        ])
    }

    /// A file is the same file when source, format and absolute path are.
    fn input_id(&self, file: &InputFile) -> String {
        let path = file.path.canonicalize().unwrap_or_else(|_| file.path.clone());
        let path = path.to_string_lossy();
        Fingerprint::of(&[self.options.source.as_bytes(), self.format.name().as_bytes(), path.as_bytes()]).to_string()
    }
}

/// The tables that still lack a file's rows, in the order of their commits: quarantine first.
struct Outputs {
    pending: Vec<(&'static Table, TableWriter, InputMarks)>,
}

impl Outputs {
    async fn open(lake: &Lake, ingest: &Ingest<'_>, input_id: &str, fingerprint: Fingerprint) -> Result<Self> {
        let mut pending = Vec::new();
        for table in std::iter::once(&QUARANTINE).chain(ingest.format.tables().iter().copied()) {
            let delta = lake.table_or_create(table).await?;
            let marks = InputMarks::read(table, &delta, &ingest.options.source, input_id, fingerprint).await?;
            if !marks.is_present() {
                pending.push((table, TableWriter::new(table, delta)?, marks));
            }
        }
        Ok(Self { pending })
    }

    /// Writes rows of a table that lacks them; those of another are there already.
    async fn write(&mut self, table: &'static Table, batch: RecordBatch) -> Result<()> {
        match self.pending.iter_mut().find(|(t, ..)| t.name == table.name) {
            Some((_, writer, _)) => writer.write(batch).await,
            None => Ok(()),
        }
    }

    async fn commit(self, input_id: &str, run_id: &str) -> Result<BTreeMap<String, u64>> {
        let mut versions = BTreeMap::new();
        for (table, writer, marks) in self.pending {
            let commit = Commit {
                replace_unit: Some(input_id.to_string()),
                marks: marks.to_commit(),
                run_id: run_id.to_string(),
            };
            versions.insert(table.name.to_string(), writer.commit(commit).await?);
        }
        Ok(versions)
    }
}

/// Adds what every row of a file has in common: `source` in front, `input_id` behind.
fn complete(table: &Table, batch: &RecordBatch, source: &str, input_id: &str) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec![source; rows]))];
    columns.extend(batch.columns().iter().cloned());
    columns.push(Arc::new(StringArray::from(vec![input_id; rows])));
    Ok(RecordBatch::try_new(table.schema(), columns)?)
}

fn quarantine_batch(rejected: &[RejectedRow], ingest: &Ingest<'_>, file: &str, input_id: &str) -> Result<RecordBatch> {
    let rows = rejected.len();
    let text = |f: &dyn Fn(&RejectedRow) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rejected.iter().map(f)))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![ingest.run_id; rows])),
        Arc::new(StringArray::from(vec![ingest.options.source.as_str(); rows])),
        Arc::new(StringArray::from(vec![file; rows])),
        Arc::new(Int64Array::from_iter_values(rejected.iter().map(|r| r.line as i64))),
        Arc::new(rejected.iter().map(|r| r.column.as_deref()).collect::<StringArray>()),
        text(&|r| r.reason.to_string()),
        text(&|r| r.message.clone()),
        text(&|r| r.raw.clone()),
        Arc::new(StringArray::from(vec![input_id; rows])),
    ];
    Ok(RecordBatch::try_new(QUARANTINE.schema(), columns)?)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Internal(e.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rows_or_shares() {
        assert_eq!("10".parse(), Ok(MaxRejects::Rows(10)));
        assert_eq!("0.5%".parse(), Ok(MaxRejects::Share(0.005)));
        for bad in ["", "-1", "1.5", "101%", "x%"] {
            assert!(bad.parse::<MaxRejects>().is_err(), "{bad}");
        }
    }
}
