//! The index in use, and the look-out for a new one: when what it was made from changes, in the lake or in the model's
//! folder, a new one is loaded beside it and takes its place between two batches.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::SystemTime;

use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, KG_EDGES, MAPPINGS};
use tokio::task::JoinHandle;

use super::Reopen;
use super::flow::Shared;
use crate::harmonize::{ConceptIndex, IndexOptions};
use crate::{Error, Result, Session};

/// What an index is made from, as it is now: the versions of tables, and when files were changed.
#[derive(Debug, PartialEq, Eq)]
struct State {
    tables: Vec<Option<u64>>,
    files: Vec<Option<SystemTime>>,
    model: Vec<(OsString, Option<SystemTime>)>,
}

impl State {
    async fn of(session: &Session, options: &IndexOptions) -> Result<Self> {
        let mut tables = Vec::new();
        for table in [&CONCEPTS, &CONCEPT_NAMES, &MAPPINGS, &KG_EDGES] {
            tables.push(session.lake.table(table).await?.and_then(|delta| delta.version()));
        }
        let changed = |path: &String| std::fs::metadata(path).and_then(|m| m.modified()).ok();
        Ok(Self { tables, files: options.curated.iter().map(changed).collect(), model: model_files(session)? })
    }
}

/// The files of the model's folder, and when they were changed.
fn model_files(session: &Session) -> Result<Vec<(OsString, Option<SystemTime>)>> {
    let folder = &session.embedder()?.info().folder;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|e| (e.file_name(), e.metadata().and_then(|m| m.modified()).ok())).collect();
    files.sort();
    Ok(files)
}

/// Loads the index, if the consumer needs one, and watches for the next.
///
/// # Errors
/// When the index cannot be loaded.
pub(super) async fn start(
    shared: &Arc<Shared>,
    session: Option<Session>,
    reopen: Option<Reopen>,
    run_id: &str,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Option<JoinHandle<()>>> {
    if !shared.harmonizer.has_fields() {
        return Ok(None);
    }
    let (Some(session), Some(options)) = (session, shared.options.index.clone()) else {
        return Err(Error::Invalid("a consumer with fields needs a target to harmonize to".into()));
    };
    let state = State::of(&session, &options).await?;
    put(shared, ConceptIndex::load(&session, &options, run_id, progress).await?);
    let (shared, run_id) = (Arc::clone(shared), run_id.to_string());
    Ok(Some(tokio::spawn(async move {
        let (mut state, mut session) = (state, session);
        loop {
            tokio::time::sleep(shared.options.refresh).await;
            match next(&mut session, reopen.as_ref(), &options, &run_id, &state).await {
                Ok(Some((new, index))) => {
                    state = new;
                    if shared.index.load().as_ref().is_none_or(|held| held.version != index.version) {
                        put(&shared, index);
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "a new index cannot be loaded; the old one stays"),
            }
        }
    })))
}

async fn next(
    session: &mut Session,
    reopen: Option<&Reopen>,
    options: &IndexOptions,
    run_id: &str,
    state: &State,
) -> Result<Option<(State, ConceptIndex)>> {
    let new = State::of(session, options).await?;
    if new == *state {
        return Ok(None);
    }
    if let Some(reopen) = reopen.filter(|_| new.model != state.model) {
        *session = reopen().await?;
    }
    let index = ConceptIndex::load(session, options, run_id, &|_, _| {}).await?;
    Ok(Some((new, index)))
}

fn put(shared: &Shared, index: ConceptIndex) {
    tracing::info!(version = index.version, concepts = index.concepts(), "index in use");
    shared.metrics.index(&index.model_id, &index.version, index.concepts());
    shared.index.store(Some(Arc::new(index)));
}
