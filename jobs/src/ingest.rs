//! Inputs as people name them, into the lake, with a line on each file.

use anyhow::Result;
use futures::{StreamExt, TryStreamExt};
use generel_pipeline::Lake;
use generel_pipeline::ingest::{FileReport, Ingest, MaxRejects};
use generel_pipeline::runs::{RunRecord, new_run_id, record};
use generel_pipeline::sources::{Encoding, Fingerprint, Found, InputFile, ReadOptions, Source, format, recognize};

use crate::environment;
use crate::exit::UsageError;
use crate::progress::{Step, note};
use crate::runner::counted;

/// The word after `--format` that lets the program tell.
pub(crate) const AUTO: &str = "auto";
/// Files read at the same time: while one is committed, the next is parsed. Each uses all cores.
const FILES_AT_ONCE: usize = 2;

/// What to ingest and how.
#[derive(Clone)]
pub(crate) struct Request {
    /// A format's name, or [`AUTO`].
    pub(crate) format: String,
    pub(crate) options: ReadOptions,
    pub(crate) max_rejects: Option<MaxRejects>,
    /// Paths, globs, URIs.
    pub(crate) inputs: Vec<String>,
    /// Read files again whose content is in the lake already.
    pub(crate) again: bool,
}

/// A file and how it will be read.
pub(crate) struct Chosen {
    pub(crate) format: &'static dyn Source,
    pub(crate) file: InputFile,
    /// Why this format, where the program chose it.
    pub(crate) because: Option<String>,
}

/// Finds the files behind the inputs and what each is; reads no rows.
pub(crate) async fn choose(request: &Request) -> Result<Vec<Chosen>> {
    let (name, inputs, encoding) = (request.format.clone(), request.inputs.clone(), request.options.encoding);
    let chosen = tokio::task::spawn_blocking(move || -> Result<Vec<Chosen>> {
        let stores = environment::store_options();
        let named = if name == AUTO { None } else { Some(format(&name)?) };
        let mut chosen = Vec::new();
        for input in &inputs {
            for found in Found::resolve(input, &stores)? {
                match named {
                    Some(format) => {
                        let files = format.files(&found)?.into_iter();
                        chosen.extend(files.map(|file| Chosen { format, file, because: None }));
                    }
                    None => chosen.extend(tell(&found, encoding)?),
                }
            }
        }
        Ok(chosen)
    });
    let chosen = chosen.await??;
    let blind = chosen.iter().find(|chosen| request.options.reference.is_some() && !chosen.format.takes_reference());
    if let Some(Chosen { format, file, .. }) = blind {
        let message = format!(
            "{}: --reference means nothing to the format {}; only tables of summary statistics are compared with a genome",
            file.name(),
            format.name()
        );
        return Err(UsageError(message).into());
    }
    Ok(chosen)
}

/// What each file of an input looks like. In a folder, what looks like nothing is passed over and named.
fn tell(found: &Found, encoding: Option<Encoding>) -> Result<Vec<Chosen>> {
    let (places, folder) = match found {
        Found::File(place) => (std::slice::from_ref(place), false),
        Found::Folder(_, places) => (places.as_slice(), true),
    };
    let mut chosen = Vec::new();
    for place in places {
        match recognize(place, encoding) {
            Ok((format, likeness)) => {
                for file in format.files(&Found::File(place.clone()))? {
                    chosen.push(Chosen { format, file, because: Some(likeness.because.clone()) });
                }
            }
            Err(error) if folder => note(format_args!("passed over: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(chosen)
}

/// Ingests inputs with progress, one line a file. The reports are in the order of the files, each with its format.
pub(crate) async fn ingest(
    lake: &Lake,
    request: &Request,
    chosen: Vec<Chosen>,
    run_id: &str,
) -> Result<Vec<(String, FileReport)>> {
    let files = futures::stream::iter(chosen).map(|chosen| async move {
        let step = Step::begin(format!("ingest {}", chosen.file.name()));
        if let Some(because) = &chosen.because {
            note(format_args!("{}: {} ({because})", chosen.file.name(), chosen.format.name()));
        }
        let ingest = Ingest {
            format: chosen.format,
            options: request.options.clone(),
            max_rejects: request.max_rejects,
            run_id,
            again: request.again,
            progress: step.rows(),
        };
        let report = ingest.file(lake, chosen.file).await?;
        step.end(describe(&report));
        if let Some(recognized) = &report.recognized {
            note(format_args!("  columns: {recognized}"));
        }
        if report.rows_read > 0 && report.rows_taken == 0 {
            let format = &report.format;
            note(format_args!("  nothing of the file was taken: is it {format}, and whole? See generel formats"));
        }
        for reject in &report.first_rejects {
            note(format_args!("  quarantined {reject}"));
        }
        anyhow::Ok((chosen.format.name().to_string(), report))
    });
    files.buffered(FILES_AT_ONCE).try_collect().await
}

/// One line on a file.
fn describe(report: &FileReport) -> String {
    if report.skipped {
        return "in the lake already, nothing to do".to_string();
    }
    let mut text = if report.rows_taken == report.total_kept() {
        let kept = if report.rows_kept.is_empty() { "no rows".to_string() } else { counted(&report.rows_kept, " + ") };
        format!("{} rows read = {kept} + {} quarantined", report.rows_read, report.rows_quarantined)
    } else {
        // A record may say several things, or nothing that the lake has a table for.
        let kept = counted(&report.rows_kept, ", ");
        format!(
            "{} rows read = {} taken ({kept}) + {} quarantined",
            report.rows_read, report.rows_taken, report.rows_quarantined
        )
    };
    if !report.reasons.is_empty() {
        text.push_str(&format!(" ({})", counted(&report.reasons, ", ")));
    }
    if !report.rows_ignored.is_empty() {
        let total: u64 = report.rows_ignored.values().sum();
        text.push_str(&format!(" + {total} ignored ({})", counted(&report.rows_ignored, ", ")));
    }
    if !report.nulled.is_empty() {
        text.push_str(&format!("; unreadable and set to NULL: {}", counted(&report.nulled, ", ")));
    }
    if !report.noted.is_empty() {
        text.push_str(&format!("; {}", counted(&report.noted, ", ")));
    }
    text
}

/// Ingests inputs as a run of their own, with its row in `runs`.
pub(crate) async fn ingest_as_one_run(lake: &Lake, request: &Request, chosen: Vec<Chosen>, job: &str) -> Result<()> {
    let (run_id, started_at) = (new_run_id(), chrono::Utc::now());
    let reports: Vec<FileReport> = ingest(lake, request, chosen, &run_id).await?.into_iter().map(|(_, r)| r).collect();
    let parts: Vec<&[u8]> = reports.iter().map(|r| r.fingerprint.as_bytes()).collect();
    let rejected = reports.iter().any(|r| r.rows_quarantined > 0);
    let versions: Vec<_> = reports.iter().map(|r| &r.versions).collect();
    let kept: Vec<_> = reports.iter().map(|r| &r.rows_kept).collect();
    let run = RunRecord {
        run_id,
        job: job.to_string(),
        started_at,
        status: if rejected { "done_with_rejects" } else { "done" },
        outputs: serde_json::to_value(versions)?,
        counts: serde_json::to_value(kept)?,
        inputs: serde_json::to_value(&reports)?,
        model_id: None,
        state: Fingerprint::of(&parts),
    };
    record(lake, &run, reports.iter().any(|r| !r.skipped)).await?;
    Ok(())
}
