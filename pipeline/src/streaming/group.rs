//! Our part of the consumer group: what is done at a rebalance, where partitions are read on, how far behind we are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::flow::{Flow, Shared};
use super::kafka;
use super::options::Start;
use super::positions::{self, Known, Position};
use crate::lake::{Commit, Mark, marks};
use crate::{Error, Lake, Result};

/// What an answer of the broker may take, and a flush of the sinks.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
pub(super) const FLUSH: Duration = Duration::from_secs(60);

pub(super) type GroupConsumer = BaseConsumer<Group>;
pub(super) type Partition = (Arc<str>, i32);

/// What is to be done at a rebalance, and what came of it.
pub(super) struct Group {
    shared: Arc<Shared>,
    lake: Option<Lake>,
    flow: Mutex<Option<Arc<Flow>>>,
    generation: AtomicU64,
    changes: AtomicU64,
    assigned: Mutex<HashMap<Partition, Assigned>>,
}

/// A partition of ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assigned {
    pub(super) position: Position,
    /// The topic's end when the partition was assigned.
    pub(super) end: i64,
    /// The next offset to take.
    pub(super) next: i64,
    /// The last end that fetches have come to, as the library tells; below 0 for none. What it brought may still wait.
    pub(super) fetched_to: i64,
    /// Which assignment it is of: a partition may go and come back, or be read again from its marks.
    pub(super) generation: u64,
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
        for ((topic, partition), assigned) in self.assigned().iter_mut() {
            let of = all.topics.get(&**topic).and_then(|t| t.partitions.get(&partition.to_string()));
            let Some(Ends { ls_offset, eof_offset }) = of else { continue };
            assigned.fetched_to = *eof_offset;
            if *ls_offset >= 0 {
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
    /// The last end that was signaled; negative for none.
    eof_offset: i64,
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
        self.changes.fetch_add(1, Ordering::Relaxed);
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
        Self {
            shared,
            lake,
            flow: Mutex::default(),
            generation: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            assigned: Mutex::default(),
        }
    }

    pub(super) fn assigned(&self) -> MutexGuard<'_, HashMap<Partition, Assigned>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the assignment has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The way to the sinks, while there is a reader.
    pub(super) fn flow(&self) -> MutexGuard<'_, Option<Arc<Flow>>> {
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
    pub(super) fn positions(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[Partition],
    ) -> Result<HashMap<Partition, Assigned>> {
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let options = &self.shared.options;
        let failed = |e: KafkaError| kafka::reading(&options.topics, &e);
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
            all.insert(
                partition.clone(),
                Assigned { position, end: ends.1, next: position.from, fetched_to: -1, generation },
            );
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
        let committed = consumer.commit(&list, rdkafka::consumer::CommitMode::Sync);
        committed.map_err(|e| kafka::reading(&self.shared.options.topics, &e))
    }
}

/// The mark that a partition's mark began with.
fn began(id: &str) -> String {
    format!("{id}/began")
}
