//! `generel run`: a job file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use generel_model::{DeviceChoice, Precision};

use super::Choice;
use crate::job_file::JobFile;
use crate::models::ModelOverrides;
use crate::progress::note;
use crate::runner::Runner;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel run nightly.yaml
  generel run nightly.yaml --dry-run
  generel run nightly.yaml --lake /data/lake

A job file:
  name: nightly
  lake: ./lake
  ingest:
    - { format: obo, source: doid, inputs: [doid.obo.gz] }
    - { format: omop, source: hospital, inputs: [cdm/], max_rejects: 1% }
  align:
    - { left: hospital:condition_occurrence, right: doid, out: conditions.sssom.tsv }
  export:
    - { sql: \"select * from mappings where rank = 1\", file: mappings.parquet }

Its JSON Schema: generel job-schema. ${NAME} is replaced from the environment.")]
pub(super) struct RunArgs {
    /// The job file
    #[arg(value_name = "JOB.yaml")]
    job: PathBuf,
    /// Check everything and say what would be done
    #[arg(long)]
    dry_run: bool,
    /// The lake: a folder or a URI; wins over the job file
    #[arg(long, env = "GENEREL_LAKE", value_name = "URI")]
    lake: Option<String>,
    /// The model; wins over the job file
    #[arg(long, env = "GENEREL_MODEL", value_name = "NAME")]
    model: Option<String>,
    /// Its precision (auto, f32, bf16, int8); wins over the job file
    #[arg(long, env = "GENEREL_PRECISION", value_name = "PRECISION")]
    precision: Option<Choice<Precision>>,
    /// Where it runs (auto, cpu, cuda:N); wins over the job file
    #[arg(long, env = "GENEREL_DEVICE", value_name = "DEVICE")]
    device: Option<DeviceChoice>,
}

pub(super) async fn run(args: RunArgs) -> Result<()> {
    let job = JobFile::read(&args.job)?;
    let base = args.job.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let model = ModelOverrides { name: args.model, precision: args.precision, device: args.device };
    let runner = Runner::new(job, base, args.lake.as_deref(), model)?;
    if args.dry_run {
        return runner.dry_run().await;
    }
    let (session, report) = runner.run().await?;
    for path in &report.written {
        note(format_args!("wrote {}", path.display()));
    }
    let state = if report.changed { "done" } else { "everything is up to date, nothing was done" };
    note(format_args!("{state}; lake: {}", session.lake.location()));
    Ok(())
}
