//! `generel ingest`: files into the lake.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use generel_pipeline::ingest::MaxRejects;
use generel_pipeline::runs::{RunRecord, new_run_id, record};
use generel_pipeline::sources::{Fingerprint, ReadOptions, format};

use super::LakeOptions;
use crate::environment;
use crate::runner::ingest_path;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel ingest --format obo --source doid doid.obo.gz
  generel ingest --format omop --source hospital /data/cdm/
  generel ingest --format gwas-ssf --source ukb --trait 'type 2 diabetes' GCST90293086.h.tsv.gz
  generel ingest --format gwas-catalog --source gwas_catalog --max-rejects 0.1% associations.tsv

A file whose content is in the lake already is skipped; a changed file replaces its own rows in one commit. Rejected
rows go to the table quarantine with their line and reason. See generel formats.")]
pub(super) struct IngestArgs {
    /// Format of the files (see generel formats)
    #[arg(long, value_name = "FORMAT")]
    format: String,
    /// Name under which the rows stand in the lake
    #[arg(long, value_name = "NAME")]
    source: String,
    #[command(flatten)]
    lake: LakeOptions,
    /// Rows (10) or share (0.5%) that may be rejected; above it nothing of the file is written, exit code 3
    #[arg(long, value_name = "N|P%")]
    max_rejects: Option<MaxRejects>,
    /// Study of a summary-statistics file; otherwise its name
    #[arg(long, value_name = "ID")]
    study_id: Option<String>,
    /// Trait of a summary-statistics file; otherwise from its -meta.yaml
    #[arg(long = "trait", value_name = "TEXT")]
    trait_name: Option<String>,
    /// Genome build of a summary-statistics file; otherwise from its -meta.yaml
    #[arg(long, value_name = "BUILD")]
    genome_build: Option<String>,
    /// Files, or folders where the format reads folders
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
}

pub(super) async fn run(args: IngestArgs) -> Result<()> {
    // Everything that can be wrong with the command line is found before the lake is touched.
    let found = format(&args.format)?;
    for input in &args.inputs {
        found.files(input)?;
    }
    let lake = args.lake.create()?;
    let mut options = ReadOptions::new(&args.source, environment::person_key()?);
    options.study_id = args.study_id;
    options.trait_name = args.trait_name;
    options.genome_build = args.genome_build;
    let (run_id, started_at) = (new_run_id(), chrono::Utc::now());
    let mut reports = Vec::new();
    for input in &args.inputs {
        reports.extend(ingest_path(&lake, &args.format, options.clone(), args.max_rejects, &run_id, input).await?);
    }
    let parts: Vec<&[u8]> = reports.iter().map(|r| r.fingerprint.as_bytes()).collect();
    let rejected = reports.iter().any(|r| r.rows_quarantined > 0);
    let versions: Vec<_> = reports.iter().map(|r| &r.versions).collect();
    let kept: Vec<_> = reports.iter().map(|r| &r.rows_kept).collect();
    let run = RunRecord {
        run_id,
        job: format!("ingest {}", args.source),
        started_at,
        status: if rejected { "done_with_rejects" } else { "done" },
        outputs: serde_json::to_value(versions)?,
        counts: serde_json::to_value(kept)?,
        inputs: serde_json::to_value(&reports)?,
        model_id: None,
        state: Fingerprint::of(&parts),
    };
    record(&lake, &run, reports.iter().any(|r| !r.skipped)).await?;
    Ok(())
}
