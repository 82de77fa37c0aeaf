//! A whole consumer on librdkafka's mock cluster: fast, wherever there is no Java, and able to refuse what a real broker
//! refuses once in a month. The mock keeps no offsets of transactions and aborts none, so that restarts are shown on a real
//! broker alone (`tests/it/kafka.rs`).

use std::future::pending;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use generel_schemas::Sensitive;
use generel_schemas::tables::HARMONIZED_RECORDS;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey as Request, RDKafkaRespErr as Refusal};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::*;
use crate::harmonize::{Format, HarmonizerOptions, Shape};

const PARTITIONS: i32 = 3;
const RECORDS: usize = 300;

struct Place {
    cluster: MockCluster<'static, DefaultProducerContext>,
    folder: tempfile::TempDir,
}

impl Place {
    /// A cluster with records in a topic: every hundredth is no JSON, one is a tombstone.
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for topic in ["in", "out", "dead"] {
            cluster.create_topic(topic, PARTITIONS, 1).unwrap();
        }
        let mut config = ClientConfig::new();
        let producer: BaseProducer = config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        for id in 0..RECORDS {
            let (key, value) =
                (format!("key {id}"), if id % 100 == 7 { "{".into() } else { format!("{{\"id\":{id}}}") });
            let mut record = BaseRecord::to("in").key(&key).partition(id as i32 % PARTITIONS);
            record.payload = (id != 5).then_some(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
        Self { cluster, folder: tempfile::tempdir().unwrap() }
    }

    fn lake(&self) -> Lake {
        Lake::at_folder(self.folder.path()).unwrap()
    }

    fn options(&self) -> ConsumerOptions {
        // The mock does not say what topics take, and that is waited for.
        let settings = [("bootstrap.servers", self.cluster.bootstrap_servers()), ("socket.timeout.ms", "500".into())];
        ConsumerOptions {
            name: "mocked".into(),
            settings: Settings(settings.map(|(key, value)| (key.to_string(), Sensitive::new(value))).into()),
            topics: vec!["in".into()],
            group: "mocked".into(),
            instance: None,
            start: Start::Earliest,
            accepted: Accepted::default(),
            harmonizer: HarmonizerOptions {
                format: Format::Json,
                fields: Vec::new(),
                carried: Vec::new(),
                rows: Some(Shape::Enriched),
                messages: Some((Shape::Enriched, usize::MAX)),
                reject_below: false,
            },
            index: None,
            refresh: Duration::from_secs(60),
            lake: Some(LakeOptions { max_rows: 100, max_bytes: 1 << 20, max_wait: Duration::from_millis(50) }),
            output: Some(OutputOptions {
                topic: "out".into(),
                shape: Shape::Enriched,
                max_wait: Duration::from_millis(20),
            }),
            dead_letters: "dead".into(),
            create_topics: false,
            threads: 2,
            until_end: true,
        }
    }

    async fn consume(&self) -> Result<Glance> {
        let workplace = Workplace { lake: self.lake(), session: None, reopen: None };
        consume(workplace, self.options(), SharedMetrics::default(), &|_, _| {}, pending()).await
    }

    /// The keys in a topic, sorted.
    fn keys(&self, topic: &str, expected: usize) -> Vec<String> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers()).set("group.id", "look");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut keys, began) = (Vec::new(), Instant::now());
        // A moment more than it takes: what is there twice is to be seen.
        let mut last = Instant::now();
        while began.elapsed() < Duration::from_secs(20) && (keys.len() < expected || last.elapsed() < MOMENT) {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                keys.push(String::from_utf8(message.key().unwrap().to_vec()).unwrap());
                last = Instant::now();
            }
        }
        keys.sort();
        keys
    }

    /// Every record is in the lake and in the topic once, and what is no JSON in the dead letters.
    async fn check(&self) {
        let (dead, good): (Vec<_>, Vec<_>) = (0..RECORDS).partition(|id| id % 100 == 7);
        let sorted = |ids: Vec<usize>| {
            let mut keys: Vec<String> = ids.iter().map(|id| format!("key {id}")).collect();
            keys.sort();
            keys
        };
        let session = datafusion::prelude::SessionContext::new();
        let provider = self.lake().provider(&HARMONIZED_RECORDS, &session.state()).await.unwrap();
        session.register_table("rows", provider).unwrap();
        let rows = session.sql("select kafka_key from rows order by 1").await.unwrap().collect().await.unwrap();
        let keys = rows.iter().flat_map(|batch| {
            let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
            column.as_string::<i32>().iter().map(|key| key.unwrap().to_string()).collect::<Vec<_>>()
        });
        assert_eq!(keys.collect::<Vec<_>>(), sorted(good.clone()));
        assert_eq!(self.keys("out", good.len()), sorted(good));
        assert_eq!(self.keys("dead", dead.len()), sorted(dead));
    }
}

/// How long nothing more must come.
const MOMENT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn records_become_rows_messages_and_dead_letters() {
    let place = Place::new();
    let glance = place.consume().await.unwrap();
    assert_eq!((glance.messages, glance.records, glance.rows, glance.dead), (300, 297, 297, 3));
    place.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_refuses_for_a_moment_is_tried_again() {
    use Refusal::*;
    let place = Place::new();
    for (request, refusals) in [
        (Request::Produce, [RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]),
        (
            Request::AddPartitionsToTxn,
            [RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS],
        ),
        (
            Request::TxnOffsetCommit,
            [RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART],
        ),
        (Request::EndTxn, [RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NOT_COORDINATOR]),
    ] {
        place.cluster.request_errors(request, &refusals);
    }
    let glance = place.consume().await.unwrap();
    assert_eq!((glance.messages, glance.records), (300, 297));
    place.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_trying_mends_ends_the_consumer() {
    let place = Place::new();
    place.cluster.request_errors(Request::TxnOffsetCommit, &[Refusal::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]);
    let error = place.consume().await.unwrap_err().to_string();
    assert!(error.contains("ask for the ACL Read"), "{error}");
}
