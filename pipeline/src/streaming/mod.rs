//! Streaming: Kafka topics in, harmonized topics and rows out, every message exactly once.
//!
//! A reader polls and cuts batches, threads harmonize them, and one thread a sink commits them in order (`flow`). Each
//! sink has its own mark, committed with what it writes; `positions` says how a restart begins from them. A sink that
//! cannot commit drops what it has, and the reader goes back to the marks: there is no other way to recover, so none is
//! seldom tried.

mod dead_letters;
mod flow;
mod group;
mod kafka;
mod lake_sink;
mod metrics;
mod options;
mod pace;
mod positions;
mod producer;
mod reader;
mod replay;
#[cfg(test)]
mod tests;
mod topic_sink;
mod topics;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;

pub use metrics::{Glance, Metrics, SharedMetrics};
pub use options::{Accepted, ConsumerOptions, LakeOptions, OutputOptions, Settings, Start};
pub use replay::{ReplayOptions, Replayed, replay};

use crate::harmonize::Harmonizer;
use crate::runs::new_run_id;
use crate::{Error, Lake, Result, Session};
use flow::{Flow, Shared};
use group::Group;
use kafka::Role;
use lake_sink::LakeSink;
use reader::Reader;
use topic_sink::TopicSink;

/// How long a consumer waits for the group to let it go.
const LEAVING: Duration = Duration::from_secs(10);

/// What a consumer works with.
pub struct Workplace {
    /// The lake, for rows and for the index.
    pub lake: Lake,
    /// The lake's session with a model, where the consumer has fields.
    pub session: Option<Session>,
    /// Opens such a session anew, for when the model's files change; without it the model stays what it was.
    pub reopen: Option<Reopen>,
}

/// Opens a session.
pub type Reopen = Box<dyn Fn() -> BoxFuture<'static, Result<Session>> + Send + Sync>;

/// Consumes until `stop` resolves, then commits what was read.
///
/// # Errors
/// When the options do not fit together, the broker or the lake cannot be used, or a loss has to be accepted first.
pub async fn consume(
    workplace: Workplace,
    mut options: ConsumerOptions,
    metrics: SharedMetrics,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Glance> {
    let takes = topics::check(&options).await?;
    if let Some((_, most)) = &mut options.harmonizer.messages {
        *most = takes.output;
    }
    let harmonizer = Harmonizer::new(options.harmonizer.clone())?;
    let run_id = new_run_id();
    let shared = Arc::new(Shared::new(options, harmonizer, metrics));
    let watching = watch::start(&shared, workplace.session, workplace.reopen, &run_id, progress).await?;
    let work = Arc::clone(&shared);
    let (lake, until) = (workplace.lake, Arc::clone(&shared));
    let stopping = tokio::spawn(async move {
        stop.await;
        until.stop();
    });
    let ran = tokio::task::spawn_blocking(move || run(&work, lake, run_id, takes.dead_letters)).await;
    stopping.abort();
    if let Some(watching) = watching {
        watching.abort();
    }
    let ran = ran.map_err(|e| Error::Internal(e.to_string()))?;
    match shared.failure() {
        Some(error) => Err(error),
        None => ran.map(|()| shared.metrics.glance()),
    }
}

fn run(shared: &Arc<Shared>, lake: Lake, run_id: String, most_dead_bytes: usize) -> Result<()> {
    let options = &shared.options;
    let own = [
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("session.timeout.ms", "15000"),
        ("queued.max.messages.kbytes", "32768"),
        // A partition's messages come many at a time: a fetch for each few costs the broker more than they do. What is
        // there is sent after this wait at the latest.
        ("fetch.min.bytes", "65536"),
        ("fetch.wait.max.ms", "20"),
        // What was fetched runs out in less than the second that the library would wait: 500,000 messages took 1.7 to
        // 2.5 s instead of 0.9.
        ("queued.min.messages", "500000"),
        ("fetch.queue.backoff.ms", "10"),
        ("fetch.message.max.bytes", "1048576"),
        ("receive.message.max.bytes", "150000000"),
        // The ends of partitions are told with them.
        ("statistics.interval.ms", if options.until_end { "250" } else { "2000" }),
    ];
    let mut fixed = vec![
        ("group.id", options.group.as_str()),
        // The marks say where to begin; nothing else does.
        ("auto.offset.reset", "error"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("isolation.level", "read_committed"),
        ("allow.auto.create.topics", "false"),
        ("enable.partition.eof", if options.until_end { "true" } else { "false" }),
    ];
    fixed.extend(options.instance.as_deref().map(|instance| ("group.instance.id", instance)));
    let config = kafka::config(options, &own, &fixed, Role::Consumer);
    let group = Group::new(Arc::clone(shared), options.lake.map(|_| lake.clone()));
    let consumer = config.create_with_context(group).map_err(|e: KafkaError| kafka::error(&e))?;
    let consumer = Arc::new(consumer);
    let topic_sink = TopicSink::new(Arc::clone(shared), Arc::clone(&consumer), most_dead_bytes)?;
    let lake_sink = match (options.lake, shared.harmonizer.table()) {
        (Some(limits), Some(table)) => Some(LakeSink::new(Arc::clone(shared), lake, table, limits, run_id)?),
        _ => None,
    };
    let (flow, mut ends) = Flow::start(shared, 1 + usize::from(lake_sink.is_some()))?;
    let mut sinks = Vec::new();
    if let (Some(sink), Some(told)) = (lake_sink, (ends.len() > 1).then(|| ends.pop()).flatten()) {
        sinks.push(flow::spawn("generel-lake", move || sink.run(&told))?);
    }
    if let Some(told) = ends.pop() {
        sinks.push(flow::spawn("generel-topic", move || topic_sink.run(&told))?);
    }
    let flow = Arc::new(flow);
    let read = Reader::new(Arc::clone(shared), Arc::clone(&consumer), flow).run();
    // Leaving the group revokes what is assigned: the sinks are there until then.
    consumer.unsubscribe();
    let left = Instant::now();
    while consumer.assignment().is_ok_and(|list| list.count() > 0) && left.elapsed() < LEAVING {
        let _ = consumer.poll(Duration::from_millis(50));
    }
    consumer.context().close();
    for sink in sinks {
        let _ = sink.join();
    }
    // The last to hold it: leaves the group.
    drop(consumer);
    read
}
