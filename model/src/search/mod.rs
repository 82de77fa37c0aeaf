//! Similarity search on slices: shared by the join operator and the stream consumer.

mod cells;
mod corpus;
mod cosine;
pub(crate) mod device;
mod topk;

pub use cells::Cells;
pub use corpus::{Corpus, Neighbor, SearchOptions, UNLABELED, labels_differ};
pub use cosine::cosine;
