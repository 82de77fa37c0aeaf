//! The similarity join: one operator, reached by table functions.

mod build;
mod codec;
mod exec;
mod functions;

pub use codec::GenerelPhysicalCodec;
pub use exec::{SimilarityJoinExec, SimilarityJoinOptions};
pub(crate) use functions::{NearestFunction, SimilarityJoinFunction};
