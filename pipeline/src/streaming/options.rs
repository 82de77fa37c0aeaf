//! What a consumer is told.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use generel_schemas::Sensitive;
use rdkafka::ClientConfig;

use crate::harmonize::{HarmonizerOptions, IndexOptions, Shape};

/// Where a consumer begins that has read nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With the first message of this time or later.
    At(DateTime<Utc>),
}

/// Losses that a person has seen and accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The lake has no mark of a partition that the group has read: go on from the group's offsets.
    pub lost_lake: bool,
    /// The group has no offset of a partition that the lake has: go on from the lake's.
    pub lost_offsets: bool,
    /// The topic no longer has messages that were not read: go on with the oldest that it has.
    pub truncated: bool,
}

/// librdkafka's settings. Their values are never shown.
#[derive(Debug, Clone, Default)]
pub struct Settings(pub BTreeMap<String, Sensitive<String>>);

impl Settings {
    /// A setting's value, for those that are no secret.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.expose().as_str())
    }

    /// The settings over a client's own.
    pub(crate) fn over(&self, own: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in own {
            config.set(*key, *value);
        }
        for (key, value) in &self.0 {
            config.set(key, value.expose());
        }
        for (key, value) in fixed {
            config.set(*key, *value);
        }
        config
    }
}

/// Rows in the lake.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LakeOptions {
    /// A commit is made when it has so many rows …
    pub max_rows: usize,
    /// … or its rows take so much memory …
    pub max_bytes: usize,
    /// … or its first row has waited so long.
    pub max_wait: Duration,
}

/// Messages in a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputOptions {
    /// The topic.
    pub topic: String,
    /// The shape of its messages.
    pub shape: Shape,
    /// A transaction is committed when its first message has waited so long.
    pub max_wait: Duration,
}

/// A consumer.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Its name: the identity of its rows and marks in the lake.
    pub name: String,
    /// librdkafka's settings.
    pub settings: Settings,
    /// Topics; one that begins with `^` is a regular expression.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group: String,
    /// The name of this member of the group, if it has one that outlives the process.
    pub instance: Option<String>,
    /// Where a group begins that has read nothing yet.
    pub start: Start,
    /// Losses that are accepted.
    pub accepted: Accepted,
    /// What is done with messages.
    pub harmonizer: HarmonizerOptions,
    /// What they are harmonized to.
    pub index: Option<IndexOptions>,
    /// How often the lake is looked at for a new index.
    pub refresh: Duration,
    /// Rows in the lake.
    pub lake: Option<LakeOptions>,
    /// Messages in a topic.
    pub output: Option<OutputOptions>,
    /// The topic of dead letters.
    pub dead_letters: String,
    /// Whether topics that are missing are made.
    pub create_topics: bool,
    /// Threads that harmonize; 0 for all cores.
    pub threads: usize,
    /// End when all partitions were read to their ends as of the start.
    pub until_end: bool,
}

/// Transactions without an output topic hold dead letters and offsets alone: they can wait.
const QUIET_WAIT: Duration = Duration::from_secs(1);

impl ConsumerOptions {
    /// The longest that a transaction stays open.
    pub(crate) fn transaction_wait(&self) -> Duration {
        self.output.as_ref().map_or(QUIET_WAIT, |output| output.max_wait)
    }

    /// The identity of a partition's mark in the lake.
    pub(crate) fn mark_id(&self, topic: &str, partition: i32) -> String {
        format!("generel/consume/{}/{topic}/{partition}", self.name)
    }
}
