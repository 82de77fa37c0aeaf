//! The reader: polls the group's partitions, cuts their messages into batches, and goes back to the marks when a sink
//! says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::flow::{Batch, Flow, Full, Shared};
use super::group::{ANSWER, Assigned, FLUSH, GroupConsumer, Partition};
use super::kafka::{self, headers_of};
use super::positions::Position;
use crate::harmonize::{Message, Messages};
use crate::{Error, Result};

/// Messages and bytes of a batch, and how long its first message waits for others.
const BATCH_MESSAGES: usize = 8192;
const BATCH_BYTES: usize = 1 << 20;
const LINGER: Duration = Duration::from_millis(10);
/// How long the reader waits for room before it pauses its partitions: a pause throws away what was fetched.
const PATIENCE: Duration = Duration::from_secs(10);
/// Without messages for so long, a partition whose end was seen is read.
const QUIET: Duration = Duration::from_secs(1);

/// The reader.
pub(super) struct Reader {
    shared: Arc<Shared>,
    consumer: Arc<GroupConsumer>,
    flow: Arc<Flow>,
    open: HashMap<Partition, Taking>,
    /// Name of the topic that messages came from last, so that it is not allocated for each.
    topic: Arc<str>,
    ends_seen: HashMap<i32, Instant>,
    first_message: Option<Instant>,
    last_message: Instant,
    last_sweep: Instant,
}

