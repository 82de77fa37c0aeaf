//! The `runs` table: one row per run that changed the lake. A run that found everything done leaves no row, and a run
//! that completes a killed one leaves the row that the killed one owed.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, Utc};
use generel_schemas::tables::RUNS;

use crate::lake::{Commit, Lake, Mark, marks};
use crate::sources::Fingerprint;
use crate::{Result, VERSION};

/// What a run did.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// Identity of the run.
    pub run_id: String,
    /// The command or the job's name.
    pub job: String,
    /// Start.
    pub started_at: DateTime<Utc>,
    /// `done` or `done_with_rejects`.
    pub status: &'static str,
    /// The input files with their hashes and counts.
    pub inputs: serde_json::Value,
    /// The tables written and their versions.
    pub outputs: serde_json::Value,
    /// Rows by table.
    pub counts: serde_json::Value,
    /// The model used.
    pub model_id: Option<String>,
    /// What the lake looks like after the run: inputs and options, hashed. One row per job and state.
    pub state: Fingerprint,
}

/// A new run's identity: sortable by time.
pub fn new_run_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Writes the row of a run that changed something, or that a killed run of the same job and state owes. True when it
/// was written.
///
/// # Errors
/// When the lake cannot be written.
pub async fn record(lake: &Lake, record: &RunRecord, changed: bool) -> Result<bool> {
    let id = format!("generel/run/{}/{}", record.job, record.state);
    let table = lake.table_or_create(&RUNS).await?;
    let rows = marks::read(&RUNS, &table, &id).await?;
    if rows.is_some() && !changed {
        return Ok(false);
    }
    let mark = Mark::new(id, rows.unwrap_or(0) + 1);
    let mut writer = lake.writer(&RUNS, None).await?;
    writer.write(batch(record)?).await?;
    writer.commit(Commit { replace_unit: false, marks: vec![mark], run_id: record.run_id.clone() }).await?;
    Ok(true)
}

fn batch(record: &RunRecord) -> Result<RecordBatch> {
    let text = |value: String| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let time = |value: DateTime<Utc>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![value.timestamp_micros()]).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        text(record.run_id.clone()),
        text(record.job.clone()),
        time(record.started_at),
        time(Utc::now()),
        text(record.status.to_string()),
        text(record.inputs.to_string()),
        text(record.outputs.to_string()),
        text(record.counts.to_string()),
        Arc::new(StringArray::from(vec![record.model_id.clone()])),
        text(VERSION.to_string()),
    ];
    Ok(RecordBatch::try_new(RUNS.schema(), columns)?)
}
