//! The ingest stage: files in, rows in their tables, rejected rows in quarantine, each table in one commit a file.
//!
//! What a file's rows are worth is counted where they are parsed and again where they are written; both counts must
//! agree before anything is committed.

mod duplicates;
mod engine;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};

use generel_schemas::Table;
use generel_schemas::tables::{PATIENT_EVENTS, QUARANTINE};

use self::duplicates::Places;
use self::engine::{Plan, Tally};
use crate::lake::marks::InputMarks;
use crate::lake::{Commit, Lake, TableWriter};
use crate::sources::{Fingerprint, InputFile, ReadOptions, Source};
use crate::{Error, Result};

/// Times that a file is read when other writers come first.
const ATTEMPTS: usize = 3;

/// What a report calls variants that come again at their place, and files in which such can be overlooked.
const REPEATED: &str = "repeated variant";
const BACKWARDS: &str = "place before the one above (repeated variants are seen among neighbours only)";

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
    /// Whether to read files again whose content is in the lake already.
    pub again: bool,
    /// Told of the rows read so far.
    pub progress: Arc<dyn Fn(u64) + Send + Sync>,
}

/// What became of a file.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct FileReport {
    /// The file's name.
    pub file: String,
    /// Where it was read from.
    pub place: String,
    /// The format.
    pub format: String,
    /// The options it was read with.
    pub options: BTreeMap<String, String>,
    /// The file's identity in the lake's `input_id` columns.
    pub input_id: String,
    /// Hash of its content and of the options it was read with.
    pub fingerprint: String,
    /// Whether everything was in the lake already; then no row was read.
    pub skipped: bool,
    /// Rows read.
    pub rows_read: u64,
    /// Rows that became rows of the lake.
    pub rows_taken: u64,
    /// Rows that the format has no use for, by why.
    pub rows_ignored: BTreeMap<String, u64>,
    /// Rows of the lake, by table.
    pub rows_kept: BTreeMap<String, u64>,
    /// Rows quarantined.
    pub rows_quarantined: u64,
    /// Rows quarantined, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Optional values that could not be read and became NULL, by column.
    pub nulled: BTreeMap<String, u64>,
    /// What else people should know of rows that were kept: variants that come twice, effects turned to a reference.
    pub noted: BTreeMap<String, u64>,
    /// New versions of the tables written.
    pub versions: BTreeMap<String, u64>,
    /// Which column of the file was understood as which of the lake's, where the format recognizes headers.
    pub recognized: Option<String>,
    /// Where the first few rejected rows stood and why, without their values.
    pub first_rejects: Vec<String>,
}

impl FileReport {
    /// Rows of the lake in all tables.
    pub fn total_kept(&self) -> u64 {
        self.rows_kept.values().sum()
    }

    fn take(&mut self, tally: Tally) {
        let named = |counts: BTreeMap<&'static str, u64>| counts.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        self.rows_read = tally.read;
        self.rows_taken = tally.taken;
        self.rows_ignored = named(tally.ignored);
        self.rows_kept = named(tally.kept);
        self.rows_quarantined = tally.rejected;
        self.reasons = named(tally.reasons);
        self.nulled = named(tally.nulled);
        self.noted = named(tally.noted);
        self.first_rejects = tally.first_rejects;
    }
}

