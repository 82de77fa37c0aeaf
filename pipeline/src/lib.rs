//! Bytes in and out: sources, the Delta lake, and the stages ingest, embed, co-occurrence and align.
//!
//! This crate knows nothing of the command line, and reads no configuration from the environment.

pub mod align;
pub mod cooccurrence;
mod embed;
mod error;
pub mod harmonize;
pub mod ingest;
pub mod lake;
pub mod person;
pub mod runs;
mod session;
pub mod sources;
pub mod streaming;
mod text_columns;
pub mod training;

pub use embed::{EmbedReport, embed_texts};
pub use error::{Error, Fault, Result};
pub use lake::Lake;
pub use session::{Session, SessionOptions};

/// The version of GENEREL that stands in commits, runs and mappings.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
