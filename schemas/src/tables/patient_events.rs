use super::{Column, INPUT_ID, INPUT_ID_COLUMN, Kind, Table, optional, text};

/// One row per clinical event of a person, in OMOP's words.
pub const PATIENT_EVENTS: Table = Table {
    name: "patient_events",
    doc: "one row per clinical event of a person, in OMOP's words",
    columns: COLUMNS,
    unit: Some(INPUT_ID),
};

const COLUMNS: &[Column] = &[
    text("source", "the source's name as given at ingest"),
    text("person_id", "keyed hash of the source's person identifier"),
    text("event_table", "the OMOP table: condition_occurrence, drug_exposure, measurement, observation, person …"),
    optional("event_date", Kind::Date, "start date of the event; birth date for person"),
    optional("event_datetime", Kind::Timestamp, "start of the event, UTC where the source states no zone"),
    optional("source_vocabulary", Kind::Text, "vocabulary of source_code"),
    optional("source_code", Kind::Text, "the code as the source says it"),
    optional("source_name", Kind::Text, "the name of the code, from the source or its vocabulary tables"),
    optional("concept_id", Kind::Long, "OMOP standard concept; 0 = no matching concept"),
    optional("value_as_number", Kind::Double, "numeric result, in unit"),
    optional("value_as_string", Kind::Text, "textual result"),
    optional("unit", Kind::Text, "unit of value_as_number as the source says it"),
    INPUT_ID_COLUMN,
];
