//! The only way to write to the lake: Parquet files first, then one commit that adds them, removes what they replace
//! and sets the progress marks. A process killed before the commit leaves unreferenced files and the table as it was.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, ObjectStore, Path};
use futures::TryStreamExt;
use generel_schemas::Table;
use object_store::{ObjectStoreExt, WriteMultipart};
use uuid::Uuid;

use super::marks::Mark;
use super::parquet::{EncodedGroup, FileWriter, GROUP_ROWS, GroupEncoder};
use super::{Lake, stats};
use crate::{Error, Result, VERSION};

/// A data file is closed at about this size: few enough files to list, small enough to read and rewrite one.
pub(super) const TARGET_FILE_BYTES: usize = 256 << 20;
/// Parts of an upload in flight.
const PARTS_IN_FLIGHT: usize = 2;

/// Writes one commit to one table.
pub struct TableWriter {
    table: &'static Table,
    delta: DeltaTable,
    unit: Option<String>,
    encoder: Arc<GroupEncoder>,
    store: Arc<dyn ObjectStore>,
    open: Option<OpenFile>,
    /// Batches that are no row group yet.
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    done: Vec<Action>,
    rows: u64,
}

/// A file of which parts are in the store already.
struct OpenFile {
    path: Path,
    parquet: FileWriter,
    upload: WriteMultipart,
    bytes: usize,
}

/// What a commit says beside its rows.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Remove the rows of the writer's unit (see [`Table::unit`]) in the same commit.
    pub replace_unit: bool,
    /// Progress marks to set.
    pub marks: Vec<Mark>,
    /// The run, for the commit info.
    pub run_id: String,
}

impl Lake {
    /// A writer for one commit. All its rows are of one unit (see [`Table::unit`]); `None` for tables without units.
    ///
    /// # Errors
    /// When the table can be neither read nor made.
    pub async fn writer(&self, table: &'static Table, unit: Option<&str>) -> Result<TableWriter> {
        let delta = self.table_or_create(table).await?;
        TableWriter::new(table, delta, unit)
    }
}

impl TableWriter {
    pub(crate) fn new(table: &'static Table, delta: DeltaTable, unit: Option<&str>) -> Result<Self> {
        Self::of_encoded(Arc::new(GroupEncoder::new(table)?), delta, unit)
    }

    /// For row groups that somebody else encodes.
    pub(crate) fn of_encoded(encoder: Arc<GroupEncoder>, delta: DeltaTable, unit: Option<&str>) -> Result<Self> {
        let table = encoder.table();
        if table.unit.is_some() != unit.is_some() {
            return Err(Error::Internal(format!("table {} and its writer disagree about units", table.name)));
        }
        let store = delta.log_store().object_store(None);
        Ok(Self {
            table,
            delta,
            unit: unit.map(str::to_string),
            encoder,
            store,
            open: None,
            waiting: Vec::new(),
            waiting_rows: 0,
            done: Vec::new(),
            rows: 0,
        })
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What encodes row groups for [`TableWriter::append`], on other threads.
    pub(crate) fn encoder(&self) -> Arc<GroupEncoder> {
        Arc::clone(&self.encoder)
    }

    /// Writes rows; nobody sees them before [`TableWriter::commit`].
    ///
    /// # Errors
    /// When the batch has not the table's schema or storage fails.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.waiting_rows += batch.num_rows();
        self.waiting.push(batch);
        if self.waiting_rows >= GROUP_ROWS { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.waiting);
        if std::mem::take(&mut self.waiting_rows) == 0 {
            return Ok(());
        }
        let encoder = self.encoder();
        let group = tokio::task::spawn_blocking(move || {
            let mut group = encoder.begin();
            batches.iter().try_for_each(|batch| group.write(batch))?;
            group.finish()
        });
        let group = group.await.map_err(|e| Error::Internal(e.to_string()))??;
        self.append(group).await
    }

    /// Appends an encoded row group.
    ///
    /// # Errors
    /// When storage fails.
    pub(crate) async fn append(&mut self, group: EncodedGroup) -> Result<()> {
        if group.rows() == 0 {
            return Ok(());
        }
        self.rows += group.rows();
        if self.open.is_none() {
            self.open = Some(self.open_file().await?);
        }
        let failed = self.storage();
        let Some(file) = &mut self.open else { return Ok(()) };
        let bytes = file.parquet.append(group)?;
        file.bytes += bytes.len();
        file.upload.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(failed)?;
        file.upload.put(Bytes::from(bytes));
        if file.bytes >= TARGET_FILE_BYTES { self.close_file().await } else { Ok(()) }
    }

