//! `generel embed`: texts to vectors, to stdout or into the lake.

use std::io::{BufRead, Write};

use anyhow::Result;
use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::{DataType, Float32Type};
use clap::{ArgGroup, Args};
use datafusion::prelude::col;
use generel_model::{Embedder, normalize};
use generel_pipeline::embed_texts;
use generel_pipeline::runs::{RunRecord, new_run_id, record};
use generel_pipeline::sources::Fingerprint;

use super::{LakeOptions, ModelOptions};
use crate::progress::{Step, note};
use crate::runner::session;

/// Lines read from stdin before they are embedded together.
const LINES: usize = 4096;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true), after_help = "Examples:
  generel embed --text 'heart attack'
  cut -f2 names.tsv | generel embed --stdin > vectors.ndjson
  generel embed --table concept_names --column name

--text and --stdin write one JSON object a line: text and vector (null where the text is empty). --table puts the
vectors of a column's distinct texts into the table embeddings.")]
pub(super) struct EmbedArgs {
    /// A text
    #[arg(long, group = "what", value_name = "TEXT")]
    text: Vec<String>,
    /// One text a line
    #[arg(long, group = "what")]
    stdin: bool,
    /// A table of the lake
    #[arg(long, group = "what", requires = "column", value_name = "TABLE")]
    table: Option<String>,
    /// Its column of texts
    #[arg(long, requires = "table", value_name = "COLUMN")]
    column: Option<String>,
    #[command(flatten)]
    lake: LakeOptions,
    #[command(flatten)]
    model: ModelOptions,
}

pub(super) async fn run(args: EmbedArgs) -> Result<()> {
    if let (Some(table), Some(column)) = (&args.table, &args.column) {
        return embed_column(&args, table, column).await;
    }
    let embedder = args.model.choice().pull().await?.embedder();
    if !args.stdin {
        return print(&embedder, &args.text).await;
    }
    let mut lines = std::io::stdin().lock().split(b'\n').enumerate();
    loop {
        let texts: Vec<String> =
            lines.by_ref().take(LINES).map(|(i, line)| text(i + 1, line?)).collect::<Result<_>>()?;
        if texts.is_empty() {
            return Ok(());
        }
        print(&embedder, &texts).await?;
    }
}

fn text(number: usize, mut line: Vec<u8>) -> Result<String> {
    line.pop_if(|last| *last == b'\r');
    String::from_utf8(line).map_err(|error| {
        let column = error.utf8_error().valid_up_to() + 1;
        anyhow::anyhow!(
            "stdin line {number}, byte {column}: not UTF-8; convert it first, e.g. with iconv -f latin1 -t utf8"
        )
    })
}

async fn print(embedder: &Embedder, texts: &[String]) -> Result<()> {
    let vectors = embedder.embed(&StringArray::from(texts.to_vec())).await.map_err(generel_pipeline::Error::from)?;
    let mut out = std::io::stdout().lock();
    for (i, text) in texts.iter().enumerate() {
        let vector = vectors.is_valid(i).then(|| vectors.value(i).as_primitive::<Float32Type>().values().to_vec());
        writeln!(out, "{}", serde_json::json!({ "text": text, "vector": vector }))?;
    }
    Ok(())
}

async fn embed_column(args: &EmbedArgs, table: &str, column: &str) -> Result<()> {
    let lake = args.lake.open()?;
    let model = args.model.choice().pull().await?;
    let session = session(lake, Some(model)).await?;
    let frame = session.ctx().table(table).await?.select(vec![col(column)])?.distinct()?;
    let mut texts = std::collections::BTreeSet::new();
    for batch in frame.collect().await? {
        let cast = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let normalized = cast.as_string::<i32>().iter().flatten().map(|t| normalize(t).into_owned());
        texts.extend(normalized.filter(|t| !t.is_empty()));
    }
    let texts: Vec<String> = texts.into_iter().collect();
    let step = Step::begin(format!("embed {table}.{column}"));
    let (run_id, started_at) = (new_run_id(), chrono::Utc::now());
    let report = embed_texts(&session, &texts, &run_id, &step.texts()).await?;
    if report.embedded > 0 {
        let model_id = session.embedder()?.info().model_id.clone();
        let mut parts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        parts.push(model_id.as_bytes());
        let run = RunRecord {
            run_id,
            job: format!("embed {table}.{column}"),
            started_at,
            status: "done",
            inputs: serde_json::json!({ "table": table, "column": column, "texts": report.texts }),
            outputs: serde_json::json!(["embeddings"]),
            counts: serde_json::json!({ "embeddings": report.embedded }),
            state: Fingerprint::of(&parts),
            model_id: Some(model_id),
        };
        record(&session.lake, &run, true).await?;
    }
    step.end(format_args!("{} distinct texts, {} embedded, the rest had vectors", report.texts, report.embedded));
    note(format_args!("in table embeddings of {}", session.lake.location()));
    Ok(())
}
