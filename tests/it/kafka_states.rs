//! Choices of a consumer's file and states of topics: thresholds, expressions, what was deleted.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::kafka::{consume, place, resident};
use crate::members::Member;

fn file(broker: &Broker, name: &str, topics: &str, more: &str) -> String {
    format!(
        "name: {name}\nkafka: {{ bootstrap.servers: '{}', topic.metadata.refresh.interval.ms: 500 }}\n\
         topics: [{topics}]\nformat: ndjson\nfields:\n  - {{ name: dx, text: $.dx }}\ncarry: {{ id: $.id }}\n\
         rows: {{ shape: flat, max_seconds: 0.5 }}\ndead_letters: {name}.dead\ncreate_topics: true\n{more}\n",
        broker.servers()
    )
}

const TARGET: &str = "target: { source: toy }";

#[test]
fn what_is_not_sure_enough_passes_is_left_out_or_is_a_dead_letter() {
    let Some(broker) = Broker::start() else { return };
    let place = place();
    broker.topic("ehr", 1, &[]);
    // Several records a message: of one that is not enough the others go on.
    let lines = "{\"id\":1,\"dx\":\"heart attack\"}\n{\"id\":2,\"dx\":\"panic attack\"}\n{\"id\":3}\n";
    broker.send("ehr", [(0, lines.as_bytes().to_vec())]);
    let ran = consume(&place, &file(&broker, "all", "ehr", "target: { source: toy, min_confidence: 0 }"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let sure = place.rows("select confidence from harmonized where consumer = 'all' and id < 3 order by id");
    let [more, less] = [0, 1].map(|row| sure[row].parse::<f64>().expect("a number"));
    assert!(more > less && less > 0.0, "{sure:?}");
    let between = (more + less) / 2.0;
    let rows = |below: &str| {
        let target = format!("target: {{ source: toy, min_confidence: {between}, below: {below} }}");
        let flat = format!("output: {{ topic: {below}.out, shape: flat }}");
        let ran = consume(&place, &file(&broker, &format!("of_{below}"), "ehr", &format!("{target}\n{flat}")), &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let sql = "select id, outcome, object_id is null from harmonized where consumer = 'of_{below}' order by id";
        place.rows(&sql.replace("{below}", below))
    };
    assert_eq!(rows("pass"), ["1,mapped,false", "2,below,false", "3,absent,true"]);
    assert_eq!(rows("null"), ["1,mapped,false", "2,below,true", "3,absent,true"]);
    assert_eq!(rows("dead_letter"), ["1,mapped,false", "3,absent,true"]);
    let [dead] = &broker.read("of_dead_letter.dead")[..] else { panic!("one dead letter") };
    assert_eq!(dead.header("generel-reason"), "low_confidence");
    assert_eq!((dead.header("generel-line"), dead.text().trim()), ("2", "{\"id\":2,\"dx\":\"panic attack\"}"));
    let flat: serde_json::Value = serde_json::from_str(&broker.read("pass.out")[0].text()).expect("JSON");
    assert!(flat["id"] == "1" && flat["object_id"] == "TOY:1" && flat["outcome"] == "mapped", "{flat}");
    // What is sure enough is part of what an index is.
    let versions = place.value("select count(distinct index_version) from harmonized where consumer <> 'all'");
    assert_eq!(versions, "2");
}

#[test]
fn an_expression_takes_topics_in_as_they_come() {
    let Some(broker) = Broker::start() else { return };
    let place = place();
    broker.topic("ehr.a", 2, &[]);
    broker.topic("ehr.b", 1, &[]);
    let record = |id: usize| format!("{{\"id\":{id},\"dx\":\"heart attack\"}}").into_bytes();
    broker.send("ehr.a", [(0, record(1)), (1, record(2))]);
    broker.send("ehr.b", [(0, record(3))]);
    let own = file(&broker, "regex", "'^ehr\\.'", TARGET);
    let ran = consume(&place, &own, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let sql = "select kafka_topic, id from harmonized order by id";
    assert_eq!(place.rows(sql), ["ehr.a,1", "ehr.a,2", "ehr.b,3"]);

    let mut member = Member::start(&place, "member.log", &["-v"]);
    broker.topic("ehr.c", 1, &[]);
    broker.send("ehr.c", [(0, record(4))]);
    let began = Instant::now();
    while place.rows(sql).len() < 4 {
        member.runs();
        assert!(began.elapsed() < Duration::from_secs(60), "{}", member.log());
        std::thread::sleep(Duration::from_millis(300));
    }
    member.terminate();
    assert_eq!(place.rows(sql)[3], "ehr.c,4");

    // What it writes would come in again.
    let loops = own.replace("regex.dead", "ehr.dead");
    consume(&place, &loops, &[]).fails_with(2, &["ehr.dead", "^ehr", "without end"]);
    let loops = file(&broker, "loops", "ehr.a", &format!("{TARGET}\noutput: {{ topic: ehr.a, shape: enriched }}"));
    consume(&place, &loops, &[]).fails_with(2, &["ehr.a", "without end"]);
}

#[test]
fn what_was_deleted_unread_is_told_and_accepted() {
    let Some(broker) = Broker::start() else { return };
    let place = place();
    let records = |ids: std::ops::Range<usize>| {
        ids.map(|id| (0, format!("{{\"id\":{id},\"dx\":\"heart attack\"}}").into_bytes())).collect::<Vec<_>>()
    };
    broker.topic("ehr", 1, &[]);
    broker.send("ehr", records(0..10));
    let file = file(&broker, "states", "ehr", TARGET);
    assert_eq!(consume(&place, &file, &[]).code, 0);
    broker.send("ehr", records(10..20));
    broker.truncate("ehr", 0, 15);
    consume(&place, &file, &[]).fails_with(1, &["ehr [0]", "messages 10 to 14 are gone", "--accept truncated"]);
    let ran = consume(&place, &file, &["--accept", "truncated"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let count = "select count(*), count(distinct id), min(kafka_offset), max(kafka_offset) from harmonized";
    assert_eq!(place.rows(count), ["15,15,0,19"]);

    // The lake's marks are gone with the lake.
    let lost = consume(&place, &file, &["--lake", "other", "--accept", "truncated"]);
    lost.fails_with(2, &["toy"]);

    broker.delete("ehr");
    std::thread::sleep(Duration::from_secs(2));
    broker.topic("ehr", 1, &[]);
    broker.send("ehr", records(0..3));
    consume(&place, &file, &[]).fails_with(1, &["ehr [0]", "the topic ends at 3", "made anew"]);
    assert_eq!(place.rows(count), ["15,15,0,19"]);
}

/// A backlog that is read in a second, and a broker that takes a megabyte a second: transactions become as small as it
/// takes in time, reading waits, and memory stays what it was.
#[test]
fn a_slow_output_topic_slows_reading_and_loses_nothing() {
    let Some(broker) = Broker::start() else { return };
    let place = place();
    broker.topic("ehr", 2, &[]);
    broker.topic("out", 2, &[]);
    let records = 40_000;
    let mut random = fastrand::Rng::with_seed(5);
    let mut record = |id: i32| -> (i32, Vec<u8>) {
        let note: String = std::iter::repeat_with(|| random.alphanumeric()).take(1500).collect();
        (id % 2, format!("{{\"id\":{id},\"dx\":\"heart attack\",\"note\":\"{note}\"}}").into_bytes())
    };
    broker.send("ehr", (0..records).map(&mut record));
    broker.limit_producers(Some(1 << 20));
    place.write(
        "consumer.yaml",
        file(&broker, "slow", "ehr", &format!("{TARGET}\noutput: {{ topic: out, shape: enriched }}\n")),
    );
    let mut member = Member::start(&place, "member.log", &["--until-end", "-v"]);
    member.wait_for("rebalanced");
    let (began, mut most) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(20) {
        member.runs();
        most = most.max(resident(member.id()).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(100));
    }
    let there = broker.read("out").len();
    assert!(0 < there && there < records as usize, "{there} of {records}, though the broker takes 1 MB a second");
    broker.limit_producers(None);
    let log = member.ends();
    assert!(!log.contains("a transaction failed"), "{log}");
    // 60 MB wait in the topic; some of them are on their way.
    assert!(most < 700, "{most} MB");
    crate::broker::said(&format!("{there} of {records} sent after 20 s, {most} MB at most"));
    let ids: std::collections::HashSet<_> = broker.read("out").iter().map(crate::broker::Taken::text).collect();
    assert_eq!(ids.len(), records as usize);
    assert_eq!(place.rows("select count(*), count(distinct id) from harmonized"), [format!("{records},{records}")]);

    // Both topics to their ends: the last places of one hold the ends of transactions, which are no messages.
    let ran = consume(&place, &file(&broker, "both", "ehr, out", TARGET), &[]);
    assert!(ran.code == 0 && ran.stderr.contains(&format!("both: {} messages", 2 * records)), "{}", ran.stderr);
}
