//! The Parquet files of one commit: row groups go into the store as they come, and nobody sees them before the commit.

use std::sync::Arc;

use bytes::Bytes;
use deltalake::kernel::{Action, Add};
use deltalake::logstore::LogStore;
use deltalake::{ObjectStore, Path};
use object_store::{ObjectStoreExt, WriteMultipart};
use uuid::Uuid;

use super::parquet::{EncodedGroup, FileWriter, GroupEncoder};
use super::stats;
use crate::{Error, Result};

/// A data file is closed at about this size: few enough files to list, small enough to read and rewrite one.
pub(super) const TARGET_FILE_BYTES: usize = 256 << 20;
/// Parts of an upload in flight.
const PARTS_IN_FLIGHT: usize = 2;

/// Writes the files of one commit, all of one unit (see [`generel_schemas::Table::unit`]).
pub(crate) struct DataFiles {
    encoder: Arc<GroupEncoder>,
    unit: Option<String>,
    store: Arc<dyn ObjectStore>,
    /// The table's folder, for errors.
    location: String,
    open: Option<OpenFile>,
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

impl DataFiles {
    /// In the folder of a table; `unit` is `None` for tables without units.
    pub(crate) fn new(encoder: Arc<GroupEncoder>, log_store: &dyn LogStore, unit: Option<&str>) -> Result<Self> {
        let table = encoder.table();
        if table.unit.is_some() != unit.is_some() {
            return Err(Error::Internal(format!("table {} and its writer disagree about units", table.name)));
        }
        let url = log_store.config().location();
        Ok(Self {
            encoder,
            unit: unit.map(str::to_string),
            store: log_store.object_store(None),
            location: url.to_file_path().map_or_else(|()| url.to_string(), |path| path.display().to_string()),
            open: None,
            done: Vec::new(),
            rows: 0,
        })
    }

    /// The unit of all its rows.
    pub(super) fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// Rows appended so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
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
        let path = match (self.encoder.table().unit, &self.unit) {
            (Some(column), Some(unit)) => Path::from_iter([format!("{column}={unit}"), name]),
            _ => Path::from(name),
        };
        let upload = self.store.put_multipart(&path).await.map_err(self.storage())?;
        Ok(OpenFile { path, parquet: self.encoder.file()?, upload: WriteMultipart::new(upload), bytes: 0 })
    }

    async fn close_file(&mut self) -> Result<()> {
        let Some(OpenFile { path, parquet, mut upload, bytes }) = self.open.take() else { return Ok(()) };
        let (failed, table) = (self.storage(), self.encoder.table());
        let (tail, metadata) = parquet.finish()?;
        let size = bytes + tail.len();
        upload.put(Bytes::from(tail));
        upload.finish().await.map_err(failed)?;
        self.done.push(Action::Add(Add {
            path: path.to_string(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            partition_values: table.unit.map(|c| (c.to_string(), self.unit.clone())).into_iter().collect(),
            modification_time: chrono::Utc::now().timestamp_millis(),
            data_change: true,
            stats: Some(stats::of(table, &metadata)),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }));
        Ok(())
    }

    /// Ends the last file; what a commit says of all of them.
    ///
    /// # Errors
    /// When storage fails.
    pub(crate) async fn finish(&mut self) -> Result<Vec<Action>> {
        self.close_file().await?;
        Ok(std::mem::take(&mut self.done))
    }

    /// Ends without a commit: what is in the store is removed.
    pub(super) async fn abandon(mut self) {
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

    /// Storage failed: the table's folder is named, for it may be the disk that is full.
    fn storage(&self) -> impl Fn(object_store::Error) -> Error + use<> {
        let location = self.location.clone();
        move |e| Error::Lake { location: location.clone(), message: format!("cannot be written: {e}") }
    }
}
