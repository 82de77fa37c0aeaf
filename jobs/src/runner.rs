//! Runs a job file's steps in order, only what is stale, and keeps the record of the run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use chrono::Utc;
use generel_pipeline::align::{AlignOptions, AlignReport, SourceSpec, align};
use generel_pipeline::cooccurrence::{CooccurrenceOptions, CooccurrenceReport, cooccurrence};
use generel_pipeline::ingest::FileReport;
use generel_pipeline::runs::{RunRecord, new_run_id, record};
use generel_pipeline::sources::Fingerprint;
use generel_pipeline::{Lake, Session, SessionOptions};

use crate::cli::output::{self, Form};
use crate::exit::UsageError;
use crate::ingest::{Chosen as ChosenFile, choose, ingest};
use crate::job_file::{AlignStep, IngestStep, JobFile};
use crate::models::{Chosen, ModelChoice, ModelOverrides};
use crate::progress::{Step, note};

/// What a job did, step by step.
#[derive(Debug, Default)]
pub(crate) struct JobReport {
    /// Format and report of each file.
    pub(crate) files: Vec<(String, FileReport)>,
    /// The alignments.
    pub(crate) alignments: Vec<AlignReport>,
    /// What the lake holds of each co-occurrence.
    pub(crate) counted: Vec<Fingerprint>,
    /// Name, start and end (seconds since the job began) and detail of each step.
    pub(crate) timeline: Vec<(String, f64, f64, String)>,
    /// Files written outside the lake.
    pub(crate) written: Vec<PathBuf>,
    /// Whether anything in the lake changed.
    pub(crate) changed: bool,
}

/// Opens the lake's session.
pub(crate) async fn session(lake: Lake, model: Option<Chosen>) -> Result<Session> {
    let embedder = model.map(Chosen::embedder);
    Ok(Session::open(lake, embedder, &SessionOptions::default()).await?)
}

/// Where a lake is: what was typed, else what a file in `base` says, else the usual folder there.
pub(crate) fn lake_location(typed: Option<&str>, own: Option<&str>, base: &Path) -> String {
    match (typed, own) {
        (Some(typed), _) => typed.to_string(),
        (None, Some(own)) if own.contains("://") => own.to_string(),
        (None, own) => base.join(own.unwrap_or("generel-lake")).display().to_string(),
    }
}

/// A job with its places resolved.
pub(crate) struct Runner {
    job: JobFile,
    base: PathBuf,
    lake: Lake,
    model: ModelChoice,
    started: Instant,
    report: JobReport,
}

impl Runner {
    /// Prepares a job. `lake` and `model` are what a person typed, and win over the job file.
    pub(crate) fn new(job: JobFile, base: &Path, lake: Option<&str>, model: ModelOverrides) -> Result<Self> {
        let location = lake_location(lake, job.lake.as_deref(), base);
        Ok(Self {
            base: base.to_path_buf(),
            lake: Lake::create(&location)?,
            model: model.over(&job.model_settings())?,
            started: Instant::now(),
            report: JobReport::default(),
            job,
        })
    }

    /// Checks everything that can be checked without reading a row, and says what would be done.
    pub(crate) async fn dry_run(&self) -> Result<()> {
        for step in &self.job.ingest {
            for ChosenFile { format, file, .. } in choose(&step.request(&self.base)?).await? {
                note(format_args!(
                    "ingest  {} as {} into source {}",
                    file.path().display(),
                    format.name(),
                    step.source
                ));
            }
        }
        for step in &self.job.cooccurrence {
            step.check()?;
            note(format_args!("cooccurrence {} within {} days", step.name, step.window_days));
        }
        for step in &self.job.align {
            let options = align_options(step)?;
            note(format_args!(
                "align   {} to {}, top {}, cosine >= {}",
                options.left, options.right, options.top_k, options.min_score
            ));
        }
        for step in &self.job.export {
            Form::of_path(&step.file, "export")?;
            note(format_args!("export  {}", step.file.display()));
        }
        Ok(())
    }

