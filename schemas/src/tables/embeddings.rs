use super::{Column, Kind, Table, column, text};

/// One row per embedded text or SNP and model.
pub const EMBEDDINGS: Table = Table {
    name: "embeddings",
    doc: "one row per embedded text or SNP and model",
    columns: COLUMNS,
    unit: Some("model_id"),
};

const COLUMNS: &[Column] = &[
    text("model_id", "hash over weights, tokenizer, pooling and text normalization"),
    text("kind", "text or snp"),
    text("key", "the normalized text, or the rsID"),
    column("vector", Kind::Vector, false, "the embedding, length 1 (L2)"),
];