/// A batch that is being filled.
struct Taking {
    messages: Messages,
    first: i64,
    generation: u64,
    since: Instant,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, consumer: Arc<GroupConsumer>, flow: Arc<Flow>) -> Self {
        *consumer.context().flow() = Some(Arc::clone(&flow));
        let now = Instant::now();
        Self {
            shared,
            consumer,
            flow,
            open: HashMap::new(),
            topic: Arc::from(""),
            ends_seen: HashMap::new(),
            first_message: None,
            last_message: now,
            last_sweep: now,
        }
    }

    /// Reads until it is told to stop, then has everything committed that it has read.
    ///
    /// # Errors
    /// When the group cannot go on.
    pub(super) fn run(mut self) -> Result<()> {
        let topics: Vec<&str> = self.shared.options.topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&topics).map_err(|e| kafka::error(&e))?;
        while !self.shared.is_stopping() {
            if self.shared.was_asked_to_rewind() {
                self.rewind()?;
            }
            // Without messages waiting, what was begun is handed on soon.
            let wait = if self.open.is_empty() { Duration::from_millis(50) } else { Duration::from_millis(2) };
            let consumer = Arc::clone(&self.consumer);
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    self.take(&message)?;
                    // The rest can wait while messages come one after another.
                    if self.last_message.duration_since(self.last_sweep) < LINGER / 2 {
                        continue;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.ends_seen.insert(partition, Instant::now());
                }
                Some(Err(error)) => self.trouble(&error)?,
                None => {}
            }
            self.hand_on_old()?;
            if self.shared.options.until_end && self.is_at_end() {
                self.shared.stop();
            }
        }
        if !self.shared.has_failed() {
            self.open.keys().cloned().collect::<Vec<_>>().iter().try_for_each(|partition| self.hand_on(partition))?;
            if !self.flow.flush(FLUSH) && !self.shared.has_failed() {
                return Err(Error::Kafka {
                    message: "not everything that was read could be committed; it is read again next time".into(),
                });
            }
        }
        if let Some(first) = self.first_message {
            self.shared.metrics.ended(first.elapsed().as_secs_f64());
        }
        self.shared.metrics.set_ready(false);
        Ok(())
    }

    fn take(&mut self, message: &rdkafka::message::BorrowedMessage<'_>) -> Result<()> {
        let now = Instant::now();
        self.last_message = now;
        self.first_message.get_or_insert(now);
        if *self.topic != *message.topic() {
            self.topic = Arc::from(message.topic());
        }
        let partition = (Arc::clone(&self.topic), message.partition());
        let offset = message.offset();
        let assigned = match self.consumer.context().assigned().get_mut(&partition) {
            // Not from before the reader went back.
            Some(assigned) if offset >= assigned.next => {
                let before = *assigned;
                assigned.next = offset + 1;
                before
            }
            _ => return Ok(()),
        };
        // A sink that is further than the other one begins at a batch's first message.
        let Position { output, lake, .. } = assigned.position;
        let cuts = |first: i64, mark: i64| first < mark && offset >= mark;
        if self.open.get(&partition).is_some_and(|taking| cuts(taking.first, output) || cuts(taking.first, lake)) {
            self.hand_on(&partition)?;
        }
        let taking = self.open.entry(partition.clone()).or_insert_with(|| Taking {
            messages: Messages::new(Arc::clone(&partition.0), partition.1),
            // Where messages are missing at a mark, the mark is where a batch begins.
            first: [output, lake]
                .into_iter()
                .filter(|m| (assigned.next..=offset).contains(m))
                .fold(assigned.next, i64::max),
            generation: assigned.generation,
            since: now,
        });
        let headers = headers_of(message.headers());
        taking.messages.push(&Message {
            offset,
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: &headers,
        });
        if taking.messages.len() >= BATCH_MESSAGES || taking.messages.bytes() >= BATCH_BYTES {
            self.hand_on(&partition)?;
        }
        Ok(())
    }

    fn hand_on_old(&mut self) -> Result<()> {
        let now = Instant::now();
        self.last_sweep = now;
        let old = self.open.iter().filter(|(_, taking)| now.duration_since(taking.since) >= LINGER);
        let old: Vec<Partition> = old.map(|(partition, _)| partition.clone()).collect();
        old.iter().try_for_each(|partition| self.hand_on(partition))
    }

    /// Hands a batch on. While there is no room, the partitions are paused and the group is kept alive.
    fn hand_on(&mut self, partition: &Partition) -> Result<()> {
        let Some(Taking { messages, first, generation, .. }) = self.open.remove(partition) else { return Ok(()) };
        let ours = |reader: &Self| {
            let assigned = reader.consumer.context().assigned().get(partition).copied();
            assigned.filter(|assigned| assigned.generation == generation)
        };
        let (Some(next), Some(assigned)) = (messages.next_offset(), ours(self)) else { return Ok(()) };
        self.shared.metrics.taken(&messages);
        let Position { output, lake, .. } = assigned.position;
        let mut batch = Batch {
            first,
            next,
            to_output: first >= output,
            to_lake: self.shared.options.lake.is_some() && first >= lake,
            messages,
        };
        let mut paused = false;
        loop {
            match self.flow.send(batch, PATIENCE) {
                Ok(()) => break,
                Err(Full(back)) => {
                    batch = back;
                    if self.shared.is_stopping() && self.shared.has_failed() {
                        return Ok(());
                    }
                    if !paused {
                        paused = true;
                        tracing::debug!("no room for more; reading pauses");
                        self.pause(true)?;
                    }
                    // This answers the group. Only partitions that are new have messages.
                    let consumer = Arc::clone(&self.consumer);
                    match consumer.poll(Duration::from_millis(50)) {
                        Some(Ok(message)) => {
                            self.take(&message)?;
                            self.pause(true)?;
                        }
                        Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                        Some(Err(error)) => self.trouble(&error)?,
                    }
                    if ours(self).is_none() {
                        break;
                    }
                }
            }
        }
        if paused {
            self.pause(false)?;
        }
        Ok(())
    }

    fn pause(&self, pause: bool) -> Result<()> {
        let list = self.consumer.assignment().map_err(|e| kafka::error(&e))?;
        let done = if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        done.map_err(|e| kafka::error(&e))
    }

    /// Goes back to the marks, after the sinks have forgotten what they did not commit.
    fn rewind(&mut self) -> Result<()> {
        self.shared.metrics.rewound();
        self.open.clear();
        if !self.flow.reset(FLUSH) && !self.shared.is_stopping() {
            return Err(Error::Kafka { message: "the sinks do not answer".into() });
        }
        let group = self.consumer.context();
        let partitions: Vec<Partition> = group.assigned().keys().cloned().collect();
        let positions = group.positions(&self.consumer, &partitions)?;
        let mut list = TopicPartitionList::new();
        for ((topic, partition), assigned) in &positions {
            let offset = Offset::Offset(assigned.next);
            list.add_partition_offset(topic, *partition, offset).map_err(|e| kafka::error(&e))?;
        }
        if list.count() > 0 {
            self.consumer.seek_partitions(list, ANSWER).map_err(|e| kafka::error(&e))?;
        }
        *group.assigned() = positions;
        Ok(())
    }

    /// Whether every partition was read to where it ended when it was assigned. The last places of a topic may hold the
    /// ends of transactions, which are no messages: then it is quiet after the end.
    fn is_at_end(&self) -> bool {
        let assigned = self.consumer.context().assigned();
        let quiet = self.last_message.elapsed() > QUIET;
        let at_end = |(_, partition): &Partition, a: &Assigned| {
            a.next >= a.end || quiet && self.ends_seen.contains_key(partition)
        };
        !assigned.is_empty() && self.open.is_empty() && assigned.iter().all(|(p, a)| at_end(p, a))
    }

    /// What the library reports: most of it passes, and what does not ends the consumer.
    fn trouble(&self, error: &KafkaError) -> Result<()> {
        use RDKafkaErrorCode as Code;
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_))
            || matches!(
                error.rdkafka_error_code(),
                Some(
                    Code::UnknownTopicOrPartition
                        | Code::UnknownTopic
                        | Code::TopicAuthorizationFailed
                        | Code::GroupAuthorizationFailed
                        | Code::Authentication
                        | Code::SaslAuthenticationFailed
                        | Code::SSL
                        | Code::InvalidTopic
                )
            );
        match error.rdkafka_error_code() {
            _ if fatal => Err(kafka::error(error)),
            // The partition ends before the mark, or begins behind it: the marks decide what that means.
            Some(Code::OffsetOutOfRange | Code::AutoOffsetReset) => {
                self.shared.ask_to_rewind();
                Ok(())
            }
            _ => {
                tracing::warn!(%error, "the broker has trouble; reading goes on when it answers");
                Ok(())
            }
        }
    }
}
