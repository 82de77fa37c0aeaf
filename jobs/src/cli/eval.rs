//! `generel eval`: how good the results are, against what is known.

mod space;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use generel_pipeline::align::{
    AlignOptions, DEFAULT_MIN_SCORE, EvaluateOptions, Evaluation, Measure, SourceSpec, evaluate, fit,
};
use generel_pipeline::runs::new_run_id;
use generel_pipeline::training::files;

use serde::Serialize;

use super::{LakeOptions, ModelOptions, output};
use crate::exit::UsageError;
use crate::progress::{Step, note};
use crate::report::evaluation_page;
use crate::runner::{session, source_spec};

#[derive(Debug, Subcommand)]
pub(super) enum EvalCommand {
    /// Measure an alignment against mappings known to be right
    Alignment(AlignmentArgs),
    /// Fit the weights of align's evidence on mappings known to be right
    Fit(FitArgs),
    /// Measure what a training run has held out: synonyms, relations, SNPs and traits, people's ratings
    Space(space::SpaceArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel eval fit --pair doid ncit gold.sssom.tsv
  generel eval fit --pair doid ncit one.tsv --pair icd9cm icd10cm two.tsv

Fits which evidence ranks the right object first, and how sure align can be of it, on all pairs together (at most 4000
subjects of each), and stores the weights with the model: alignment.json in its folder. Align uses them from then on;
remove the file to go back to the weights that come with the program. NAME@128 has a file of its own. Gold files are as of
generel eval alignment.")]
pub(super) struct FitArgs {
    /// Two sources and a file of mappings between them; may be given several times
    #[arg(long, num_args = 3, value_names = ["LEFT", "RIGHT", "GOLD"], required = true)]
    pair: Vec<String>,
    /// Least cosine of two names
    #[arg(long, default_value_t = DEFAULT_MIN_SCORE, value_name = "S", allow_negative_numbers = true)]
    min_score: f32,
    #[command(flatten)]
    lake: LakeOptions,
    #[command(flatten)]
    model: ModelOptions,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel eval alignment --left doid --right ncit --gold gold.sssom.tsv
  generel eval alignment --left doid --right ncit --gold gold.tsv --json new.json --page new.html --compare old.json
  generel eval alignment --left doid --right ncit --gold gold.tsv --model runs/mine/model --held-out runs/mine/data

Gold files are SSSOM TSV, or any table with the columns subject_id and object_id, plain or gzip. Mappings whose codes the
two sources do not have are counted and left out. Each method ranks the objects of every gold subject: equal names, the
embedding alone, the embedding with one part of the evidence after the other (fitted on four fifths of the subjects and
measured on the rest, in turn), and at last what align does, with the weights that it has. The hard subjects are those
that no equal name solves. Cross-references and codes are never looked at.")]
pub(super) struct AlignmentArgs {
    /// Source whose codes are looked for; NAME:EVENT_TABLE takes one table of patient events
    #[arg(long, value_name = "SOURCE")]
    left: SourceSpec,
    /// Source in which they are looked for
    #[arg(long, value_name = "SOURCE")]
    right: SourceSpec,
    /// Mappings known to be right; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    gold: Vec<PathBuf>,
    /// Subjects alone whose concepts a training held out; the data of its run
    #[arg(long, value_name = "FOLDER")]
    held_out: Option<PathBuf>,
    /// Least cosine of two names
    #[arg(long, default_value_t = DEFAULT_MIN_SCORE, value_name = "S", allow_negative_numbers = true)]
    min_score: f32,
    /// Resamples of the confidence intervals
    #[arg(long, default_value_t = 1000, value_name = "N")]
    bootstrap: usize,
    /// Results as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Results as a page with plots
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Results of another run (--json) to stand beside these; may be given several times
    #[arg(long, value_name = "FILE")]
    compare: Vec<PathBuf>,
    #[command(flatten)]
    lake: LakeOptions,
    #[command(flatten)]
    model: ModelOptions,
}

pub(super) async fn run(command: EvalCommand) -> Result<()> {
    match command {
        EvalCommand::Alignment(args) => alignment(args).await,
        EvalCommand::Fit(args) => fit_weights(args).await,
        EvalCommand::Space(args) => space::run(args).await,
    }
}

async fn fit_weights(args: FitArgs) -> Result<()> {
    let mut all = Vec::new();
    for pair in args.pair.chunks(3) {
        let sides = AlignOptions::new(source_spec(&pair[0])?, source_spec(&pair[1])?);
        let align = AlignOptions { min_score: args.min_score, ..sides };
        all.push(EvaluateOptions { align, gold: vec![PathBuf::from(&pair[2])], resamples: 0, held_out: None });
    }
    let lake = args.lake.open()?;
    let model = args.model.choice().pull().await?;
    let info = model.info.clone();
    let session = session(lake, Some(model)).await?;
    let step = Step::begin("fit".to_string());
    let fitted = fit(&session, &all, &new_run_id(), &step.texts()).await?;
    let (right, examples) = fitted.examples;
    let path = fitted.store(&info)?;
    step.end(format!("{right} right and {} wrong pairs; stored in {}", examples - right, path.display()));
    Ok(())
}

async fn alignment(args: AlignmentArgs) -> Result<()> {
    let others = args.compare.iter().map(earlier).collect::<Result<Vec<_>>>()?;
    let lake = args.lake.open()?;
    let align = AlignOptions { min_score: args.min_score, ..AlignOptions::new(args.left, args.right) };
    let held_out = match &args.held_out {
        Some(data) => Some(files::read(data)?.held_out_keys.into_iter().collect()),
        None => None,
    };
    let options = EvaluateOptions { align, gold: args.gold, resamples: args.bootstrap, held_out };
    let model = args.model.choice().pull().await?;
    let session = session(lake, Some(model)).await?;
    let step = Step::begin(format!("eval {} to {}", options.align.left, options.align.right));
    let evaluation = evaluate(&session, &options, &new_run_id(), &step.texts()).await?;
    step.end(format!(
        "{} gold mappings, {} between codes of the two sources, {} subjects, {} of them hard",
        evaluation.counts.mappings,
        evaluation.counts.known,
        evaluation.counts.subjects,
        evaluation.counts.hard_subjects
    ));
    let table = || text(&evaluation, &others);
    give(&evaluation, table, args.json.as_deref(), args.page.as_deref(), || evaluation_page(&evaluation, &others))
}

/// Results as a table on stdout, unless JSON goes there, and to the files asked for.
fn give(
    results: &impl Serialize,
    table: impl FnOnce() -> String,
    json: Option<&Path>,
    page: Option<&Path>,
    html: impl FnOnce() -> String,
) -> Result<()> {
    let to_stdout = json.is_some_and(|path| path.as_os_str() == "-");
    if !to_stdout {
        print!("{}", table());
    }
    let text = serde_json::to_string_pretty(results)? + "\n";
    match json {
        Some(_) if to_stdout => print!("{text}"),
        Some(path) => output::replace_file(path, text.as_bytes())?,
        None => {}
    }
    if let Some(path) = page {
        output::replace_file(path, html().as_bytes())?;
        note(format_args!("wrote {}", path.display()));
    }
    Ok(())
}

/// The results of an earlier run, under the file's name.
fn earlier(path: &PathBuf) -> Result<(String, Evaluation)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--compare {}", path.display()))?;
    let read = serde_json::from_str(&text)
        .map_err(|e| UsageError(format!("--compare {}: not the results of an evaluation: {e}", path.display())))?;
    Ok((path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(), read))
}

/// One line a method; what other runs have by the same name beside it.
fn text(evaluation: &Evaluation, others: &[(String, Evaluation)]) -> String {
    let is_part = |e: &Evaluation| if e.held_out { " (held out alone)" } else { "" };
    let mut lines = vec![format!(
        "{:34} {:>22} {:>6} {:>6} {:>6} {:>22} {:>6} {:>6} {:>22}",
        "method", "hits@1", "@5", "@10", "MRR", "AUPRC", "F1", "ECE", "hard hits@1"
    )];
    let range = |m: &Measure| format!("{:.3} ({:.3}-{:.3})", m.value, m.low, m.high);
    let mut add = |name: String, method: &generel_pipeline::align::MethodResult| {
        let (all, hard) = (&method.all, &method.hard);
        lines.push(format!(
            "{name:34} {:>22} {:>6.3} {:>6.3} {:>6.3} {:>22} {:>6.3} {:>6} {:>22}",
            range(&all.hits_at_1),
            all.hits_at_5.value,
            all.hits_at_10.value,
            all.mean_reciprocal_rank.value,
            range(&all.average_precision),
            all.best_f1,
            all.calibration().map_or("–".to_string(), |error| format!("{error:.3}")),
            range(&hard.hits_at_1),
        ));
    };
    for method in &evaluation.methods {
        add(method.method.clone(), method);
        for (name, other) in others {
            for same in other.methods.iter().filter(|m| m.method == method.method) {
                add(format!("  {name}{}", is_part(other)), same);
            }
        }
    }
    lines.join("\n") + "\n"
}
