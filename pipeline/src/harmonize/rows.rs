//! Harmonized records as rows of the lake's tables.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Float64Array, Int32Array, Int32Builder, Int64Builder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{Fields, Schema};
use generel_schemas::Table;
use generel_schemas::tables::{HARMONIZED, HARMONIZED_RECORDS};
use hashbrown::HashMap;

use super::answer::Answer;
use super::mentions::Said;
use super::messages::{Message, Messages};
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

/// Where a record stands in its batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) message: Message<'a>,
    pub(super) line: Option<u32>,
}

/// The rows of a batch.
pub(super) enum Rows {
    /// None are wanted.
    None,
    Records(Box<RecordRows>),
    Flat(Box<FlatRows>),
}

impl Rows {
    /// For a batch whose records have about so many bytes.
    pub(super) fn new(shape: Option<Shape>, carried: usize, messages: &Messages, bytes: usize) -> Self {
        match shape {
            None => Self::None,
            Some(Shape::Enriched) => Self::Records(Box::new(RecordRows::new(carried, messages.len(), bytes))),
            Some(Shape::Flat) => Self::Flat(Box::new(FlatRows::new(carried, messages.len()))),
        }
    }

    /// The rows; `fields` are the names of the fields.
    pub(super) fn finish<'a>(
        self,
        table: &Table,
        messages: &Messages,
        fields: impl Iterator<Item = &'a str>,
    ) -> Result<Option<RecordBatch>> {
        match self {
            Self::None => Ok(None),
            Self::Records(records) => records.finish(table, messages).map(Some),
            Self::Flat(flat) => flat.finish(table, messages, fields).map(Some),
        }
    }
}

/// The columns of who made the rows, all of them the same; NULL where nobody did.
#[derive(Default)]
struct MadeBy {
    parts: Option<[String; 2]>,
    rows: Vec<bool>,
}

impl MadeBy {
    fn push(&mut self, made: Option<Made<'_>>) {
        if let Some(made) = made
            && self.parts.is_none()
        {
            self.parts = Some([made.model_id, made.index_version].map(str::to_string));
        }
        self.rows.push(made.is_some());
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let parts = self.parts.take().unwrap_or_default();
        let nulls = NullBuffer::from(std::mem::take(&mut self.rows));
        parts.iter().map(|part| Arc::new(repeated(part, nulls.len(), Some(&nulls))) as ArrayRef).collect()
    }
}

/// An array of the same text in every row that is not NULL.
fn repeated(text: &str, rows: usize, nulls: Option<&NullBuffer>) -> StringArray {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => StringArray::new(
            OffsetBuffer::from_repeated_length(text.len(), rows),
            Buffer::from(text.repeat(rows).into_bytes()),
            None,
        ),
        Some(nulls) => nulls.iter().map(|valid| valid.then_some(text)).collect(),
    }
}

/// A column of texts with room for so many of usual length: Arrow's own begins with 5 KB a column, and at a low rate a
/// batch is a few rows.
fn texts(rows: usize) -> StringBuilder {
    StringBuilder::with_capacity(rows, 16 * rows)
}

/// The columns that both tables begin with, but for the consumer.
struct Places {
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    key: StringBuilder,
    line: Int32Builder,
}

impl Places {
    fn new(rows: usize) -> Self {
        Self {
            offset: Int64Builder::with_capacity(rows),
            timestamp: TimestampMicrosecondBuilder::with_capacity(rows),
            key: texts(rows),
            line: Int32Builder::with_capacity(rows),
        }
    }

    fn push(&mut self, at: &At<'_>) {
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

    fn finish(&mut self, messages: &Messages) -> Vec<ArrayRef> {
        let offsets = self.offset.finish();
        let rows = offsets.len();
        vec![
            Arc::new(repeated(&messages.topic, rows, None)),
            Arc::new(Int32Array::from_value(messages.partition, rows)),
            Arc::new(offsets),
            Arc::new(self.timestamp.finish().with_timezone("UTC")),
            Arc::new(self.key.finish()),
            Arc::new(self.line.finish()),
        ]
    }
}

/// Columns of texts that are carried from the records.
struct Carried(Vec<StringBuilder>);

impl Carried {
    fn new(columns: usize, rows: usize) -> Self {
        Self((0..columns).map(|_| texts(rows)).collect())
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
    made: MadeBy,
    carried: Carried,
}

impl RecordRows {
    /// For so many, which have about so many bytes.
    fn new(carried: usize, rows: usize, bytes: usize) -> Self {
        Self {
            places: Places::new(rows),
            record: StringBuilder::with_capacity(rows, bytes),
            made: MadeBy::default(),
            carried: Carried::new(carried, rows),
        }
    }

