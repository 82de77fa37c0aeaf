//! A real Apache Kafka for tests: one KRaft node from the published jars, on free ports of 127.0.0.1.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::servers::{Server, free_port, output};
use crate::support::repository;

/// How long the broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker; gone when it is dropped.
pub struct Broker {
    folder: tempfile::TempDir,
    port: u16,
    secured: u16,
    server: Option<Server>,
}

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

impl Taken {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

impl Broker {
    /// Starts one, or says why there is none: Java 17 and Maven are needed.
    pub fn start() -> Option<Self> {
        Self::start_with(|_| String::new())
    }

    /// Starts one with further settings, which are made from the broker's folder, and a second listener for them. Its name
    /// is SASL_SSL; whoever comes without it may do anything.
    pub fn start_with(more: impl FnOnce(&Path) -> String) -> Option<Self> {
        for tool in ["java", "mvn"] {
            if Command::new(tool).arg("-version").output().is_err() {
                said(&format!("SKIPPED: the Kafka tests need {tool} (Java 17 and Maven)"));
                return None;
            }
        }
        let (folder, port, controller) = (tempfile::tempdir().expect("a folder"), free_port(), free_port());
        let secured = free_port();
        let more = more(folder.path());
        let listener = if more.is_empty() { String::new() } else { format!(",SASL_SSL://127.0.0.1:{secured}") };
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listener}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{listener}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n\
             log.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\ngroup.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\nmessage.max.bytes=4000000\n{more}",
            folder.path().join("data").display()
        );
        let file = folder.path().join("server.properties");
        std::fs::write(&file, properties).expect("a file");
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c"]).arg(&file);
        output(&mut format);
        let mut broker = Self { folder, port, secured, server: None };
        broker.resume();
        Some(broker)
    }

    /// The address of one that is gone.
    pub fn at(servers: &str) -> Self {
        let port = servers.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Self { folder: tempfile::tempdir().expect("a folder"), port, secured: 0, server: None }
    }

    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address of the listener that asks for a login.
    pub fn secured(&self) -> String {
        format!("127.0.0.1:{}", self.secured)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets a user do something: the tool's own arguments.
    pub fn allow(&self, user: &str, arguments: &[&str]) {
        let mut tool = java();
        tool.args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server", &self.servers(), "--add"]);
        tool.args(["--allow-principal", &format!("User:{user}")]).args(arguments);
        output(&mut tool);
    }

    /// Lets clients produce so many bytes a second, or as many as they can.
    pub fn limit_producers(&self, bytes: Option<u32>) {
        let mut tool = java();
        tool.args(["kafka.admin.ConfigCommand", "--bootstrap-server", &self.servers(), "--alter"]);
        tool.args(["--entity-type", "clients", "--entity-default"]);
        output(match bytes {
            Some(bytes) => tool.arg("--add-config").arg(format!("producer_byte_rate={bytes}")),
            None => tool.args(["--delete-config", "producer_byte_rate"]),
        });
    }

    /// Kills the broker, as a machine that loses its power does.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts the broker with what it had.
    pub fn resume(&mut self) {
        let mut command = java();
        command.arg("kafka.Kafka").arg(self.folder.path().join("server.properties"));
        let client: BaseConsumer = self.config().create().expect("a client");
        let ready = || client.fetch_metadata(None, Duration::from_millis(500)).is_ok_and(|m| !m.brokers().is_empty());
        self.server = Some(Server::start(command, &self.folder.path().join("broker.log"), ready));
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers()).set("log_level", "0");
        config
    }

    /// Makes a topic, with settings as `key=value`.
    pub fn topic(&self, name: &str, partitions: i32, settings: &[&str]) {
        let mut tool = java();
        tool.args(["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &self.servers(), "--create"]);
        tool.args(["--topic", name, "--partitions", &partitions.to_string()]);
        for setting in settings {
            tool.args(["--config", setting]);
        }
        output(&mut tool);
    }

    /// What Kafka's own console consumer shows of a topic, of so many committed messages: one a line, as properties say.
    pub fn shown(&self, topic: &str, messages: usize, properties: &[&str]) -> Vec<String> {
        let mut tool = java();
        tool.args(["org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", &self.servers()]);
        tool.args(["--topic", topic, "--from-beginning", "--isolation-level", "read_committed"]);
        tool.args(["--max-messages", &messages.to_string(), "--timeout-ms", "30000"]);
        for property in properties {
            tool.args(["--property", property]);
        }
        output(&mut tool).lines().map(str::to_string).collect()
    }

    /// Deletes a partition's messages before an offset, as retention does.
    pub fn truncate(&self, topic: &str, partition: i32, before: i64) {
        let file = self.folder.path().join("delete.json");
        let places = serde_json::json!({"partitions": [{"topic": topic, "partition": partition, "offset": before}], "version": 1});
        std::fs::write(&file, places.to_string()).expect("a file");
        let mut tool = java();
        tool.args(["org.apache.kafka.tools.DeleteRecordsCommand", "--bootstrap-server", &self.servers()]);
        output(tool.arg("--offset-json-file").arg(file));
    }

    /// Deletes a topic.
    pub fn delete(&self, topic: &str) {
        let mut tool = java();
        tool.args(["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &self.servers(), "--delete"]);
        output(tool.args(["--topic", topic]));
    }

    /// A producer for tests.
    pub fn producer(&self) -> BaseProducer {
        let mut config = self.config();
        config
            .set("linger.ms", "20")
            // A broker that dies must not make one message two.
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "4000000")
            .set("queue.buffering.max.messages", "1000000");
        config.create().expect("a producer")
    }

    /// Sends messages in this order, one after another by partition.
    pub fn send(&self, topic: &str, messages: impl IntoIterator<Item = (i32, Vec<u8>)>) {
        let producer = self.producer();
        for (partition, value) in messages {
            put(&producer, topic, partition, None, &value);
        }
        producer.flush(PATIENCE).expect("sent");
    }

    /// Every message of a topic that a reader of committed ones sees.
    pub fn read(&self, topic: &str) -> Vec<Taken> {
        let mut config = self.config();
        config.set("group.id", "test").set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let known = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let partitions: Vec<i32> = known.topics()[0].partitions().iter().map(|p| p.id()).collect();
        let mut list = rdkafka::TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(topic, *partition, rdkafka::Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("assigned");
        let (mut all, mut ended, began) = (Vec::new(), std::collections::HashSet::new(), Instant::now());
        while ended.len() < partitions.len() {
            assert!(began.elapsed() < 4 * PATIENCE, "{topic} has no end");
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => all.push(Taken {
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        let text = |v: Option<&[u8]>| String::from_utf8_lossy(v.unwrap_or_default()).into_owned();
                        headers.iter().map(|h| (h.key.to_string(), text(h.value))).collect()
                    }),
                }),
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                    ended.insert(partition);
                }
                Some(Err(error)) => panic!("{topic}: {error}"),
                None => {}
            }
        }
        all
    }
}

