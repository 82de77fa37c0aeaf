//! `generel consume` and `generel replay` against a real Apache Kafka.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::producer::Producer;

use crate::broker::{Broker, put, said};
use crate::members::Member;
use crate::support::{OBO, Place, Ran, pull};

/// A lake with a small ontology.
pub fn place() -> Place {
    let place = Place::new();
    pull(&place);
    let obo = place.write("toy.obo", OBO);
    let ran = place.generel(&["ingest", "--format", "obo", "--source", "toy", obo.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    place
}

fn file(broker: &Broker, more: &str) -> String {
    format!(
        "name: conditions\nkafka: {{ bootstrap.servers: '{}', session.timeout.ms: 6000, heartbeat.interval.ms: 500 }}\n\
         topics: [ehr]\nformat: json\nfields:\n  - {{ name: dx, text: $.dx }}\ncarry: {{ id: $.id }}\n\
         target: {{ source: toy, refresh_seconds: 1 }}\nrows: {{ shape: flat, max_seconds: 0.5 }}\n\
         output: {{ topic: out, shape: enriched }}\ndead_letters: dead\ncreate_topics: true\n{more}",
        broker.servers()
    )
}

pub fn consume(place: &Place, file: &str, more: &[&str]) -> Ran {
    place.write("consumer.yaml", file);
    let mut arguments = vec!["consume", "consumer.yaml", "--until-end"];
    arguments.extend(more);
    place.generel(&arguments)
}

#[test]
fn records_become_rows_messages_and_dead_letters() {
    let Some(broker) = Broker::start() else { return };
    let place = place();
    broker.topic("ehr", 3, &[]);
    broker.topic("out", 3, &["max.message.bytes=1000000"]);
    let text = |value: &str| value.as_bytes().to_vec();
    let deep = format!("{{\"dx\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let large = format!("{{\"id\":9,\"dx\":\"asthma\",\"note\":\"{}\"}}", "x".repeat(2_000_000));
    broker.send(
        "ehr",
        [
            (0, text(r#"{"id":1,"dx":"Heart  Attack"}"#)),
            (1, text(r#"{"id":2,"dx":"type 2 diabetes mellitus","note":"\"é\""}"#)),
            (2, text(r#"{"id":3}"#)),
            (0, text(r#"{"id":4,"#)),
            (0, b"\xff\xfe".to_vec()),
            (1, text(r#"{"id":6,"dx":{"text":"asthma"}}"#)),
            (1, deep.into_bytes()),
            (2, large.into_bytes()),
        ],
    );
    let ran = consume(&place, &file(&broker, ""), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("8 messages, 3 rows"), "{}", ran.stderr);

    let sql = "select id, source_name, outcome, object_id, mapping_justification from harmonized order by id";
    let rows = [
        "1,Heart  Attack,mapped,TOY:1,semapv:LexicalMatching",
        "2,type 2 diabetes mellitus,mapped,TOY:2,semapv:LexicalMatching",
        "3,,absent,,",
    ];
    assert_eq!(place.rows(sql), rows);
    let sent = broker.read("out");
    let of = |id: &str| sent.iter().find(|m| m.text().starts_with(&format!("{{\"id\":{id}"))).map(|m| m.text());
    assert_eq!(sent.len(), 3);
    let version = place.value("select distinct index_version from harmonized");
    let second = of("2").expect("a message");
    assert!(
        second.starts_with(
            r#"{"id":2,"dx":"type 2 diabetes mellitus","dx_concept":{"outcome":"mapped","object_id":"TOY:2""#
        ),
        "{second}"
    );
    assert!(second.contains(r#""note":"\"é\"""#) && second.contains(&version), "{second}");

    let dead = broker.read("dead");
    let mut reasons: Vec<String> = dead
        .iter()
        .map(|m| {
            ["reason", "stage", "partition", "offset"].map(|h| m.header(&format!("generel-{h}")).to_string()).join(" ")
        })
        .collect();
    reasons.sort();
    let expected = [
        "invalid_json decode 0 1",
        "invalid_utf8 decode 0 2",
        "too_deep decode 1 2",
        "too_large encode 2 1",
        "wrong_type decode 1 1",
    ];
    assert_eq!(reasons, expected);
    assert!(dead.iter().any(|m| m.value.as_deref() == Some(b"\xff\xfe")), "a dead letter has the bytes that came");

    // Again: nothing is left to do, and nothing is doubled.
    let again = consume(&place, &file(&broker, ""), &[]);
    assert!(again.code == 0 && again.stderr.contains("conditions: 0 messages"), "{}", again.stderr);

    // Sent back, and dead again; then there is nothing more to send.
    let replayed = place.generel(&["replay", "consumer.yaml", "--reason", "wrong_type"]);
    assert!(replayed.stderr.contains("1 dead letters sent, 4 passed over"), "{}", replayed.stderr);
    assert_eq!(consume(&place, &file(&broker, ""), &[]).code, 0);
    assert_eq!(broker.read("dead").len(), 6);
    assert_eq!(place.rows(sql), rows);

    // A lake that is not the one it was, a group that forgot, a topic that is not there, a broker that does not answer.
    let other = super_lake(&place);
    let lost = consume(&place, &file(&broker, ""), &["--lake", &other]);
    lost.fails_with(1, &["the lake has no mark", "--accept lost-lake"]);
    let goes_on = |ran: Ran| assert!(ran.code == 0 && ran.stderr.contains("conditions: 0 messages"), "{}", ran.stderr);
    goes_on(consume(&place, &file(&broker, ""), &["--lake", &other, "--accept", "lost-lake"]));
    let renamed = consume(&place, &file(&broker, "group: other\n"), &[]);
    renamed.fails_with(1, &["the group has no offset", "--accept lost-offsets"]);
    goes_on(consume(&place, &file(&broker, "group: other\n"), &["--accept", "lost-offsets"]));
    assert_eq!(place.rows(sql), rows);
    let elsewhere = consume(&place, &file(&broker, "").replace("[ehr]", "[nowhere]"), &[]);
    elsewhere.fails_with(1, &["no topic nowhere"]);
    let servers = broker.servers();
    drop(broker);
    let mut unreachable = file(&Broker::at(&servers), "");
    unreachable = unreachable.replace("session.timeout.ms: 6000", "session.timeout.ms: 6000, socket.timeout.ms: 1000");
    consume(&place, &unreachable, &[]).fails_with(1, &["no broker answers at", &servers]);
}

/// A second lake with the same concepts.
fn super_lake(place: &Place) -> String {
    let other = place.path("other").display().to_string();
    let ran = place.generel(&["ingest", "--format", "obo", "--source", "toy", "toy.obo", "--lake", &other]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    other
}

/// The longest time between two kills.
const MOST_BETWEEN: Duration = Duration::from_secs(6);

/// A number from the environment, for longer runs of the same test: see docs/kafka.md.
fn given(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// While records come, members of a group are killed at random moments, others are asked to leave, a third one joins and
/// leaves, the broker is killed once, and some records are poison: every record is in the table and in the topic once, and
/// every poison record in the dead letters once.
#[test]
fn every_record_is_there_once_whatever_dies() {
    let Some(mut broker) = Broker::start() else { return };
    let place = place();
    let (records, kills) = (given("GENEREL_KAFKA_RECORDS", 60_000), given("GENEREL_KAFKA_KILLS", 5));
    let partitions = 12;
    broker.topic("ehr", partitions, &[]);
    place.write("consumer.yaml", file(&broker, ""));
    let is_poison = |id: usize| id % 1000 == 999;
    let poison = (0..records).filter(|id| is_poison(*id)).count();
    let wanted = records - poison;
    // So few a second that there are some left when the kills are over.
    let (producer, calm) = (broker.producer(), Arc::new(AtomicBool::new(false)));
    let is_calm = Arc::clone(&calm);
    let sending = std::thread::spawn(move || {
        let names = ["heart attack", "type 2 diabetes mellitus", "myocardial infarction", "influenza", "a cold"];
        let (began, planned) = (Instant::now(), 3 * MOST_BETWEEN * kills as u32);
        for id in 0..records {
            let value = match is_poison(id) {
                true => format!("{{\"id\":{id},"),
                false => format!("{{\"id\":{id},\"dx\":\"{}\"}}", names[id % names.len()]),
            };
            put(&producer, "ehr", id as i32 % partitions, None, value.as_bytes());
            let due = planned.mul_f64(id as f64 / records as f64);
            if !is_calm.load(Ordering::Relaxed) && began.elapsed() < due {
                producer.poll(Duration::ZERO);
                std::thread::sleep(due.saturating_sub(began.elapsed()));
            }
        }
        producer.flush(Duration::from_secs(120)).expect("sent");
    });

    let stored = || place.value("select count(*) from harmonized").parse::<usize>().unwrap_or(0);
    let start = |number: usize| Member::start(&place, &format!("member-{number}.log"), &["-v"]);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut members = vec![start(0), start(1)];
    let (mut terminated, mut third) = (0, None);
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(rng.u64(1500..MOST_BETWEEN.as_millis() as u64)));
        members.iter_mut().for_each(Member::runs);
        let unlucky = rng.usize(..members.len());
        let member = std::mem::replace(&mut members[unlucky], start(unlucky));
        // Every third one may leave by itself.
        if kill % 3 == 1 {
            member.terminate();
            terminated += 1;
        } else {
            drop(member);
        }
        if kill == kills / 2 {
            broker.kill();
            std::thread::sleep(Duration::from_millis(500));
            broker.resume();
            third = Some(start(2));
        }
        let rows = stored();
        said(&format!("{} of {kills}: {rows} rows", kill + 1));
        assert!(rows < wanted, "everything was done before the last kill");
    }
    calm.store(true, Ordering::Relaxed);
    if let Some(third) = third {
        third.terminate();
    }
    sending.join().expect("sent");
    let began = Instant::now();
    while stored() < wanted {
        members.iter_mut().for_each(Member::runs);
        assert!(
            began.elapsed() < Duration::from_secs(240 + records as u64 / 1000),
            "only {} of {wanted} rows",
            stored()
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    // What is sent may be a transaction behind what is stored.
    drop(members);
    let finished = consume(&place, &file(&broker, ""), &[]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);

    let counts = place.rows("select count(*), count(distinct id), count(distinct kafka_partition) from harmonized");
    assert_eq!(counts, [format!("{wanted},{wanted},{partitions}")]);
    let mut sent: HashMap<String, usize> = HashMap::new();
    for message in broker.read("out") {
        let text = message.text();
        let id = text.trim_start_matches("{\"id\":").split(',').next().unwrap_or_default().to_string();
        *sent.entry(id).or_default() += 1;
    }
    let twice = sent.values().filter(|count| **count > 1).count();
    assert_eq!((sent.len(), twice), (wanted, 0));
    let mut dead: Vec<String> = broker.read("dead").iter().map(|m| m.text()).collect();
    let letters = dead.len();
    dead.sort();
    dead.dedup();
    assert_eq!((letters, dead.len()), (poison, poison));
    let (killed, sent) = (kills - terminated, sent.len());
    said(&format!(
        "{records} records, {killed} members killed and {terminated} asked to leave while they came, a third one joined and left, 1 broker restart: \
         {wanted} rows and {sent} messages, each id once; {letters} dead letters of {poison} poison records"
    ));
}

/// What a process holds in memory, in MB.
pub fn resident(process: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kilobytes| kilobytes / 1024)
}

/// Records come without end; halfway, what they are harmonized to changes. None is lost, each says which index answered it,
/// one index gives one answer, and the memory is what it was after the start.
#[test]
fn the_index_changes_under_load_and_memory_does_not_grow() {
    let Some(broker) = Broker::start() else { return };
    let place = place();
    let (seconds, rate) = (given("GENEREL_SOAK_SECONDS", 45), 4000);
    let warm = Duration::from_secs(seconds as u64 / 3);
    let partitions = 4;
    broker.topic("ehr", partitions, &[]);
    let text = file(&broker, "").replace("refresh_seconds: 1", "refresh_seconds: 1, remembered: 2000");
    // Half a second between commits is for short tests: each of them makes the table's log longer, and a checkpoint of it
    // takes more memory.
    let is_short = seconds < 600;
    place.write("consumer.yaml", if is_short { text } else { text.replace(", max_seconds: 0.5", "") });
    let mut command = place.command(&["consume", "consumer.yaml", "-v"]);
    command.env("GENEREL_VECTOR_CACHE_MB", "4");
    let mut member = Member::of(&place, command, "member.log");

    let (producer, began) = (broker.producer(), Instant::now());
    let (mut id, mut changed, mut held) = (0, false, Vec::new());
    while began.elapsed() < Duration::from_secs(seconds as u64) {
        while id < rate * began.elapsed().as_millis() as usize / 1000 {
            // One in a hundred is new.
            let value = match id % 100 {
                99 => format!("{{\"id\":{id},\"dx\":\"a pain number {id}\"}}"),
                _ => format!("{{\"id\":{id},\"dx\":\"{}\"}}", ["heart attack", "fracture of wrist"][id % 2]),
            };
            put(&producer, "ehr", id as i32 % partitions, None, value.as_bytes());
            id += 1;
        }
        producer.poll(Duration::from_millis(5));
        if began.elapsed().as_secs() as usize > held.len() {
            held.extend(resident(member.id()));
        }
        if !changed && began.elapsed() > warm + warm / 2 {
            changed = true;
            let moved = OBO.replace("synonym: \"heart attack\" EXACT []\n", "")
                + "\n[Term]\nid: TOY:5\nname: heart attack\nis_a: TOY:4 ! disease\n";
            place.write("toy.obo", moved);
            let ran = place.generel(&["ingest", "--format", "obo", "--source", "toy", "toy.obo"]);
            assert_eq!(ran.code, 0, "{}", ran.stderr);
        }
    }
    producer.flush(Duration::from_secs(60)).expect("sent");
    member.runs();
    // A commit or a checkpoint holds more for a moment: the middle of a twentieth of the time.
    let few = (seconds / 20).max(3);
    let middle = |from: usize| {
        let mut some: Vec<usize> = held.iter().skip(from).take(few).copied().collect();
        some.sort_unstable();
        some.get(some.len() / 2).copied().unwrap_or_default()
    };
    let (first, last) = (middle(held.len() / 3), middle(held.len() - few));
    said(&format!(
        "{id} records in {seconds} s, 2 indexes: {first} MB after {} s, {last} MB at the end",
        warm.as_secs()
    ));
    drop(member);
    assert_eq!(consume(&place, &file(&broker, ""), &[]).code, 0);

    assert_eq!(place.rows("select count(*), count(distinct id) from harmonized"), [format!("{id},{id}")]);
    let answers = "select source_name, count(distinct object_id), min(object_id) from harmonized \
        where source_name in ('heart attack', 'fracture of wrist') group by source_name, index_version order by 1, 3";
    let expected =
        ["fracture of wrist,1,TOY:3", "fracture of wrist,1,TOY:3", "heart attack,1,TOY:1", "heart attack,1,TOY:5"];
    assert_eq!(place.rows(answers), expected);
    let (mut sent, mut ids) = (HashMap::new(), std::collections::HashSet::new());
    for message in broker.read("out") {
        let record: serde_json::Value = serde_json::from_str(&message.text()).expect("JSON");
        let version = record["generel"]["index_version"].as_str().map(str::to_string);
        assert!(version.is_some() && ids.insert(record["id"].as_u64()), "{record}");
        if record["dx"] == "heart attack" {
            *sent.entry((version, record["dx_concept"]["object_id"].clone())).or_insert(0) += 1;
        }
    }
    assert_eq!((ids.len(), sent.len()), (id, 2), "{sent:?}");
    // On a busy machine the start is not over after a third of a short run.
    let most = if is_short { 13 } else { 11 };
    assert!(last * 10 <= first * most, "{first} MB have become {last}");
}
