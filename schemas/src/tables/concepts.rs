use super::{Column, INPUT_ID, INPUT_ID_COLUMN, Kind, Table, column, optional, text};

/// One row per code of a source.
pub const CONCEPTS: Table =
    Table { name: "concepts", doc: "one row per code of a source", columns: COLUMNS, unit: Some(INPUT_ID) };

const COLUMNS: &[Column] = &[
    text("source", "the source's name as given at ingest"),
    text("code", "the code as the source spells it"),
    text("curie", "the code as a CURIE with the preferred prefix"),
    optional("name", Kind::Text, "the label"),
    optional("category", Kind::Text, "the source's own category or namespace"),
    optional("definition", Kind::Text, "the textual definition"),
    column("obsolete", Kind::Bool, false, "whether the source has retired the code"),
    INPUT_ID_COLUMN,
];
