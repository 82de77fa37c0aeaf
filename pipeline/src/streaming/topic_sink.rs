//! The sink of messages: output messages, dead letters and the group's offsets in one Kafka transaction after another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::dead_letters;
use super::flow::{Finished, Shared, Told};
use super::group::GroupConsumer;
use super::kafka::{self, own_headers};
use super::pace::Pace;
use super::producer::{Deliveries, PATIENCE, abort, producer};
use crate::harmonize::{Header, Reason};
use crate::{Error, Result};

/// How long a flush waits before it looks at what failed.
const FAILURES: Duration = Duration::from_millis(20);
/// What the last abort may take.
const BRIEFLY: Duration = Duration::from_secs(3);
/// Transactions that may fail one after another before the consumer gives up.
const MOST_FAILURES: u32 = 10;
/// Messages of one transaction: more make no difference to its cost.
const MOST_MESSAGES: u64 = 50_000;
/// Times the usual wait, for a transaction into which one batch comes after another.
const BUSY: u32 = 4;
/// What to do where messages are refused.
const WRITE: &str = "; this login may not write to all of them: ask for the ACL Write";
/// Name of the sink in metrics.
const SINK: &str = "topic";

/// Why a transaction was not committed.
enum Trouble {
    /// Try again from the marks.
    Again(String),
    /// There is no use.
    Fatal(Error),
}

/// The sink of messages.
pub(super) struct TopicSink {
    shared: Arc<Shared>,
    consumer: Arc<GroupConsumer>,
    producer: BaseProducer<Deliveries>,
    /// Bytes that a dead letter may have.
    most_dead_bytes: usize,
    open: Option<Open>,
    /// Whether everything is dropped until the reader has gone back.
    broken: bool,
    failures: u32,
    pace: Pace,
}

/// A transaction under way.
struct Open {
    since: Instant,
    next: HashMap<(Arc<str>, i32), i64>,
    messages: u64,
    bytes: u64,
    /// Bytes that the broker has to take: with keys and dead letters, without headers.
    queued: u64,
    oldest_ms: Option<i64>,
    dead: Vec<Reason>,
}

impl TopicSink {
    /// Starts the producer; a transaction that a killed member with this instance's name left is aborted.
    ///
    /// # Errors
    /// When the broker does not take transactions of this consumer.
    pub(super) fn new(shared: Arc<Shared>, consumer: Arc<GroupConsumer>, most_dead_bytes: usize) -> Result<Self> {
        let producer = producer(&shared)?;
        let pace = Pace::default();
        Ok(Self { shared, consumer, producer, most_dead_bytes, open: None, broken: false, failures: 0, pace })
    }