    /// Runs the steps.
    pub(crate) async fn run(mut self) -> Result<(Session, JobReport)> {
        let (run_id, started_at) = (new_run_id(), Utc::now());
        let steps = std::mem::take(&mut self.job.ingest);
        for step in &steps {
            self.ingest(step, &run_id).await?;
        }
        let model = if self.job.align.is_empty() { None } else { Some(self.model.pull().await?) };
        let model_id = model.as_ref().map(|m| m.info.model_id.clone());
        let session = session(self.lake.clone(), model).await?;
        for step in &std::mem::take(&mut self.job.cooccurrence) {
            self.cooccurrence(&session, step, &run_id).await?;
        }
        let aligns = std::mem::take(&mut self.job.align);
        for step in &aligns {
            self.align(&session, step, &run_id).await?;
        }
        let exports = std::mem::take(&mut self.job.export);
        for step in &exports {
            let path = self.base.join(&step.file);
            let frame =
                session.ctx().sql(&step.sql).await.with_context(|| format!("export {}", step.file.display()))?;
            output::write_file(frame, Form::of_path(&step.file, "export")?, &path).await?;
            self.report.written.push(path);
        }
        let state = self.state(model_id.as_deref());
        let kept: BTreeMap<&String, u64> =
            self.report.files.iter().flat_map(|(_, f)| &f.rows_kept).fold(BTreeMap::new(), |mut all, (table, rows)| {
                *all.entry(table).or_default() += rows;
                all
            });
        let rejected: u64 = self.report.files.iter().map(|(_, f)| f.rows_quarantined).sum();
        let run = RunRecord {
            run_id,
            job: self.job.name.clone(),
            started_at,
            status: if rejected > 0 { "done_with_rejects" } else { "done" },
            inputs: serde_json::to_value(self.report.files.iter().map(|(_, f)| f).collect::<Vec<_>>())?,
            outputs: serde_json::json!({
                "mappings": self.report.alignments.iter().filter_map(|a| a.version).next_back(),
                "files": self.report.written.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
            }),
            counts: serde_json::to_value(kept)?,
            model_id,
            state,
        };
        self.report.changed |= record(&self.lake, &run, self.report.changed).await?;
        session.refresh().await?;
        Ok((session, self.report))
    }

    async fn ingest(&mut self, step: &IngestStep, run_id: &str) -> Result<()> {
        let began = self.seconds();
        let request = step.request(&self.base)?;
        let reports = ingest(&self.lake, &request, choose(&request).await?, run_id).await?;
        let rows: u64 = reports.iter().map(|(_, r)| r.rows_read).sum();
        let skipped = reports.iter().all(|(_, r)| r.skipped);
        let detail = if skipped { "in the lake already".to_string() } else { format!("{rows} rows") };
        self.report.changed |= !skipped;
        self.report.timeline.push((format!("ingest {}", step.source), began, self.seconds(), detail));
        self.report.files.extend(reports);
        Ok(())
    }

    async fn cooccurrence(&mut self, session: &Session, step: &CooccurrenceOptions, run_id: &str) -> Result<()> {
        let began = self.seconds();
        let report = count_cooccurrence(session, step, run_id).await?;
        let detail = if report.skipped { "up to date".to_string() } else { format!("{} pairs", report.edges) };
        self.report.timeline.push((format!("cooccurrence {}", step.name), began, self.seconds(), detail));
        if !report.skipped {
            session.refresh().await?;
            self.report.changed = true;
        }
        self.report.counted.push(report.state);
        Ok(())
    }

