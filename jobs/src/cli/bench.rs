//! `generel model bench`: how fast a model embeds on this machine.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow::array::StringArray;
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use generel_model::{Embedder, EmbedderOptions, ModelInfo, normalize};

use super::ModelOptions;
use crate::progress::Step;

/// Most texts that are measured.
const TEXTS: usize = 1_000_000;
/// Texts of one call, and calls in flight: enough for every worker to have its share.
const TEXTS_A_CALL: usize = 2048;
const CALLS_IN_FLIGHT: usize = 8;
/// Texts that go before, to load the weights and wake the workers.
const WARM_UP: usize = 256;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel model bench
  generel model bench --precision int8 --threads 8
  generel model bench --model cambridgeltl/SapBERT-from-PubMedBERT-fulltext --texts names.txt

Embeds distinct texts, each once, until the time is up. \"of peak\" is the share of the additions and multiplications
that the CPU can do in registers, or the GPU in large matrix products of the same precision, measured on this machine.")]
pub(super) struct BenchArgs {
    /// One text a line; without it, names and synonyms of the bundled ontologies
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Threads of the CPU; all cores without it
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    threads: usize,
    /// Stop when this much time is up
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    seconds: u64,
    #[command(flatten)]
    model: ModelOptions,
}

pub(super) async fn run(out: &mut impl Write, args: BenchArgs) -> Result<()> {
    let texts = args.texts()?;
    let chosen = args.model.choice().pull().await?;
    let info = chosen.info.clone();
    let embedder = chosen.embedder_with(EmbedderOptions { threads: args.threads, ..EmbedderOptions::default() });
    let (warm_up, measured) = texts.split_at(WARM_UP.min(texts.len() / 2));
    embed(&embedder, warm_up).await?;
    let before = embedder.stats();
    let step = Step::begin(format!("embedding with {}", info.name));
    let (started, limit) = (Instant::now(), Duration::from_secs(args.seconds));
    let mut calls = futures::stream::iter(measured.chunks(TEXTS_A_CALL))
        .map(|some| embed(&embedder, some))
        .buffer_unordered(CALLS_IN_FLIGHT);
    // When the time is up, what is in flight is dropped; what of it was done counts.
    let all = async {
        while calls.try_next().await?.is_some() {}
        anyhow::Ok(())
    };
    match tokio::time::timeout(limit, all).await {
        Ok(done) => done?,
        Err(_) => drop(calls),
    }
    let seconds = started.elapsed().as_secs_f64();
    let stats = embedder.stats();
    let (strings, tokens) = (stats.encoded - before.encoded, stats.tokens - before.tokens);
    step.end(format_args!("{strings} texts"));
    let line = |out: &mut dyn Write, what: &str, value: String| writeln!(out, "{what:<11}{value}");
    line(out, "model", format!("{} ({})", info.name, info.precision))?;
    line(out, "device", embedder.place().map(|place| place.to_string()).unwrap_or_default())?;
    line(out, "texts", format!("{strings} distinct, {:.1} tokens each", tokens as f64 / strings as f64))?;
    line(out, "strings/s", format!("{:.0}", strings as f64 / seconds))?;
    line(out, "tokens/s", format!("{:.0}", tokens as f64 / seconds))?;
    line(out, "of peak", share_of_peak(&embedder, &info, tokens, seconds)?)?;
    Ok(())
}

async fn embed(embedder: &Embedder, texts: &[String]) -> Result<()> {
    embedder.embed(&StringArray::from_iter_values(texts)).await.map_err(generel_pipeline::Error::from)?;
    Ok(())
}

fn share_of_peak(embedder: &Embedder, info: &ModelInfo, tokens: u64, seconds: f64) -> Result<String> {
    let Some(peak) = embedder.peak_gops().map_err(generel_pipeline::Error::from)? else {
        return Ok("unknown".into());
    };
    let done = info.linear_operations(tokens).map_err(generel_pipeline::Error::from)? / seconds / 1e9;
    Ok(format!("{:.0} % ({done:.0} of {peak:.0} billion operations/s in linear layers)", 100.0 * done / peak))
}

impl BenchArgs {
    /// Distinct texts in an order that mixes lengths and sources, the same every time.
    fn texts(&self) -> Result<Vec<String>> {
        let mut texts = match &self.texts {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| path.display().to_string())?
                .lines()
                .map(|line| normalize(line).into_owned())
                .collect(),
            None => bundled()?,
        };
        let mut seen = HashSet::new();
        texts.retain(|text| !text.is_empty() && seen.insert(text.clone()));
        ensure!(texts.len() > 1, "--texts has fewer than two distinct texts");
        fastrand::Rng::with_seed(7).shuffle(&mut texts);
        texts.truncate(TEXTS + WARM_UP);
        Ok(texts)
    }
}

/// Names and synonyms of the bundled ontologies.
fn bundled() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in [crate::demo::DOID, crate::demo::HP] {
        for line in BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
            let line = line?;
            let quoted = line.strip_prefix("synonym: \"").and_then(|rest| rest.split_once("\" ")).map(|(name, _)| name);
            names.extend(line.strip_prefix("name: ").or(quoted).map(|name| normalize(name).into_owned()));
        }
    }
    Ok(names)
}
