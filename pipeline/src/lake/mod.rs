//! The lake: a folder or object-store URI with one Delta table per table of `generel_schemas::tables`.
//!
//! All writing goes through [`TableWriter`], all reading through [`Lake::provider`]. A Delta commit covers one table, so
//! every table carries its own progress marks (Delta `txn`): side tables commit before the data, and a restart skips
//! the tables that have the mark already.

mod append_log;
mod column;
mod commit;
mod constant;
mod data_files;
mod hybrid;
mod indexes;
pub(crate) mod marks;
mod object_reader;
mod pages;
pub(crate) mod parquet;
mod stats;
mod text;
mod upkeep;
mod vectors;

use std::path::Path;
use std::sync::Arc;

use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SessionStateBuilder;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{StructField, StructType};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, ensure_table_uri};
use generel_schemas::Table;
use url::Url;

pub(crate) use append_log::AppendLog;
pub(crate) use data_files::DataFiles;
pub(crate) use indexes::LakeIndexes;

pub use commit::{Commit, TableWriter};
pub use marks::Mark;
pub use upkeep::{Optimized, Version};
pub use vectors::LakeVectors;

use crate::{Error, Result};

/// A lake at a location.
#[derive(Debug, Clone)]
pub struct Lake {
    root: Url,
}

impl Lake {
    /// A lake for reading and writing; a local folder is created.
    ///
    /// # Errors
    /// When the location is not a folder or URI that can be used.
    pub fn create(location: &str) -> Result<Self> {
        let root = ensure_table_uri(location).map_err(|e| lake_error(location, &e))?;
        Ok(Self { root: as_directory(root) })
    }

    /// A lake in a local folder that may not exist, for reading only: without the folder every table is empty.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn at_folder(folder: &Path) -> Result<Self> {
        let absolute = std::path::absolute(folder).map_err(|e| Error::io(folder, e))?;
        let invalid = || Error::Lake { location: folder.display().to_string(), message: "not a path".into() };
        Ok(Self { root: Url::from_directory_path(absolute).map_err(|()| invalid())? })
    }

    /// A lake that must be there.
    ///
    /// # Errors
    /// When a local folder does not exist.
    pub fn open(location: &str) -> Result<Self> {
        if !location.contains("://") && !Path::new(location).is_dir() {
            let message = "no such folder; generel ingest or generel demo makes one".to_string();
            return Err(Error::Lake { location: location.to_string(), message });
        }
        Self::create(location)
    }

    /// Where it is.
    pub fn location(&self) -> String {
        match self.root.to_file_path() {
            Ok(path) => path.display().to_string(),
            Err(()) => self.root.to_string(),
        }
    }

    /// Whether there is anything at its location to write beside: a folder that exists, or a store.
    pub fn is_there(&self) -> bool {
        self.root.to_file_path().map_or(true, |folder| folder.is_dir())
    }

    /// The table, if it was ever written.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub async fn table(&self, table: &Table) -> Result<Option<DeltaTable>> {
        let failed = |e| Error::delta(table.name, e);
        let url = self.url(table)?;
        if url.to_file_path().is_ok_and(|folder| !folder.exists()) {
            return Ok(None);
        }
        let mut delta = DeltaTableBuilder::from_url(url).and_then(DeltaTableBuilder::build).map_err(failed)?;
        if !delta.verify_deltatable_existence().await.map_err(failed)? {
            return Ok(None);
        }
        delta.load().await.map_err(failed)?;
        Ok(Some(delta))
    }

    /// The table, made if it is not there, with the columns that an earlier version did not have.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub async fn table_or_create(&self, table: &'static Table) -> Result<DeltaTable> {
        let failed = |e| Error::delta(table.name, e);
        let schema: StructType = table.schema().as_ref().try_into_kernel()?;
        let columns: Vec<StructField> = schema.fields().cloned().collect();
        if let Some(found) = self.table(table).await? {
            let stored = found.snapshot().map_err(failed)?.schema();
            let missing: Vec<StructField> = columns.into_iter().filter(|c| stored.field(c.name()).is_none()).collect();
            if missing.is_empty() {
                return Ok(found);
            }
            let version = found.version();
            return match found.add_columns().with_fields(missing).await {
                Ok(extended) => Ok(extended),
                // Another writer added them in the meantime, or nobody can.
                Err(error) => match self.table(table).await? {
                    Some(again) if again.version() != version => Ok(again),
                    _ => Err(failed(error)),
                },
            };
        }
        let uri = self.url(table)?;
        ensure_table_uri(uri.as_str()).map_err(failed)?;
        let made = CreateBuilder::new()
            .with_location(uri.as_str())
            .with_table_name(table.name)
            .with_comment(table.doc)
            .with_columns(columns)
            .with_partition_columns(table.unit)
            .with_save_mode(SaveMode::Ignore)
            // Whoever comes second must not commit the schema again, as version 1: a conflict for all who write.
            .with_commit_properties(CommitProperties::default().with_max_retries(0))
            .await;
        match made {
            Ok(made) => Ok(made),
            // Another writer made it in the meantime.
            Err(error) => match self.table(table).await? {
                Some(found) => Ok(found),
                None => Err(failed(error)),
            },
        }
    }

    /// The table for queries; empty if it was never written.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub async fn provider(&self, table: &Table, session: &dyn Session) -> Result<Arc<dyn TableProvider>> {
        match self.table(table).await? {
            Some(found) => provider_of(table, found, session).await,
            None => Ok(Arc::new(EmptyTable::new(table.schema()))),
        }
    }

    fn url(&self, table: &Table) -> Result<Url> {
        self.root
            .join(&format!("{}/", table.name))
            .map_err(|e| Error::Lake { location: self.location(), message: e.to_string() })
    }
}

/// A version of a table for queries.
///
/// # Errors
/// When its log cannot be read.
pub(crate) async fn provider_of(
    table: &Table,
    found: DeltaTable,
    session: &dyn Session,
) -> Result<Arc<dyn TableProvider>> {
    let failed = |e| Error::delta(table.name, e);
    found.update_datafusion_session(session).map_err(failed)?;
    // With the session's settings: left to itself the scan evaluates conditions while it decodes, and an asynchronous
    // function cannot be run there.
    let settings = SessionStateBuilder::new().with_config(session.config().clone()).build();
    let provider = found.table_provider().with_session(Arc::new(settings)).build().await?;
    Ok(Arc::new(provider))
}

fn as_directory(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

fn lake_error(location: &str, error: &DeltaTableError) -> Error {
    let text = error.to_string();
    let message = if text.contains("ermission denied") {
        "permission denied; check the rights of the folder".to_string()
    } else {
        text.lines().last().unwrap_or("not usable").to_string()
    };
    Error::Lake { location: location.to_string(), message }
}

#[cfg(test)]
mod tests {
    use generel_schemas::tables::MAPPINGS;

    use super::*;

    /// The table before curated mappings had authors.
    static EARLIER: Table = Table { columns: MAPPINGS.columns.split_at(MAPPINGS.columns.len() - 4).0, ..MAPPINGS };

    #[tokio::test]
    async fn an_earlier_table_gets_the_columns_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::at_folder(folder.path()).unwrap();
        let earlier = lake.table_or_create(&EARLIER).await.unwrap();
        assert!(earlier.snapshot().unwrap().schema().field("author_id").is_none());
        for _ in 0..2 {
            let now = lake.table_or_create(&MAPPINGS).await.unwrap();
            assert!(now.snapshot().unwrap().schema().field("author_id").is_some());
            assert_eq!(now.version(), Some(1));
        }
    }
}