    async fn open_file(&mut self) -> Result<OpenFile> {
        let name = format!("part-{:05}-{}-c000.zstd.parquet", self.done.len(), Uuid::new_v4());
        let path = match (self.table.unit, &self.unit) {
            (Some(column), Some(unit)) => Path::from_iter([format!("{column}={unit}"), name]),
            _ => Path::from(name),
        };
        let upload = self.store.put_multipart(&path).await.map_err(self.storage())?;
        Ok(OpenFile { path, parquet: self.encoder.file()?, upload: WriteMultipart::new(upload), bytes: 0 })
    }

    async fn close_file(&mut self) -> Result<()> {
        let Some(OpenFile { path, parquet, mut upload, bytes }) = self.open.take() else { return Ok(()) };
        let failed = self.storage();
        let (tail, metadata) = parquet.finish()?;
        let size = bytes + tail.len();
        upload.put(Bytes::from(tail));
        upload.finish().await.map_err(failed)?;
        self.done.push(Action::Add(Add {
            path: path.to_string(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            partition_values: self.table.unit.map(|c| (c.to_string(), self.unit.clone())).into_iter().collect(),
            modification_time: chrono::Utc::now().timestamp_millis(),
            data_change: true,
            stats: Some(stats::of(self.table, &metadata)),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }));
        Ok(())
    }

    /// Commits; the table's new version.
    ///
    /// # Errors
    /// When storage fails, or another process committed the same marks first.
    pub async fn commit(mut self, commit: Commit) -> Result<u64> {
        let failed = |e| Error::delta(self.table.name, e);
        self.flush().await?;
        self.close_file().await?;
        let mut actions = std::mem::take(&mut self.done);
        if commit.replace_unit {
            actions.extend(removals(self.table, &self.delta, self.unit.as_deref()).await?);
        }
        actions.extend(commit.marks.iter().map(|m| Action::Txn(m.transaction())));
        let state = self.delta.snapshot().map_err(failed)?;
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: self.table.unit.map(|unit| vec![unit.to_string()]),
            // What the commit depends on; without it a replacement anywhere in the table would be a conflict.
            predicate: self.unit_predicate(),
        };
        let info = HashMap::from([
            ("generelVersion".to_string(), serde_json::Value::from(VERSION)),
            ("generelRun".to_string(), serde_json::Value::from(commit.run_id)),
        ]);
        // The builder's own default writes no checkpoints, and a log without them is read from its beginning.
        let finalized = CommitBuilder::from(CommitProperties::default().with_metadata(info))
            .with_actions(actions)
            .build(Some(state), self.delta.log_store(), operation)
            .await
            .map_err(failed)?;
        Ok(finalized.version())
    }

    /// Ends the writer without a commit: what it has put into the store is removed.
    pub(crate) async fn abandon(mut self) {
        if let Some(file) = self.open.take() {
            // The upload's own error does not matter any more: the caller has the one that ended it.
            let _ = file.upload.abort().await;
        }
        for action in &self.done {
            if let Action::Add(add) = action {
                let _ = self.store.delete(&Path::from(add.path.as_str())).await;
            }
        }
    }

    /// The writer's unit in SQL.
    fn unit_predicate(&self) -> Option<String> {
        let (column, unit) = (self.table.unit?, self.unit.as_deref()?);
        Some(format!("{column} = '{}'", unit.replace('\'', "''")))
    }

    /// Storage failed: the table's folder is named, for it may be the disk that is full.
    fn storage(&self) -> impl Fn(object_store::Error) -> Error + use<> {
        let url = self.delta.log_store().config().location().clone();
        let location = url.to_file_path().map_or_else(|()| url.to_string(), |path| path.display().to_string());
        move |e| Error::Lake { location: location.clone(), message: format!("cannot be written: {e}") }
    }
}

/// The files of a unit, to be removed.
async fn removals(table: &Table, delta: &DeltaTable, unit: Option<&str>) -> Result<Vec<Action>> {
    let failed = |e| Error::delta(table.name, e);
    let Some(column) = table.unit else {
        return Err(Error::Internal(format!("table {} has no unit of replacement", table.name)));
    };
    let state = delta.snapshot().map_err(failed)?;
    let log_store = delta.log_store();
    let files: Vec<_> = state.snapshot().file_views(log_store.as_ref(), None).try_collect().await.map_err(failed)?;
    Ok(files
        .iter()
        .filter(|f| f.partition_values_map().get(column).and_then(|v| v.as_deref()) == unit)
        .map(|f| Action::Remove(f.remove_action(true)))
        .collect())
}
