//! Table and column names of the OMOP Common Data Model 5.4.

/// How an event table of OMOP names what every event has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTable {
    /// The table.
    pub name: &'static str,
    /// Standard concept.
    pub concept_id: &'static str,
    /// Start date.
    pub date: &'static str,
    /// Start date and time.
    pub datetime: &'static str,
    /// What the source said.
    pub source_value: &'static str,
    /// The source's own concept.
    pub source_concept_id: &'static str,
    /// Numeric result, where the table has one.
    pub value_as_number: Option<&'static str>,
    /// Unit as the source says it, where the table has one.
    pub unit: Option<&'static str>,
    /// Textual result, where the table has one.
    pub value_as_string: Option<&'static str>,
}

/// The event tables that become `patient_events`.
pub const EVENT_TABLES: &[EventTable] = &[
    EventTable {
        name: "condition_occurrence",
        concept_id: "condition_concept_id",
        date: "condition_start_date",
        datetime: "condition_start_datetime",
        source_value: "condition_source_value",
        source_concept_id: "condition_source_concept_id",
        value_as_number: None,
        unit: None,
        value_as_string: None,
    },
    EventTable {
        name: "drug_exposure",
        concept_id: "drug_concept_id",
        date: "drug_exposure_start_date",
        datetime: "drug_exposure_start_datetime",
        source_value: "drug_source_value",
        source_concept_id: "drug_source_concept_id",
        value_as_number: Some("quantity"),
        unit: Some("dose_unit_source_value"),
        value_as_string: None,
    },
    EventTable {
        name: "measurement",
        concept_id: "measurement_concept_id",
        date: "measurement_date",
        datetime: "measurement_datetime",
        source_value: "measurement_source_value",
        source_concept_id: "measurement_source_concept_id",
        value_as_number: Some("value_as_number"),
        unit: Some("unit_source_value"),
        value_as_string: Some("value_source_value"),
    },
    EventTable {
        name: "observation",
        concept_id: "observation_concept_id",
        date: "observation_date",
        datetime: "observation_datetime",
        source_value: "observation_source_value",
        source_concept_id: "observation_source_concept_id",
        value_as_number: Some("value_as_number"),
        unit: Some("unit_source_value"),
        value_as_string: Some("value_as_string"),
    },
    EventTable {
        name: "procedure_occurrence",
        concept_id: "procedure_concept_id",
        date: "procedure_date",
        datetime: "procedure_datetime",
        source_value: "procedure_source_value",
        source_concept_id: "procedure_source_concept_id",
        value_as_number: Some("quantity"),
        unit: None,
        value_as_string: None,
    },
    EventTable {
        name: "device_exposure",
        concept_id: "device_concept_id",
        date: "device_exposure_start_date",
        datetime: "device_exposure_start_datetime",
        source_value: "device_source_value",
        source_concept_id: "device_source_concept_id",
        value_as_number: Some("quantity"),
        unit: None,
        value_as_string: None,
    },
    EventTable {
        name: "visit_occurrence",
        concept_id: "visit_concept_id",
        date: "visit_start_date",
        datetime: "visit_start_datetime",
        source_value: "visit_source_value",
        source_concept_id: "visit_source_concept_id",
        value_as_number: None,
        unit: None,
        value_as_string: None,
    },
    EventTable {
        name: "death",
        concept_id: "cause_concept_id",
        date: "death_date",
        datetime: "death_datetime",
        source_value: "cause_source_value",
        source_concept_id: "cause_source_concept_id",
        value_as_number: None,
        unit: None,
        value_as_string: None,
    },
];

/// The table of persons.
pub const PERSON: &str = "person";
/// The vocabulary table that names concepts.
pub const CONCEPT: &str = "concept";
