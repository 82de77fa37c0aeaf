//! The topics that a consumer writes to: whether they are there, and how much they take.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use regex::Regex;

use super::kafka::{self, Role};
use super::options::ConsumerOptions;
use crate::{Error, Result};

/// How long a broker may take to answer the first time, and how often what the library reports is looked at.
const PATIENCE: Duration = Duration::from_secs(30);
const SLICE: Duration = Duration::from_secs(1);
/// What a topic takes unless it says otherwise, with room for the key and headers.
const USUAL_BYTES: usize = 1_000_000;
/// Room for the key, headers and framing.
const OVERHEAD_BYTES: usize = 2048;

/// Keeps why a broker that is there does not let us in: to wait would not help.
#[derive(Default)]
struct Reported(Mutex<Option<String>>);

impl Reported {
    fn refused(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Reported {
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(hint) = kafka::login_hint(&error) {
            let refused = format!("{reason}{hint}");
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refused);
        }
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        kafka::log(level, facility, message);
    }
}

impl ConsumerContext for Reported {}

/// What is known of the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Takes {
    /// Bytes of a value that the output topic takes.
    pub(super) output: usize,
    /// Bytes of a value that the topic of dead letters takes.
    pub(super) dead_letters: usize,
}

/// Checks that the broker answers and the topics are there, making those that are missing if so told.
///
/// # Errors
/// When the broker does not answer, a topic is missing, this login may not see it, or one is both read and written to.
pub(super) async fn check(options: &ConsumerOptions) -> Result<Takes> {
    let config = kafka::config(options, &[], &[], Role::Admin);
    let own = options.clone();
    let client = config.clone();
    let names: Vec<String> =
        options.output.iter().map(|o| o.topic.clone()).chain([options.dead_letters.clone()]).collect();
    let wanted = names.clone();
    let subscription = Subscription::new(&options.topics)?;
    for name in &names {
        if let Some(read) = subscription.entry(name) {
            let problem = format!("topic {name} is written to, and {read} in topics reads it again without end");
            return Err(Error::Invalid(format!("{problem}; choose another name, or another expression")));
        }
    }
    let missing = tokio::task::spawn_blocking(move || missing(&client, &own, &wanted)).await;
    let (missing, partitions) = missing.map_err(|e| Error::Internal(e.to_string()))??;
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(|e| kafka::error(&e))?;
    for name in missing {
        if !options.create_topics {
            return Err(Error::Kafka {
                message: format!("no topic {name}: make it, or set create_topics: true in the consumer's file"),
            });
        }
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(-1));
        let made = admin.create_topics([&topic], &AdminOptions::new()).await.map_err(|e| kafka::error(&e))?;
        match made.into_iter().next() {
            Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
                return Err(Error::Kafka { message: format!("topic {name} cannot be made: {code}") });
            }
            _ => tracing::info!(topic = name, partitions, "topic made"),
        }
    }
    let mut takes = most_bytes(&admin, &names).await;
    let dead_letters = takes.pop().unwrap_or(USUAL_BYTES);
    Ok(Takes { output: takes.pop().unwrap_or(usize::MAX), dead_letters })
}

/// The topics that are read: names, and regular expressions, which begin with `^`.
struct Subscription<'a>(Vec<(&'a str, Option<Regex>)>);

impl<'a> Subscription<'a> {
    fn new(topics: &'a [String]) -> Result<Self> {
        let entry = |topic: &'a String| {
            let expression = topic.starts_with('^').then(|| Regex::new(topic)).transpose();
            let expression = expression.map_err(|e| Error::Invalid(format!("topics: {topic}: {e}")))?;
            Ok((topic.as_str(), expression))
        };
        topics.iter().map(entry).collect::<Result<_>>().map(Self)
    }

    /// The entry that takes a topic in.
    fn entry(&self, name: &str) -> Option<&'a str> {
        let takes = |expression: &Option<Regex>, topic: &str| {
            expression.as_ref().map_or(topic == name, |expression| expression.is_match(name))
        };
        self.0.iter().find(|(topic, expression)| takes(expression, topic)).map(|(topic, _)| *topic)
    }
}

