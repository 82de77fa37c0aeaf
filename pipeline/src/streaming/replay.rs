//! Dead letters sent back to the topics they came from, each once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::dead_letters::{CONSUMER, PREFIX, REASON, TOPIC, VALUE_BYTES};
use super::kafka::{self, Role, headers_of, own_headers};
use super::options::ConsumerOptions;
use crate::harmonize::Header;
use crate::{Error, Result};

/// What to send back.
#[derive(Debug, Clone, Default)]
pub struct ReplayOptions {
    /// Only those of these reasons; all without any.
    pub reasons: Vec<String>,
    /// Only say what would be sent.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Sent back, by reason.
    pub sent: HashMap<String, u64>,
    /// Left alone: of other consumers or reasons.
    pub left: u64,
    /// Whose values are gone, being larger than the topic of dead letters took: by topic, partition and offset.
    pub without_value: Vec<String>,
}

const ANSWER: Duration = Duration::from_secs(30);
/// Letters of one transaction.
const LETTERS: usize = 1000;

/// Sends the dead letters of a consumer that were not sent back yet, up to where their topic ends now. The offsets are
/// kept in a group of their own, committed with what is sent: interrupted and run again, each letter is sent once.
///
/// # Errors
/// When the broker cannot be used.
pub fn replay(options: &ConsumerOptions, what: &ReplayOptions) -> Result<Replayed> {
    let group = format!("{}.replay", options.group);
    let fixed = [
        ("group.id", group.as_str()),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_committed"),
        ("allow.auto.create.topics", "false"),
        ("enable.partition.eof", "true"),
    ];
    let failed = |e: KafkaError| kafka::error(&e);
    let consumer: BaseConsumer = kafka::config(options, &[], &fixed, Role::Consumer).create().map_err(failed)?;
    let id = format!("generel-{group}");
    let own = [("transaction.timeout.ms", "30000"), ("message.max.bytes", kafka::MOST_BYTES)];
    let producer: BaseProducer =
        kafka::config(options, &own, &[("transactional.id", &id)], Role::Producer).create().map_err(failed)?;
    producer.init_transactions(ANSWER).map_err(failed)?;
    let mut next = positions(&consumer, &options.dead_letters)?;
    let mut list = TopicPartitionList::new();
    for (partition, (from, _)) in &next {
        list.add_partition_offset(&options.dead_letters, *partition, Offset::Offset(*from)).map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)?;
    let mut done = Replayed::default();
    let mut waiting = 0;
    let mut quiet = Instant::now();
    if !what.dry_run {
        producer.begin_transaction().map_err(failed)?;
    }
    while next.values().any(|(at, end)| at < end) && quiet.elapsed() < ANSWER {
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                if let Some((at, end)) = next.get_mut(&partition) {
                    *at = *end;
                }
            }
            Some(Err(error)) => return Err(failed(error)),
            Some(Ok(message)) => {
                quiet = Instant::now();
                let Some((at, end)) = next.get_mut(&message.partition()) else { continue };
                if message.offset() >= *end {
                    *at = *end;
                    continue;
                }
                *at = message.offset() + 1;
                let headers = headers_of(message.headers());
                let Some((topic, reason)) = ours(&headers, options, what) else {
                    done.left += 1;
                    continue;
                };
                if message.payload().is_none() && text(&headers, VALUE_BYTES).is_some_and(|bytes| bytes != "0") {
                    let place = |name: &str| text(&headers, name).unwrap_or_default();
                    done.without_value.push(format!(
                        "{topic} [{}] {}",
                        place("generel-partition"),
                        place("generel-offset")
                    ));
                    continue;
                }
                *done.sent.entry(reason.to_string()).or_default() += 1;
                if what.dry_run {
                    continue;
                }
                let own: Vec<Header> = headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)).cloned().collect();
                let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
                (record.key, record.payload) = (message.key(), message.payload());
                record.headers = Some(own_headers(&own));
                producer.send(record).map_err(|(e, _)| failed(e))?;
                waiting += 1;
                if waiting == LETTERS {
                    waiting = 0;
                    commit(&consumer, &producer, &options.dead_letters, &next)?;
                    producer.begin_transaction().map_err(failed)?;
                }
            }
        }
    }
    if next.values().any(|(at, end)| at < end) {
        return Err(Error::Kafka { message: format!("topic {} does not answer", options.dead_letters) });
    }
    if !what.dry_run {
        commit(&consumer, &producer, &options.dead_letters, &next)?;
    }
    Ok(done)
}

/// Where each partition is read on, and where it ends.
fn positions(consumer: &BaseConsumer, topic: &str) -> Result<HashMap<i32, (i64, i64)>> {
    let failed = |e: KafkaError| kafka::error(&e);
    let known = consumer.fetch_metadata(Some(topic), ANSWER).map_err(failed)?;
    let partitions = known.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id());
    let mut list = TopicPartitionList::new();
    partitions.for_each(|partition| {
        list.add_partition(topic, partition);
    });
    let committed = consumer.committed_offsets(list, ANSWER).map_err(failed)?;
    let mut all = HashMap::new();
    for element in committed.elements() {
        let (first, end) = consumer.fetch_watermarks(topic, element.partition(), ANSWER).map_err(failed)?;
        let from = match element.offset() {
            Offset::Offset(offset) => offset.clamp(first, end),
            _ => first,
        };
        all.insert(element.partition(), (from, end));
    }
    Ok(all)
}

/// The topic and reason of a letter of this consumer that is to be sent.
fn ours<'a>(headers: &'a [Header], options: &ConsumerOptions, what: &ReplayOptions) -> Option<(&'a str, &'a str)> {
    let (topic, reason) = (text(headers, TOPIC)?, text(headers, REASON)?);
    let wanted = what.reasons.is_empty() || what.reasons.iter().any(|r| r == reason);
    (wanted && text(headers, CONSUMER) == Some(&options.name)).then_some((topic, reason))
}

fn text<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).and_then(|(_, value)| std::str::from_utf8(value.as_ref()?).ok())
}

fn commit(
    consumer: &BaseConsumer,
    producer: &BaseProducer,
    topic: &str,
    next: &HashMap<i32, (i64, i64)>,
) -> Result<()> {
    let failed = |e: KafkaError| kafka::error(&e);
    let mut offsets = TopicPartitionList::new();
    for (partition, (at, _)) in next {
        offsets.add_partition_offset(topic, *partition, Offset::Offset(*at)).map_err(failed)?;
    }
    let group = consumer.group_metadata().ok_or_else(|| Error::Internal("a consumer without a group".into()))?;
    producer.send_offsets_to_transaction(&offsets, &group, ANSWER).map_err(failed)?;
    producer.commit_transaction(ANSWER).map_err(failed)
}
