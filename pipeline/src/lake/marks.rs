//! Progress marks: what a table already has, as Delta transaction identifiers.
//!
//! Two marks make ingest idempotent. `content/SOURCE/FINGERPRINT` says whether a file's content is in the table: an odd
//! version is present, an even one was replaced (so that content that comes back after a change is taken again).
//! `input/INPUT_ID` says which content a file at a path has now, so that a changed file can retire the old mark in the
//! commit that replaces its rows.

use deltalake::DeltaTable;
use deltalake::kernel::Transaction;
use generel_schemas::Table;

use crate::sources::Fingerprint;
use crate::{Error, Result};

/// A transaction identifier and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Delta's `appId`.
    pub id: String,
    /// Delta's `version`.
    pub version: i64,
}

impl Mark {
    /// A mark.
    pub fn new(id: impl Into<String>, version: i64) -> Self {
        Self { id: id.into(), version }
    }

    pub(super) fn transaction(&self) -> Transaction {
        Transaction::new(&self.id, self.version)
    }
}

/// Version of a mark in a table; `None` where it was never set.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn read(table: &Table, delta: &DeltaTable, id: &str) -> Result<Option<i64>> {
    let failed = |e| Error::delta(table.name, e);
    let state = delta.snapshot().map_err(failed)?;
    state.transaction_version(delta.log_store().as_ref(), id.to_string()).await.map_err(failed)
}

/// The marks of one input file in one table.
#[derive(Debug)]
pub(crate) struct InputMarks {
    content_id: String,
    content: i64,
    input_id: String,
    fingerprint: Fingerprint,
    retired: Option<Mark>,
}

impl InputMarks {
    /// Reads where a table stands with a file.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn read(
        table: &Table,
        delta: &DeltaTable,
        source: &str,
        input_id: &str,
        fingerprint: Fingerprint,
    ) -> Result<Self> {
        let content_id = content_mark(source, fingerprint);
        let input_id = format!("generel/input/{input_id}");
        let content = read(table, delta, &content_id).await?.unwrap_or(0);
        let mut retired = None;
        if let Some(previous) = read(table, delta, &input_id).await? {
            let previous = Fingerprint::from_i64(previous);
            let id = content_mark(source, previous);
            if previous != fingerprint
                && let Some(version) = read(table, delta, &id).await?
                && version % 2 == 1
            {
                retired = Some(Mark::new(id, version + 1));
            }
        }
        Ok(Self { content_id, content, input_id, fingerprint, retired })
    }

    /// Whether the table has this content.
    pub(crate) fn is_present(&self) -> bool {
        self.content % 2 == 1
    }

    /// The marks of the commit that puts this content in.
    pub(crate) fn to_commit(&self) -> Vec<Mark> {
        let mut marks = vec![
            // Odd stays odd where content is read again.
            Mark::new(self.content_id.clone(), self.content + 1 + self.content % 2),
            Mark::new(self.input_id.clone(), self.fingerprint.as_i64()),
        ];
        marks.extend(self.retired.clone());
        marks
    }
}

fn content_mark(source: &str, fingerprint: Fingerprint) -> String {
    format!("generel/content/{source}/{fingerprint}")
}
