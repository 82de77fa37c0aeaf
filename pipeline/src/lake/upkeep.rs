//! Upkeep of the lake's tables, by Delta's own operations: compaction, clean-up, history.

use std::num::NonZeroU64;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use deltalake::operations::optimize::OptimizeType;
use futures::{StreamExt, TryStreamExt};
use generel_schemas::Table;

use super::Lake;
use crate::{Error, Result};

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Optimized {
    /// Files before.
    pub removed: u64,
    /// Files after.
    pub added: u64,
    /// Files that were left alone.
    pub skipped: u64,
}

/// One version of a table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// The version.
    pub version: u64,
    /// When it was committed.
    pub at: Option<DateTime<Utc>>,
    /// What was done: WRITE, OPTIMIZE …
    pub operation: String,
    /// The run that did it (see the table `runs`), where it was ours.
    pub run: Option<String>,
}

impl Lake {
    /// Puts small files together, within each unit of replacement, so that a changed input still replaces whole files.
    /// With `z_order` rows are also sorted along those columns, so that filters on any of them skip files.
    ///
    /// `None` if the table was never written.
    ///
    /// # Errors
    /// When the table cannot be read or written, or has no such column.
    pub async fn optimize(
        &self,
        table: &'static Table,
        z_order: &[String],
        target_bytes: Option<NonZeroU64>,
    ) -> Result<Option<Optimized>> {
        if let Some(unknown) = z_order.iter().find(|name| !table.columns.iter().any(|c| c.name == **name)) {
            return Err(Error::Invalid(format!("table {} has no column {unknown}", table.name)));
        }
        let Some(delta) = self.table(table).await? else { return Ok(None) };
        let usual = NonZeroU64::new(super::data_files::TARGET_FILE_BYTES as u64);
        let mut builder = delta.optimize();
        if !z_order.is_empty() {
            builder = builder.with_type(OptimizeType::ZOrder(z_order.to_vec()));
        }
        if let Some(bytes) = target_bytes.or(usual) {
            builder = builder.with_target_size(bytes);
        }
        let (_, metrics) = builder.await.map_err(|e| Error::delta(table.name, e))?;
        Ok(Some(Optimized {
            removed: metrics.num_files_removed,
            added: metrics.num_files_added,
            skipped: metrics.total_files_skipped as u64,
        }))
    }

    /// Deletes files that no version younger than `keep` refers to, those of killed runs among them; with `dry_run` only
    /// names them. `None` if the table was never written.
    ///
    /// # Errors
    /// When storage fails, or `keep` is shorter than a week and not `force`d: a running ingest would lose its files.
    pub async fn vacuum(
        &self,
        table: &'static Table,
        keep: TimeDelta,
        force: bool,
        dry_run: bool,
    ) -> Result<Option<Vec<String>>> {
        let Some(delta) = self.table(table).await? else { return Ok(None) };
        let builder = delta
            .vacuum()
            .with_retention_period(keep)
            .with_enforce_retention_duration(!force)
            .with_mode(deltalake::operations::vacuum::VacuumMode::Full)
            .with_dry_run(dry_run);
        let (_, metrics) = builder.await.map_err(|e| Error::delta(table.name, e))?;
        let mut deleted = metrics.files_deleted;
        if let Ok(folder) = self.url(table)?.to_file_path() {
            torn(&folder, &folder, keep, dry_run, &mut deleted).map_err(|e| Error::io(&folder, e))?;
        }
        Ok(Some(deleted))
    }

    /// The table's versions, youngest first. Empty if the table was never written.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn history(&self, table: &'static Table, limit: Option<usize>) -> Result<Vec<Version>> {
        let Some(delta) = self.table(table).await? else { return Ok(Vec::new()) };
        let failed = |e| Error::delta(table.name, e);
        let newest = delta.version().unwrap_or_default();
        let commits: Vec<_> =
            delta.history(limit).enumerate().map(|(i, c)| c.map(|c| (i, c))).try_collect().await.map_err(failed)?;
        let version = |(index, commit): (usize, deltalake::kernel::CommitInfo)| Version {
            version: newest.saturating_sub(index as u64),
            at: commit.timestamp.and_then(DateTime::from_timestamp_millis),
            operation: commit.operation.unwrap_or_default(),
            run: commit.info.get("generelRun").and_then(|v| v.as_str()).map(str::to_string),
        };
        Ok(commits.into_iter().map(version).collect())
    }
}

/// Files that a killed process was writing (`….parquet#1`): the local store hides them from every listing.
fn torn(root: &Path, folder: &Path, keep: TimeDelta, dry_run: bool, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type()?.is_dir() {
            torn(root, &path, keep, dry_run, found)?;
            continue;
        }
        let part = name.rsplit_once('#').is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if part && age >= keep.to_std().unwrap_or_default() {
            if !dry_run {
                std::fs::remove_file(&path)?;
            }
            found.push(path.strip_prefix(root).unwrap_or(&path).display().to_string());
        }
    }
    Ok(())
}
