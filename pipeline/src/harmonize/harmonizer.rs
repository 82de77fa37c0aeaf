//! A batch of messages in, rows and output messages out.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::StringBuilder;
use generel_schemas::Table;
use smallvec::SmallVec;

use super::answer::{Answer, Outcome};
use super::answers::{Answers, Asked};
use super::decode::{Decoded, Decoder, Format};
use super::extract::Found;
use super::harmonized::{Dead, Harmonized};
use super::index::ConceptIndex;
use super::mentions::Said;
use super::messages::{Messages, USUAL_AROUND};
use super::path::FieldPath;
use super::plan::{FieldOptions, Plan};
use super::reject::{Reason, Rejected};
use super::render::{Answered, Made, Row, positions};
use super::rows::{At, Rows, Shape};
use crate::{Error, Result};

/// Messages that are worked on together: what is known of so many stays in a core's own cache.
const TOGETHER: usize = 128;

/// What a consumer looks for and what it makes of it.
#[derive(Debug, Clone)]
pub struct HarmonizerOptions {
    /// How messages are written.
    pub format: Format,
    /// The fields that hold concepts; without any, records pass as they are.
    pub fields: Vec<FieldOptions>,
    /// Columns that are carried from the records, by name.
    pub carried: Vec<(String, FieldPath)>,
    /// The shape of rows in the lake.
    pub rows: Option<Shape>,
    /// The shape of output messages, and the bytes that one may have.
    pub messages: Option<(Shape, usize)>,
    /// Whether a record whose concept is not sure enough is a dead letter.
    pub reject_below: bool,
}

/// Harmonizes batches. Shared by all threads.
#[derive(Debug)]
pub struct Harmonizer {
    plan: Plan,
    decoder: Decoder,
    options: HarmonizerOptions,
    table: Option<&'static Table>,
}

/// A record under way.
pub(super) struct Open<'a> {
    message: usize,
    line: Option<u32>,
    bytes: &'a [u8],
    pub(super) record: Cow<'a, str>,
    pub(super) found: Found,
}

impl Open<'_> {
    fn with<'a>(&'a self, answers: &'a [&'a Arc<Answer>]) -> Answered<'a> {
        Answered { record: &self.record, found: &self.found, answers }
    }

    /// The values of the carried columns.
    fn carried(&self) -> SmallVec<[Option<&str>; 4]> {
        self.found.carried.iter().map(|text| text.as_ref().map(|t| t.of(&self.record))).collect()
    }
}

impl Harmonizer {
    /// # Errors
    /// [`Error::Invalid`] where the options do not fit together.
    pub fn new(options: HarmonizerOptions) -> Result<Self> {
        let plan = Plan::new(&options.fields, &options.carried)?;
        let table = options.rows.map(|shape| shape.table(&plan.carried));
        if let Some(twice) = table.and_then(|t| plan.carried.iter().find(|name| count(t, name) > 1)) {
            return Err(Error::Invalid(format!(
                "carry: the table has a column {twice} of its own; choose another name"
            )));
        }
        let flat = [options.rows, options.messages.map(|(shape, _)| shape)].contains(&Some(Shape::Flat));
        if flat && options.fields.is_empty() {
            return Err(Error::Invalid("a flat shape has a row for each place of a field; name fields".into()));
        }
        Ok(Self { decoder: Decoder::new(&options.format)?, plan, options, table })
    }

