//! `generel index`: what records are harmonized to, in a folder of its own.

use anyhow::Result;
use clap::{Args, Subcommand};
use generel_pipeline::Lake;
use generel_pipeline::align::SourceSpec;
use generel_pipeline::harmonize::{IndexOptions, save_index};
use generel_pipeline::runs::new_run_id;

use super::{LakeOptions, ModelOptions};
use crate::progress::{Step, note};
use crate::runner::session;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel index save mondo-index --source mondo
  generel index save s3://bucket/mondo-index --source mondo --curated hospital-mappings

A consumer that has it needs no other lake to harmonize to:
  target: { lake: mondo-index, source: mondo }

The index holds the source's concepts, names and their vectors of this model, what is known of codes (alignments, accepted
and curated mappings) and the labels of codes of other sources: no patients, no associations. Saved again, it takes the
place of what was there, and consumers that run take it up.")]
pub(super) struct IndexArgs {
    #[command(subcommand)]
    command: IndexCommand,
}

#[derive(Debug, Subcommand)]
enum IndexCommand {
    /// Save a source with all that consumers need of it
    Save {
        /// Where to: a folder or a URI
        #[arg(value_name = "URI")]
        to: String,
        /// Source of the lake
        #[arg(long, value_name = "SOURCE")]
        source: SourceSpec,
        /// A source of mappings that people made (generel ingest --format sssom); may be given several times
        #[arg(long, value_name = "SOURCE")]
        curated: Vec<String>,
        #[command(flatten)]
        lake: LakeOptions,
        #[command(flatten)]
        model: ModelOptions,
    },
}

pub(super) async fn run(args: IndexArgs) -> Result<()> {
    let IndexCommand::Save { to, source, curated, lake, model } = args.command;
    let chosen = model.choice().pull().await?;
    let from = session(lake.open()?, Some(chosen.clone())).await?;
    let into = session(Lake::create(&to)?, Some(chosen)).await?;
    let step = Step::begin("index");
    let options = IndexOptions { curated, ..IndexOptions::of(source) };
    let saved = save_index(&from, &into, &options, &new_run_id(), &step.texts()).await;
    step.clear();
    let saved = saved?;
    note(format_args!("{to}: version {}, {} concepts, {} names", saved.version, saved.concepts, saved.vectors));
    Ok(())
}
