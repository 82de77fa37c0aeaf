//! Similarity search on slices: shared by the join operator and the stream consumer.

mod exact;
mod matmul;
mod topk;

pub use exact::{Neighbor, SearchOptions, normalize_rows, top_k};
