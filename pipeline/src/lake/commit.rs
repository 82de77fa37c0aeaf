//! The only way to write to the lake: Parquet files first, then one commit that adds them, removes what they replace
//! and sets the progress marks. A process killed before the commit leaves unreferenced files and the table as it was.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::TryStreamExt;
use generel_schemas::Table;

use super::Lake;
use super::data_files::DataFiles;
use super::marks::Mark;
use super::parquet::{EncodedGroup, GROUP_ROWS, GroupEncoder};
use crate::{Error, Result, VERSION};

/// Writes one commit to one table.
pub struct TableWriter {
    table: &'static Table,
    delta: DeltaTable,
    encoder: Arc<GroupEncoder>,
    files: DataFiles,
    /// Batches that are no row group yet.
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
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
        let encoder = Arc::new(GroupEncoder::new(table)?);
        let files = DataFiles::new(Arc::clone(&encoder), delta.log_store().as_ref(), unit)?;
        Ok(Self { table, delta, encoder, files, waiting: Vec::new(), waiting_rows: 0 })
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.files.rows()
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
        self.files.append(group).await
    }

    /// Commits; the table's new version.
    ///
    /// # Errors
    /// When storage fails, or another process committed the same marks first.
    pub async fn commit(mut self, commit: Commit) -> Result<u64> {
        let failed = |e| Error::delta(self.table.name, e);
        self.flush().await?;
        let mut actions = self.files.finish().await?;
        if commit.replace_unit {
            actions.extend(removals(self.table, &self.delta, self.files.unit()).await?);
        }
        actions.extend(commit.marks.iter().map(|m| Action::Txn(m.transaction())));
        let state = self.delta.snapshot().map_err(failed)?;
        let read = if commit.replace_unit { Read::Unit } else { Read::Nothing };
        // The builder's own default writes no checkpoints, and a log without them is read from its beginning.
        let finalized = CommitBuilder::from(CommitProperties::default().with_metadata(info(commit.run_id)))
            .with_actions(actions)
            .build(Some(state), self.delta.log_store(), operation(self.table, self.files.unit(), read))
            .await
            .map_err(failed)?;
        Ok(finalized.version())
    }

    /// Ends the writer without a commit: what it has put into the store is removed.
    pub(crate) async fn abandon(self) {
        self.files.abandon().await;
    }
}

/// What a commit depends on: where others have changed that meanwhile, it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Rows are added, whatever others add or replace.
    Nothing,
    /// The unit's rows are those that it knows.
    Unit,
}

/// What a commit does, in the log.
pub(super) fn operation(table: &Table, unit: Option<&str>, read: Read) -> DeltaOperation {
    let of_unit = || table.unit.zip(unit).map(|(column, unit)| format!("{column} = '{}'", unit.replace('\'', "''")));
    let predicate = match read {
        Read::Unit => of_unit(),
        // To state none is to depend on the whole table.
        Read::Nothing => Some("false".to_string()),
    };
    DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: table.unit.map(|unit| vec![unit.to_string()]),
        predicate,
    }
}

/// What a commit says of the run that makes it.
pub(super) fn info(run_id: String) -> HashMap<String, serde_json::Value> {
    HashMap::from([
        ("generelVersion".to_string(), serde_json::Value::from(VERSION)),
        ("generelRun".to_string(), serde_json::Value::from(run_id)),
    ])
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

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray, new_null_array};
    use generel_schemas::tables::CONCEPT_NAMES;

    use super::*;

    fn rows(source: &str, code: &str) -> RecordBatch {
        let schema = CONCEPT_NAMES.schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match (field.name().as_str(), field.is_nullable()) {
                ("source", _) => Arc::new(StringArray::from(vec![source])),
                (_, true) => new_null_array(field.data_type(), 1),
                (_, false) => Arc::new(StringArray::from(vec![code])),
            }
        });
        let columns = columns.collect();
        RecordBatch::try_new(schema, columns).unwrap()
    }

    async fn begun(lake: &Lake, source: &str, code: &str) -> TableWriter {
        let mut writer = lake.writer(&CONCEPT_NAMES, Some(source)).await.unwrap();
        writer.write(rows(source, code)).await.unwrap();
        writer
    }

    #[tokio::test]
    async fn who_adds_rows_is_not_in_the_way_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::at_folder(folder.path()).unwrap();
        begun(&lake, "a", "0").await.commit(Commit::default()).await.unwrap();
        // All begin with the same version.
        let [one, two, elsewhere] = [("a", "1"), ("a", "2"), ("b", "3")];
        let (one, two) = (begun(&lake, one.0, one.1).await, begun(&lake, two.0, two.1).await);
        let elsewhere = begun(&lake, elsewhere.0, elsewhere.1).await;
        let replaces = || Commit { replace_unit: true, ..Commit::default() };
        let late = begun(&lake, "a", "4").await;
        one.commit(Commit::default()).await.unwrap();
        elsewhere.commit(replaces()).await.unwrap();
        assert_eq!(two.commit(Commit::default()).await.unwrap(), 4);
        // It would leave the rows that came meanwhile, or remove what it has not seen.
        late.commit(replaces()).await.unwrap_err();
    }
}
