//! Similarity search on slices: shared by the join operator and the stream consumer.

mod cells;
mod corpus;
mod cosine;
pub(crate) mod device;
mod scan;
mod topk;

pub use cells::Cells;
pub use corpus::{Corpus, UNLABELED, labels_differ};
pub use cosine::cosine;
pub use topk::{Neighbor, SearchOptions, TieOrder};
