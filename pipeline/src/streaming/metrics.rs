//! What a consumer does, as Prometheus metrics.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::harmonize::{Counts, Harmonized, Messages};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sink {
    sink: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeadLetter {
    reason: &'static str,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Partition {
    topic: String,
    partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Index {
    model_id: String,
    index_version: String,
}

/// The metrics of a consumer.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    messages: Counter,
    bytes: Counter,
    records: Counter,
    outputs: Counter,
    output_bytes: Counter,
    rows: Counter,
    row_bytes: Counter,
    dead_letters: Family<DeadLetter, Counter>,
    mentions: Counter,
    remembered: Counter,
    outcomes: Family<Outcome, Counter>,
    batch_seconds: Histogram,
    latency_seconds: Family<Sink, Histogram, fn() -> Histogram>,
    commit_seconds: Family<Sink, Histogram, fn() -> Histogram>,
    lag: Family<Partition, Gauge>,
    rebalances: Counter,
    rewinds: Counter,
    index: Family<Index, Gauge>,
    concepts: Gauge<i64, AtomicI64>,
    uncommitted_bytes: Gauge<i64, AtomicI64>,
    ready: AtomicBool,
    dead: AtomicU64,
    behind: AtomicI64,
    seconds: Mutex<f64>,
    partitions: AtomicU64,
}

/// A millisecond to a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 1.8, 20))
}

/// What a live view shows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Glance {
    /// Messages taken from Kafka.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records harmonized.
    pub records: u64,
    /// Output messages committed.
    pub outputs: u64,
    /// Rows committed.
    pub rows: u64,
    /// Dead letters.
    pub dead: u64,
    /// Mentions, and those that had been answered before.
    pub mentions: [u64; 2],
    /// Partitions assigned.
    pub partitions: u64,
    /// Messages that were not taken yet.
    pub lag: i64,
    /// Seconds from the first message to the last commit.
    pub seconds: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("generel_consumer");
        let latency = Family::new_with_constructor(seconds as fn() -> Histogram);
        let commit = Family::new_with_constructor(seconds as fn() -> Histogram);
        let new = Self {
            messages: Counter::default(),
            bytes: Counter::default(),
            records: Counter::default(),
            outputs: Counter::default(),
            output_bytes: Counter::default(),
            rows: Counter::default(),
            row_bytes: Counter::default(),
            dead_letters: Family::default(),
            mentions: Counter::default(),
            remembered: Counter::default(),
            outcomes: Family::default(),
            batch_seconds: seconds(),
            latency_seconds: latency,
            commit_seconds: commit,
            lag: Family::default(),
            rebalances: Counter::default(),
            rewinds: Counter::default(),
            index: Family::default(),
            concepts: Gauge::default(),
            uncommitted_bytes: Gauge::default(),
            ready: AtomicBool::new(false),
            dead: AtomicU64::new(0),
            behind: AtomicI64::new(0),
            seconds: Mutex::new(0.0),
            partitions: AtomicU64::new(0),
            registry: Registry::default(),
        };
        registry.register("messages", "Messages taken from Kafka; again after a rewind", new.messages.clone());
        registry.register("received_bytes", "Bytes of their keys and values", new.bytes.clone());
        registry.register("records", "Records harmonized", new.records.clone());
        registry.register("sent_messages", "Messages committed to the output topic", new.outputs.clone());
        registry.register("sent_bytes", "Bytes of their values", new.output_bytes.clone());
        registry.register("rows", "Rows committed to the lake", new.rows.clone());
        registry.register("stored_bytes", "Bytes of their files", new.row_bytes.clone());
        registry.register("dead_letters", "Records committed to the dead letters", new.dead_letters.clone());
        registry.register("mentions", "Texts and codes looked up", new.mentions.clone());
        registry.register("remembered_mentions", "Those that had been answered before", new.remembered.clone());
        registry.register("outcomes", "What became of the places of fields", new.outcomes.clone());
        registry.register("batch_seconds", "Time to harmonize a batch", new.batch_seconds.clone());
        registry.register(
            "latency_seconds",
            "From the timestamp of a batch's oldest message to its commit",
            new.latency_seconds.clone(),
        );
        registry.register("commit_seconds", "Time of a commit", new.commit_seconds.clone());
        registry.register("lag", "Messages of a partition that were not taken yet", new.lag.clone());
        registry.register("rebalances", "Changes of the assignment", new.rebalances.clone());
        registry.register("rewinds", "Times that reading went back to the marks", new.rewinds.clone());
        registry.register("index", "1 for the index in use", new.index.clone());
        registry.register("index_concepts", "Concepts of the index in use", new.concepts.clone());
        registry.register("uncommitted_bytes", "Bytes of rows that wait for a commit", new.uncommitted_bytes.clone());
        Self { registry, ..new }
    }
}

