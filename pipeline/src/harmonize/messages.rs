//! Messages of one partition as they came, in order, in few allocations. No Kafka type: a batch job can fill one, too.

use std::ops::Range;
use std::sync::Arc;

/// A header: its name, and its value where it has one.
pub type Header = (String, Option<Vec<u8>>);

/// Messages of one partition.
#[derive(Debug, Clone, Default)]
pub struct Messages {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    bytes: Vec<u8>,
    all: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    headers: Vec<Header>,
}

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its place in the partition.
    pub offset: i64,
    /// When it was made or taken, in milliseconds since the epoch, UTC.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; nothing of a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [Header],
}

/// Bytes of a key and headers that there is always room for beside a value.
pub(super) const USUAL_AROUND: usize = 1024;

impl Message<'_> {
    /// Bytes of the key and headers, with what frames them.
    pub fn around_bytes(&self) -> usize {
        let of = |(name, value): &Header| name.len() + value.as_ref().map_or(0, Vec::len) + 10;
        self.key.map_or(0, <[u8]>::len) + self.headers.iter().map(of).sum::<usize>()
    }
}

impl Messages {
    /// None yet, of a partition, with room for so many, and for so many bytes.
    pub fn new(topic: Arc<str>, partition: i32, (messages, bytes): (usize, usize)) -> Self {
        Self { topic, partition, bytes: Vec::with_capacity(bytes), all: Vec::with_capacity(messages) }
    }

    /// Adds a message. All of them together have less than 4 GB: Kafka's own messages have 2 GB at most.
    pub fn push(&mut self, message: &Message<'_>) {
        let mut keep = |bytes: Option<&[u8]>| {
            bytes.map(|bytes| {
                let start = self.bytes.len() as u32;
                self.bytes.extend_from_slice(bytes);
                start..self.bytes.len() as u32
            })
        };
        let (key, value) = (keep(message.key), keep(message.value));
        let (offset, timestamp_ms) = (message.offset, message.timestamp_ms);
        self.all.push(Entry { offset, timestamp_ms, key, value, headers: message.headers.to_vec() });
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The message at a place.
    pub fn get(&self, index: usize) -> Message<'_> {
        let entry = &self.all[index];
        let part = |range: &Option<Range<u32>>| {
            range.as_ref().map(|range| &self.bytes[range.start as usize..range.end as usize])
        };
        Message {
            offset: entry.offset,
            timestamp_ms: entry.timestamp_ms,
            key: part(&entry.key),
            value: part(&entry.value),
            headers: &entry.headers,
        }
    }

    /// All messages, in order.
    pub fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The offset after the last message.
    pub fn next_offset(&self) -> Option<i64> {
        self.all.last().map(|entry| entry.offset + 1)
    }
}
