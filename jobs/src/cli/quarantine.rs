//! `generel quarantine`: rejected rows, and reading their files again after a fix.

use std::collections::BTreeMap;

use anyhow::Result;
use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use clap::{Args, Subcommand};
use generel_pipeline::Session;
use generel_pipeline::ingest::FileReport;

use super::LakeOptions;
use super::output::{self, Form};
use crate::exit::UsageError;
use crate::ingest::{choose, ingest_as_one_run};
use crate::job_file::IngestStep;
use crate::progress::note;
use crate::runner::session;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel quarantine                                    how many rows of which file were rejected, and why
  generel quarantine rows --source ukb --reason p_value_out_of_range --limit 20
  generel quarantine rows --output csv > rejected.csv
  generel quarantine reingest --source gwas_2012 --encoding windows-1252

A file that was corrected is simply ingested again: its rows and its rejected rows are replaced in one commit. reingest
reads unchanged files again where the way of reading them changed: a newer generel, an encoding, columns by hand.")]
pub(super) struct QuarantineArgs {
    #[command(flatten)]
    lake: LakeOptions,
    #[command(subcommand)]
    command: Option<QuarantineCommand>,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// The rejected rows: file, line, column, reason, what was expected, raw text
    Rows {
        #[command(flatten)]
        which: Which,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// Form of the output
        #[arg(long, value_enum, default_value_t = Form::Table)]
        output: Form,
    },
    /// Read the files of rejected rows again, with the options of their ingest unless given here
    Reingest {
        #[command(flatten)]
        which: Which,
        /// Text encoding: windows-1252, latin1, utf-16le …
        #[arg(long, value_name = "NAME")]
        encoding: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// Of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Of files of this name
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// For this reason
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
}

impl Which {
    /// As an SQL condition.
    fn condition(&self) -> String {
        let parts = [("source", &self.source), ("file", &self.file), ("reason", &self.reason)];
        let equal = |(column, value): (&str, &Option<String>)| {
            value.as_ref().map(|text| format!("{column} = '{}'", text.replace('\'', "''")))
        };
        let parts: Vec<String> = parts.into_iter().filter_map(equal).collect();
        if parts.is_empty() { "true".to_string() } else { parts.join(" and ") }
    }
}

pub(super) async fn run(args: QuarantineArgs) -> Result<()> {
    let session = session(args.lake.open()?, None).await?;
    match args.command {
        None => {
            let sql = "select source, file, reason, \"column\", count(*) as rows, min(line) as first_line \
                       from quarantine group by all order by source, file, rows desc";
            output::write(session.ctx().sql(sql).await?, Form::Table, &mut std::io::stdout()).await
        }
        Some(QuarantineCommand::Rows { which, limit, output: form }) => {
            let sql = format!(
                "select source, file, line, \"column\", reason, message, raw from quarantine where {} \
                 order by source, file, line limit {limit}",
                which.condition()
            );
            output::write(session.ctx().sql(&sql).await?, form, &mut std::io::stdout()).await
        }
        Some(QuarantineCommand::Reingest { which, encoding }) => reingest(&session, &which, encoding).await,
    }
}

async fn reingest(session: &Session, which: &Which, encoding: Option<String>) -> Result<()> {
    let sql = format!("select distinct input_id from quarantine where {}", which.condition());
    let wanted = texts(session, &sql).await?;
    // The youngest report of each file says how it was read.
    let mut reports: BTreeMap<String, FileReport> = BTreeMap::new();
    for inputs in texts(session, "select inputs from runs order by ended_at").await? {
        for report in serde_json::from_str::<Vec<FileReport>>(&inputs).unwrap_or_default() {
            if wanted.contains(&report.input_id) && !report.place.is_empty() {
                reports.insert(report.input_id.clone(), report);
            }
        }
    }
    if reports.is_empty() {
        note(format_args!("no file with such rows is known"));
        return Ok(());
    }
    for report in reports.into_values() {
        let options = &report.options;
        let text = |name: &str| options.get(name).cloned();
        let columns = text("columns").map(|json| serde_json::from_str(&json)).transpose()?;
        let step = IngestStep {
            format: report.format.clone(),
            source: text("source").ok_or_else(|| UsageError("the run did not record the source".to_string()))?,
            inputs: vec![report.place.clone()],
            max_rejects: None,
            study_id: text("study_id"),
            trait_name: text("trait"),
            genome_build: text("genome_build"),
            reference: text("reference").map(Into::into),
            encoding: encoding.clone().or_else(|| text("encoding")),
            columns: columns.unwrap_or_default(),
            mapping: text("mapping").map(Into::into),
        };
        let mut request = step.request(std::path::Path::new(""))?;
        request.again = true;
        let chosen = choose(&request).await?;
        ingest_as_one_run(&session.lake, &request, chosen, &format!("reingest {}", step.source)).await?;
    }
    Ok(())
}

async fn texts(session: &Session, sql: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for batch in session.ctx().sql(sql).await?.collect().await? {
        let column = cast(batch.column(0), &DataType::Utf8)?;
        let column = column.as_string::<i32>();
        all.extend((0..column.len()).filter(|row| column.is_valid(*row)).map(|row| column.value(row).to_string()));
    }
    Ok(all)
}
