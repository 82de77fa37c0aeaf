//! Exit codes and the one place that prints an error.

use std::io::Write;
use std::process::ExitCode;

use generel_pipeline::{Error, Fault};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done,
    /// Something failed.
    Failed,
    /// The command line or a job file asks for something that does not exist.
    Usage,
    /// More rows were rejected than `--max-rejects` allows.
    Rejects,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Rejects => 3,
        })
    }
}

/// A mistake in what a person typed or wrote in a job file.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Prints an error on one line (and its causes, where they add something) and says how to exit. A broken pipe is no
/// error: the reader has seen enough.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
            return Exit::Done;
        }
    }
    let mut message = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    // The query engine breaks its lines in the middle of a sentence.
    if let Some(Error::DataFusion(_)) = error.downcast_ref::<Error>() {
        message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    let _ = writeln!(std::io::stderr(), "error: {}", message.trim_end());
    if error.downcast_ref::<UsageError>().is_some() {
        return Exit::Usage;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::TooManyRejects { .. }) => Exit::Rejects,
        Some(known) if known.fault() == Fault::Usage => Exit::Usage,
        _ => Exit::Failed,
    }
}
