//! The only place that reads the environment and the user's folders.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use directories::ProjectDirs;
use generel_model::store::ModelStore;
use generel_pipeline::person::PersonKey;

/// Folder of pulled models.
pub(crate) const MODELS: &str = "GENEREL_MODELS";
/// The library that embeds on a GPU.
const GPU_LIBRARY: &str = "GENEREL_CUDA";
/// What clients of the server must send.
const TOKEN: &str = "GENEREL_TOKEN";
/// Secret with which person identifiers are hashed.
pub(crate) const PERSON_KEY: &str = "GENEREL_PERSON_KEY";

fn folders() -> Result<ProjectDirs> {
    ProjectDirs::from("", "", "generel").context("no home folder; set GENEREL_MODELS and GENEREL_PERSON_KEY")
}

/// The model store: `$GENEREL_MODELS`, or `models` in the user's cache.
pub(crate) fn model_store() -> Result<ModelStore> {
    match std::env::var_os(MODELS) {
        Some(folder) => Ok(ModelStore::new(PathBuf::from(folder))),
        None => Ok(ModelStore::new(folders()?.cache_dir().join("models"))),
    }
}

/// Where the GPU library may be: `$GENEREL_CUDA`, or beside the program.
pub(crate) fn gpu_libraries() -> Vec<PathBuf> {
    let name = format!("{}generel_cuda{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(name)));
    std::env::var_os(GPU_LIBRARY).map(PathBuf::from).into_iter().chain(beside).collect()
}

/// `$GENEREL_TOKEN`, unless it is empty.
pub(crate) fn server_token() -> Option<String> {
    std::env::var(TOKEN).ok().filter(|token| !token.is_empty())
}

/// Memory for vectors that queries have seen, in MiB.
const VECTOR_CACHE: &str = "GENEREL_VECTOR_CACHE_MB";

/// Memory for vectors that queries have seen: what [`VECTOR_CACHE`] says, or an eighth of what this process may use, at
/// least 256 MiB, at most 1.75 GiB (1.1 million vectors of 384 components). Beyond it vectors come from the lake, or are
/// made again.
pub(crate) fn vector_cache_bytes() -> usize {
    if let Ok(given) = std::env::var(VECTOR_CACHE) {
        match given.parse::<usize>() {
            Ok(megabytes) => return megabytes << 20,
            Err(_) => tracing::warn!(given, "{VECTOR_CACHE} is not a number of MiB; the usual memory is used"),
        }
    }
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let memory = system.cgroup_limits().map_or(system.total_memory(), |limits| limits.total_memory);
    usize::try_from(memory / 8).unwrap_or(usize::MAX).clamp(256 << 20, 1792 << 20)
}

/// Where the SQL shell keeps its history.
pub(crate) fn history_file() -> Option<PathBuf> {
    let folder = folders().ok()?.data_dir().to_path_buf();
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql_history.txt"))
}

/// The key of pseudonyms: `$GENEREL_PERSON_KEY`, or a random one made once in the user's configuration folder, away
/// from the lake, so that who has the lake has not the key.
pub(crate) fn person_key() -> Result<PersonKey> {
    if let Some(secret) = std::env::var_os(PERSON_KEY) {
        let secret = secret.into_encoded_bytes();
        anyhow::ensure!(secret.len() >= 16, "{PERSON_KEY} must have at least 16 bytes");
        return Ok(PersonKey::new(secret));
    }
    let folder = folders()?.config_dir().to_path_buf();
    let path = folder.join("person.key");
    if let Ok(secret) = fs::read(&path)
        && !secret.is_empty()
    {
        return Ok(PersonKey::new(secret));
    }
    let hint = || format!("{}: the key of person pseudonyms cannot be kept here; set {PERSON_KEY}", path.display());
    fs::create_dir_all(&folder).with_context(hint)?;
    let secret = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&path).and_then(|mut f| f.write_all(secret.as_bytes())).with_context(hint)?;
    tracing::info!(path = %path.display(), "made a new key for person pseudonyms; keep it with your secrets");
    Ok(PersonKey::new(secret.into_bytes()))
}

/// Settings of object stores and databases: every variable whose name begins as theirs do (`AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT`,
/// `AZURE_STORAGE_ACCOUNT_NAME` …), and PGPASSWORD. Passed on, never logged.
pub(crate) fn store_options() -> Vec<(String, String)> {
    let ours = |key: &str| key == "PGPASSWORD" || ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|p| key.starts_with(p));
    std::env::vars().filter(|(key, _)| ours(key)).collect()
}
