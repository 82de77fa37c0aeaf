//! Tables that are read by the row: where rows begin and end, and what stands in their fields.

pub(super) mod delimited;
pub(super) mod lines;
pub(super) mod parquet;
pub(super) mod quoted;
pub(super) mod slabs;
pub(super) mod split;
pub(super) mod values;
