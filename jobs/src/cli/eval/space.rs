//! `generel eval space`: what a model's space is good for, on what its training held out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{ArgGroup, Args, ValueEnum};
use generel_pipeline::training::evaluate::{Half, Measured, Space, SpaceOptions, evaluate};
use generel_pipeline::training::{Pairs, files, leakage};
use serde::Serialize;

use crate::cli::Choice;
use crate::models::{ModelChoice, ModelOverrides};
use crate::progress::{Step, note};
use crate::report::space_page;
use generel_model::evaluate::Estimate;
use generel_model::{DeviceChoice, Precision};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel eval space --data runs/mine/data --model runs/mine/model --model all-MiniLM-L6-v2
  generel eval space --data runs/mine/data --model runs/mine/model --ratings EHR-RelB.csv --json new.json --page new.html
  generel eval space --model generel --model all-MiniLM-L6-v2 --ratings UMNSRS.csv --pairs drug-disease.tsv

The data is what generel train made of a lake. Synonyms: for a name of a concept that was held out, is its label the
first (acc@1), or among the first five, of up to 5000 labels of its source? Relations, and SNPs and traits: how often has a
pair that was held out a higher cosine than the same left side with the right side of another pair (AUC)? Strength: Spearman's
correlation of cosine with the log odds ratio and with -log10 p, over all pairs and within traits that have three or more.
Ratings: with people's, for files with the columns term1, term2 and score. Pairs: AUC beside wrong pairs of the same relation,
for files with the columns left and right (names; an rsID on the left is an SNP) and, where there are such, relation,
odds_ratio, p_value or neg_log_10_p_value, and genes, chromosome and base_pair_location of SNPs that a model has not seen;
with --data those that were not trained on have a line of their own. Words (pieces of three letters), graph (the
relations and associations trained on, factored, without texts) and neighbors (the traits of the nearest SNPs trained on)
stand beside the models unless --no-baselines. A model without SNPs says of one what it says of its genes.")]
#[command(group = ArgGroup::new("measured").args(["data", "ratings", "pairs"]).required(true).multiple(true))]
pub(in crate::cli) struct SpaceArgs {
    /// The data of a training run; may be left out where --ratings or --pairs are measured alone
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// A model, by name or folder; may be given several times
    #[arg(long, value_name = "NAME", required = true)]
    model: Vec<String>,
    /// Which half of what was held out: options are chosen by one (training looks at it, too), and the other is reported
    #[arg(long, value_enum, default_value_t = HalfName::Test, value_name = "HALF")]
    half: HalfName,
    /// Pairs of terms that people have rated; may be given several times
    #[arg(long, value_name = "FILE")]
    ratings: Vec<PathBuf>,
    /// Pairs that belong together, of a benchmark of one's own; may be given several times
    #[arg(long, value_name = "FILE")]
    pairs: Vec<PathBuf>,
    /// Pairs of a relation, and queries of a source, at most
    #[arg(long, default_value_t = 300, value_name = "N")]
    most: usize,
    /// Decides which pairs are taken, and what they are compared with
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Resamples of the 95 % intervals, 20 or more; 0 for none
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = resamples)]
    bootstrap: usize,
    /// Models alone
    #[arg(long)]
    no_baselines: bool,
    /// Every source and relation on a line of its own
    #[arg(long)]
    details: bool,
    /// Results as JSON; - for stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Results as a page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Numbers of the models' matrix products: auto, f32, bf16, int8
    #[arg(long, env = "GENEREL_PRECISION", default_value = "auto", value_name = "PRECISION")]
    precision: Choice<Precision>,
    /// Where they run
    #[arg(long, env = "GENEREL_DEVICE", default_value = "auto", value_name = "DEVICE")]
    device: DeviceChoice,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum HalfName {
    Development,
    Test,
    Both,
}

impl From<HalfName> for Half {
    fn from(name: HalfName) -> Self {
        match name {
            HalfName::Development => Self::Development,
            HalfName::Test => Self::Test,
            HalfName::Both => Self::Both,
        }
    }
}

fn resamples(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(n) if n == 0 || n >= 20 => Ok(n),
        _ => Err("0, or 20 or more".to_string()),
    }
}

