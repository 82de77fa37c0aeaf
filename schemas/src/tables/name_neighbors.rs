use super::{Column, Kind, Table, column, optional, text};

/// One row per name of an alignment and a similar name of the other side.
pub const NAME_NEIGHBORS: Table = Table {
    name: "name_neighbors",
    doc: "one row per name of an alignment and a similar name of the other side: what need not be searched again",
    columns: COLUMNS,
    unit: Some("alignment_id"),
};

const COLUMNS: &[Column] = &[
    text("alignment_id", "the alignment; see mappings.alignment_id"),
    text("kind", "left or right: the side of the name whose neighbor this is; words: two names of the same words"),
    column("name_key", Kind::Long, false, "hash of the name and its code; of words, the left name"),
    optional("neighbor_key", Kind::Long, "hash of the other side's name and its code; NULL where no name is similar"),
    optional("similarity_score", Kind::Float, "cosine of the two names; NULL where one has no direction"),
];
