//! The model that comes with the program: its files are part of the binary.

use std::path::Path;

use super::sha256;
use crate::{Error, Result};

/// Before the hash of the sums, in the name of its folder in the store: a newer program does not take older weights.
pub(super) const FOLDER: &str = "generel@";
/// Where it is from.
pub(super) const ORIGIN: &str = "shipped with generel: model/shipped";
/// Its licence; see its README.md for those of what it was trained on.
pub(super) const LICENCE: &str = "Apache-2.0";

/// What its files must be, as `sha256sum` writes it.
const SUMS: &str = include_str!("../../shipped/SHA256SUMS");

macro_rules! files {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_bytes!(concat!("../../shipped/", $name)))),+] };
}

/// A folder in the Hugging Face layout.
const FILES: &[(&str, &[u8])] = files![
    "README.md",
    "alignment.json",
    "config.json",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "snps.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
];

/// Its folder's name in the store.
pub(super) fn folder() -> String {
    format!("{FOLDER}{}", &sha256(SUMS.as_bytes())[..8])
}

/// Writes it to a folder, each file checked against its sum.
///
/// # Errors
/// [`Error::Checksum`] when the program was built from other files than those that the sums are of, or the folder cannot be
/// written.
pub(super) fn unpack(folder: &Path) -> Result<()> {
    for (name, content) in FILES {
        let path = folder.join(name);
        let expected = SUMS.lines().find_map(|line| line.strip_suffix(name)?.strip_suffix("  ")).unwrap_or_default();
        let found = sha256(content);
        if found != expected {
            return Err(Error::Checksum { path, expected: expected.to_string(), found });
        }
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, content))
            .map_err(|e| Error::folder(&path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_sum_and_every_sum_its_file() {
        let folder = tempfile::tempdir().unwrap();
        unpack(folder.path()).unwrap();
        assert_eq!(SUMS.lines().count(), FILES.len());
        let bytes: usize = FILES.iter().map(|(_, content)| content.len()).sum();
        assert!(bytes < 50_000_000, "{bytes} bytes are too many for a repository");
    }
}
