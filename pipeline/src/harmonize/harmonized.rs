//! What becomes of a batch of messages.

use arrow::array::RecordBatch;

use super::messages::{Message, Messages};
use super::reject::Rejected;

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Harmonized {
    /// Rows for the lake.
    pub rows: Option<RecordBatch>,
    /// Values of output messages and, for each, the number of the input message and the end of its bytes; nothing for a
    /// tombstone.
    pub values: Vec<u8>,
    pub(crate) outputs: Vec<(usize, Option<usize>)>,
    /// Records that were not harmonized.
    pub dead: Vec<Dead>,
    /// What was done.
    pub counts: Counts,
}

/// A record that was not harmonized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Number of the message in its batch.
    pub message: usize,
    /// The line of the record, where a message has several.
    pub line: Option<u32>,
    /// Why.
    pub rejected: Rejected,
    /// The record's bytes; nothing where they are all of the message's value.
    pub bytes: Option<Vec<u8>>,
}

/// What was done with a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records, without dead letters.
    pub records: u64,
    /// Mentions, and how many of them had been answered before.
    pub mentions: [u64; 2],
    /// Mentions by outcome, in the order of mapped, below, unmapped, absent.
    pub outcomes: [u64; 4],
}

impl Harmonized {
    /// The output messages: the number of the input message, and the value.
    pub fn outputs(&self) -> impl Iterator<Item = (usize, Option<&[u8]>)> {
        let mut from = 0;
        self.outputs.iter().map(move |(message, end)| {
            let value = end.map(|end| {
                let value = &self.values[from..end];
                from = end;
                value
            });
            (*message, value)
        })
    }

    /// The message that a dead letter is of, and its value.
    pub fn letter<'a>(&'a self, dead: &'a Dead, messages: &'a Messages) -> Message<'a> {
        let message = messages.get(dead.message);
        Message { value: dead.bytes.as_deref().or(message.value), ..message }
    }
}
