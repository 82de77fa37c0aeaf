//! `generel train`: a model of one's own, from the lake.

use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::Args;
use generel_model::train::{Report, Trainer};
use generel_model::{Device, DeviceChoice, Embedder, EmbedderOptions, Precision};
use generel_pipeline::training::evaluate::{Half, Measured, Space, SpaceOptions, evaluate};
use generel_pipeline::training::{self, Kind, Split, files, leakage};

use super::{Choice, folder_of};
use crate::environment;
use crate::exit::UsageError;
use crate::models::ModelOverrides;
use crate::progress::{Step, note};
use crate::runner::{lake_location, session};
use crate::serve::until_told_to_end;
use crate::train_file::TrainFile;
use crate::train_log::{Manifest, TrainLog};

/// Pairs of a relation and queries of a source that are looked at while a run goes.
const EVALUATED: usize = 50;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel train train.yaml
  generel train train.yaml --prepare      only the data: pairs, their split, and the check for leaks
  generel train train.yaml --device cuda:0 --precision bf16

A train file:
  name: mine
  lake: ./lake                       # names, relations and associations are its tables
  model: all-MiniLM-L6-v2            # where it begins
  folder: runs/mine                  # data, checkpoints, log.csv, and the model
  data: { held_out_concepts: 0.05, held_out_pairs: 0.1 }
  train:
    steps: 2000
    tasks: { synonym: { batch: 128 }, relation: { batch: 48, weight: 0.4 } }

Run again, it goes on from its last checkpoint; Ctrl-C leaves one, and the exit code 1. The model is a folder for --model: runs/mine/model. Beside
it: log.csv and measures.csv (losses, and what is measured every evaluate_every steps on pairs held out), curves.html (both
as a page), run.json (program, commit, model, tables' versions, seeds, options, device).
Its JSON Schema: generel train-schema. ${NAME} is replaced from the environment.")]
pub(super) struct TrainArgs {
    /// The train file
    #[arg(value_name = "TRAIN.yaml")]
    train: PathBuf,
    /// Make the data and check it, and end
    #[arg(long)]
    prepare: bool,
    /// The lake: a folder or a URI; wins over the file
    #[arg(long, env = "GENEREL_LAKE", value_name = "URI")]
    lake: Option<String>,
    /// The model that the run begins with; wins over the file
    #[arg(long, env = "GENEREL_MODEL", value_name = "NAME")]
    model: Option<String>,
    /// Numbers of the text encoder's matrix products, f32 or bf16; wins over the file
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,
    /// Where texts are trained (auto, cpu, cuda:N)
    #[arg(long, env = "GENEREL_DEVICE", default_value = "auto", value_name = "DEVICE")]
    device: DeviceChoice,
}

pub(super) async fn run(args: TrainArgs) -> Result<()> {
    let file = TrainFile::read(&args.train)?;
    let (base, precision) = (folder_of(&args.train), file.precision(args.precision)?);
    file.check_tasks()?;
    let folder = base.join(&file.folder);
    let data = folder.join("data");
    let location = lake_location(args.lake.as_deref(), file.lake.as_deref(), base);
    let _alone = alone(&folder)?;
    let (pairs, checked) = prepare(&file, &location, &data).await?;
    let (options, evaluate_every) = (file.options(|kind| has(&pairs, kind), precision), file.evaluate_every());
    for task in &options.tasks {
        if !Kind::ALL.iter().any(|kind| kind.as_str() == task.name && has(&pairs, *kind)) {
            let problem =
                format!("{}: the task '{}' has fewer than two pairs in {}", file.name, task.name, data.display());
            return Err(UsageError(problem).into());
        }
    }
    if args.prepare {
        return Ok(());
    }
    let over = ModelOverrides { name: args.model, precision: Some(Choice(Some(precision))), device: Some(args.device) };
    let model = over.over(&file.model_settings())?.pull().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    tokio::spawn(async move {
        until_told_to_end().await;
        note("ending after this step");
        told.store(true, Ordering::Relaxed);
    });
    let device = Device { choice: model.device, gpu_libraries: environment::gpu_libraries() };
    let run = Run { name: file.name, lake: location, info: model.info, options, device, folder, evaluate_every, stop };
    tokio::task::spawn_blocking(move || train(&run, &pairs, &checked)).await?
}

/// Keeps other processes out of a run's folder while it lives.
fn alone(folder: &Path) -> Result<File> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("{}: another process trains there", folder.display()),
        // Where files cannot be locked, one takes care oneself.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// The pairs of the run: made from the lake once, then those of its folder.
async fn prepare(file: &TrainFile, location: &str, data: &Path) -> Result<(training::Pairs, leakage::Checked)> {
    let step = Step::begin("data");
    let pairs = if data.exists() {
        let pairs = files::read(data)?;
        if pairs.origin.options != file.data {
            let place = data.display();
            return Err(UsageError(format!(
                "{place} was made by other options than those of 'data'; remove it, or name another folder"
            ))
            .into());
        }
        // A run that goes on, goes on with its data; that there is newer is worth a word.
        let now = match generel_pipeline::Lake::open(location) {
            Ok(lake) => Some(training::versions(&lake).await?),
            Err(_) => None,
        };
        if now.as_ref() != Some(&pairs.origin.tables) {
            let what = if now.is_some() { "has changed since, or is another" } else { "is not there" };
            note(format_args!(
                "the lake {location} {what}: {} stays as it was made; remove it for new data",
                data.display()
            ));
        }
        pairs
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
        "no leak: none of {} concepts ({} names), {} SNPs and {} pairs held out is in {} pairs trained on; {} pairs dropped for a name held out",
        checked.concepts, checked.names, checked.snps, checked.pairs, checked.trained, pairs.origin.dropped
    ));
    Ok((pairs, checked))
}