    async fn align(&mut self, session: &Session, step: &AlignStep, run_id: &str) -> Result<()> {
        let options = align_options(step)?;
        let began = self.seconds();
        let report = align_sources(session, &options, run_id).await?;
        let detail = match report.skipped {
            true => "up to date".to_string(),
            false => {
                format!("{} names embedded, {} of {} mapped", report.search.embedded, report.mapped, report.subjects)
            }
        };
        self.report.timeline.push((
            format!("align {} to {}", options.left, options.right),
            began,
            self.seconds(),
            detail,
        ));
        let files = step.files(&self.base);
        if !report.skipped || files.paths().any(|path| !path.exists()) {
            files.write(session, &options).await?;
        }
        self.report.written.extend(files.paths().cloned());
        self.report.changed |= !report.skipped;
        self.report.alignments.push(report);
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Everything that decides what the lake holds after this job.
    fn state(&self, model_id: Option<&str>) -> Fingerprint {
        let counted = self.report.counted.iter().map(Fingerprint::to_string);
        let stages: Vec<String> = self.report.alignments.iter().map(|a| a.state.to_string()).chain(counted).collect();
        let mut parts: Vec<&[u8]> = vec![model_id.unwrap_or("").as_bytes()];
        parts.extend(self.report.files.iter().flat_map(|(_, f)| [f.input_id.as_bytes(), f.fingerprint.as_bytes()]));
        parts.extend(stages.iter().map(String::as_bytes));
        Fingerprint::of(&parts)
    }
}

/// The recall of an approximate search.
fn sampled([found, all]: [u64; 2]) -> String {
    match all {
        0 => String::new(),
        _ => format!(", recall {:.4} of a sample ({found} of {all})", found as f64 / all as f64),
    }
}

/// `3 this, 4 that`.
pub(crate) fn counted(counts: &BTreeMap<String, u64>, between: &str) -> String {
    counts.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(between)
}

/// Counts co-occurrences with progress.
pub(crate) async fn count_cooccurrence(
    session: &Session,
    options: &CooccurrenceOptions,
    run_id: &str,
) -> Result<CooccurrenceReport> {
    let step = Step::begin(format!("cooccurrence {}", options.name));
    let report = cooccurrence(session, options, run_id).await?;
    step.end(match report.skipped {
        true => "up to date, nothing to do".to_string(),
        false => format!(
            "{} events of {} persons, {} pairs; {} of {} codes and {} pairs have fewer than {} persons and are left out",
            report.events,
            report.persons,
            report.edges,
            report.rare_codes,
            report.codes,
            report.rare_pairs,
            options.min_persons
        ),
    });
    Ok(report)
}

/// Aligns two sources with progress.
pub(crate) async fn align_sources(session: &Session, options: &AlignOptions, run_id: &str) -> Result<AlignReport> {
    let step = Step::begin(format!("align {} to {}", options.left, options.right));
    let report = align(session, options, run_id, &step.texts()).await?;
    step.end(match report.skipped {
        true => "up to date, nothing to do".to_string(),
        false => format!(
            "{} of {} codes mapped to {} codes, {} doubtful, {} mappings, {} names embedded, {} searched for{}",
            report.mapped,
            report.subjects,
            report.objects,
            report.doubtful,
            report.mappings,
            report.search.embedded,
            report.search.searched,
            sampled(report.search.sample)
        ),
    });
    Ok(report)
}

/// A source of the lake as it stands in a job file or behind an option.
pub(crate) fn source_spec(text: &str) -> Result<SourceSpec> {
    Ok(text.parse().map_err(|e| UsageError(format!("'{text}': {e}")))?)
}

fn align_options(step: &AlignStep) -> Result<AlignOptions> {
    step.files(Path::new("")).check()?;
    let options = AlignOptions {
        top_k: step.top_k,
        min_score: step.min_score,
        curated: step.curated.clone(),
        one_to_one: step.one_to_one,
        same_category: step.same_category,
        recall: step.recall,
        ..AlignOptions::new(source_spec(&step.left)?, source_spec(&step.right)?)
    };
    options.check()?;
    Ok(options)
}
