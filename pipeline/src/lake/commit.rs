//! The only way to write to the lake: Parquet files first, then one commit that adds them, removes what they replace
//! and sets the progress marks. A process killed before the commit leaves unreferenced files and the table as it was.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use deltalake::kernel::Action;
use deltalake::kernel::transaction::CommitBuilder;
use deltalake::parquet::basic::{Compression, ZstdLevel};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::writer::{DeltaWriter, RecordBatchWriter};
use deltalake::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use generel_schemas::Table;

use super::Lake;
use super::marks::Mark;
use crate::{Error, Result, VERSION};

/// A data file is closed at about this size.
const TARGET_FILE_BYTES: u64 = 128 << 20;

/// Writes one commit to one table.
pub struct TableWriter {
    table: &'static Table,
    delta: DeltaTable,
    writer: RecordBatchWriter,
    rows: u64,
}

/// What a commit says beside its rows.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Remove the rows of this unit (see [`Table::unit`]) in the same commit.
    pub replace_unit: Option<String>,
    /// Progress marks to set.
    pub marks: Vec<Mark>,
    /// The run, for the commit info.
    pub run_id: String,
}

impl Lake {
    /// A writer for one commit.
    ///
    /// # Errors
    /// When the table can be neither read nor made.
    pub async fn writer(&self, table: &'static Table) -> Result<TableWriter> {
        let delta = self.table_or_create(table).await?;
        TableWriter::new(table, delta)
    }
}

impl TableWriter {
    pub(crate) fn new(table: &'static Table, delta: DeltaTable) -> Result<Self> {
        let level =
            ZstdLevel::try_new(1).map_err(|e| Error::delta(table.name, DeltaTableError::generic(e.to_string())))?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
        let writer = RecordBatchWriter::for_table(&delta)
            .map_err(|e| Error::delta(table.name, e))?
            .with_target_file_size(TARGET_FILE_BYTES)
            .with_writer_properties(properties);
        Ok(Self { table, delta, writer, rows: 0 })
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes rows; nobody sees them before [`TableWriter::commit`].
    ///
    /// # Errors
    /// When the batch has not the table's schema or storage fails.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).await.map_err(|e| Error::delta(self.table.name, e))
    }

    /// Commits; the table's new version.
    ///
    /// # Errors
    /// When storage fails, or another process committed the same marks first.
    pub async fn commit(mut self, commit: Commit) -> Result<u64> {
        let failed = |e| Error::delta(self.table.name, e);
        let mut actions: Vec<Action> =
            self.writer.flush().await.map_err(failed)?.into_iter().map(Action::Add).collect();
        if let Some(unit) = &commit.replace_unit {
            actions.extend(self.removals(unit).await?);
        }
        actions.extend(commit.marks.iter().map(|m| Action::Txn(m.transaction())));
        let state = self.delta.snapshot().map_err(failed)?;
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: self.table.unit.map(|unit| vec![unit.to_string()]),
            predicate: None,
        };
        let info = HashMap::from([
            ("generelVersion".to_string(), serde_json::Value::from(VERSION)),
            ("generelRun".to_string(), serde_json::Value::from(commit.run_id)),
        ]);
        let finalized = CommitBuilder::default()
            .with_actions(actions)
            .with_app_metadata(info)
            .build(Some(state), self.delta.log_store(), operation)
            .await
            .map_err(failed)?;
        Ok(finalized.version())
    }

    /// The files of a unit, to be removed.
    async fn removals(&self, unit: &str) -> Result<Vec<Action>> {
        let failed = |e| Error::delta(self.table.name, e);
        let Some(column) = self.table.unit else {
            return Err(Error::Internal(format!("table {} has no unit of replacement", self.table.name)));
        };
        let state = self.delta.snapshot().map_err(failed)?;
        let log_store = self.delta.log_store();
        let files: Vec<_> =
            state.snapshot().file_views(log_store.as_ref(), None).try_collect().await.map_err(failed)?;
        Ok(files
            .iter()
            .filter(|f| f.partition_values_map().get(column).and_then(|v| v.as_deref()) == Some(unit))
            .map(|f| Action::Remove(f.remove_action(true)))
            .collect())
    }
}
