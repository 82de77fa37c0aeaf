//! Input files: found, fingerprinted, opened, decompressed.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 256 * 1024;

/// A file to be read, with the other files that its rows depend on.
#[derive(Debug, Clone)]
pub struct InputFile {
    /// Where it is.
    pub path: PathBuf,
    /// Files whose content also decides what the rows become (OMOP's `concept` table, a metadata file).
    pub companions: Vec<PathBuf>,
}

/// Hash over the content of a file and its companions (SHA-256, first 63 bits): what ingest calls the same file.
///
/// 63 bits so that it fits Delta's signed transaction version; among a million files two collide with p < 1e-7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// As Delta's transaction version: never negative.
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// From Delta's transaction version.
    pub fn from_i64(value: i64) -> Self {
        Self(value.unsigned_abs())
    }

    /// Of the parts of a value, each ended so that two different lists never hash alike.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self::from_hasher(hasher)
    }

    fn from_hasher(hasher: Sha256) -> Self {
        let digest = hasher.finalize();
        let mut first = [0u8; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first) >> 1)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl InputFile {
    /// A file without companions.
    ///
    /// # Errors
    /// When there is no readable file at the path, or the file is empty.
    pub fn open(path: &Path) -> Result<Self> {
        Self::with_companions(path, Vec::new())
    }

    /// A file and the files that its rows depend on.
    ///
    /// # Errors
    /// As [`InputFile::open`].
    pub fn with_companions(path: &Path, companions: Vec<PathBuf>) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io(path, e))?;
        if metadata.is_dir() {
            return Err(Error::IsDirectory { path: path.to_path_buf() });
        }
        if metadata.len() == 0 {
            return Err(Error::Empty { path: path.to_path_buf() });
        }
        Ok(Self { path: path.to_path_buf(), companions })
    }

    /// The file's name without its folders.
    pub fn name(&self) -> String {
        self.path.file_name().map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// The file's name without folders and without `.gz` and the extension before it.
    pub fn stem(&self) -> String {
        let name = self.name();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_string()
    }

    /// Reads everything once and hashes it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let mut hasher = Sha256::new();
        for path in std::iter::once(&self.path).chain(&self.companions) {
            let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
            let mut buffer = vec![0u8; BUFFER_BYTES];
            let mut length = 0u64;
            loop {
                let n = file.read(&mut buffer).map_err(|e| Error::io(path, e))?;
                if n == 0 {
                    break;
                }
                length += n as u64;
                hasher.update(&buffer[..n]);
            }
            hasher.update(length.to_le_bytes());
        }
        Ok(Fingerprint::from_hasher(hasher))
    }

    /// Opens the file for reading, decompressing gzip (also of several members) by its magic bytes.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn reader(&self) -> Result<Box<dyn BufRead + Send>> {
        open_decompressed(&self.path)
    }
}

/// Opens any file for reading, decompressing gzip by its magic bytes.
pub(super) fn open_decompressed(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let head = reader.fill_buf().map_err(|e| Error::io(path, e))?;
    if head.starts_with(&GZIP_MAGIC) {
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(reader))))
    } else {
        Ok(Box::new(reader))
    }
}