pub(in crate::cli) async fn run(args: SpaceArgs) -> Result<()> {
    let pairs = match &args.data {
        Some(data) => {
            let data = if data.join("data").join(files::ORIGIN).exists() { &data.join("data") } else { data };
            let pairs = files::read(data)?;
            let checked = leakage::check(&pairs)?;
            note(format_args!("no leak: {} pairs held out, {} trained on", checked.held_out, checked.trained));
            for name in args.model.iter().filter(|name| !is_of_run(name, data)) {
                note(format_args!("{name} is not of this run: it may have seen what was held out here"));
            }
            pairs
        }
        None => Pairs::default(),
    };
    let mut spaces = Vec::new();
    for name in &args.model {
        let choice = ModelChoice { name: name.clone(), ..ModelChoice::default() };
        let over = ModelOverrides { precision: Some(args.precision), device: Some(args.device), ..choice.into() };
        let chosen =
            over.over(&crate::models::ModelSettings { of: "eval", name: None, precision: None, device: None })?;
        spaces.push(Space::Model(name.clone(), chosen.pull().await?.embedder()));
    }
    if !args.no_baselines {
        spaces.push(Space::Words);
        // They know what the data has, and nothing else.
        spaces.extend(args.data.iter().flat_map(|_| [Space::Graph, Space::Neighbors]));
    }
    let options = SpaceOptions {
        half: args.half.into(),
        ratings: args.ratings,
        listed: args.pairs,
        most: args.most,
        resamples: args.bootstrap,
        seed: args.seed,
    };
    let step = Step::begin("eval space");
    let measured = evaluate(&pairs, &spaces, &options, &|line| note(line)).await?;
    step.end(format!("{} measures", measured.len()));
    let table = || text(&measured, args.details);
    let results =
        Results { data: args.data.as_deref(), half: args.half, seed: args.seed, most: args.most, measures: &measured };
    super::give(&results, table, args.json.as_deref(), args.page.as_deref(), || space_page(&measured))
}

/// Whether a model was trained on the data: it lies beside it.
fn is_of_run(model: &str, data: &Path) -> bool {
    let folder = Path::new(model.split_once('@').map_or(model, |(folder, _)| folder));
    let parent = |path: &Path| std::fs::canonicalize(path).ok().and_then(|path| path.parent().map(Path::to_path_buf));
    parent(folder).is_some_and(|run| parent(data) == Some(run))
}

/// What was measured on, and what came out.
#[derive(Serialize)]
struct Results<'a> {
    data: Option<&'a Path>,
    half: HalfName,
    seed: u64,
    most: usize,
    measures: &'a [Measured],
}

/// A line a measure, the methods side by side.
fn text(measured: &[Measured], details: bool) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for m in measured {
        if !methods.contains(&m.method.as_str()) {
            methods.push(&m.method);
        }
    }
    let mut out = format!("{:28} {:38} {:9} {:>6}", "family", "of", "measure", "n");
    for method in &methods {
        let short: String = method.chars().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect();
        let _ = write!(out, " {short:>21}");
    }
    out.push('\n');
    let mut seen: Vec<(&str, &str, &str)> = Vec::new();
    for m in measured {
        let line = (m.family.as_str(), m.of.as_str(), m.measure.as_str());
        let is_part = m.of != "all" && (m.family == "synonyms" || m.family.starts_with("relations"));
        let is_detail = is_part || m.family == "pairs of a file" && m.measure == "auc" && m.of.contains(": ");
        if seen.contains(&line) || is_detail && !details {
            continue;
        }
        seen.push(line);
        let of: String = m.of.chars().take(38).collect();
        let _ = write!(out, "{:28} {of:38} {:9} {:>6}", m.family, m.measure, m.estimate.n);
        for method in &methods {
            let same = measured
                .iter()
                .find(|o| o.method == *method && (o.family.as_str(), o.of.as_str(), o.measure.as_str()) == line);
            let cell = same.map_or("–".to_string(), |o| match o.estimate {
                Estimate { value, low, high, .. } if low < high => format!("{value:.3} ({low:.3}-{high:.3})"),
                Estimate { value, .. } => format!("{value:.3}"),
            });
            let _ = write!(out, " {cell:>21}");
        }
        out.push('\n');
    }
    out
}