    /// A row of a record, which is written to its column; NULL where nothing is to be written.
    pub(super) fn push(
        &mut self,
        at: &At<'_>,
        record: Option<impl FnOnce(&mut StringBuilder)>,
        carried: &[Option<&str>],
        made: Option<Made<'_>>,
    ) {
        self.places.push(at);
        match record {
            Some(write) => {
                write(&mut self.record);
                self.record.append_value("");
            }
            None => self.record.append_null(),
        }
        self.made.push(made);
        self.carried.push(carried);
    }

    fn finish(mut self, table: &Table, messages: &Messages) -> Result<RecordBatch> {
        let mut columns = self.places.finish(messages);
        columns.push(Arc::new(self.record.finish()));
        columns.extend(self.made.finish());
        columns.extend(self.carried.0.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        without_consumer(table, columns)
    }
}

/// What rows mean: few answers are different, so each row has the number of its own.
struct Means {
    /// By the answer's address.
    numbers: HashMap<usize, i32>,
    /// The answers, so that no other one gets an address of theirs.
    answers: Vec<Arc<Answer>>,
    outcome: StringBuilder,
    texts: [StringBuilder; 5],
    keys: Vec<i32>,
}

impl Default for Means {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            answers: Vec::new(),
            outcome: texts(0),
            texts: std::array::from_fn(|_| texts(0)),
            keys: Vec::new(),
        }
    }
}

impl Means {
    fn push(&mut self, answer: &Arc<Answer>) {
        let new = self.answers.len() as i32;
        let key = *self.numbers.entry(Arc::as_ptr(answer) as usize).or_insert(new);
        self.keys.push(key);
        if key < new {
            return;
        }
        self.answers.push(Arc::clone(answer));
        self.outcome.append_value(answer.outcome.as_str());
        let texts = [
            &answer.object_id,
            &answer.object_label,
            &answer.object_match_name,
            &answer.predicate_id,
            &answer.mapping_justification,
        ];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_option(text.as_deref());
        }
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        let number = |of: fn(&Answer) -> Option<f64>| {
            let each: Vec<Option<f64>> = self.answers.iter().map(|answer| of(answer)).collect();
            self.keys.iter().map(|key| each[*key as usize]).collect::<Float64Array>()
        };
        let numbers = [number(|answer| answer.confidence), number(|answer| answer.similarity_score)];
        let keys = Int32Array::from(std::mem::take(&mut self.keys));
        let mut columns = vec![keyed(&keys, self.outcome.finish())?];
        for texts in &mut self.texts {
            columns.push(keyed(&keys, texts.finish())?);
        }
        columns.extend(numbers.map(|numbers| Arc::new(numbers) as ArrayRef));
        Ok(columns)
    }
}

/// A column of texts by their numbers.
fn keyed(keys: &Int32Array, texts: StringArray) -> Result<ArrayRef> {
    Ok(Arc::new(DictionaryArray::try_new(keys.clone(), Arc::new(texts))?))
}

/// Rows of [`HARMONIZED`].
pub(super) struct FlatRows {
    places: Places,
    /// Number of the field.
    field: Vec<i32>,
    position: Int32Builder,
    said: [StringBuilder; 3],
    means: Means,
    made: MadeBy,
    carried: Carried,
}

impl FlatRows {
    /// For so many.
    fn new(carried: usize, rows: usize) -> Self {
        Self {
            places: Places::new(rows),
            field: Vec::with_capacity(rows),
            position: Int32Builder::with_capacity(rows),
            said: std::array::from_fn(|_| texts(rows)),
            means: Means::default(),
            made: MadeBy::default(),
            carried: Carried::new(carried, rows),
        }
    }

    /// A row of a field by its number.
    pub(super) fn push(
        &mut self,
        at: &At<'_>,
        (field, position): (usize, i32),
        (said, answer): (&Said<'_>, &Arc<Answer>),
        carried: &[Option<&str>],
        made: Made<'_>,
    ) {
        self.places.push(at);
        self.field.push(field as i32);
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
        self.means.push(answer);
        self.made.push(Some(made));
        self.carried.push(carried);
    }

    fn finish<'a>(
        mut self,
        table: &Table,
        messages: &Messages,
        fields: impl Iterator<Item = &'a str>,
    ) -> Result<RecordBatch> {
        let mut columns = self.places.finish(messages);
        columns.push(keyed(&Int32Array::from(self.field), StringArray::from_iter_values(fields))?);
        columns.push(Arc::new(self.position.finish()));
        columns.extend(self.said.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        columns.extend(self.means.finish()?);
        columns.extend(self.made.finish());
        columns.extend(self.carried.0.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        without_consumer(table, columns)
    }
}

/// A batch of all columns but the first, which is the table's unit and stands in no file. Texts that repeat are
/// dictionaries.
fn without_consumer(table: &Table, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let fields: Fields = table.schema().fields()[1..]
        .iter()
        .zip(&columns)
        .map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()))
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
