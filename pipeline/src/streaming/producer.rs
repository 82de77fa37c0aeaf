//! The producer of a consumer's transactions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};

use super::flow::Shared;
use super::kafka;
use crate::{Error, Result};

/// What a transaction's steps may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long reports are waited for at a time.
const REPORTS: Duration = Duration::from_millis(10);

/// Keeps what the broker said of a message that it did not take.
#[derive(Default)]
pub(super) struct Deliveries {
    failed: Mutex<Option<RDKafkaErrorCode>>,
}

impl Deliveries {
    /// The first failure since the last call.
    pub(super) fn take_failed(&self) -> Option<RDKafkaErrorCode> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "producer");
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log(level, facility, message);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result
            && let Some(code) = error.rdkafka_error_code()
            && !matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
        {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
        }
    }
}

/// Aborts the open transaction. Messages that wait are thrown away, which the library reports as failures, and it waits until
/// somebody has taken its reports: another thread does.
///
/// # Errors
/// What the library says.
pub(super) fn abort(producer: &BaseProducer<Deliveries>, patience: Duration) -> KafkaResult<()> {
    let aborted = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !aborted.load(Ordering::Relaxed) {
                producer.poll(REPORTS);
            }
        });
        let done = producer.abort_transaction(patience);
        aborted.store(true, Ordering::Relaxed);
        done
    })
}

/// Starts a producer of transactions; one that a killed member with this instance's name left is aborted.
///
/// # Errors
/// When the broker does not take transactions of this consumer.
pub(super) fn producer(shared: &Shared) -> Result<BaseProducer<Deliveries>> {
    let options = &shared.options;
    let member = options.instance.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let id = format!("generel-{}-{member}", options.group);
    let own = [
        ("transaction.timeout.ms", "15000"),
        ("message.max.bytes", kafka::MOST_BYTES),
        ("compression.type", "lz4"),
        // One request for many messages of a partition; a commit does not wait for it.
        ("linger.ms", "50"),
        ("queue.buffering.max.messages", "200000"),
        ("queue.buffering.max.kbytes", "131072"),
    ];
    let fixed = [("transactional.id", id.as_str()), ("delivery.report.only.error", "true")];
    let config = kafka::config(options, &own, &fixed, kafka::Role::Producer);
    let producer: BaseProducer<Deliveries> =
        config.create_with_context(Deliveries::default()).map_err(|e| kafka::error(&e))?;
    let mut tries = 0;
    loop {
        tries += 1;
        match producer.init_transactions(PATIENCE) {
            Ok(()) => return Ok(producer),
            Err(KafkaError::Transaction(error)) if error.is_retriable() && tries < 5 && !shared.has_failed() => {
                tracing::warn!(%error, "transactions are not ready yet");
            }
            Err(error) => {
                let hint = kafka::hint(&error);
                return Err(Error::Kafka { message: format!("transactions cannot be used, as {id}: {error}{hint}") });
            }
        }
    }
}
