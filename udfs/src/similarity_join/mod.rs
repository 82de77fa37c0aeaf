//! The similarity join: one operator, reached by table functions and by the SQL that people would guess.

mod codec;
mod exec;
mod functions;
mod gather;
mod merge;
mod options;
mod pairs;
mod probe;
mod rules;
mod sides;
mod table;

pub(crate) use codec::SimilarityJoinNode;
pub use exec::SimilarityJoinExec;
pub(crate) use functions::{NearestFunction, SimilarityJoinFunction};
pub use options::SimilarityJoinOptions;
pub use rules::{PlanSimilarityJoin, UseScore};

#[cfg(test)]
mod tests;
