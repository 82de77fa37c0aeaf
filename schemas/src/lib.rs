//! What GENEREL's data means: lake tables, identifiers, reject reasons and the names of the standards.
//!
//! This crate does no I/O and knows nothing of query engines, models, files or Kafka.

mod decimal;
mod error;
pub mod gwas_ssf;
pub mod ids;
pub mod omop;
pub mod pvalue;
pub mod reject;
pub mod sensitive;
pub mod sssom;
pub mod tables;
pub mod vector;

pub use decimal::parse_f64;
pub use error::{Error, Result};
pub use reject::{RejectReason, RejectedRow};
pub use sensitive::Sensitive;
pub use tables::Table;
