//! The similarity join: one operator, reached by table functions.

mod build;
mod codec;
mod exec;
mod functions;

pub(crate) use codec::SimilarityJoinNode;
pub use exec::{SimilarityJoinExec, SimilarityJoinOptions};
pub(crate) use functions::{NearestFunction, SimilarityJoinFunction};
