//! `generel consume`: Kafka topics into harmonized topics and rows.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, ValueEnum};
use generel_pipeline::streaming::{Accepted, Metrics, Reopen, Workplace, consume};
use generel_pipeline::{Error, Lake, Session};

use super::{FileOverrides, folder_of};
use crate::consumer_file::ConsumerFile;
use crate::progress::{Step, note};
use crate::runner::{self, lake_location};
use crate::serve::metrics;
use crate::serve::until_told_to_end;
use crate::watch::Watch;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel consume conditions.yaml
  generel consume conditions.yaml --metrics 0.0.0.0:9400
  generel consume conditions.yaml --until-end            read what is there, and end
  generel consume conditions.yaml --accept truncated     go on although messages were deleted unread

A consumer file:
  name: conditions
  kafka:
    bootstrap.servers: broker:9092
    security.protocol: SASL_SSL
    sasl.mechanism: SCRAM-SHA-512
    sasl.username: generel
    sasl.password: { file: /run/secrets/kafka }
  topics: [ehr.conditions]
  format: json                       # ndjson, fhir, csv, raw, avro, json_schema
  fields:
    - { name: diagnosis, text: $.dx.text, code: $.dx.code, vocabulary: icd10cm }
  carry: { id: $.id }
  target: { source: mondo, min_confidence: 0.7, below: pass }
  rows: { shape: flat }              # the lake's table harmonized
  output: { topic: ehr.conditions.mondo, shape: enriched }
  dead_letters: ehr.conditions.dead

Its JSON Schema: generel consumer-schema. ${NAME} is replaced from the environment.
Several processes with one file are one consumer group. SIGTERM commits what was read and ends.")]
pub(super) struct ConsumeArgs {
    /// The consumer file
    #[arg(value_name = "CONSUMER.yaml")]
    consumer: PathBuf,
    /// End when everything was read that is there now
    #[arg(long)]
    until_end: bool,
    /// A loss that a person has seen: lost-lake, lost-offsets, truncated
    #[arg(long, value_enum, value_name = "LOSS")]
    accept: Vec<Loss>,
    /// Address and port of /metrics, /healthz and /readyz; port 0 for a free one
    #[arg(long, env = "GENEREL_METRICS", value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    over: FileOverrides,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Loss {
    /// The lake has no mark of partitions that the group has read.
    LostLake,
    /// The group has no offsets of partitions that the lake has.
    LostOffsets,
    /// Messages were deleted before they were read.
    Truncated,
}

pub(super) async fn run(args: ConsumeArgs) -> Result<()> {
    let file = ConsumerFile::read(&args.consumer)?;
    let base = folder_of(&args.consumer);
    let has = |loss| args.accept.contains(&loss);
    let accepted = Accepted {
        lost_lake: has(Loss::LostLake),
        lost_offsets: has(Loss::LostOffsets),
        truncated: has(Loss::Truncated),
    };
    let options = file.options(base, accepted, args.until_end)?;
    let lake = Lake::create(&lake_location(args.over.lake.as_deref(), file.lake.as_deref(), base))?;
    let (session, reopen): (Option<Session>, Option<Reopen>) = match options.index {
        None => (None, None),
        Some(_) => {
            let index = file.index_lake(base).map(|saved| Lake::open(&saved)).transpose()?;
            let index = index.unwrap_or_else(|| lake.clone());
            let settings = args.over.model().over(&file.model_settings())?;
            let session = runner::session(index.clone(), Some(settings.pull().await?)).await?;
            let reopen: Reopen = Box::new(move || {
                let (index, settings) = (index.clone(), settings.clone());
                Box::pin(async move {
                    let opened = async { runner::session(index, Some(settings.pull().await?)).await }.await;
                    opened.map_err(|error: anyhow::Error| Error::Invalid(format!("{error:#}")))
                })
            });
            (Some(session), Some(reopen))
        }
    };
    let shared = Arc::new(Metrics::default());
    if let Some(address) = args.metrics.or(file.metrics) {
        let bound = metrics::serve(address, Arc::clone(&shared)).await?;
        note(format_args!("metrics: http://{bound}/metrics"));
    }
    let step = Step::begin("index");
    let progress = step.texts();
    let watch = Watch::begin(&file.name, Arc::clone(&shared), std::io::stderr().is_terminal());
    let ended = consume(Workplace { lake, session, reopen }, options, shared, &progress, until_told_to_end()).await;
    step.clear();
    watch.end();
    let glance = ended?;
    note(format_args!(
        "{}: {} messages, {} rows, {} sent, {} dead letters in {:.2} s",
        file.name, glance.messages, glance.rows, glance.outputs, glance.dead, glance.seconds
    ));
    Ok(())
}