impl Ingest<'_> {
    /// Ingests one file.
    ///
    /// # Errors
    /// When the file cannot be read or written; nothing of it is written then, but for its quarantined rows if the failure came after
    /// their commit. Running again completes it.
    pub async fn file(&self, lake: &Lake, file: InputFile) -> Result<FileReport> {
        for _ in 1..ATTEMPTS {
            match self.attempt(lake, file.clone()).await {
                // Another writer took the same content or the same file at the same moment: what the tables still lack
                // is asked again.
                Err(error) if error.is_conflict() => {}
                ended => return ended,
            }
        }
        self.attempt(lake, file).await
    }

    async fn attempt(&self, lake: &Lake, file: InputFile) -> Result<FileReport> {
        let for_hash = file.clone();
        let fingerprint = self.fingerprint(blocking(move || for_hash.fingerprint()).await?);
        let input_id = self.input_id(&file);
        let mut report = FileReport {
            file: file.name(),
            place: file.place.identity(),
            format: self.format.name().to_string(),
            options: self.options.recorded(),
            input_id: input_id.clone(),
            fingerprint: fingerprint.to_string(),
            ..Default::default()
        };
        let mut outputs = Outputs::open(lake, self, &input_id, fingerprint).await?;
        if outputs.pending.is_empty() {
            report.skipped = true;
            return Ok(report);
        }
        let recognized = Arc::new(OnceLock::new());
        let read = match self.read(file, &input_id, &mut outputs, &recognized).await {
            Ok(tally) => {
                report.take(tally);
                self.check(&report, &outputs)
            }
            Err(error) => Err(error),
        };
        match read {
            Ok(()) => report.versions = outputs.commit(self.run_id).await?,
            Err(error) => {
                outputs.abandon().await;
                return Err(error);
            }
        }
        report.recognized = recognized.get().cloned();
        Ok(report)
    }

    async fn read(
        &self,
        file: InputFile,
        input_id: &str,
        outputs: &mut Outputs,
        recognized: &Arc<OnceLock<String>>,
    ) -> Result<Tally> {
        let plan = Plan {
            format: self.format,
            file,
            options: self.options.clone(),
            run_id: self.run_id.to_string(),
            input_id: input_id.to_string(),
            recognized: Arc::clone(recognized),
            encoders: outputs.pending.iter().map(|(table, writer, _)| (*table, writer.encoder())).collect(),
        };
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (mut pieces, mut tally, mut places) = (engine::start(plan, workers), Tally::default(), Places::default());
        while let Some(piece) = pieces.next().await? {
            for (at, group) in piece.groups {
                outputs.pending[at].1.append(group).await?;
            }
            tally.add(piece.tally);
            places.join(piece.places);
            (self.progress)(tally.read);
        }
        for (what, count) in [(REPEATED, places.repeated), (BACKWARDS, places.backwards)] {
            if count > 0 {
                tally.noted.insert(what, count);
            }
        }
        Ok(tally)
    }

    fn check(&self, report: &FileReport, outputs: &Outputs) -> Result<()> {
        let (read, rejected) = (report.rows_read, report.rows_quarantined);
        let kept = report.rows_taken + report.rows_ignored.values().sum::<u64>();
        let written = |(table, writer, _): &(&'static Table, TableWriter, InputMarks)| {
            let expected = if table.name == QUARANTINE.name {
                rejected
            } else {
                report.rows_kept.get(table.name).copied().unwrap_or_default()
            };
            writer.rows() == expected
        };
        if read != kept + rejected || !outputs.pending.iter().all(written) {
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
        // A genome is known by its path and size: to hash it would take as long as the ingest.
        let reference = options.reference.as_ref().map_or(String::new(), |path| {
            format!("{} {:?}", path.display(), std::fs::metadata(path).map(|m| m.len()).ok())
        });
        // What cannot be read is said when the format reads it.
        let mapping = options.mapping.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        Fingerprint::of(&[
            &bytes.as_i64().to_le_bytes(),
            self.format.name().as_bytes(),
            text(&options.study_id).as_bytes(),
            text(&options.trait_name).as_bytes(),
            text(&options.genome_build).as_bytes(),
            format!("{:?} {:?}", options.encoding, options.columns).as_bytes(),
            reference.as_bytes(),
            &mapping,
            key.as_bytes(),
        ])
    }

    /// A file is the same file when source, format and absolute path or URI are; and under a mapping when its file's
    /// name is, so that several mappings can each take their part of a table.
    fn input_id(&self, file: &InputFile) -> String {
        let place = file.place.identity();
        let mut parts = vec![self.options.source.as_bytes(), self.format.name().as_bytes(), place.as_bytes()];
        parts.extend(self.options.mapping.as_ref().and_then(|path| path.file_name()).map(OsStr::as_encoded_bytes));
        Fingerprint::of(&parts).to_string()
    }
}

/// The tables that still lack a file's rows, in the order of their commits: quarantine first.
struct Outputs {
    pending: Vec<(&'static Table, TableWriter, InputMarks)>,
}

impl Outputs {
    async fn open(lake: &Lake, ingest: &Ingest<'_>, input_id: &str, fingerprint: Fingerprint) -> Result<Self> {
        let mut pending = Vec::new();
        for table in std::iter::once(&QUARANTINE).chain(ingest.format.tables_for(&ingest.options)?) {
            let delta = lake.table_or_create(table).await?;
            let marks = InputMarks::read(table, &delta, &ingest.options.source, input_id, fingerprint).await?;
            if ingest.again || !marks.is_present() {
                pending.push((table, TableWriter::new(table, delta, Some(input_id))?, marks));
            }
        }
        Ok(Self { pending })
    }

    async fn commit(self, run_id: &str) -> Result<BTreeMap<String, u64>> {
        let mut versions = BTreeMap::new();
        for (table, writer, marks) in self.pending {
            let commit = Commit { replace_unit: true, marks: marks.to_commit(), run_id: run_id.to_string() };
            versions.insert(table.name.to_string(), writer.commit(commit).await?);
        }
        Ok(versions)
    }

    async fn abandon(self) {
        for (_, writer, _) in self.pending {
            writer.abandon().await;
        }
    }
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
