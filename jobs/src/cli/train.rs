//! `generel train`: a model of one's own, from the lake.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::Args;
use generel_model::train::{Report, Trainer};
use generel_pipeline::training::{self, files, leakage};

use super::{FileOverrides, folder_of};
use crate::progress::{Step, note};
use crate::runner::{lake_location, session};
use crate::serve::until_told_to_end;
use crate::train_file::TrainFile;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel train train.yaml
  generel train train.yaml --prepare      only the data: pairs, their split, and the check for leaks

A train file:
  name: mine
  lake: ./lake                       # names, relations and associations are its tables
  model: all-MiniLM-L6-v2            # where it begins
  folder: runs/mine                  # data, checkpoints, log.csv, and the model
  data: { held_out_concepts: 0.05, held_out_pairs: 0.1 }
  train:
    steps: 2000
    tasks: { synonym: { batch: 128 }, relation: { batch: 48, weight: 0.4 } }

Run again, it goes on from its last checkpoint; Ctrl-C leaves one. The model is a folder for --model: runs/mine/model.
Its JSON Schema: generel train-schema. ${NAME} is replaced from the environment.")]
pub(super) struct TrainArgs {
    /// The train file
    #[arg(value_name = "TRAIN.yaml")]
    train: PathBuf,
    /// Make the data and check it, and end
    #[arg(long)]
    prepare: bool,
    #[command(flatten)]
    over: FileOverrides,
}

pub(super) async fn run(args: TrainArgs) -> Result<()> {
    let file = TrainFile::read(&args.train)?;
    let base = folder_of(&args.train);
    let folder = base.join(&file.folder);
    let data = folder.join("data");
    let location = lake_location(args.over.lake.as_deref(), file.lake.as_deref(), base);
    let pairs = prepare(&file, &location, &data).await?;
    if args.prepare {
        return Ok(());
    }
    let model = args.over.model().over(&file.model_settings())?.pull().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    tokio::spawn(async move {
        until_told_to_end().await;
        note("ending after this step; run again to go on");
        told.store(true, Ordering::Relaxed);
    });
    let options = file.options()?;
    tokio::task::spawn_blocking(move || train(&model.info, pairs, options, &folder, &stop)).await?
}

/// The pairs of the run: made from the lake once, then those of its folder.
async fn prepare(file: &TrainFile, location: &str, data: &Path) -> Result<training::Pairs> {
    let step = Step::begin("data");
    let pairs = if data.exists() {
        files::read(data)?
    } else {
        let session = session(generel_pipeline::Lake::open(location)?, None).await?;
        let pairs = training::prepare(&session, &file.data).await?;
        let staging = data.with_extension("part");
        files::write(&staging, &pairs)?;
        std::fs::rename(&staging, data).with_context(|| data.display().to_string())?;
        pairs
    };
    step.end(format!("{} pairs, {} SNPs in {}", pairs.pairs.len(), pairs.variants.len(), data.display()));
    let mut table = String::new();
    for (kind, split, n) in training::counts(&pairs) {
        writeln!(table, "  {:10} {:17} {n:>8}", kind.as_str(), split.as_str())?;
    }
    note(table.trim_end());
    let checked = leakage::check(&pairs)?;
    note(format_args!(
        "no leak: none of {} names, {} SNPs and {} pairs held out is in {} pairs trained on; {} pairs dropped for a name held out",
        checked.names, checked.snps, checked.pairs, checked.trained, pairs.dropped
    ));
    Ok(pairs)
}

fn train(
    info: &generel_model::ModelInfo,
    pairs: training::Pairs,
    options: generel_model::train::TrainOptions,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<()> {
    let set = files::training_set(&pairs);
    drop(pairs);
    let step = Step::begin("ready");
    let mut trainer = Trainer::new(info, set, options, folder)?;
    step.end(format!("step {} of {}", trainer.step(), trainer.steps()));
    let log = folder.join("log.csv");
    cut_log(&log, trainer.step())?;
    let mut failed = None;
    trainer.run(&mut |report| {
        note(line(report));
        if let Err(error) = append(&log, report) {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    if trainer.step() == trainer.steps() {
        let model = folder.join("model");
        trainer.export(&model)?;
        note(format_args!("the model: --model {}", model.display()));
    }
    Ok(())
}

/// One line of progress.
fn line(report: &Report) -> String {
    let rate = report.step as f64 / report.seconds.max(1e-9);
    let left = (report.steps - report.step) as f64 / rate;
    let tasks: Vec<String> = report.tasks.iter().map(|(name, loss, _)| format!("{name} {loss:.3}")).collect();
    format!(
        "step {} of {}, {:.2} steps/s, {} left: {}",
        report.step,
        report.steps,
        rate,
        duration(left),
        tasks.join(", ")
    )
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    if minutes >= 60 { format!("{} h {} min", minutes / 60, minutes % 60) } else { format!("{minutes} min") }
}

/// A row a task: easy to plot by anything.
fn append(log: &Path, report: &Report) -> Result<()> {
    let is_new = !log.exists();
    let mut file = OpenOptions::new().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
    if is_new {
        writeln!(file, "step,seconds,task,loss,temperature,gradient,rate,tokens,steps")?;
    }
    for (task, loss, temperature) in &report.tasks {
        writeln!(
            file,
            "{},{:.3},{task},{loss},{temperature},{},{},{},{}",
            report.step, report.seconds, report.gradient, report.rate, report.tokens, report.since
        )?;
    }
    Ok(())
}

/// Removes lines of steps that are taken again.
fn cut_log(log: &Path, step: u64) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(log) else { return Ok(()) };
    let is_kept = |line: &&str| line.split(',').next().and_then(|s| s.parse::<u64>().ok()).is_none_or(|s| s <= step);
    let kept: Vec<&str> = text.lines().filter(is_kept).collect();
    super::output::replace_file(log, (kept.join("\n") + "\n").as_bytes())
}