/// The topics that are missing, and the most partitions of an input topic.
fn missing(config: &rdkafka::ClientConfig, options: &ConsumerOptions, names: &[String]) -> Result<(Vec<String>, i32)> {
    let client: BaseConsumer<Reported> =
        config.create_with_context(Reported::default()).map_err(|e| kafka::error(&e))?;
    let servers = options.settings.get("bootstrap.servers").unwrap_or("(bootstrap.servers is not set)").to_string();
    let began = Instant::now();
    let known = loop {
        let error = match client.fetch_metadata(None, SLICE) {
            Ok(known) => break known,
            Err(error) => error,
        };
        // This hands on what the library has to report.
        let _ = client.poll(Duration::ZERO);
        if let Some(refused) = client.context().refused() {
            return Err(Error::Kafka { message: format!("{servers}: {refused}") });
        }
        if began.elapsed() >= PATIENCE {
            return Err(Error::Kafka {
                message: format!(
                    "no broker answers at {servers}: {error}; check bootstrap.servers, security.protocol and the login"
                ),
            });
        }
    };
    let partitions = |name: &str| {
        let topic = known.topics().iter().find(|t| t.name() == name);
        topic.filter(|t| t.error().is_none()).map(|t| t.partitions().len() as i32)
    };
    for topic in options.topics.iter().filter(|topic| !topic.starts_with('^')) {
        if partitions(topic).is_none() {
            return Err(Error::Kafka {
                message: format!(
                    "no topic {topic} at {servers}, or this login may not see it; correct topics, or make it"
                ),
            });
        }
    }
    let subscription = Subscription::new(&options.topics)?;
    let read = known.topics().iter().map(|topic| topic.name()).filter(|name| subscription.entry(name).is_some());
    let most = read.filter_map(partitions).max();
    if most.is_none() {
        tracing::warn!(topics = options.topics.join(", "), "no topic is called like this yet; waiting for one");
    }
    Ok((names.iter().filter(|name| partitions(name).is_none()).cloned().collect(), most.unwrap_or(1)))
}

/// Bytes of a value that each topic takes. A login that may not ask gets Kafka's usual limit.
async fn most_bytes(admin: &AdminClient<DefaultClientContext>, topics: &[String]) -> Vec<usize> {
    // Both may be the same topic, which is asked for once.
    let asked: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
    let asked: Vec<_> = asked.into_iter().map(ResourceSpecifier::Topic).collect();
    let described = admin.describe_configs(&asked, &AdminOptions::new()).await.unwrap_or_default();
    let limit = |topic: &String| {
        let of_topic = |config: &&ConfigResource| config.specifier == OwnedResourceSpecifier::Topic(topic.clone());
        let config = described.iter().flatten().find(of_topic)?;
        config.get("max.message.bytes")?.value.as_ref()?.parse::<usize>().ok()
    };
    let limits = topics.iter().map(|topic| limit(topic).unwrap_or(USUAL_BYTES + OVERHEAD_BYTES));
    limits.map(|limit| limit.saturating_sub(OVERHEAD_BYTES)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_takes_names_and_expressions() {
        let topics = ["ehr.conditions".to_string(), r"^ehr\.lab".to_string()];
        let subscription = Subscription::new(&topics).unwrap();
        let by = |name| subscription.entry(name);
        assert_eq!(by("ehr.conditions"), Some("ehr.conditions"));
        assert_eq!(by("ehr.lab.results"), Some(r"^ehr\.lab"));
        assert_eq!((by("ehr.conditions.dead"), by("old.ehr.lab")), (None, None));
        let broken = ["^(".to_string()];
        let error = Subscription::new(&broken).err().unwrap().to_string();
        assert!(error.contains("topics: ^("), "{error}");
    }
}