/// Whether there is anything to train a task on.
fn has(pairs: &training::Pairs, kind: Kind) -> bool {
    pairs.pairs.iter().filter(|p| p.kind == kind && p.split == Split::Train).nth(1).is_some()
}

/// What a run needs beside its data.
struct Run {
    name: String,
    lake: String,
    info: generel_model::ModelInfo,
    options: generel_model::train::TrainOptions,
    device: Device,
    folder: PathBuf,
    /// Steps between evaluations; 0 for none.
    evaluate_every: u64,
    stop: Arc<AtomicBool>,
}

fn train(run: &Run, pairs: &training::Pairs, checked: &leakage::Checked) -> Result<()> {
    let set = files::training_set(pairs);
    if run.info.folder.join("snps.safetensors").exists() {
        note("the SNP encoder begins anew: texts move, and another lake has other SNPs");
    }
    let step = Step::begin("ready");
    let mut trainer = Trainer::new(&run.info, set, run.options.clone(), &run.folder, &run.device)?;
    step.end(format!("step {} of {}, on {}", trainer.step(), trainer.steps(), trainer.device()));
    let log = TrainLog::open(&run.folder, trainer.step())?;
    let (data, train, device) = (&pairs.origin, &run.options, trainer.device());
    if trainer.step() < trainer.steps() {
        let manifest = Manifest { name: &run.name, lake: &run.lake, model: &run.info, data, checked, train, device };
        log.manifest(&manifest, trainer.step())?;
    }
    while trainer.step() < trainer.steps() && !run.stop.load(Ordering::Relaxed) {
        let next = trainer.step().checked_div(run.evaluate_every).map(|n| (n + 1) * run.evaluate_every);
        let mut failed = None;
        trainer.run(&mut |report| {
            note(line(report));
            if let Err(error) = log.losses(report) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            let is_due = next.is_some_and(|next| report.step >= next);
            if is_due || run.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let is_due = next.is_some_and(|next| trainer.step() >= next || trainer.step() == trainer.steps());
        if is_due && !run.stop.load(Ordering::Relaxed) {
            // The weights are safe, and what is measured changes none.
            match evaluated(&trainer, pairs, run) {
                Ok(measured) => log.measures(trainer.step(), &measured)?,
                Err(error) => note(format_args!("the evaluation failed: {error:#}")),
            }
        }
        log.page(&run.name)?;
    }
    if trainer.step() < trainer.steps() {
        bail!("{}: told to end at step {} of {}; run again to go on", run.name, trainer.step(), trainer.steps());
    }
    let model = run.folder.join("model");
    trainer.export(&model)?;
    note(format_args!("the model: --model {}", model.display()));
    Ok(())
}

/// What the weights are good for as they are now, on a few of the pairs held out.
fn evaluated(trainer: &Trainer, pairs: &training::Pairs, run: &Run) -> Result<Vec<Measured>> {
    let step = Step::begin("evaluation");
    let model = run.folder.join("evaluated");
    trainer.export(&model)?;
    let info = environment::model_store()?.info(&model.display().to_string())?;
    let Device { choice, gpu_libraries } = run.device.clone();
    let options = EmbedderOptions { device: choice, gpu_libraries, ..EmbedderOptions::default() };
    let space = Space::Model("trained".to_string(), Embedder::new(info, options));
    let half = Half::Development;
    let options =
        SpaceOptions { half, ratings: Vec::new(), listed: Vec::new(), most: EVALUATED, resamples: 0, seed: 1 };
    let measured = tokio::runtime::Handle::current().block_on(evaluate(pairs, &[space], &options, &|_| ()))?;
    let main: Vec<String> = measured
        .iter()
        .filter(|m| m.of == "all" && m.measure != "acc@5" || m.of == "pairs unseen")
        .map(|m| format!("{} {} {:.3}", m.family, m.measure, m.estimate.value))
        .collect();
    std::fs::remove_dir_all(&model)?;
    step.end(main.join(", "));
    Ok(measured)
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
