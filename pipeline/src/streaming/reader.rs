//! The reader: polls the group's partitions, cuts their messages into batches, and goes back to the marks when a sink
//! says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
/// Messages for which the time is asked once: far fewer than come in a [`LINGER`].
const MESSAGES_A_TICK: u32 = 32;
/// How long the reader waits for room before it pauses its partitions: a pause throws away what was fetched.
const PATIENCE: Duration = Duration::from_secs(10);
/// Without messages for so long, a partition whose end was seen is read.
const QUIET: Duration = Duration::from_secs(1);

/// The reader.
pub(super) struct Reader {
    shared: Arc<Shared>,
    consumer: Arc<GroupConsumer>,
    flow: Arc<Flow>,
    open: Vec<Taking>,
    /// The one that took the last message, and the messages and bytes of the last full one.
    last_open: usize,
    usual: (usize, usize),
    /// Changes of the assignment that are known.
    changes: u64,
    first_message: Option<Instant>,
    last_message: Instant,
    /// About the time: it is asked for once in so many messages.
    now: Instant,
    ticks: u32,
    last_sweep: Instant,
}

/// A batch that is being filled.
struct Taking {
    of: Partition,
    messages: Messages,
    /// The mark that it begins at, and the next offset to take.
    first: i64,
    next: i64,
    /// The marks of the sinks.
    cuts: [i64; 2],
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
            open: Vec::new(),
            last_open: 0,
            usual: (0, 0),
            changes: 0,
            first_message: None,
            last_message: now,
            now,
            ticks: 0,
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
            // To wait is to ask for the time, which is much beside a message: only where none is there.
            let consumer = Arc::clone(&self.consumer);
            let polled = consumer.poll(Duration::ZERO).or_else(|| {
                // Without messages waiting, what was begun is handed on soon.
                let wait = if self.open.is_empty() { Duration::from_millis(50) } else { Duration::from_millis(2) };
                self.ticks = 0;
                consumer.poll(wait)
            });
            match polled {
                Some(Ok(message)) => {
                    if self.ticks == 0 {
                        self.now = Instant::now();
                    }
                    self.ticks = (self.ticks + 1) % MESSAGES_A_TICK;
                    self.take(&message)?;
                    // The rest can wait while messages come one after another.
                    if self.now.duration_since(self.last_sweep) < LINGER / 2 {
                        continue;
                    }
                }
                // Which topic's it is, the statistics say.
                Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                Some(Err(error)) => self.trouble(&error)?,
            }
            self.hand_on_old()?;
            if self.shared.options.until_end && self.is_at_end() {
                self.shared.stop();
            }
        }
        if !self.shared.has_failed() {
            self.forget_lost();
            while !self.open.is_empty() {
                self.hand_on(0)?;
            }
            if !self.flow.flush(FLUSH) && !self.shared.has_failed() {
                let message = "not everything that was read could be committed; it is read again next time";
                if self.shared.options.until_end {
                    return Err(Error::Kafka { message: message.into() });
                }
                // The group was being shared anew just then: others read it.
                tracing::warn!("{message}");
            }
        }
        if let Some(first) = self.first_message {
            self.shared.metrics.ended(first.elapsed().as_secs_f64());
        }
        self.shared.metrics.set_ready(false);
        Ok(())
    }

    fn take(&mut self, message: &rdkafka::message::BorrowedMessage<'_>) -> Result<()> {
        self.forget_lost();
        self.last_message = self.now;
        self.first_message.get_or_insert(self.now);
        let (topic, offset) = (message.topic(), message.offset());
        let is_of = |(of, partition): &Partition| *partition == message.partition() && **of == *topic;
        // Messages of a partition come one after another, many at a time.
        let last = self.open.get(self.last_open).is_some_and(|taking| is_of(&taking.of)).then_some(self.last_open);
        let at = match last.or_else(|| self.open.iter().position(|taking| is_of(&taking.of))) {
            Some(at) => at,
            None => match self.begin(topic, message.partition()) {
                Some(at) => at,
                None => return Ok(()),
            },
        };
        self.last_open = at;
        let taking = &mut self.open[at];
        // Not from before the reader went back.
        if offset < taking.next {
            return Ok(());
        }
        // A sink that is further than the other one begins at a batch's first message.
        let cut = taking.cuts.into_iter().filter(|mark| (taking.next..=offset).contains(mark)).max();
        if let Some(mark) = cut.filter(|mark| *mark > taking.first) {
            if taking.messages.is_empty() {
                taking.first = mark;
            } else {
                self.hand_on(at)?;
                return self.take(message);
            }
        }
        if taking.messages.is_empty() {
            taking.since = self.now;
        }
        taking.next = offset + 1;
        let headers = headers_of(message.headers());
        taking.messages.push(&Message {
            offset,
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: &headers,
        });
        if taking.messages.len() >= BATCH_MESSAGES || taking.messages.bytes() >= BATCH_BYTES {
            self.hand_on(at)?;
        }
        Ok(())
    }

    /// Begins a batch of a partition, if that is ours.
    fn begin(&mut self, topic: &str, partition: i32) -> Option<usize> {
        let of = (Arc::from(topic), partition);
        let Assigned { position, next, generation, .. } = *self.consumer.context().assigned().get(&of)?;
        let messages = Messages::new(Arc::clone(&of.0), partition, self.usual);
        let cuts = [position.output, position.lake];
        self.open.push(Taking { of, messages, first: next, next, cuts, generation, since: self.now });
        Some(self.open.len() - 1)
    }

    fn hand_on_old(&mut self) -> Result<()> {
        let now = Instant::now();
        self.last_sweep = now;
        let is_old = |taking: &Taking| now.duration_since(taking.since) >= LINGER;
        while let Some(at) = self.open.iter().position(is_old) {
            self.hand_on(at)?;
        }
        Ok(())
    }

    /// Forgets what was begun of partitions that were let go: who has them now reads it again.
    fn forget_lost(&mut self) {
        let changes = self.consumer.context().changes();
        if changes != self.changes {
            self.changes = changes;
            let assigned = self.consumer.context().assigned();
            self.open.retain(|t| assigned.get(&t.of).is_some_and(|assigned| assigned.generation == t.generation));
        }
    }

    /// Hands a batch on. While there is no room, the partitions are paused and the group is kept alive.
    fn hand_on(&mut self, at: usize) -> Result<()> {
        let Taking { of: partition, messages, first, next: read, generation, .. } = self.open.swap_remove(at);
        let ours = |reader: &Self| {
            let mut all = reader.consumer.context().assigned();
            let assigned = all.get_mut(&partition).filter(|assigned| assigned.generation == generation);
            assigned.map(|assigned| {
                assigned.next = assigned.next.max(read);
                *assigned
            })
        };
        let (Some(next), Some(assigned)) = (messages.next_offset(), ours(self)) else { return Ok(()) };
        self.usual = (messages.len() + messages.len() / 8, messages.bytes() + messages.bytes() / 8);
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
                            self.now = Instant::now();
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
        // While it waited, nothing could come.
        self.last_message = Instant::now();
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
        let at_end = |a: &Assigned| a.next >= a.end || quiet && a.fetched_to >= a.end;
        !assigned.is_empty() && self.open.is_empty() && assigned.values().all(at_end)
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
            _ if fatal => Err(kafka::reading(&self.shared.options.topics, error)),
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
