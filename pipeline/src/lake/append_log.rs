//! A table's log for one who appends to it again and again.
//!
//! [`deltalake::DeltaTable`] holds what the log says of every file, and makes it anew with every commit. To append, the
//! version and the marks are enough, so that a commit to a table of many files costs what one to an empty table does.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;

use deltalake::checkpoints::create_checkpoint_from_table_url_and_cleanup;
use deltalake::kernel::Action;
use deltalake::kernel::transaction::{CommitData, PROTOCOL, TransactionError};
use deltalake::logstore::{CommitOrBytes, LogStore, LogStoreRef, commit_uri_from_version, get_actions};
use deltalake::table::config::TablePropertiesExt;
use generel_schemas::Table;
use object_store::ObjectStoreExt;
use uuid::Uuid;

use super::Lake;
use super::commit::{Read, info, operation};
use super::marks::{self, Mark};
use crate::{Error, Result};

/// A table as one who appends to it knows it.
pub(crate) struct AppendLog {
    lake: Lake,
    table: &'static Table,
    log_store: LogStoreRef,
    version: u64,
    /// As of this version, of all ids that were ever asked for.
    marks: HashMap<String, Option<i64>>,
    checkpoint_interval: NonZeroU64,
}

impl AppendLog {
    /// The log of a table, which is made if it is not there, with the marks of some ids.
    ///
    /// # Errors
    /// When the table can be neither read nor made, or needs what this version cannot write.
    pub(crate) async fn open(lake: &Lake, table: &'static Table, ids: &[&str]) -> Result<Self> {
        let failed = |e| Error::delta(table.name, e);
        let delta = lake.table_or_create(table).await?;
        let state = delta.snapshot().map_err(failed)?;
        PROTOCOL.can_write_to(state).map_err(|e| failed(e.into()))?;
        let mut marks = HashMap::new();
        for id in ids {
            marks.insert((*id).to_string(), marks::read(table, &delta, id).await?);
        }
        Ok(Self {
            lake: lake.clone(),
            table,
            log_store: delta.log_store(),
            version: state.version(),
            marks,
            checkpoint_interval: state.table_config().checkpoint_interval(),
        })
    }

    /// Where the table is.
    pub(crate) fn log_store(&self) -> &dyn LogStore {
        self.log_store.as_ref()
    }

