//! Consuming beside its ceilings: `cargo bench --bench kafka` (`-- --records 500000 --rounds 1` for less, `--only
//! plain,known` for some rows; needs Java 17 and Maven).
//!
//! On a real broker on this machine, in one run: a bare rdkafka consumer that only counts bytes, `generel consume` that
//! writes every record to the lake as it is, and the same with harmonization, where all texts were seen before, where a
//! tenth is new, and where all are new; the rate to a topic, and the latency to it at half of that rate; how old the oldest
//! record of a commit to Delta is then. The broker shares the cores with all of them.

#[allow(dead_code, reason = "what the tests use besides")]
#[path = "../tests/it/broker.rs"]
mod broker;
#[allow(dead_code, reason = "what the tests use besides")]
#[path = "../tests/it/servers.rs"]
mod servers;
#[allow(dead_code, reason = "what the tests use besides")]
#[path = "../tests/it/support.rs"]
mod support;

use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use broker::{Broker, put};
use support::{Place, pull, repository};

const PARTITIONS: i32 = 12;
/// How long records go through before the latency is looked at, for the broker to be compiled, and how long it is.
const WARM: Duration = Duration::from_secs(40);
const WATCHED: Duration = Duration::from_secs(30);
/// Records that are made before: what sends them should take little of the cores.
const MADE: usize = 50_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1));
    let records: usize = given("--records").map_or(2_000_000, |n| n.parse().expect("--records takes a number"));
    let rounds: usize = given("--rounds").map_or(3, |n| n.parse().expect("--rounds takes a number"));
    let only = given("--only").cloned().unwrap_or_default();
    let wanted = |row: &str| only.is_empty() || only.split(',').any(|name| name == row);
    let broker = Broker::start().expect("Java 17 and Maven");
    let place = Place::new();
    pull(&place);
    let sample = repository().join("jobs/sample/doid-2016.obo.gz");
    let sample = sample.to_str().expect("UTF-8");
    let ran = place.generel(&["ingest", "--format", "obo", "--source", "doid", sample]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let names = place.rows(
        "select n.name from concept_names n join concepts c using (source, code) where not c.obsolete \
         and n.name not like '%\"%' and n.name not like '%,%' order by n.name limit 1000",
    );

    println!(
        "{records} records, {rounds} rounds, {} cores, the broker among them",
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    fill(&broker, "known", records, |i| names[i * 7919 % names.len()].clone());
    let rate = |row: &str, topic: &str, does, records| {
        wanted(row).then(|| consume(&broker, &place, row, topic, does, records))
    };
    // One after the other in each round: a machine that is shared is not the same from one minute to the next.
    let mut of_rounds = [const { Vec::new() }; 4];
    for round in 0..rounds {
        let name = |row: &str| format!("{row}{round}");
        let all = [
            Some(bare(&broker, "known", records)),
            wanted("plain").then(|| consume(&broker, &place, &name("plain"), "known", Does::Store, records)),
            wanted("known").then(|| consume(&broker, &place, &name("known"), "known", Does::Enrich, records)),
            wanted("flat").then(|| consume(&broker, &place, &name("flat"), "known", Does::Flatten, records)),
        ];
        of_rounds.iter_mut().zip(all).for_each(|(rates, rate)| rates.extend(rate));
    }
    let [bare, plain, known, flat] = &of_rounds;
    say("bare consumer, counts bytes", bare, None);
    say("generel, as it comes, to Delta", plain, Some(("bare", bare)));
    say("generel, texts known, to Delta", known, Some(("as it comes", plain)));
    say("generel, the same as flat rows", flat, Some(("as it comes", plain)));
    let plain = median(plain);
    let few = records / 40;
    let new_text = |i: usize| format!("{} type {i}", names[i * 31 % names.len()]);
    if wanted("new") {
        fill(&broker, "new", few, new_text);
    }
    let encoder = wanted("new").then(|| encoder(&place, (0..few).map(new_text)));
    let new = rate("new", "new", Does::Enrich, few);
    say("the encoder alone, on such texts", encoder.as_slice(), None);
    say("generel, all texts new", new.as_slice(), Some(("the encoder", encoder.as_slice())));
    let tenth = records / 4;
    if wanted("tenth") {
        fill(&broker, "tenth", tenth, |i| match i % 10 {
            0 => format!("{} stage {i}", names[i * 31 % names.len()]),
            _ => names[i * 7919 % names.len()].clone(),
        });
    }
    let mixed = rate("tenth", "tenth", Does::Enrich, tenth);
    // What a tenth of new texts allows: the encoder's own rate over their share.
    let allowed = plain.zip(encoder).map(|(plain, encoder)| plain.min(encoder * 10.0));
    say("generel, a tenth of them new", mixed.as_slice(), Some(("what that allows", allowed.as_slice())));
    broker.topic("out", PARTITIONS, &[]);
    let topic = if wanted("topic") {
        // The broker's way of taking transactions is compiled while it is used for the first time.
        consume(&broker, &place, "compiled", "known", Does::Send, records);
        rate("topic", "known", Does::Send, records)
    } else {
        None
    };
    say("generel, texts known, to a topic", topic.as_slice(), None);
    if let Some(topic) = topic.filter(|_| wanted("latency")) {
        latency(&broker, &place, &names, topic / 2.0);
        freshness(&broker, &place, &names, topic / 2.0);
    }
}

/// The middle one.
fn median(rates: &[f64]) -> Option<f64> {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// The middle rate of all rounds, and the middle of their ratios.
fn say(what: &str, rates: &[f64], beside: Option<(&str, &[f64])>) {
    let Some(rate) = median(rates) else { return };
    let ratio = beside.and_then(|(of, others)| {
        let ratios: Vec<f64> = rates.iter().zip(others).map(|(rate, other)| rate / other).collect();
        Some(format!("   {:.2} of {of}", median(&ratios)?))
    });
    let each: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    println!("{what:<34}{rate:>12.0} records/s{}   ({})", ratio.unwrap_or_default(), each.join(", "));
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

/// Texts a second that the model embeds by itself, as `generel model bench` says.
fn encoder(place: &Place, texts: impl Iterator<Item = String>) -> f64 {
    place.write("texts.txt", texts.map(|text| text + "\n").collect::<String>());
    let ran = place.generel(&["model", "bench", "--texts", "texts.txt", "--precision", "int8"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let line = ran.stdout.lines().find(|line| line.starts_with("strings/s")).expect("a rate");
    let digits: String = line.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().expect("a number")
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

/// What the consumer does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Records as they come, to Delta.
    Store,
    /// Records with their concepts, to Delta.
    Enrich,
    /// A row for each concept, with the record's id.
    Flatten,
    /// Records with their concepts, to a topic.
    Send,
}

fn file(broker: &Broker, place: &Place, name: &str, topic: &str, does: Does) {
    let fields = match does {
        Does::Store => "",
        _ => "fields:\n  - { name: dx, text: $.dx.text }\ntarget: { source: doid }\n",
    };
    let sink = match does {
        Does::Store | Does::Enrich => "rows: { shape: enriched }\n",
        Does::Flatten => "rows: { shape: flat }\ncarry: { id: $.id }\n",
        Does::Send => "output: { topic: out, shape: enriched }\n",
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
fn consume(broker: &Broker, place: &Place, name: &str, topic: &str, does: Does, records: usize) -> f64 {
    file(broker, place, name, topic, does);
    let ran = place.generel(&["consume", "consumer.yaml", "--until-end", "--precision", "int8"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("{name}: {records} messages")), "{}", ran.stderr);
    let seconds = ran.stderr.rsplit_once(" in ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    records as f64 / seconds.expect("a time")
}

/// A consumer of a topic that is new, which has its partitions.
fn live(broker: &Broker, place: &Place, topic: &str, does: Does, more: &[&str]) -> Child {
    broker.topic(topic, PARTITIONS, &[]);
    file(broker, place, topic, topic, does);
    let arguments = ["consume", "consumer.yaml", "--precision", "int8", "-v"];
    let mut command = place.command(&[&arguments, more].concat());
    let log = place.path(&format!("{topic}.log"));
    let file = std::fs::File::create(&log).expect("a log");
    let member = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().expect("generel runs");
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("rebalanced")) {
        std::thread::sleep(Duration::from_millis(100));
    }
    member
}

/// Sends records of known texts at a rate; how many it were.
fn sending(broker: &Broker, names: &[String], topic: &'static str, rate: f64, time: Duration) -> JoinHandle<usize> {
    let producer = broker.producer();
    let made: Vec<String> = (0..MADE).map(|id| record(id, &names[id * 7919 % names.len()])).collect();
    std::thread::spawn(move || {
        let (began, mut id) = (Instant::now(), 0);
        while began.elapsed() < time {
            while (id as f64) < rate * began.elapsed().as_secs_f64() {
                put(&producer, topic, id as i32 % PARTITIONS, None, made[id % MADE].as_bytes());
                id += 1;
            }
            producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_millis(2));
        }
        producer.flush(Duration::from_secs(30)).expect("sent");
        id
    })
}

/// How old the oldest record of each commit to Delta is, as the consumer's own metrics have it.
fn freshness(broker: &Broker, place: &Place, names: &[String], rate: f64) {
    let port = servers::free_port();
    let mut member = live(broker, place, "stored", Does::Enrich, &["--metrics", &format!("127.0.0.1:{port}")]);
    let sent = sending(broker, names, "stored", rate, WATCHED).join().expect("sent");
    let (_, text) = servers::get(port, "/metrics");
    let _ = member.kill();
    let _ = member.wait();
    let lake = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.contains(name) && line.contains("\"lake\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
    };
    let commits = lake("latency_seconds_count");
    let age = lake("latency_seconds_sum") / commits;
    println!(
        "Delta at {rate:.0} records/s: the oldest record of a commit is {age:.1} s old ({commits} commits, {sent} records)"
    );
}

/// From the timestamp of a record to its being read, harmonized, from the output topic.
fn latency(broker: &Broker, place: &Place, names: &[String], rate: f64) {
    let mut member = live(broker, place, "live", Does::Send, &[]);
    let consumer = reader(broker, "out", Offset::End);
    let sending = sending(broker, names, "live", rate, WARM + WATCHED);
    let (mut ages, began) = (Vec::new(), Instant::now());
    while began.elapsed() < WARM + WATCHED + Duration::from_secs(3) {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_millis() as i64;
            if began.elapsed() > WARM {
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
