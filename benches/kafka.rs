//! Consuming beside its ceilings: `cargo bench --bench kafka` (`-- --records 500000` for less; needs Java 17 and Maven).
//!
//! On a real broker on this machine, in one run: a bare rdkafka consumer that only counts bytes, `generel consume` that
//! writes every record to the lake as it is, and the same with harmonization, where all texts were seen before, where a
//! tenth is new, and where all are new; then the latency to the topic at half of the first harmonizing rate. The broker
//! shares the cores with all of them.

#[allow(dead_code, reason = "what the tests use besides")]
#[path = "../tests/it/broker.rs"]
mod broker;
#[allow(dead_code, reason = "what the tests use besides")]
#[path = "../tests/it/servers.rs"]
mod servers;
#[allow(dead_code, reason = "what the tests use besides")]
#[path = "../tests/it/support.rs"]
mod support;

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use broker::{Broker, put};
use support::{Place, pull, repository};

const PARTITIONS: i32 = 12;
/// How long the latency is looked at.
const WATCHED: Duration = Duration::from_secs(20);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let at = arguments.iter().position(|a| a == "--records");
    let records: usize =
        at.and_then(|at| arguments.get(at + 1)).map_or(2_000_000, |n| n.parse().expect("--records takes a number"));
    let broker = Broker::start().expect("Java 17 and Maven");
    let place = Place::new();
    pull(&place);
    let sample = repository().join("jobs/sample/doid-2016.obo.gz");
    let sample = sample.to_str().expect("UTF-8");
    let ran = place.generel(&["ingest", "--format", "obo", "--source", "doid", sample]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let names = place.rows(
        "select name from concept_names where name not like '%\"%' and name not like '%,%' order by name limit 1000",
    );

    println!(
        "{records} records, {} cores, the broker among them",
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    fill(&broker, "known", records, |i| names[i * 7919 % names.len()].clone());
    let tenth = records / 4;
    fill(&broker, "tenth", tenth, |i| match i % 10 {
        0 => format!("{} stage {i}", names[i * 31 % names.len()]),
        _ => names[i * 7919 % names.len()].clone(),
    });
    let few = records / 40;
    fill(&broker, "new", few, |i| format!("{} type {i}", names[i * 31 % names.len()]));

    let bare = bare(&broker, "known", records);
    say("bare consumer, counts bytes", bare, None);
    let plain = consume(&broker, &place, "plain", "known", false, records);
    say("generel, as it comes, to Delta", plain, Some(("bare", plain / bare)));
    let known = consume(&broker, &place, "warm", "known", true, records);
    say("generel, texts known, to Delta", known, Some(("as it comes", known / plain)));
    let new = consume(&broker, &place, "cold", "new", true, few);
    say("generel, all texts new", new, None);
    let mixed = consume(&broker, &place, "mixed", "tenth", true, tenth);
    // What a tenth of new texts allows: the encoder's rate over their share.
    let allowed = plain.min(new * 10.0);
    say("generel, a tenth of them new", mixed, Some(("what that allows", mixed / allowed)));
    latency(&broker, &place, &names, known / 2.0);
}

fn say(what: &str, rate: f64, ratio: Option<(&str, f64)>) {
    let ratio = ratio.map_or(String::new(), |(of, ratio)| format!("   {ratio:.2} of {of}"));
    println!("{what:<34}{rate:>12.0} records/s{ratio}");
}

fn record(id: usize, text: &str) -> String {
    format!(
        "{{\"id\":{id},\"encounter\":\"e-{:08x}\",\"site\":\"ward {}\",\"dx\":{{\"text\":\"{text}\",\"system\":\"local\"}},\"recorded\":\"2026-03-{:02}T08:15:00Z\",\"status\":\"confirmed\"}}",
        id.wrapping_mul(2_654_435_761) as u32,
        id % 40,
        id % 28 + 1
    )
}

fn fill(broker: &Broker, topic: &str, records: usize, text: impl Fn(usize) -> String) {
    broker.topic(topic, PARTITIONS, &[]);
    let producer = broker.producer();
    for id in 0..records {
        put(&producer, topic, id as i32 % PARTITIONS, None, record(id, &text(id)).as_bytes());
    }
    producer.flush(Duration::from_secs(60)).expect("sent");
}

/// Records a second of a consumer that does nothing with them.
fn bare(broker: &Broker, topic: &str, records: usize) -> f64 {
    let consumer = reader(broker, topic, Offset::Beginning);
    let (mut taken, mut bytes, mut began) = (0, 0, Instant::now());
    while taken < records {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            if taken == 0 {
                began = Instant::now();
            }
            taken += 1;
            bytes += message.payload_len();
        }
    }
    assert!(bytes > 0);
    records as f64 / began.elapsed().as_secs_f64()
}

