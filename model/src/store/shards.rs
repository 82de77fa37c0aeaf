//! Weights in several files, as the Hugging Face layout has it: an index says which file holds which tensor.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::WEIGHTS;
use crate::info::read_json;
use crate::{Error, Result};

/// The index of weights in several files.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

#[derive(Serialize, Deserialize)]
struct Index {
    metadata: BTreeMap<String, serde_json::Value>,
    weight_map: BTreeMap<String, String>,
}

/// The files with a model's weights: those of the index, else the first of the usual ones; none where there is neither.
///
/// # Errors
/// When the index cannot be read, or names files outside the folder.
pub(crate) fn weight_files(folder: &Path) -> Result<Vec<String>> {
    let path = folder.join(INDEX);
    if !path.exists() {
        return Ok(WEIGHTS.iter().find(|f| folder.join(f).exists()).map(|f| (*f).to_string()).into_iter().collect());
    }
    let mut files: Vec<String> = read_json::<Index>(&path)?.weight_map.into_values().collect();
    files.sort();
    files.dedup();
    match files.iter().find(|f| f.contains(['/', '\\']) || !f.ends_with(".safetensors")) {
        Some(other) => Err(Error::folder(&path, format!("'{other}' is no file of weights in this folder"))),
        None => Ok(files),
    }
}

/// Writes the index of tensors by file.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_index(folder: &Path, weight_map: BTreeMap<String, String>, bytes: usize) -> Result<()> {
    let path = folder.join(INDEX);
    let index = Index { metadata: [("total_size".to_string(), bytes.into())].into(), weight_map };
    let text = serde_json::to_vec_pretty(&index).map_err(|e| Error::folder(&path, e))?;
    std::fs::write(&path, text).map_err(|e| Error::folder(&path, e))
}
