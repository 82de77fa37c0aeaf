use super::{Column, INPUT_ID, INPUT_ID_COLUMN, Kind, Table, column, optional, text};

/// One row per rejected row of an input file.
pub const QUARANTINE: Table = Table {
    name: "quarantine",
    doc: "one row per rejected row of an input file",
    columns: COLUMNS,
    unit: Some(INPUT_ID),
};

const COLUMNS: &[Column] = &[
    text("run_id", "the run that rejected it"),
    text("source", "the source's name as given at ingest"),
    text("file", "name of the input file"),
    column("line", Kind::Long, false, "1-based line on which the row begins"),
    optional("column", Kind::Text, "the column at fault"),
    text("reason", "why, one word of a fixed list"),
    text("message", "what was expected"),
    text("raw", "the row as it stood; person identifiers are masked"),
    INPUT_ID_COLUMN,
];
