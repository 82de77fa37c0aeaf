//! The similarity join: one operator, reached by table functions and by the SQL that people would guess.

mod codec;
mod device;
mod exec;
mod functions;
mod gather;
mod index;
mod merge;
mod options;
mod pairs;
mod probe;
mod row_order;
mod rules;
mod sides;
mod table;

pub(crate) use codec::SimilarityJoinNode;
pub use device::SimilarityDevice;
pub use exec::{SimilarityJoinExec, recall_of_sample};
pub(crate) use functions::{NearestFunction, SimilarityJoinFunction, nearest_rows};
pub use index::{GenerelOptions, SimilarityIndexStore, SimilarityIndexes};
pub use options::SimilarityJoinOptions;
pub use rules::{PlanSimilarityJoin, UseScore};

#[cfg(test)]
mod tests;
