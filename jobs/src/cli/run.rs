//! `generel run`: a job file.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{FileOverrides, folder_of};
use crate::job_file::JobFile;
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
    #[command(flatten)]
    over: FileOverrides,
}

pub(super) async fn run(args: RunArgs) -> Result<()> {
    let job = JobFile::read(&args.job)?;
    let lake = args.over.lake.clone();
    let runner = Runner::new(job, folder_of(&args.job), lake.as_deref(), args.over.model())?;
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
