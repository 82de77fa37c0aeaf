//! Harmonized records as rows of the lake's tables.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use generel_schemas::Table;
use generel_schemas::tables::{HARMONIZED, HARMONIZED_RECORDS};

use super::answer::Answer;
use super::mentions::Said;
use super::messages::Message;
use super::render::Made;
use crate::Result;

/// What a carried column means.
const CARRIED: &str = "carried from the record: see the consumer's file";

/// The shape of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The record with its concepts written into it.
    Enriched,
    /// A row for each place of a field.
    Flat,
}

impl Shape {
    /// The lake's table of this shape, with the carried columns.
    pub fn table(self, carried: &[String]) -> &'static Table {
        let table = match self {
            Self::Enriched => &HARMONIZED_RECORDS,
            Self::Flat => &HARMONIZED,
        };
        table.with_columns(carried, CARRIED)
    }
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) message: Message<'a>,
    pub(super) line: Option<u32>,
}

/// The columns that both tables begin with, but for the consumer.
#[derive(Default)]
struct Places {
    topic: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    key: StringBuilder,
    line: Int32Builder,
}

impl Places {
    fn push(&mut self, at: &At<'_>) {
        self.topic.append_value(at.topic);
        self.partition.append_value(at.partition);
        self.offset.append_value(at.message.offset);
        self.timestamp.append_option(at.message.timestamp_ms.map(|ms| ms * 1000));
        match at.message.key.map(|key| (key, std::str::from_utf8(key))) {
            None => self.key.append_null(),
            Some((_, Ok(text))) => self.key.append_value(text),
            Some((bytes, Err(_))) => {
                let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                self.key.append_value(format!("0x{digits}"));
            }
        }
        self.line.append_option(at.line.map(|line| line as i32));
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish().with_timezone("UTC")),
            Arc::new(self.key.finish()),
            Arc::new(self.line.finish()),
        ]
    }
}

/// Columns of texts that are carried from the records.
struct Carried(Vec<StringBuilder>);

impl Carried {
    fn new(columns: usize) -> Self {
        Self((0..columns).map(|_| StringBuilder::new()).collect())
    }

    fn push(&mut self, values: &[Option<&str>]) {
        for (number, column) in self.0.iter_mut().enumerate() {
            column.append_option(values.get(number).copied().flatten());
        }
    }
}

/// Rows of [`HARMONIZED_RECORDS`].
pub(super) struct RecordRows {
    places: Places,
    record: StringBuilder,
    model_id: StringBuilder,
    index_version: StringBuilder,
    carried: Carried,
}

impl RecordRows {
    pub(super) fn new(carried: usize) -> Self {
        Self {
            places: Places::default(),
            record: StringBuilder::new(),
            model_id: StringBuilder::new(),
            index_version: StringBuilder::new(),
            carried: Carried::new(carried),
        }
    }

    pub(super) fn push(&mut self, at: &At<'_>, record: Option<&str>, carried: &[Option<&str>], made: Option<Made<'_>>) {
        self.places.push(at);
        self.record.append_option(record);
        self.model_id.append_option(made.map(|m| m.model_id));
        self.index_version.append_option(made.map(|m| m.index_version));
        self.carried.push(carried);
    }

    pub(super) fn finish(mut self, table: &Table) -> Result<RecordBatch> {
        let mut columns = self.places.finish();
        columns.push(Arc::new(self.record.finish()));
        columns.push(Arc::new(self.model_id.finish()));
        columns.push(Arc::new(self.index_version.finish()));
        columns.extend(self.carried.0.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        without_consumer(table, columns)
    }
}

/// Rows of [`HARMONIZED`].
pub(super) struct FlatRows {
    places: Places,
    field: StringBuilder,
    position: Int32Builder,
    said: [StringBuilder; 3],
    outcome: StringBuilder,
    means: [StringBuilder; 5],
    confidence: Float64Builder,
    score: Float64Builder,
    model_id: StringBuilder,
    index_version: StringBuilder,
    carried: Carried,
}

impl FlatRows {
    pub(super) fn new(carried: usize) -> Self {
        let texts = StringBuilder::new;
        Self {
            places: Places::default(),
            field: texts(),
            position: Int32Builder::new(),
            said: [texts(), texts(), texts()],
            outcome: texts(),
            means: [texts(), texts(), texts(), texts(), texts()],
            confidence: Float64Builder::new(),
            score: Float64Builder::new(),
            model_id: texts(),
            index_version: texts(),
            carried: Carried::new(carried),
        }
    }

    pub(super) fn push(
        &mut self,
        at: &At<'_>,
        (field, position): (&str, i32),
        (said, answer): (&Said<'_>, &Answer),
        carried: &[Option<&str>],
        made: Made<'_>,
    ) {
        self.places.push(at);
        self.field.append_value(field);
        self.position.append_value(position);
        let coding = said.codings.first();
        let parts = [
            coding.and_then(|c| c.vocabulary),
            coding.and_then(|c| c.code),
            said.text.or(coding.and_then(|c| c.display)),
        ];
        for (column, part) in self.said.iter_mut().zip(parts) {
            column.append_option(part);
        }
        self.outcome.append_value(answer.outcome.as_str());
        let means = [
            &answer.object_id,
            &answer.object_label,
            &answer.object_match_name,
            &answer.predicate_id,
            &answer.mapping_justification,
        ];
        for (column, part) in self.means.iter_mut().zip(means) {
            column.append_option(part.as_deref());
        }
        self.confidence.append_option(answer.confidence);
        self.score.append_option(answer.similarity_score);
        self.model_id.append_value(made.model_id);
        self.index_version.append_value(made.index_version);
        self.carried.push(carried);
    }

    pub(super) fn finish(mut self, table: &Table) -> Result<RecordBatch> {
        let mut columns = self.places.finish();
        columns.push(Arc::new(self.field.finish()));
        columns.push(Arc::new(self.position.finish()));
        columns.extend(self.said.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        columns.push(Arc::new(self.outcome.finish()));
        columns.extend(self.means.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        columns.push(Arc::new(self.confidence.finish()));
        columns.push(Arc::new(self.score.finish()));
        columns.push(Arc::new(self.model_id.finish()));
        columns.push(Arc::new(self.index_version.finish()));
        columns.extend(self.carried.0.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        without_consumer(table, columns)
    }
}

/// A batch of all columns but the first, which is the table's unit and stands in no file.
fn without_consumer(table: &Table, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let others: Vec<usize> = (1..table.columns.len()).collect();
    Ok(RecordBatch::try_new(Arc::new(table.schema().project(&others)?), columns)?)
}
