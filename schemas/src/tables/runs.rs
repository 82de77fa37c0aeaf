use super::{Column, Kind, Table, column, optional, text};

/// One row per run that changed the lake.
pub const RUNS: Table =
    Table { name: "runs", doc: "one row per run that changed the lake", columns: COLUMNS, unit: None };

const COLUMNS: &[Column] = &[
    text("run_id", "UUID version 7"),
    text("job", "the command or the job's name"),
    column("started_at", Kind::Timestamp, false, "start, UTC"),
    column("ended_at", Kind::Timestamp, false, "end, UTC"),
    text("status", "done, or done_with_rejects"),
    text("inputs", "JSON: the input files, their hashes and their rows read, kept and rejected"),
    text("outputs", "JSON: the tables written and their versions"),
    text("counts", "JSON: rows by table"),
    optional("model_id", Kind::Text, "the model used"),
    text("version", "version of generel"),
];