    /// Takes what it is told until the reader ends.
    pub(super) fn run(mut self, told: &Receiver<Told>) {
        let wait = self.shared.options.transaction_wait();
        loop {
            let left =
                self.open.as_ref().map_or(Duration::from_millis(200), |open| wait.saturating_sub(open.since.elapsed()));
            let is_full = |open: &Open| {
                open.messages >= MOST_MESSAGES || self.pace.is_full(open.queued) || open.since.elapsed() >= BUSY * wait
            };
            let full = self.open.as_ref().is_some_and(is_full);
            match if full { Err(RecvTimeoutError::Timeout) } else { told.recv_timeout(left) } {
                Ok(Told::Batch(finished)) => {
                    if !self.broken
                        && finished.batch.to_output
                        && let Err(trouble) = self.take(&finished)
                    {
                        self.recover(trouble);
                    }
                }
                Ok(Told::Flush(reply)) => self.answer(&reply, false),
                Ok(Told::Reset(reply)) => self.answer(&reply, true),
                Err(RecvTimeoutError::Timeout) => {
                    if self.open.as_ref().is_some_and(|open| full || open.since.elapsed() >= wait) {
                        self.commit();
                    } else {
                        self.producer.poll(Duration::ZERO);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.abort();
                    return;
                }
            }
        }
    }

    fn answer(&mut self, reply: &Sender<bool>, reset: bool) {
        let committed = !self.broken && self.commit();
        if reset {
            self.abort();
            self.broken = false;
        }
        let _ = reply.send(committed || reset);
    }

    fn take(&mut self, finished: &Finished) -> std::result::Result<(), Trouble> {
        if self.open.is_none() {
            self.producer.begin_transaction().map_err(|e| self.trouble(&e))?;
            let since = Instant::now();
            self.open = Some(Open {
                since,
                next: HashMap::new(),
                messages: 0,
                bytes: 0,
                queued: 0,
                oldest_ms: None,
                dead: Vec::new(),
            });
        }
        let (batch, harmonized) = (&finished.batch, &finished.harmonized);
        let (mut messages, mut bytes, mut queued) = (0, 0, 0);
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len) as u64;
        if let Some(output) = &self.shared.options.output {
            for (number, value) in harmonized.outputs() {
                let input = batch.messages.get(number);
                let headers = (!input.headers.is_empty()).then(|| own_headers(input.headers));
                self.send(&output.topic, input.key, value, input.timestamp_ms, headers)?;
                messages += 1;
                bytes += length(value);
                queued += length(input.key) + length(value);
            }
        }
        for dead in &harmonized.dead {
            let (mut input, topic) = (harmonized.letter(dead, &batch.messages), &batch.messages.topic);
            let around = input.around_bytes();
            let takes = |bytes: usize| around + bytes <= self.most_dead_bytes;
            let value = input.value.filter(|value| takes(value.len()));
            if !takes(0) {
                (input.key, input.headers) = (None, &[]);
            }
            let place = (&**topic, batch.messages.partition);
            queued += length(input.key) + length(value);
            let headers: Vec<Header> = dead_letters::headers(&self.shared.options.name, place, &input, dead);
            self.send(
                &self.shared.options.dead_letters,
                input.key,
                value,
                input.timestamp_ms,
                Some(own_headers(&headers)),
            )?;
            tracing::info!(
                topic = &**topic,
                partition = batch.messages.partition,
                offset = input.offset,
                line = dead.line,
                reason = dead.rejected.reason.as_str(),
                "dead letter"
            );
        }
        if let Some(open) = &mut self.open {
            open.next.insert((Arc::clone(&batch.messages.topic), batch.messages.partition), batch.next);
            open.messages += messages;
            open.bytes += bytes;
            open.queued += queued;
            open.dead.extend(harmonized.dead.iter().map(|dead| dead.rejected.reason));
            open.oldest_ms = open.oldest_ms.into_iter().chain(finished.oldest_ms()).min();
        }
        Ok(())
    }

