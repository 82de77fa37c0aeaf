//! The reader: polls the group's partitions, cuts their messages into batches, goes back to the marks when a sink says
//! so, and answers the group's rebalances.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::flow::{Batch, Flow, Full, Shared};
use super::kafka::{self, headers_of};
use super::options::Start;
use super::positions::{self, Known, Position};
use crate::harmonize::{Message, Messages};
use crate::lake::{Commit, Mark, marks};
use crate::{Error, Lake, Result};

/// Messages and bytes of a batch, and how long its first message waits for others.
const BATCH_MESSAGES: usize = 8192;
const BATCH_BYTES: usize = 1 << 20;
const LINGER: Duration = Duration::from_millis(10);
/// How long the reader waits for room before it pauses its partitions: a pause throws away what was fetched.
const PATIENCE: Duration = Duration::from_secs(10);
/// What an answer of the broker may take, and a flush of the sinks.
const ANSWER: Duration = Duration::from_secs(30);
const FLUSH: Duration = Duration::from_secs(60);
/// Without messages for so long, a partition whose end was seen is read.
const QUIET: Duration = Duration::from_secs(1);

pub(super) type GroupConsumer = BaseConsumer<Group>;
type Partition = (Arc<str>, i32);

/// What is to be done at a rebalance, and what came of it.
pub(super) struct Group {
    shared: Arc<Shared>,
    lake: Option<Lake>,
    flow: Mutex<Option<Arc<Flow>>>,
    generation: AtomicU64,
    assigned: Mutex<HashMap<Partition, Assigned>>,
}

/// A partition of ours.
#[derive(Debug, Clone, Copy)]
struct Assigned {
    position: Position,
    /// The topic's end when the partition was assigned.
    end: i64,
    /// The next offset to take.
    next: i64,
    /// Which assignment it is of: a partition may go and come back, or be read again from its marks.
    generation: u64,
}

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "consumer");
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log(level, facility, message);
    }

    /// The lag, from what the fetches have brought: to ask the broker for it would wait behind them.
    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(all) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let mut behind = 0;
        for ((topic, partition), assigned) in self.assigned().iter() {
            let of = all.topics.get(&**topic).and_then(|t| t.partitions.get(&partition.to_string()));
            if let Some(Ends { ls_offset }) = of.filter(|ends| ends.ls_offset >= 0) {
                let lag = (ls_offset - assigned.next).max(0);
                behind += lag;
                self.shared.metrics.lag(topic, *partition, Some(lag));
            }
        }
        self.shared.metrics.behind(behind);
    }
}

/// What we read of librdkafka's statistics.
#[derive(serde::Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: std::collections::HashMap<String, Topic>,
}

#[derive(serde::Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: std::collections::HashMap<String, Ends>,
}

#[derive(serde::Deserialize)]
struct Ends {
    /// The offset after the last message that readers of committed ones see; negative where it is not known.
    ls_offset: i64,
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), rdkafka::consumer::RebalanceProtocol::Cooperative);
        let done = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            match self.assign(consumer, list) {
                Ok(()) if cooperative => consumer.incremental_assign(list),
                Ok(()) => consumer.assign(list),
                Err(error) => {
                    self.shared.fail(error);
                    // The group goes on without us.
                    consumer.unassign()
                }
            }
        } else {
            self.revoke(consumer, list);
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = done {
            self.shared.fail(kafka::error(&error));
        }
        let partitions = self.assigned().len();
        self.shared.metrics.assigned(partitions);
        self.shared.metrics.set_ready(partitions > 0);
        tracing::info!(partitions, "rebalanced");
    }

    fn main_queue_min_poll_interval(&self) -> rdkafka::util::Timeout {
        Duration::from_millis(100).into()
    }
}

impl Group {
    pub(super) fn new(shared: Arc<Shared>, lake: Option<Lake>) -> Self {
        Self { shared, lake, flow: Mutex::default(), generation: AtomicU64::new(0), assigned: Mutex::default() }
    }

    fn assigned(&self) -> MutexGuard<'_, HashMap<Partition, Assigned>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the sinks, while there is a reader.
    fn flow(&self) -> MutexGuard<'_, Option<Arc<Flow>>> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the way to the sinks, so that they end.
    pub(super) fn close(&self) {
        self.flow().take();
    }

    /// Finds out where to read on, and says so in the list.
    fn assign(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> Result<()> {
        let partitions: Vec<Partition> =
            list.elements().iter().map(|e| (Arc::from(e.topic()), e.partition())).collect();
        let positions = self.positions(consumer, &partitions)?;
        for (partition, assigned) in &positions {
            list.set_partition_offset(&partition.0, partition.1, Offset::Offset(assigned.next))
                .map_err(|e| kafka::error(&e))?;
        }
        self.assigned().extend(positions);
        Ok(())
    }

    /// Has everything committed before others read on.
    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        let flow = self.flow().clone();
        let flushed = !lost && flow.is_some_and(|flow| flow.flush(FLUSH));
        if !flushed && list.count() > 0 {
            tracing::warn!(
                lost,
                "partitions are gone before everything was committed; what is left is read again by others"
            );
            self.shared.ask_to_rewind();
        }
        let mut assigned = self.assigned();
        for element in list.elements() {
            let partition = (Arc::from(element.topic()), element.partition());
            assigned.remove(&partition);
            self.shared.metrics.lag(element.topic(), element.partition(), None);
        }
    }