    /// Marks as of the version that it knows, one for each id; `None` where a mark was never set.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn marks(&mut self, ids: &[&str]) -> Result<Vec<Option<i64>>> {
        if ids.iter().any(|id| !self.marks.contains_key(*id)) {
            // The table's state is needed once for an id; what came meanwhile concerns the other marks too.
            self.open_anew(ids).await?;
        }
        Ok(ids.iter().map(|id| self.marks.get(*id).copied().flatten()).collect())
    }

    /// Takes in what others have committed.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn catch_up(&mut self) -> Result<()> {
        let table = self.table.name;
        let failed = |e| Error::delta(table, e);
        loop {
            let Some(bytes) = self.log_store.read_commit_entry(self.version + 1).await.map_err(failed)? else {
                // Nothing new, or a log that has gone from under the version.
                return if self.is_there().await? { Ok(()) } else { self.open_anew(&[]).await };
            };
            let actions = get_actions(self.version + 1, &bytes).map_err(failed)?;
            if actions.iter().any(|action| matches!(action, Action::Metadata(_) | Action::Protocol(_))) {
                // Whether rows still fit is asked as at the beginning.
                return self.open_anew(&[]).await;
            }
            for action in actions {
                if let Action::Txn(transaction) = action
                    && let Some(mark) = self.marks.get_mut(&transaction.app_id)
                {
                    *mark = Some(transaction.version);
                }
            }
            self.version += 1;
        }
    }

    /// Whether the log still has the version: a table that was removed would begin anew in the middle.
    async fn is_there(&self) -> Result<bool> {
        match self.log_store.object_store(None).head(&commit_uri_from_version(Some(self.version))).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(Error::delta(self.table.name, error.into())),
        }
    }

    /// Reads the table's state for all ids that were ever asked for, and some more.
    async fn open_anew(&mut self, more: &[&str]) -> Result<()> {
        let ids: BTreeSet<&str> = self.marks.keys().map(String::as_str).chain(more.iter().copied()).collect();
        *self = Self::open(&self.lake, self.table, &Vec::from_iter(ids)).await?;
        Ok(())
    }

    /// Commits files (see [`super::DataFiles`]) and marks as the next version. False where others were first: nothing is
    /// done, and what they have committed is known now.
    ///
    /// # Errors
    /// When storage fails; the commit may be there nevertheless, which the marks say.
    pub(crate) async fn append(
        &mut self,
        files: &[Action],
        unit: Option<&str>,
        marks: &[Mark],
        run_id: &str,
    ) -> Result<bool> {
        let failed = |e| Error::delta(self.table.name, e);
        if !self.is_there().await? {
            self.open_anew(&[]).await?;
            return Ok(false);
        }
        let transactions = marks.iter().map(|mark| Action::Txn(mark.transaction()));
        let actions = files.iter().cloned().chain(transactions).collect();
        let data =
            CommitData::new(actions, operation(self.table, unit, Read::Nothing), info(run_id.to_string()), Vec::new());
        let bytes = CommitOrBytes::LogBytes(data.get_bytes().map_err(|e| failed(e.into()))?);
        let next = self.version + 1;
        match self.log_store.write_commit_entry(next, bytes, Uuid::new_v4()).await {
            Ok(()) => {}
            Err(TransactionError::VersionAlreadyExists(_)) => {
                self.catch_up().await?;
                return Ok(false);
            }
            Err(error) => return Err(failed(error.into())),
        }
        self.version = next;
        self.marks.extend(marks.iter().map(|mark| (mark.id.clone(), Some(mark.version))));
        if (next + 1).is_multiple_of(self.checkpoint_interval.get()) {
            self.checkpoint().await;
        }
        Ok(true)
    }

    /// Writes a checkpoint and removes what of the log has expired. The commit stands without it.
    async fn checkpoint(&self) {
        let root = self.log_store.root_url().clone();
        if let Err(error) = create_checkpoint_from_table_url_and_cleanup(root, self.version, None, None).await {
            tracing::warn!(table = self.table.name, version = self.version, %error, "no checkpoint could be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, new_null_array};
    use generel_schemas::tables::HARMONIZED;

    use super::super::parquet::GroupEncoder;
    use super::super::{Commit, DataFiles};
    use super::*;

    const UNIT: &str = "a consumer/1";

    fn lake() -> (tempfile::TempDir, Lake) {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::at_folder(folder.path()).unwrap();
        (folder, lake)
    }

    fn rows(count: usize) -> RecordBatch {
        let schema = HARMONIZED.schema();
        let columns = HARMONIZED.columns.iter().zip(schema.fields()).map(|(column, field)| {
            let array: ArrayRef = match column.kind {
                _ if field.is_nullable() => new_null_array(field.data_type(), count),
                generel_schemas::tables::Kind::Text => {
                    Arc::new(arrow::array::StringArray::from_iter_values((0..count).map(|_| UNIT)))
                }
                _ => arrow::compute::cast(&arrow::array::Int64Array::from(vec![1; count]), field.data_type()).unwrap(),
            };
            array
        });
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
    }

    async fn files(log: &AppendLog, count: usize) -> Vec<Action> {
        let encoder = Arc::new(GroupEncoder::new(&HARMONIZED).unwrap());
        let mut files = DataFiles::new(Arc::clone(&encoder), log.log_store(), Some(UNIT)).unwrap();
        let mut group = encoder.begin();
        group.write(&rows(count)).unwrap();
        files.append(group.finish().unwrap()).await.unwrap();
        files.finish().await.unwrap()
    }

    async fn append(log: &mut AppendLog, count: usize, id: &str, next: i64) -> bool {
        let files = files(log, count).await;
        log.append(&files, Some(UNIT), &[Mark::new(id, next)], "a run").await.unwrap()
    }

    async fn count(lake: &Lake) -> usize {
        let session = datafusion::prelude::SessionContext::new();
        let provider = lake.provider(&HARMONIZED, &session.state()).await.unwrap();
        session.read_table(provider).unwrap().count().await.unwrap()
    }

    #[tokio::test]
    async fn of_two_who_append_one_waits_and_knows_the_others_marks() {
        let (_folder, lake) = lake();
        let mut one = AppendLog::open(&lake, &HARMONIZED, &[]).await.unwrap();
        let mut two = AppendLog::open(&lake, &HARMONIZED, &[]).await.unwrap();
        assert_eq!(one.marks(&["a", "b"]).await.unwrap(), [None, None]);
        assert_eq!(two.marks(&["a"]).await.unwrap(), [None]);
        assert!(append(&mut one, 3, "a", 7).await);
        assert_eq!(one.marks(&["a", "b"]).await.unwrap(), [Some(7), None]);
        // The other knows of it when it comes second.
        assert_eq!(two.marks(&["a"]).await.unwrap(), [None]);
        assert!(!append(&mut two, 5, "a", 8).await);
        assert_eq!(two.marks(&["a"]).await.unwrap(), [Some(7)]);
        assert!(append(&mut two, 5, "a", 8).await);
        // Nothing is there twice, and the first learns of it when it asks.
        assert_eq!(count(&lake).await, 8);
        one.catch_up().await.unwrap();
        assert_eq!(one.marks(&["a", "b"]).await.unwrap(), [Some(8), None]);
        // A table is the same to all: its own readers and writers, too.
        let table = lake.table(&HARMONIZED).await.unwrap().unwrap();
        assert_eq!(table.version(), Some(2));
        assert_eq!(marks::read(&HARMONIZED, &table, "a").await.unwrap(), Some(8));
        let mut writer = lake.writer(&HARMONIZED, Some(UNIT)).await.unwrap();
        writer.write(rows(2)).await.unwrap();
        let commit = Commit { replace_unit: true, marks: vec![Mark::new("b", 1)], run_id: String::new() };
        writer.commit(commit).await.unwrap();
        assert_eq!(count(&lake).await, 2);
        one.catch_up().await.unwrap();
        assert_eq!(one.marks(&["b", "a"]).await.unwrap(), [Some(1), Some(8)]);
        assert!(append(&mut one, 1, "b", 2).await);
        assert_eq!(count(&lake).await, 3);
    }

    #[tokio::test]
    async fn a_table_that_was_removed_is_made_anew() {
        let (folder, lake) = lake();
        let mut log = AppendLog::open(&lake, &HARMONIZED, &[]).await.unwrap();
        assert_eq!(log.marks(&["a"]).await.unwrap(), [None]);
        assert!(append(&mut log, 3, "a", 7).await);
        let mut other = AppendLog::open(&lake, &HARMONIZED, &[]).await.unwrap();
        assert_eq!(other.marks(&["a"]).await.unwrap(), [Some(7)]);
        std::fs::remove_dir_all(folder.path().join(HARMONIZED.name)).unwrap();
        assert!(!append(&mut log, 3, "a", 8).await);
        // One who does not append learns of it, too.
        other.catch_up().await.unwrap();
        assert_eq!(other.marks(&["a"]).await.unwrap(), [None]);
        assert_eq!(log.marks(&["a"]).await.unwrap(), [None]);
        assert!(append(&mut log, 3, "a", 1).await);
        assert_eq!(count(&lake).await, 3);
    }

    #[tokio::test]
    async fn a_checkpoint_is_written_as_often_as_the_table_says() {
        let (folder, lake) = lake();
        let mut log = AppendLog::open(&lake, &HARMONIZED, &[]).await.unwrap();
        let every = log.checkpoint_interval.get() as i64;
        for next in 1..=every {
            assert!(log.append(&[], Some(UNIT), &[Mark::new("a", next)], "a run").await.unwrap());
        }
        let entries = std::fs::read_dir(folder.path().join(HARMONIZED.name).join("_delta_log")).unwrap();
        let names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names.iter().filter(|name| name.contains(".checkpoint")).count(), 1, "{names:?}");
        let mut again = AppendLog::open(&lake, &HARMONIZED, &[]).await.unwrap();
        assert_eq!(again.marks(&["a"]).await.unwrap(), [Some(every)]);
    }
}
