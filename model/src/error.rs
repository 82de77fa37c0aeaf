//! The crate's one error type.

use std::path::{Path, PathBuf};

/// What can go wrong between a name of a model and a vector.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No model of this name in the store.
    #[error("model '{name}' is not on this machine; get it with: generel model pull {name}")]
    NotPulled {
        /// The name asked for.
        name: String,
    },
    /// A model could not be fetched.
    #[error("model '{name}' could not be fetched: {problem}")]
    Fetch {
        /// The name asked for.
        name: String,
        /// What happened and what to do.
        problem: String,
    },
    /// A file of a model folder is missing, unreadable or not what it should be.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file's SHA-256 is not the expected one.
    #[error("{}: SHA-256 is {found}, expected {expected}; delete the file and pull the model again", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The pinned hash.
        expected: String,
        /// The hash found.
        found: String,
    },
    /// The column is not text.
    #[error("embed takes text (Utf8, LargeUtf8, Utf8View or a dictionary of these), not {0}")]
    NotText(String),
    /// The encoder failed on a batch.
    #[error("the encoder failed: {0}")]
    Encoder(String),
    /// A device cannot be used, or failed.
    #[error("the device cannot be used: {0}")]
    Device(String),
    /// The model has no SNPs.
    #[error("model '{model}' has no SNP encoder; train one with: generel train")]
    NoSnps {
        /// The model's name.
        model: String,
    },
    /// A training run cannot begin or go on.
    #[error("{0}")]
    Training(String),
    /// A search was asked something impossible.
    #[error("{0}")]
    Search(String),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn folder(path: &Path, problem: impl std::fmt::Display) -> Self {
        Self::Folder { path: path.to_path_buf(), problem: problem.to_string() }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Encoder(error.to_string())
    }
}