    /// Puts a message into the producer's queue, waiting for room.
    fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: Option<i64>,
        headers: Option<OwnedHeaders>,
    ) -> std::result::Result<(), Trouble> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        record.key = key;
        record.payload = value;
        record.timestamp = timestamp_ms;
        record.headers = headers;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(self.trouble(&error)),
            }
        }
    }

    /// Commits the open transaction; whether everything is committed.
    fn commit(&mut self) -> bool {
        let Some(open) = self.open.take() else { return true };
        let began = Instant::now();
        match self.try_commit(&open) {
            Ok(()) => {
                self.failures = 0;
                self.pace.committed(open.queued, began.elapsed());
                self.shared.metrics.sent(open.messages, open.bytes);
                open.dead.iter().for_each(|reason| self.shared.metrics.dead_letter(*reason));
                self.shared.metrics.committed(SINK, began.elapsed().as_secs_f64(), open.oldest_ms);
                let ms = began.elapsed().as_millis() as u64;
                for ((topic, partition), next) in &open.next {
                    tracing::debug!(topic = &**topic, partition, next, ms, "transaction committed");
                }
                true
            }
            Err(trouble) => {
                self.open = Some(open);
                self.pace.failed(began.elapsed());
                self.recover(trouble);
                false
            }
        }
    }

    fn try_commit(&self, open: &Open) -> std::result::Result<(), Trouble> {
        let mut offsets = TopicPartitionList::new();
        for ((topic, partition), next) in &open.next {
            offsets.add_partition_offset(topic, *partition, Offset::Offset(*next)).map_err(|e| self.trouble(&e))?;
        }
        let group = self.consumer.group_metadata();
        let group = group.ok_or_else(|| Trouble::Fatal(Error::Internal("a consumer without a group".into())))?;
        self.retried(|| self.producer.send_offsets_to_transaction(&offsets, &group, PATIENCE))?;
        self.flush()?;
        self.retried(|| self.producer.commit_transaction(PATIENCE))
    }

    /// Has everything sent at once, and waits until the broker has it. The library's own way of it, which a commit begins
    /// with, looks at most ten times a second, since nothing is reported of messages that arrive.
    fn flush(&self) -> std::result::Result<(), Trouble> {
        let began = Instant::now();
        while !kafka::flushed(&self.producer, FAILURES) {
            if began.elapsed() > PATIENCE {
                return Err(Trouble::Again("the broker does not take messages".into()));
            }
            // Messages that failed count until they are reported.
            self.producer.poll(Duration::ZERO);
        }
        Ok(())
    }

    /// Does a step again where the library says that this may help.
    fn retried(&self, step: impl Fn() -> rdkafka::error::KafkaResult<()>) -> std::result::Result<(), Trouble> {
        for attempt in 0..MOST_FAILURES {
            // A step that the transaction failed in the middle of says no more than that; the next one says why.
            let is_cut_off = |code| attempt == 0 && code == RDKafkaErrorCode::State;
            match step() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() || is_cut_off(error.code()) => {
                    tracing::warn!(%error, "the transaction is tried again");
                    self.producer.poll(Duration::from_millis(200));
                }
                Err(error) => {
                    let failed = self.producer.context().take_failed();
                    return Err(match failed {
                        Some(code) if is_final(code) => Trouble::Fatal(self.refused(code)),
                        _ => self.trouble(&error),
                    });
                }
            }
        }
        Err(Trouble::Again("the broker does not answer".into()))
    }

    fn trouble(&self, error: &KafkaError) -> Trouble {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Trouble::Fatal(self.refused(RDKafkaErrorCode::TopicAuthorizationFailed))
            }
            Some(code) if is_final(code) => Trouble::Fatal(kafka::error(error)),
            _ => Trouble::Again(error.to_string()),
        }
    }

    fn refused(&self, code: RDKafkaErrorCode) -> Error {
        let options = &self.shared.options;
        let topics = options.output.iter().map(|o| o.topic.as_str()).chain([options.dead_letters.as_str()]);
        let topics = topics.collect::<Vec<_>>().join(", ");
        let hint = if code == RDKafkaErrorCode::TopicAuthorizationFailed { WRITE } else { "" };
        Error::Kafka { message: format!("the broker refused a message to {topics}: {code}{hint}") }
    }

    /// After a failed transaction: the reader goes back to the marks.
    fn recover(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Fatal(error) => self.shared.fail(error),
            Trouble::Again(message) => {
                self.failures += 1;
                tracing::warn!(
                    message,
                    failures = self.failures,
                    "a transaction failed; reading goes back to the marks"
                );
                if self.failures > MOST_FAILURES {
                    self.shared.fail(Error::Kafka { message: format!("transactions fail again and again: {message}") });
                }
            }
        }
        self.abort();
        self.broken = true;
        self.shared.ask_to_rewind();
    }

    /// Drops the open transaction. A producer that was fenced off, or that cannot abort, is replaced.
    fn abort(&mut self) {
        if self.open.take().is_none() {
            return;
        }
        // Where the consumer ends, the broker aborts in its own time.
        let failed = self.shared.has_failed();
        let (tries, patience) = if failed { (1, BRIEFLY) } else { (3, PATIENCE) };
        for _ in 0..tries {
            match abort(&self.producer, patience) {
                Ok(()) => return,
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
                Err(error) => {
                    tracing::warn!(%error, "the transaction cannot be aborted; a new producer takes over");
                    break;
                }
            }
        }
        if failed {
            return;
        }
        match producer(&self.shared) {
            Ok(new) => self.producer = new,
            Err(error) => self.shared.fail(error),
        }
    }
}

/// Whether the same would happen again.
fn is_final(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::MessageSizeTooLarge
            | Code::InvalidTopic
            | Code::InvalidRecord
            | Code::UnsupportedVersion
            | Code::Authentication
    )
}
