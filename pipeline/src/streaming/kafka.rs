//! What our clients of Kafka have in common: their settings, their log, their errors.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::options::ConsumerOptions;
use crate::Error;
use crate::harmonize::Header;

/// The largest message that our clients take part in; what a topic takes is its own setting.
pub(super) const MOST_BYTES: &str = "104857600";

/// Settings that librdkafka warns of in the other role.
const CONSUMER_ONLY: [&str; 21] = [
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "auto.offset.reset",
    "isolation.level",
    "fetch.min.bytes",
    "fetch.max.bytes",
    "fetch.wait.max.ms",
    "fetch.queue.backoff.ms",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "check.crcs",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
];
const PRODUCER_ONLY: [&str; 12] = [
    "acks",
    "request.required.acks",
    "compression.type",
    "compression.codec",
    "compression.level",
    "linger.ms",
    "queue.buffering.max.ms",
    "batch.size",
    "batch.num.messages",
    "transaction.timeout.ms",
    "message.timeout.ms",
    "partitioner",
];

/// What a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Consumer,
    Producer,
    Admin,
}

/// A client's settings: its own, over them the user's, over them what has to be.
pub(super) fn config(
    options: &ConsumerOptions,
    own: &[(&str, &str)],
    fixed: &[(&str, &str)],
    role: Role,
) -> ClientConfig {
    let mut config = options.settings.over(own, fixed);
    let others: &[&[&str]] = match role {
        Role::Consumer => &[&PRODUCER_ONLY],
        Role::Producer => &[&CONSUMER_ONLY],
        Role::Admin => &[&PRODUCER_ONLY, &CONSUMER_ONLY],
    };
    for key in others.iter().flat_map(|keys| keys.iter()) {
        config.remove(key);
    }
    if config.get("client.id").is_none() {
        config.set("client.id", format!("generel-{}", options.name));
    }
    config
}

/// Sends what waits in a producer's queue without its linger; whether the broker has everything within this time.
#[allow(unsafe_code, reason = "the library's safe call waits outside of it, and there its linger counts again")]
pub(super) fn flushed<C: ProducerContext>(producer: &BaseProducer<C>, wait: Duration) -> bool {
    let milliseconds = wait.as_millis().try_into().unwrap_or(i32::MAX);
    // SAFETY: the client lives as long as the producer that is borrowed; the call takes no other memory.
    let code = unsafe { rdkafka::bindings::rd_kafka_flush(producer.client().native_ptr(), milliseconds) };
    code == rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// librdkafka's log lines among ours.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    use RDKafkaLogLevel as Level;
    match level {
        Level::Emerg | Level::Alert | Level::Critical => tracing::error!(target: "librdkafka", facility, "{message}"),
        Level::Error | Level::Warning => tracing::info!(target: "librdkafka", facility, "{message}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// An error with what to do about it.
pub(super) fn error(error: &KafkaError) -> Error {
    if let KafkaError::ClientConfig(_, _, key, _) = error {
        return Error::Invalid(format!("kafka: setting {key}: {}", setting(error)));
    }
    Error::Kafka { message: format!("{error}{}", hint(error)) }
}

/// An error of reading these topics, with what to do about it.
pub(super) fn reading(topics: &[String], error: &KafkaError) -> Error {
    Error::Kafka { message: format!("{}: {error}{}", topics.join(", "), hint(error)) }
}

/// What to do about an error.
pub(super) fn hint(error: &KafkaError) -> &'static str {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => "; no such topic: make it, or correct topics",
        Some(Code::TopicAuthorizationFailed) => "; this login may not read the topic: ask for the ACL Read",
        Some(Code::GroupAuthorizationFailed) => "; this login may not use the group: ask for the ACL Read on it",
        Some(Code::TransactionalIdAuthorizationFailed) => {
            "; this login may not use the transactional id: ask for the ACLs Describe and Write on ids that begin with generel-"
        }
        Some(Code::AllBrokersDown | Code::BrokerTransportFailure) => "; check bootstrap.servers and the network",
        _ => login_hint(error).unwrap_or_default(),
    }
}

/// What to look at where a login or a certificate was refused.
pub(super) fn login_hint(error: &KafkaError) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code()? {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            Some("; check sasl.username, sasl.password and sasl.mechanisms")
        }
        Code::SSL => Some("; check ssl.ca.location and the certificates"),
        _ => None,
    }
}

/// What is wrong with a setting, without its value.
fn setting(error: &KafkaError) -> &'static str {
    match error {
        KafkaError::ClientConfig(rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => {
            "librdkafka has no such setting"
        }
        _ => "librdkafka does not take this value",
    }
}

/// Headers for a message.
pub(super) fn own_headers(headers: &[Header]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
        all.insert(KafkaHeader { key, value: value.as_ref() })
    })
}

/// The headers of a message.
pub(super) fn headers_of(headers: Option<&impl Headers>) -> Vec<Header> {
    let Some(headers) = headers else { return Vec::new() };
    headers.iter().map(|h| (h.key.to_string(), h.value.map(<[u8]>::to_vec))).collect()
}