impl Metrics {
    /// All metrics in the text format of OpenMetrics, which Prometheus reads.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    /// Whether partitions are assigned and an index is loaded.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// The figures of a live view.
    pub fn glance(&self) -> Glance {
        Glance {
            messages: self.messages.get(),
            bytes: self.bytes.get(),
            records: self.records.get(),
            outputs: self.outputs.get(),
            rows: self.rows.get(),
            dead: self.dead.load(Ordering::Relaxed),
            mentions: [self.mentions.get(), self.remembered.get()],
            partitions: self.partitions.load(Ordering::Relaxed),
            lag: self.behind.load(Ordering::Relaxed),
            seconds: *self.seconds.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    pub(super) fn taken(&self, messages: &Messages) {
        self.messages.inc_by(messages.len() as u64);
        self.bytes.inc_by(messages.bytes() as u64);
    }

    pub(super) fn harmonized(&self, done: &Harmonized, seconds: f64) {
        let Counts { records, mentions, outcomes } = done.counts;
        self.records.inc_by(records);
        self.mentions.inc_by(mentions[0]);
        self.remembered.inc_by(mentions[1]);
        for (outcome, count) in crate::harmonize::outcomes().into_iter().zip(outcomes) {
            if count > 0 {
                self.outcomes.get_or_create(&Outcome { outcome }).inc_by(count);
            }
        }
        self.batch_seconds.observe(seconds);
    }

    /// A dead letter that is committed.
    pub(super) fn dead_letter(&self, reason: crate::harmonize::Reason) {
        let (reason, stage) = (reason.as_str(), reason.stage().as_str());
        self.dead_letters.get_or_create(&DeadLetter { reason, stage }).inc();
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, messages: u64, bytes: u64) {
        self.outputs.inc_by(messages);
        self.output_bytes.inc_by(bytes);
    }

    /// Rows that are committed, and the bytes of their files.
    pub(super) fn stored(&self, rows: u64, bytes: u64) {
        self.rows.inc_by(rows);
        self.row_bytes.inc_by(bytes);
    }

    /// So many bytes of rows more wait to be committed.
    pub(super) fn waiting(&self, bytes: i64) {
        self.uncommitted_bytes.inc_by(bytes);
    }

    pub(super) fn committed(&self, sink: &'static str, seconds: f64, oldest_ms: Option<i64>) {
        self.commit_seconds.get_or_create(&Sink { sink }).observe(seconds);
        if let Some(oldest) = oldest_ms {
            let age = chrono::Utc::now().timestamp_millis() - oldest;
            self.latency_seconds.get_or_create(&Sink { sink }).observe(age.max(0) as f64 / 1000.0);
        }
    }

    pub(super) fn lag(&self, topic: &str, partition: i32, lag: Option<i64>) {
        let label = Partition { topic: topic.to_string(), partition };
        match lag {
            Some(lag) => {
                self.lag.get_or_create(&label).set(lag);
            }
            None => {
                self.lag.remove(&label);
            }
        }
    }

    /// Messages of all partitions that were not taken yet.
    pub(super) fn behind(&self, all: i64) {
        self.behind.store(all, Ordering::Relaxed);
    }

    /// How long reading took, from the first message to the last commit.
    pub(super) fn ended(&self, seconds: f64) {
        *self.seconds.lock().unwrap_or_else(PoisonError::into_inner) = seconds;
    }

    pub(super) fn assigned(&self, partitions: usize) {
        self.rebalances.inc();
        self.partitions.store(partitions as u64, Ordering::Relaxed);
    }

    pub(super) fn rewound(&self) {
        self.rewinds.inc();
    }

    pub(super) fn index(&self, model_id: &str, index_version: &str, concepts: usize) {
        self.index.clear();
        let label = Index { model_id: model_id.to_string(), index_version: index_version.to_string() };
        self.index.get_or_create(&label).set(1);
        self.concepts.set(concepts as i64);
    }
}

/// Shared by all threads of a consumer, and by who shows it.
pub type SharedMetrics = Arc<Metrics>;