    /// The lake's table that rows are for.
    pub fn table(&self) -> Option<&'static Table> {
        self.table
    }

    /// Whether it needs an index.
    pub fn has_fields(&self) -> bool {
        !self.plan.fields.is_empty()
    }

    /// Harmonizes messages. Every record is in the rows and output messages, or dead.
    ///
    /// # Errors
    /// When the model fails or the schema registry does not answer; never for what a message says.
    pub(crate) async fn harmonize(&self, index: Option<&ConceptIndex>, messages: &Messages) -> Result<Harmonized> {
        let mut done = Harmonized::default();
        let made = index.map(ConceptIndex::made);
        let (mut open, mut rows) = (Vec::new(), None);
        let (mut known, mut looked_ahead) = (Answers::new(), false);
        for start in (0..messages.len()).step_by(TOGETHER) {
            let end = messages.len().min(start + TOGETHER);
            open.clear();
            let tombstones = self.open(messages, start..end, &mut open, &mut done.dead).await?;
            let mut numbers = Vec::new();
            if let Some(index) = index {
                let (mut later, mut asked) = (Vec::new(), Asked::default());
                numbers = known.look(&self.plan, index, &open, &mut asked);
                if !asked.is_empty() && !std::mem::replace(&mut looked_ahead, true) {
                    // What is rejected there is so again when it is its turn.
                    self.open(messages, end..messages.len(), &mut later, &mut Vec::new()).await?;
                    known.look(&self.plan, index, &later, &mut asked);
                }
                if !asked.is_empty() {
                    known.ask(index, &asked).await?;
                }
            }
            let answers = known.of(&numbers);
            for answer in &answers {
                done.counts.outcomes[answer.outcome as usize] += 1;
            }
            let rows = rows.get_or_insert_with(|| {
                // As the first records are, so are the others.
                let records = open.iter().map(|record| record.record.len()).sum();
                let bytes = Answered::size(records, &answers) * messages.len() / end;
                Rows::new(self.options.rows, self.plan.carried.len(), messages, bytes + bytes / 16)
            });
            self.write(messages, (&open, &tombstones), &answers, made, rows, &mut done);
        }
        done.counts.mentions = known.counts();
        // In the order of the messages, whatever became of them.
        done.dead.sort_by_key(|dead| (dead.message, dead.line));
        if let (Some(rows), Some(table)) = (rows, self.table) {
            done.rows = rows.finish(table, messages, self.plan.fields.iter().map(|field| field.name.as_str()))?;
        }
        Ok(done)
    }

    /// The records of some messages, and which of the messages are tombstones.
    async fn open<'a>(
        &self,
        messages: &'a Messages,
        some: Range<usize>,
        open: &mut Vec<Open<'a>>,
        dead: &mut Vec<Dead>,
    ) -> Result<Vec<usize>> {
        let (mut decoded, mut tombstones) = (Vec::new(), Vec::new());
        for message in some {
            let Some(value) = messages.get(message).value else {
                tombstones.push(message);
                continue;
            };
            self.decoder.decode(value, &mut decoded).await?;
            for Decoded { line, record, bytes } in decoded.drain(..) {
                let rejected = match record {
                    Ok(record) => match self.plan.extractor.extract(&record) {
                        Ok(found) => {
                            open.push(Open { message, line, bytes, record, found });
                            continue;
                        }
                        Err(rejected) => rejected,
                    },
                    Err(rejected) => rejected,
                };
                dead.push(Dead { message, line, rejected, bytes: part(bytes, value.len()) });
            }
        }
        Ok(tombstones)
    }

    fn write(
        &self,
        messages: &Messages,
        (open, tombstones): (&[Open<'_>], &[usize]),
        mut answers: &[&Arc<Answer>],
        made: Option<Made<'_>>,
        rows: &mut Rows,
        done: &mut Harmonized,
    ) {
        let at = |message: usize, line: Option<u32>| At { message: messages.get(message), line };
        let mut tombstones = tombstones.iter().copied().peekable();
        let mut bury = |before: usize, rows: &mut Rows, done: &mut Harmonized| {
            while let Some(message) = tombstones.next_if(|message| *message < before) {
                if let Rows::Records(records) = rows {
                    records.push(&at(message, None), None::<fn(&mut StringBuilder)>, &[], None);
                }
                if self.options.messages.is_some() {
                    done.outputs.push((message, None));
                }
                done.counts.records += 1;
            }
        };
        for record in open {
            // Each in its place: a later record of the same key must not come before.
            bury(record.message, rows, done);
            // Without an index there are no answers.
            let answers = answers.split_off(..record.found.mentions.len().min(answers.len())).unwrap_or_default();
            let at = at(record.message, record.line);
            let before = (done.values.len(), done.outputs.len());
            if let Err(rejected) = self.write_record(record, answers, made, (messages, &at), done) {
                done.values.truncate(before.0);
                done.outputs.truncate(before.1);
                let bytes = part(record.bytes, at.message.value.map_or(0, <[u8]>::len));
                done.dead.push(Dead { message: record.message, line: record.line, rejected, bytes });
                continue;
            }
            done.counts.records += 1;
            let values = record.carried();
            match (&mut *rows, made) {
                (Rows::Flat(flat), Some(made)) => self.each_row(record, answers, |field, position, said, answer| {
                    flat.push(&at, (field, position), (said, answer), &values, made);
                }),
                (Rows::Records(records), made) => {
                    let all = record.with(answers);
                    // Who made a row is said by columns. Writing to memory does not fail.
                    let write = |column: &mut StringBuilder| {
                        all.enriched(&self.plan, None, |part| column.write_str(part).unwrap_or_default());
                    };
                    records.push(&at, Some(write), &values, made);
                }
                (Rows::Flat(_), None) | (Rows::None, _) => {}
            }
        }
        bury(usize::MAX, rows, done);
    }

    /// The output messages of a record, or why there are none.
    fn write_record(
        &self,
        record: &Open<'_>,
        answers: &[&Arc<Answer>],
        made: Option<Made<'_>>,
        (messages, at): (&Messages, &At<'_>),
        done: &mut Harmonized,
    ) -> std::result::Result<(), Rejected> {
        if self.options.reject_below
            && let Some(place) = answers.iter().position(|a| matches!(a.outcome, Outcome::Below | Outcome::Unmapped))
        {
            let field = &self.plan.fields[record.found.mentions[place].field].name;
            return Err(Rejected::new(Reason::LowConfidence, format!("field {field}: no concept is sure enough")));
        }
        let Some((shape, most)) = self.options.messages else { return Ok(()) };
        let end = |from: usize, done: &mut Harmonized| {
            let length = done.values.len() - from;
            if length + at.message.around_bytes().saturating_sub(USUAL_AROUND) > most {
                return Err(Rejected::new(Reason::TooLarge, format!("{length} bytes, and the topic takes {most}")));
            }
            done.outputs.push((record.message, Some(done.values.len())));
            Ok(())
        };
        match (shape, made) {
            (Shape::Flat, Some(made)) => {
                let names = self.plan.carried.iter().map(String::as_str);
                let carried: Vec<_> = names.zip(record.carried()).collect();
                let mut ended = Ok(());
                self.each_row(record, answers, |field, position, said, answer| {
                    let from = done.values.len();
                    let (topic, partition, offset) = (&*messages.topic, messages.partition, at.message.offset);
                    let (line, carried, field) = (at.line, carried.as_slice(), &*self.plan.fields[field].name);
                    Row { topic, partition, offset, line, field, position, said, answer, carried, made }
                        .json(&mut done.values);
                    if ended.is_ok() {
                        ended = end(from, done);
                    }
                });
                ended
            }
            _ => {
                let (from, values) = (done.values.len(), &mut done.values);
                let member = made.map(|made| made.member);
                record.with(answers).enriched(&self.plan, member, |part| values.extend_from_slice(part.as_bytes()));
                end(from, done)
            }
        }
    }

    /// Each place of each field; of a field that the record does not have, one that says nothing.
    fn each_row(
        &self,
        record: &Open<'_>,
        answers: &[&Arc<Answer>],
        mut row: impl FnMut(usize, i32, &Said<'_>, &Arc<Answer>),
    ) {
        let mentions = &record.found.mentions;
        let nothing = Said { text: None, codings: Vec::new() };
        let all = positions(mentions, self.plan.fields.len());
        for ((mention, position), answer) in mentions.iter().zip(all).zip(answers) {
            let vocabulary = self.plan.fields[mention.field].vocabulary.as_deref();
            let said = Said::of(mention, &record.found, &record.record, vocabulary);
            row(mention.field, position, &said, answer);
        }
        for number in 0..self.plan.fields.len() {
            if !mentions.iter().any(|m| m.field == number) {
                row(number, 0, &nothing, Answer::absent());
            }
        }
    }
}

/// A record's bytes, where they are a part of its message's value only.
fn part(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    (bytes.len() != length).then(|| bytes.to_vec())
}

fn count(table: &Table, name: &str) -> usize {
    table.columns.iter().filter(|c| c.name == name).count()
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::super::messages::Message;
    use super::*;

    #[tokio::test]
    async fn records_and_tombstones_keep_their_order() {
        let options = HarmonizerOptions {
            format: Format::Json,
            fields: Vec::new(),
            carried: Vec::new(),
            rows: Some(Shape::Enriched),
            messages: Some((Shape::Enriched, 100)),
            reject_below: false,
        };
        let mut messages = Messages::new("t".into(), 0, (0, 0));
        let value = |number: usize| match number {
            700 => Some(format!("{{\"long\":\"{}\"}}", "x".repeat(100))),
            800 => Some("{".to_string()),
            _ => (!number.is_multiple_of(3)).then(|| format!("{{\"n\":{number}}}")),
        };
        let count = 9 * TOGETHER - 7;
        for number in 0..count {
            let value = value(number);
            let (offset, value) = (number as i64, value.as_deref().map(str::as_bytes));
            messages.push(&Message { offset, timestamp_ms: None, key: None, value, headers: &[] });
        }
        let done = Harmonizer::new(options).unwrap().harmonize(None, &messages).await.unwrap();
        let expected: Vec<usize> = (0..count).filter(|number| ![700, 800].contains(number)).collect();
        let outputs: Vec<_> = done.outputs().map(|(n, value)| (n, value.map(<[u8]>::to_vec))).collect();
        assert_eq!(outputs, expected.iter().map(|n| (*n, value(*n).map(String::into_bytes))).collect::<Vec<_>>());
        assert_eq!(done.dead.iter().map(|dead| dead.message).collect::<Vec<_>>(), [700, 800]);
        assert_eq!(done.counts.records as usize, count - 2);
        let rows = done.rows.unwrap();
        let offsets = rows.column_by_name("kafka_offset").unwrap().as_primitive::<Int64Type>();
        assert_eq!(offsets.values().iter().map(|o| *o as usize).collect::<Vec<_>>(), expected);
        let records = rows.column_by_name("record").unwrap().as_string::<i32>();
        let expected: Vec<_> = expected.into_iter().map(value).collect();
        assert_eq!(records.iter().map(|r| r.map(str::to_string)).collect::<Vec<_>>(), expected);
    }
}