fn reader(broker: &Broker, topic: &str, from: Offset) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.servers()).set("group.id", "bench").set("isolation.level", "read_committed");
    config.set("queued.max.messages.kbytes", "32768").set("enable.auto.commit", "false");
    config.set("queued.min.messages", "500000").set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, from).expect("an offset");
    }
    consumer.assign(&list).expect("assigned");
    consumer
}

fn file(broker: &Broker, place: &Place, name: &str, topic: &str, harmonized: bool, output: bool) {
    let fields = if harmonized { "fields:\n  - { name: dx, text: $.dx.text }\ntarget: { source: doid }\n" } else { "" };
    let sink = match output {
        true => "output: { topic: out, shape: enriched }\n",
        false => "rows: { shape: enriched }\n",
    };
    place.write(
        "consumer.yaml",
        format!(
            "name: {name}\nkafka: {{ bootstrap.servers: '{}' }}\ntopics: [{topic}]\nformat: json\ndead_letters: dead\ncreate_topics: true\n{fields}{sink}",
            broker.servers()
        ),
    );
}

/// Records a second from the first one taken to the last one committed, as the consumer says.
fn consume(broker: &Broker, place: &Place, name: &str, topic: &str, harmonized: bool, records: usize) -> f64 {
    file(broker, place, name, topic, harmonized, false);
    let ran = place.generel(&["consume", "consumer.yaml", "--until-end", "--precision", "int8"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("{name}: {records} messages")), "{}", ran.stderr);
    let seconds = ran.stderr.rsplit_once(" in ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    records as f64 / seconds.expect("a time")
}

/// From the timestamp of a record to its being read, harmonized, from the output topic.
fn latency(broker: &Broker, place: &Place, names: &[String], rate: f64) {
    broker.topic("live", PARTITIONS, &[]);
    broker.topic("out", PARTITIONS, &[]);
    file(broker, place, "live", "live", true, true);
    let mut command = place.command(&["consume", "consumer.yaml", "--precision", "int8", "-v"]);
    let log = std::fs::File::create(place.path("live.log")).expect("a log");
    let mut member = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("generel runs");
    let ready = || std::fs::read_to_string(place.path("live.log")).is_ok_and(|log| log.contains("rebalanced"));
    while !ready() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let consumer = reader(broker, "out", Offset::End);
    let producer = broker.producer();
    let sending = std::thread::spawn({
        let names = names.to_vec();
        move || {
            let (began, mut id) = (Instant::now(), 0);
            while began.elapsed() < WATCHED {
                while (id as f64) < rate * began.elapsed().as_secs_f64() {
                    put(
                        &producer,
                        "live",
                        id as i32 % PARTITIONS,
                        None,
                        record(id, &names[id * 7919 % names.len()]).as_bytes(),
                    );
                    id += 1;
                }
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_millis(2));
            }
            producer.flush(Duration::from_secs(30)).expect("sent");
            id
        }
    });
    let (mut ages, began) = (Vec::new(), Instant::now());
    while began.elapsed() < WATCHED + Duration::from_secs(3) {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_millis() as i64;
            // The first seconds are for the caches.
            if began.elapsed() > Duration::from_secs(5) {
                ages.extend(message.timestamp().to_millis().map(|then| now - then));
            }
        }
    }
    let sent = sending.join().expect("sent");
    let _ = member.kill();
    let _ = member.wait();
    ages.sort_unstable();
    let at = |share: f64| ages.get((ages.len() as f64 * share) as usize).copied().unwrap_or_default();
    let (p50, p99) = (at(0.5), at(0.99));
    println!(
        "latency to the topic at {:.0} records/s: p50 {p50} ms, p99 {p99} ms ({} of {sent} records)",
        rate,
        ages.len()
    );
}