/// Says something that is seen even where a test passes.
pub fn said(line: &str) {
    // Not a macro's output, which the test harness keeps to itself.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Puts a message into a producer's queue, waiting for room.
pub fn put(producer: &BaseProducer, topic: &str, partition: i32, key: Option<&[u8]>, value: &[u8]) {
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).payload(value);
    record.key = key;
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull), "{error}");
        record = back;
        producer.poll(Duration::from_millis(10));
    }
}

/// Java with Kafka's jars.
fn java() -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx768m", "-cp"]).arg(format!("{}/*", jars().display()));
    java
}

/// Kafka's jars.
fn jars() -> PathBuf {
    fetched("pom.xml", "copy-dependencies")
}

/// What a file of Maven names, fetched once a target folder.
pub fn fetched(pom: &str, goal: &str) -> PathBuf {
    static FETCHING: Mutex<()> = Mutex::new(());
    let file = repository().join("tests/kafka").join(pom);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka").join(goal);
    let (things, complete) = (folder.join("things"), folder.join(pom));
    let fetching = FETCHING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let wanted = std::fs::read(&file).expect("a pom");
    if std::fs::read(&complete).ok().as_ref() != Some(&wanted) {
        let _ = std::fs::remove_dir_all(&things);
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&file).arg(format!("dependency:{goal}"));
        // Else Maven would note in the sources what it has unpacked.
        maven.arg(format!("-DmarkersDirectory={}", folder.join("markers").display()));
        output(maven.arg(format!("-DoutputDirectory={}", things.display())));
        std::fs::write(&complete, wanted).expect("a file");
    }
    drop(fetching);
    things
}
