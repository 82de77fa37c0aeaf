//! What comes out, as others see it: Kafka's console consumer, the Python package deltalake, Prometheus; and the example that
//! people begin with.

use std::time::{Duration, Instant};

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use crate::broker::Broker;
use crate::kafka::{consume, place};
use crate::members::Member;
use crate::servers::{get, output, python_with};
use crate::support::{Place, repository};

/// The example's consumer file, for this broker, and a lake with what it harmonizes to.
fn example(broker: &Broker) -> (Place, String) {
    let place = place();
    let ran = place.generel(&["ingest", "--format", "obo", "--source", "doid", "toy.obo"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let file = std::fs::read_to_string(repository().join("examples/kafka/conditions.yaml")).expect("the example");
    assert!(file.contains("localhost:9092"));
    (place, file.replace("localhost:9092", &broker.servers()))
}

#[test]
fn others_read_what_the_example_makes() {
    let Some(broker) = Broker::start() else { return };
    let (place, file) = example(&broker);
    broker.topic("ehr.conditions", 2, &[]);
    let producer = broker.producer();
    let records = [r#"{"id":1,"dx":{"text":"heart attack"}}"#, r#"{"id":2,"dx":{"text":"fracture of wrist"}}"#, "{"];
    for (number, value) in records.iter().enumerate() {
        let key = format!("person {number}");
        let header = Header { key: "trace", value: Some(b"abc".as_slice()) };
        let record = BaseRecord::to("ehr.conditions").partition(0).key(&key).payload(*value);
        let record = record.headers(OwnedHeaders::new().insert(header));
        producer.send(record).map_err(|(error, _)| error).expect("sent");
    }
    producer.flush(Duration::from_secs(30)).expect("sent");
    let ran = consume(&place, &file, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);

    let shown = broker.shown("ehr.conditions.doid", 2, &["print.key=true", "print.headers=true"]);
    assert!(shown[0].starts_with("trace:abc\tperson 0\t{\"id\":1,\"dx\":{\"text\":\"heart attack\""), "{shown:?}");
    assert!(shown[1].contains("\"object_id\":\"TOY:3\""), "{shown:?}");
    // A dead letter as it came, and why it is one.
    let dead = broker.shown("ehr.conditions.dead", 1, &["print.key=true", "print.headers=true"]);
    let parts: Vec<&str> = dead[0].split('\t').collect();
    assert_eq!(parts[1..], ["person 2", "{"], "{dead:?}");
    for header in ["trace:abc", "generel-reason:invalid_json", "generel-stage:decode", "generel-offset:2"] {
        assert!(parts[0].split(',').any(|own| own == header), "{header} is not in {dead:?}");
    }

    let script = "import sys, deltalake\n\
        table = deltalake.DeltaTable(sys.argv[1])\n\
        rows = deltalake.QueryBuilder().register('rows', table).execute('select id, object_id from rows order by id').read_all()\n\
        print([(row['id'], row['object_id']) for row in rows.to_struct_array().to_pylist()])\n";
    place.write("read.py", script);
    let mut python = python_with("deltalake-1.6.6", &["deltalake==1.6.6"], &place);
    let rows = output(python.arg("read.py").arg(place.path("lake/harmonized")));
    assert_eq!(rows.trim(), "[('1', 'TOY:1'), ('2', 'TOY:3')]");
}

/// Metrics by their names, state before and after partitions are assigned, a log without what records say, and an end on
/// request that commits what was read.
#[test]
fn a_consumer_is_watched_and_ends_when_it_is_asked_to() {
    let Some(broker) = Broker::start() else { return };
    let (place, file) = example(&broker);
    broker.topic("ehr.conditions", 2, &[]);
    // Rows would wait for a minute.
    place.write("consumer.yaml", file.replace("rows: { shape: flat }", "rows: { shape: flat, max_seconds: 60 }"));
    let mut member = Member::start(&place, "member.log", &["--metrics", "127.0.0.1:0", "-vv", "--log-format", "json"]);
    let line = member.wait_for("/metrics");
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next()?.parse().ok()).expect("a port");
    assert_eq!(get(port, "/healthz").0, 200);
    assert_eq!(get(port, "/readyz").0, 503);
    let began = Instant::now();
    while get(port, "/readyz").0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", member.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let record = |id: usize| format!(r#"{{"id":{id},"dx":{{"text":"zebra stripes of a patient"}}}}"#).into_bytes();
    broker.send("ehr.conditions", (0..50).map(|id| (id as i32 % 2, record(id))));
    broker.send("ehr.conditions", [(0, b"{\"dx\":\"zebra".to_vec())]);
    let sent =
        |text: &str| text.contains("generel_consumer_sent_messages_total 50\n") && text.contains("dead_letters_total{");
    while !sent(&get(port, "/metrics").1) {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", get(port, "/metrics").1);
        std::thread::sleep(Duration::from_millis(50));
    }
    // Statistics of the lag come every two seconds.
    std::thread::sleep(Duration::from_secs(3));
    let text = get(port, "/metrics").1;
    for line in [
        "messages_total 51",
        "records_total 50",
        "received_bytes_total ",
        "sent_bytes_total ",
        "rows_total 0",
        "stored_bytes_total 0",
        "dead_letters_total{reason=\"invalid_json\",stage=\"decode\"} 1",
        "mentions_total 50",
        "remembered_mentions_total ",
        "outcomes_total{outcome=",
        "batch_seconds_bucket{le=",
        "latency_seconds_bucket{le=",
        "commit_seconds_count{sink=\"topic\"} ",
        "lag{topic=\"ehr.conditions\",partition=\"0\"} 0",
        "rebalances_total ",
        "rewinds_total 0",
        "index{model_id=",
        "index_concepts 4",
        "uncommitted_bytes ",
    ] {
        assert!(text.lines().any(|own| own.starts_with(&format!("generel_consumer_{line}"))), "{line}: {text}");
    }
    let log = member.terminate();
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let committed = |line: &&serde_json::Value| line["fields"]["message"] == "transaction committed";
    let commit = lines.iter().find(committed).expect("a commit");
    let fields = &commit["fields"];
    assert!(fields["partition"].is_number() && fields["next"].is_number(), "{commit}");
    assert_eq!(fields["topic"], "ehr.conditions", "{commit}");
    assert!(!log.contains("zebra"), "what a record says is in the log");
    assert_eq!(place.value("select count(*) from harmonized where consumer = 'conditions'"), "50");
    let again = consume(&place, &file, &[]);
    assert!(again.code == 0 && again.stderr.contains("conditions: 0 messages"), "{}", again.stderr);
}
