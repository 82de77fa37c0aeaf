//! `generel cooccurrence`: codes that the same persons have.

use anyhow::Result;
use clap::Args;
use generel_pipeline::cooccurrence::CooccurrenceOptions;
use generel_pipeline::runs::{RunRecord, new_run_id, record};

use super::LakeOptions;
use crate::runner::{count_cooccurrence, session};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel cooccurrence
  generel cooccurrence --source hospital --tables condition_occurrence,drug_exposure --window-days 60
  generel sql -c \"select subject_name, object_name, weight, provenance from kg_edges
                  where predicate = 'biolink:correlated_with' order by weight desc limit 20\"

A pair of codes counts once for each person who has both within the window. Its weight is ln(n_ab n / (n_a n_b)) - ln(shift): n_a
is the sum of a code's pairs, n that of all; pairs where that is not above 0 are left out. Codes and pairs of fewer persons
than --min-persons become no edges and change no weight. The edges go to kg_edges under the source --name, in the place of those of
the last time; nothing is done while events and options are the same. generel train has them as the task cooccurrence.")]
pub(super) struct CooccurrenceArgs {
    /// Source of events; may be given several times; all of them without it
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// Tables of events; all but person without it
    #[arg(long, value_name = "EVENT_TABLE", value_delimiter = ',')]
    tables: Vec<String>,
    /// Days between two events, at most
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    window_days: u32,
    /// Persons that a code and a pair must have
    #[arg(long, default_value_t = 11, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    min_persons: u32,
    /// Divides by how much a pair must be more common than by chance; 1 for not at all
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    shift: u32,
    /// The edges' source
    #[arg(long, default_value = "cooccurrence", value_name = "NAME")]
    name: String,
    #[command(flatten)]
    lake: LakeOptions,
}

pub(super) async fn run(args: CooccurrenceArgs) -> Result<()> {
    let options = CooccurrenceOptions {
        name: args.name,
        sources: args.sources,
        event_tables: args.tables,
        window_days: args.window_days,
        min_persons: args.min_persons,
        shift: args.shift,
    };
    let session = session(args.lake.open()?, None).await?;
    let (run_id, started_at) = (new_run_id(), chrono::Utc::now());
    let report = count_cooccurrence(&session, &options, &run_id).await?;
    if report.skipped {
        return Ok(());
    }
    let run = RunRecord {
        run_id,
        job: format!("cooccurrence {}", options.name),
        started_at,
        status: "done",
        inputs: serde_json::to_value(&options)?,
        outputs: serde_json::json!({ "kg_edges": report.version }),
        counts: serde_json::json!({ "kg_edges": report.edges }),
        model_id: None,
        state: report.state,
    };
    record(&session.lake, &run, true).await?;
    Ok(())
}
