//! What a training run leaves beside its weights: losses and measures by step, the page of their curves, and a manifest.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use generel_model::ModelInfo;
use generel_model::train::{Report, TrainOptions};
use generel_pipeline::VERSION;
use generel_pipeline::training::Origin;
use generel_pipeline::training::evaluate::Measured;
use generel_pipeline::training::leakage::Checked;
use serde::Serialize;

use crate::cli::output::replace_file;
use crate::report::{Point, training_page};

/// The commit that the program was built from; empty where there was no repository.
const COMMIT: &str = env!("GENEREL_COMMIT");
const LOSSES_HEAD: &str = "step,seconds,task,loss,temperature,gradient,rate,tokens,steps";
const MEASURES_HEAD: &str = "step,family,of,measure,value,n";

/// A run's folder.
pub(crate) struct TrainLog {
    losses: PathBuf,
    measures: PathBuf,
    page: PathBuf,
    manifest: PathBuf,
}

/// What a run was made of: enough to make it again.
#[derive(Serialize)]
pub(crate) struct Manifest<'a> {
    pub(crate) name: &'a str,
    pub(crate) lake: &'a str,
    pub(crate) model: &'a ModelInfo,
    pub(crate) data: &'a Origin,
    pub(crate) checked: &'a Checked,
    pub(crate) train: &'a TrainOptions,
    /// Where texts are trained.
    pub(crate) device: &'a str,
}

impl TrainLog {
    /// The log in a folder, without the lines of steps that are taken again.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn open(folder: &Path, step: u64) -> Result<Self> {
        let log = Self {
            losses: folder.join("log.csv"),
            measures: folder.join("measures.csv"),
            page: folder.join("curves.html"),
            manifest: folder.join("run.json"),
        };
        cut(&log.losses, step)?;
        cut(&log.measures, step)?;
        Ok(log)
    }

    /// Writes the manifest when a run begins; when it goes on, adds by which program, and from where.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn manifest(&self, manifest: &Manifest, step: u64) -> Result<()> {
        let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        if step > 0 && self.manifest.exists() {
            let mut all: serde_json::Value = serde_json::from_slice(&std::fs::read(&self.manifest)?)?;
            let went_on = serde_json::json!({ "at": now, "step": step, "version": VERSION, "commit": COMMIT, "device": manifest.device });
            match all["went_on"].as_array_mut() {
                Some(before) => before.push(went_on),
                None => all["went_on"] = serde_json::json!([went_on]),
            }
            return replace_file(&self.manifest, &serde_json::to_vec_pretty(&all)?);
        }
        let mut all = serde_json::to_value(manifest)?;
        if let Some(model) = all["model"].as_object_mut() {
            // Where it lies is this machine's matter.
            model.remove("folder");
        }
        all["generel"] = serde_json::json!({ "version": VERSION, "commit": COMMIT });
        all["cores"] = std::thread::available_parallelism().map_or(1, usize::from).into();
        all["began_at"] = now.into();
        replace_file(&self.manifest, &serde_json::to_vec_pretty(&all)?)
    }

    /// Adds a row a task: easy to plot by anything.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn losses(&self, report: &Report) -> Result<()> {
        let rows = report.tasks.iter().map(|(task, loss, temperature)| {
            format!(
                "{},{:.3},{task},{loss},{temperature},{},{},{},{}",
                report.step, report.seconds, report.gradient, report.rate, report.tokens, report.since
            )
        });
        append(&self.losses, LOSSES_HEAD, rows)
    }

    /// Adds a row a measure.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn measures(&self, step: u64, measured: &[Measured]) -> Result<()> {
        let rows = measured.iter().map(|m| {
            let of = m.of.replace(',', ";");
            format!("{step},{},{of},{},{},{}", m.family.replace(',', ";"), m.measure, m.estimate.value, m.estimate.n)
        });
        append(&self.measures, MEASURES_HEAD, rows)
    }

    /// Writes the page of all curves so far.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub(crate) fn page(&self, name: &str) -> Result<()> {
        let point = |step: &str, of: String, value: &str| -> Option<Point> {
            Some(Point { of, step: step.parse().ok()?, value: value.parse().ok()? })
        };
        let losses: Vec<Point> =
            rows(&self.losses)?.iter().filter_map(|r| point(r.first()?, r.get(2)?.clone(), r.get(3)?)).collect();
        // A curve for each family; sources and relations one by one are in the file.
        let is_shown = |family: &str, of: &str| of == "all" || !family.starts_with("relation") && family != "synonyms";
        let measures: Vec<Point> = rows(&self.measures)?
            .iter()
            .filter(|r| r.len() > 4 && is_shown(&r[1], &r[2]))
            .filter_map(|r| point(&r[0], format!("{}: {} {}", r[1], r[2], r[3]), &r[4]))
            .collect();
        let last: BTreeMap<&str, f64> = losses.iter().map(|p| (p.of.as_str(), p.value)).collect();
        let last: Vec<String> = last.iter().map(|(task, loss)| format!("{task} {loss:.3}")).collect();
        let steps = losses.last().map_or(0, |p| p.step).to_string();
        let facts = [("Steps", steps.as_str()), ("Last losses", &last.join(", ")), ("Program", VERSION)];
        replace_file(&self.page, training_page(name, &facts, &losses, &measures).as_bytes())
    }
}

fn append(path: &Path, head: &str, rows: impl Iterator<Item = String>) -> Result<()> {
    let is_new = !path.exists();
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).with_context(|| path.display().to_string())?;
    let head = is_new.then(|| head.to_string());
    let text: String = head.into_iter().chain(rows).map(|row| row + "\n").collect();
    Ok(file.write_all(text.as_bytes())?)
}

/// Removes lines of steps that are taken again.
fn cut(path: &Path, step: u64) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    let is_kept = |line: &&str| line.split(',').next().and_then(|s| s.parse::<u64>().ok()).is_none_or(|s| s <= step);
    let kept: Vec<&str> = text.lines().filter(is_kept).collect();
    replace_file(path, (kept.join("\n") + "\n").as_bytes())
}

/// The cells of each row; none where there is no file yet.
fn rows(path: &Path) -> Result<Vec<Vec<String>>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.lines().skip(1).map(|line| line.split(',').map(str::to_string).collect()).collect())
}
