//! Tables that are read by the row: where rows begin and end, and what stands in their fields.

mod block;
pub(super) mod delimited;
mod header;
pub(super) mod lines;
pub(super) mod parquet;
mod pass;
pub(super) mod quoted;
mod row;
pub(super) mod slabs;
pub(super) mod split;
pub(super) mod values;
