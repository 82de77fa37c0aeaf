//! Events on their way to become rows of `patient_events`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Builder, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use generel_schemas::tables::PATIENT_EVENTS;

use super::super::batch;
use crate::Result;

/// What a row says of a person.
pub(super) struct Event<'a> {
    pub(super) person_id: String,
    pub(super) date: i32,
    pub(super) datetime: Option<i64>,
    pub(super) source_vocabulary: Option<&'a str>,
    pub(super) source_code: Option<&'a str>,
    pub(super) source_name: Option<&'a str>,
    pub(super) concept_id: i64,
    pub(super) value_as_number: Option<f64>,
    pub(super) value_as_string: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
}

/// Columns of `patient_events` in the making.
#[derive(Default)]
pub(super) struct Events {
    person_id: StringBuilder,
    event_table: StringBuilder,
    date: Date32Builder,
    datetime: TimestampMicrosecondBuilder,
    source_vocabulary: StringBuilder,
    source_code: StringBuilder,
    source_name: StringBuilder,
    concept_id: Int64Builder,
    value_as_number: Float64Builder,
    value_as_string: StringBuilder,
    unit: StringBuilder,
}

impl Events {
    pub(super) fn push(&mut self, table: &str, event: &Event<'_>) {
        self.person_id.append_value(&event.person_id);
        self.event_table.append_value(table);
        self.date.append_value(event.date);
        self.datetime.append_option(event.datetime);
        self.source_vocabulary.append_option(event.source_vocabulary);
        self.source_code.append_option(event.source_code);
        self.source_name.append_option(event.source_name);
        self.concept_id.append_value(event.concept_id);
        self.value_as_number.append_option(event.value_as_number);
        self.value_as_string.append_option(event.value_as_string);
        self.unit.append_option(event.unit);
    }

    /// The batch of the events pushed.
    pub(super) fn finish(mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.person_id.finish()),
            Arc::new(self.event_table.finish()),
            Arc::new(self.date.finish()),
            Arc::new(self.datetime.finish().with_timezone("UTC")),
            Arc::new(self.source_vocabulary.finish()),
            Arc::new(self.source_code.finish()),
            Arc::new(self.source_name.finish()),
            Arc::new(self.concept_id.finish()),
            Arc::new(self.value_as_number.finish()),
            Arc::new(self.value_as_string.finish()),
            Arc::new(self.unit.finish()),
        ];
        batch(&PATIENT_EVENTS, columns)
    }
}
