//! `generel ingest`: files into the lake.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use generel_pipeline::ingest::MaxRejects;

use super::LakeOptions;
use crate::ingest::{AUTO, Request, choose, ingest_as_one_run};
use crate::job_file::IngestStep;

const CONNECTION: &str = "GENEREL_CONNECTION";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel ingest --source doid doid.obo.gz                 (the format is recognized)
  generel ingest --format omop --source hospital /data/cdm/
  generel ingest --format gwas-ssf --source ukb --trait 'type 2 diabetes' GCST90293086.h.tsv.gz
  generel ingest --format gwas-catalog --source gwas_catalog --max-rejects 0.1% associations.tsv

  generel ingest --source ukb --reference GRCh38.fa GCST90293086.h.tsv.gz
  generel ingest --format sumstats --source meta --columns effect_allele=Inc,p_value=P.meta meta.txt.gz
  generel ingest --source ukb 'sumstats/*.tsv.bgz' s3://bucket/folder/
  zcat meta.txt.gz | awk '$5 > 0.01' | generel ingest --format sumstats --source meta --study-id meta -

  GENEREL_CONNECTION=postgresql://etl@db/omop?schema=cdm PGPASSWORD=… generel ingest --format omop --source hospital

Settings of object stores come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT, GOOGLE_SERVICE_ACCOUNT,
AZURE_STORAGE_ACCOUNT_NAME …).

A file whose content is in the lake already is skipped; a changed file replaces its own rows in one commit. Rejected
rows go to the table quarantine with their line and reason. See generel formats.")]
pub(super) struct IngestArgs {
    /// Format of the files (see generel formats); auto looks at each file and says what it found
    #[arg(long, value_name = "FORMAT", default_value = AUTO)]
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
    /// Reference genome (uncompressed FASTA, as of the file's build): effects are turned to the allele that is not its
    #[arg(long, value_name = "FASTA")]
    reference: Option<PathBuf>,
    /// Text encoding, where it is not UTF-8: windows-1252, latin1, utf-16le …
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// Columns by hand: the lake's name = the file's, separated by commas
    #[arg(long, value_name = "NAME=COLUMN", value_delimiter = ',', value_parser = column)]
    columns: Vec<(String, String)>,
    /// Mapping of --format mapping: YAML that says in SQL what a row becomes
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Read files again whose content is in the lake already
    #[arg(long)]
    again: bool,
    /// A PostgreSQL database whose tables are read: postgresql://user@host:port/database?schema=cdm; better given by the
    /// environment, as the password is (PGPASSWORD)
    #[arg(long, env = CONNECTION, hide_env_values = true, value_name = "URI")]
    connection: Option<String>,
    /// Files, folders, globs, URIs (s3://, gs://, az://, https://), or - for what is piped in
    #[arg(required_unless_present = "connection", value_name = "INPUT")]
    inputs: Vec<String>,
}

impl IngestArgs {
    /// As a step of a job would say it.
    fn into_step(mut self) -> IngestStep {
        // A connection in the environment is there for those who name no files; one that was typed is meant.
        let typed = std::env::var(CONNECTION).ok() != self.connection;
        if self.inputs.is_empty() || typed {
            self.inputs.extend(self.connection.take());
        }
        IngestStep {
            format: self.format,
            source: self.source,
            inputs: self.inputs,
            max_rejects: self.max_rejects.map(|limit| limit.to_string()),
            study_id: self.study_id,
            trait_name: self.trait_name,
            genome_build: self.genome_build,
            reference: self.reference.map(absolute),
            encoding: self.encoding,
            columns: self.columns.into_iter().collect(),
            mapping: self.mapping.map(absolute),
        }
    }
}

/// So that a run's record leads back to the file from anywhere.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn column(text: &str) -> Result<(String, String), String> {
    let (name, column) = text.split_once('=').ok_or("expected NAME=COLUMN, such as effect_allele=A1")?;
    Ok((name.trim().to_string(), column.trim().to_string()))
}

pub(super) async fn run(args: IngestArgs) -> Result<()> {
    let lake = args.lake.clone();
    let source = args.source.clone();
    let again = args.again;
    let request = Request { again, ..args.into_step().request(Path::new(""))? };
    // Everything that can be wrong with the command line is found before the lake is touched.
    let chosen = choose(&request).await?;
    let lake = lake.create()?;
    ingest_as_one_run(&lake, &request, chosen, &format!("ingest {source}")).await
}
