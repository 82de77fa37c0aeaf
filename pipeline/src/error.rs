//! The crate's one error type.

use std::io;
use std::path::{Path, PathBuf};

use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;

/// What can go wrong between a source and the lake. Messages name file, line and fix, never a row's values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened or read.
    #[error("{}: {}", path.display(), explain(cause))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why; not a `source`, since the message says it already.
        cause: io::Error,
    },
    /// A folder was given where a file was expected.
    #[error("{}: is a directory; give a file, or a format that reads folders", path.display())]
    IsDirectory {
        /// The folder.
        path: PathBuf,
    },
    /// A file without content.
    #[error("{}: the file is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file is not what its format says.
    #[error("{}:{line}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: u64,
        /// What was expected.
        message: String,
    },
    /// No such format.
    #[error("unknown format '{name}'; known: {known} (see generel formats)")]
    UnknownFormat {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Rows were lost or doubled on the way: a defect of the program.
    #[error("{file}: {read} rows read, but {kept} kept and {rejected} rejected; nothing was written")]
    Unbalanced {
        /// The file.
        file: String,
        /// Rows read.
        read: u64,
        /// Rows kept.
        kept: u64,
        /// Rows rejected.
        rejected: u64,
    },
    /// More rows were rejected than allowed.
    #[error(
        "{file}: {rejected} of {read} rows rejected, more than --max-rejects {allowed} allows; nothing was written\n  first: {first}"
    )]
    TooManyRejects {
        /// The file.
        file: String,
        /// Rows read.
        read: u64,
        /// Rows rejected.
        rejected: u64,
        /// The limit as given.
        allowed: String,
        /// The first rejected row, without its values.
        first: String,
    },
    /// The lake's location is not usable.
    #[error("lake {location}: {message}")]
    Lake {
        /// Folder or URI.
        location: String,
        /// What is wrong.
        message: String,
    },
    /// What is held out is also trained on.
    #[error("{leaks} pair{} leak from training into what is measured; first:\n  {first}", if *leaks == 1 { "" } else { "s" })]
    Leak {
        /// How many.
        leaks: usize,
        /// The first ones.
        first: String,
    },
    /// A source that the lake does not have.
    #[error("the lake has no source '{name}' with names to align; it has: {known}")]
    UnknownSource {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Kafka.
    #[error("kafka: {message}")]
    Kafka {
        /// What is wrong, and what to do.
        message: String,
    },
    /// The schema registry.
    #[error("schema registry {url}: {message}; check the address and the login")]
    Registry {
        /// Its address.
        url: String,
        /// Why.
        message: String,
    },
    /// An option is out of its range.
    #[error("{0}")]
    Invalid(String),
    /// The Delta table.
    #[error("table {table}: {source}")]
    Delta {
        /// The table.
        table: String,
        /// Why.
        source: Box<deltalake::DeltaTableError>,
    },
    /// The query engine.
    #[error(transparent)]
    DataFusion(Box<datafusion::error::DataFusionError>),
    /// Arrow.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// The model.
    #[error(transparent)]
    Model(#[from] generel_model::Error),
    /// A thread of the pipeline ended without a result: a defect of the program.
    #[error("internal error: {0}")]
    Internal(String),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault an error is; decides the exit code and whether to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What was asked for cannot be: another command line is needed.
    Usage,
    /// The input or the environment.
    External,
    /// The program.
    Internal,
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), cause: source }
    }

    /// An error while reading on in a file: corrupt compression is told apart from I/O.
    pub(crate) fn read(path: &Path, line: u64, source: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match source.kind() {
            InvalidData | InvalidInput | UnexpectedEof => Self::format(
                path,
                line,
                format!("corrupt or cut-off gzip ({source}); nothing was written, fetch the file again"),
            ),
            _ => Self::io(path, source),
        }
    }

    pub(crate) fn format(path: &Path, line: u64, message: impl Into<String>) -> Self {
        Self::Format { path: path.to_path_buf(), line, message: message.into() }
    }

    pub(crate) fn delta(table: &str, source: DeltaTableError) -> Self {
        Self::Delta { table: table.to_string(), source: Box::new(source) }
    }

    /// Whether another writer committed what this one was to commit, or changed it: asking the table again decides.
    pub(crate) fn is_conflict(&self) -> bool {
        let Self::Delta { source, .. } = self else { return false };
        matches!(**source, DeltaTableError::Transaction { source: TransactionError::CommitConflict(_) })
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownFormat { .. } | Self::Invalid(_) | Self::UnknownSource { .. } => Fault::Usage,
            Self::Unbalanced { .. } | Self::Internal(_) => Fault::Internal,
            _ => Fault::External,
        }
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        Self::DataFusion(Box::new(error))
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_string(),
        io::ErrorKind::PermissionDenied => "permission denied; check the rights of the file and its folder".to_string(),
        _ => error.to_string(),
    }
}