    /// Where to read on, by the marks as they are now; marks that are missing are set.
    fn positions(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[Partition],
    ) -> Result<HashMap<Partition, Assigned>> {
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let options = &self.shared.options;
        let failed = |e: KafkaError| kafka::error(&e);
        let mut list = TopicPartitionList::new();
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let group = consumer.committed_offsets(list.clone(), ANSWER).map_err(failed)?;
        let at = match options.start {
            Start::At(time) => {
                let mut asked = list.clone();
                asked.set_all_offsets(Offset::Offset(time.timestamp_millis())).map_err(failed)?;
                Some(consumer.offsets_for_times(asked, ANSWER).map_err(failed)?)
            }
            _ => None,
        };
        let of = |list: &TopicPartitionList, (topic, partition): &Partition| {
            list.find_partition(topic, *partition).and_then(|e| match e.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            })
        };
        let lake = self.shared.handle.block_on(self.lake_marks(partitions))?;
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let mut all = HashMap::new();
        for (number, partition) in partitions.iter().enumerate() {
            let ends = consumer.fetch_watermarks(&partition.0, partition.1, ANSWER).map_err(failed)?;
            let known = Known {
                topic: ends,
                group: of(&group, partition),
                lake: lake.as_ref().map(|marks| marks[number]),
                start: positions::start(options.start, ends, at.as_ref().and_then(|at| of(at, partition))),
            };
            let position = positions::position(known, options.accepted, options.output.is_some()).map_err(|lost| {
                Error::Kafka { message: format!("{} [{}]: {}", partition.0, partition.1, lost.message()) }
            })?;
            tracing::info!(
                topic = &*partition.0,
                partition = partition.1,
                from = position.from,
                end = ends.1,
                "reading"
            );
            all.insert(partition.clone(), Assigned { position, end: ends.1, next: position.from, generation });
        }
        self.shared.handle.block_on(self.mark_lake(&all))?;
        self.mark_group(consumer, &all)?;
        Ok(all)
    }

    /// The lake's mark of each partition, and the one that it began with; nothing where no rows are written.
    async fn lake_marks(&self, partitions: &[Partition]) -> Result<Option<Vec<(Option<i64>, Option<i64>)>>> {
        let Some((lake, table)) = self.lake.as_ref().zip(self.shared.harmonizer.table()) else { return Ok(None) };
        let Some(delta) = lake.table(table).await? else { return Ok(Some(vec![(None, None); partitions.len()])) };
        let mut all = Vec::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            let id = self.shared.options.mark_id(topic, *partition);
            let mark = marks::read(table, &delta, &id).await?;
            all.push((mark, marks::read(table, &delta, &began(&id)).await?));
        }
        Ok(Some(all))
    }

    /// Sets the lake's first marks.
    async fn mark_lake(&self, partitions: &HashMap<Partition, Assigned>) -> Result<()> {
        let Some((lake, table)) = self.lake.as_ref().zip(self.shared.harmonizer.table()) else { return Ok(()) };
        let fresh = partitions.iter().filter(|(_, assigned)| assigned.position.mark_lake);
        let marks: Vec<Mark> = fresh
            .flat_map(|((topic, partition), assigned)| {
                let id = self.shared.options.mark_id(topic, *partition);
                [Mark::new(began(&id), assigned.position.lake), Mark::new(id, assigned.position.lake)]
            })
            .collect();
        if marks.is_empty() {
            return Ok(());
        }
        let writer = lake.writer(table, Some(&self.shared.options.name)).await?;
        writer.commit(Commit { replace_unit: false, marks, run_id: self.shared.options.name.clone() }).await?;
        Ok(())
    }

    /// Commits the group's first offsets.
    fn mark_group(&self, consumer: &BaseConsumer<Self>, partitions: &HashMap<Partition, Assigned>) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), assigned) in partitions.iter().filter(|(_, assigned)| assigned.position.mark_group) {
            let offset = Offset::Offset(assigned.position.output);
            list.add_partition_offset(topic, *partition, offset).map_err(|e| kafka::error(&e))?;
        }
        if list.count() == 0 {
            return Ok(());
        }
        consumer.commit(&list, rdkafka::consumer::CommitMode::Sync).map_err(|e| kafka::error(&e))
    }
}

/// The mark that a partition's mark began with.
fn began(id: &str) -> String {
    format!("{id}/began")
}

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
