//! A run's state on disk: parameters, moments, and where it was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::parameters::Parameters;
use crate::info::read_json;
use crate::{Error, Result};

const STATE: &str = "state.json";
const TENSORS: &str = "state.safetensors";
const GENE_TEXTS: &str = "gene_texts.f32";
/// What a checkpoint's folder is called until it is whole.
const STAGING: &str = ".checkpoint-";
/// Checkpoints that are kept.
const KEPT: usize = 2;

/// What a run goes on from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) position: Position,
    pub(super) values: Vec<f32>,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
    /// The moving average of the parameters.
    pub(super) average: Vec<f32>,
    pub(super) gene_texts: Vec<f32>,
}

/// Where a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Steps done.
    pub(super) step: u64,
    /// Hash over options and data: a checkpoint of another run is refused.
    pub(super) run: String,
    /// What decides the weights, by name, to say what is other.
    pub(super) options: BTreeMap<String, Value>,
    /// Seconds that the steps took, over all of the run's processes.
    pub(super) seconds: f64,
    /// BLAKE3 of the other files, one after the other.
    pub(super) hash: String,
}

/// Writes a checkpoint, whole or not at all, and removes all but the last ones.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn save(folder: &Path, parameters: &Parameters, state: &State) -> Result<()> {
    let failed = |e: std::io::Error| Error::folder(folder, e);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let staging = tempfile::Builder::new().prefix(STAGING).tempdir_in(folder).map_err(failed)?;
    let vectors: [(&str, &[f32]); 4] =
        [("p.", &state.values), ("m.", &state.first), ("v.", &state.second), ("a.", &state.average)];
    parameters.save(&staging.path().join(TENSORS), &vectors)?;
    let genes: Vec<u8> = state.gene_texts.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(staging.path().join(GENE_TEXTS), genes).map_err(failed)?;
    let position = Position { hash: hash(staging.path())?, ..state.position.clone() };
    let position = serde_json::to_vec_pretty(&position).map_err(|e| Error::folder(folder, e))?;
    std::fs::write(staging.path().join(STATE), position).map_err(failed)?;
    let target = folder.join(format!("step-{:07}", state.position.step));
    // A run that was told to begin again may leave one of the same step.
    let _ = std::fs::remove_dir_all(&target);
    std::fs::rename(staging.keep(), &target).map_err(failed)?;
    for old in all(folder)?.iter().rev().skip(KEPT) {
        let _ = std::fs::remove_dir_all(old);
    }
    Ok(())
}

/// The last checkpoint of a folder, if it has one.
///
/// # Errors
/// When it is of another run, or damaged.
pub(super) fn load(folder: &Path, parameters: &Parameters, of: &Position) -> Result<Option<State>> {
    remove_staging(folder);
    let Some(last) = all(folder)?.pop() else { return Ok(None) };
    let damaged = |problem: String| {
        let name = last.file_name().unwrap_or_default().display();
        Error::folder(&last, format!("{problem}; remove {name} to go on from the checkpoint before it"))
    };
    let position: Position = read_json(&last.join(STATE)).map_err(|e| damaged(e.to_string()))?;
    if position.run != of.run {
        let other =
            |(name, value): (&String, &Value)| (position.options.get(name) != Some(value)).then(|| name.clone());
        let others: Vec<String> = of.options.iter().filter_map(other).collect();
        let what = if others.is_empty() { "data".to_string() } else { others.join(", ") };
        let problem = format!("is of a run with other {what}; give another folder, or remove this one");
        return Err(Error::folder(&last, problem));
    }
    if hash(&last)? != position.hash {
        return Err(damaged("is damaged: its files are not those that were written".into()));
    }
    let tensors = last.join(TENSORS);
    let load = |prefix: &str| parameters.load(&tensors, prefix);
    let genes = last.join(GENE_TEXTS);
    let raw = std::fs::read(&genes).map_err(|e| Error::folder(&genes, e))?;
    let gene_texts = raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok(Some(State {
        position,
        values: load("p.")?,
        first: load("m.")?,
        second: load("v.")?,
        average: load("a.")?,
        gene_texts,
    }))
}

/// Over a checkpoint's files but the one that says it.
fn hash(folder: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for name in [TENSORS, GENE_TEXTS] {
        let path = folder.join(name);
        let file = std::fs::File::open(&path).map_err(|e| Error::folder(&path, e))?;
        hasher.update_reader(file).map_err(|e| Error::folder(&path, e))?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// What a run that was killed left half-written.
fn remove_staging(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_name().to_string_lossy().starts_with(STAGING)) {
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// The folder's checkpoints, the first step first.
fn all(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::folder(folder, e))?.path();
        let is_checkpoint = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("step-"));
        if is_checkpoint && path.join(STATE).exists() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
