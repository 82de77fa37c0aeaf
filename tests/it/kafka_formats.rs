//! `generel consume` of what others write: Avro and JSON with a real schema registry, FHIR, CSV.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::broker::{Broker, fetched};
use crate::kafka::{consume, place};
use crate::servers::{Server, free_port};

/// A schema registry that speaks Confluent's protocol; gone when it is dropped.
struct Registry {
    port: u16,
    _folder: tempfile::TempDir,
    _server: Server,
}

const SCHEMAS: &str = "/apis/ccompat/v7";

impl Registry {
    fn start() -> Self {
        let app = fetched("registry.xml", "unpack-dependencies");
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-Dquarkus.http.host=127.0.0.1"]).arg(format!("-Dquarkus.http.port={port}"));
        java.arg("-jar").arg(app.join("apicurio-registry-app-2.6.13.Final-runner.jar"));
        let ready =
            || http(port, "GET", &format!("{SCHEMAS}/subjects"), "").is_some_and(|answer| answer.contains("[]"));
        let server = Server::start(java, &folder.path().join("registry.log"), ready);
        Self { port, _folder: folder, _server: server }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}{SCHEMAS}", self.port)
    }

    /// Registers a schema; its id.
    fn register(&self, subject: &str, kind: &str, schema: &serde_json::Value) -> u32 {
        self.register_with(subject, kind, schema, &[])
    }

    /// Registers a schema that refers to others, by name and subject.
    fn register_with(&self, subject: &str, kind: &str, schema: &serde_json::Value, others: &[(&str, &str)]) -> u32 {
        let others: Vec<_> = others
            .iter()
            .map(|(name, subject)| serde_json::json!({"name": name, "subject": subject, "version": 1}))
            .collect();
        let body = serde_json::json!({"schemaType": kind, "schema": schema.to_string(), "references": others});
        let body = body.to_string();
        let answer = http(self.port, "POST", &format!("{SCHEMAS}/subjects/{subject}/versions"), &body);
        let answer = answer.expect("an answer");
        let id = answer.rsplit_once("\"id\":").map(|(_, rest)| rest.trim_end_matches(|c: char| !c.is_ascii_digit()));
        id.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
    }
}

/// What a server answers, head and body.
fn http(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A datum as a registry's serializers send it.
fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

/// An Avro record of a long and a text that may be null, by hand.
fn avro(id: u8, text: Option<&str>) -> Vec<u8> {
    let mut datum = vec![id * 2];
    match text {
        None => datum.push(0),
        Some(text) => {
            datum.extend([2, text.len() as u8 * 2]);
            datum.extend(text.as_bytes());
        }
    }
    datum
}

fn file(broker: &Broker, name: &str, format: &str, fields: &str) -> String {
    format!(
        "name: {name}\nkafka: {{ bootstrap.servers: '{}' }}\ntopics: [{name}]\n{format}\n{fields}\n\
         target: {{ source: toy }}\nrows: {{ shape: flat }}\ndead_letters: {name}.dead\ncreate_topics: true\n",
        broker.servers()
    )
}

#[test]
fn avro_and_json_come_with_their_schemas() {
    let Some(broker) = Broker::start() else { return };
    let (place, registry) = (place(), Registry::start());
    let registered = format!("registry: {{ url: '{}' }}", registry.url());
    let fields = "fields: [{ name: dx, text: $.dx }]\ncarry: { id: $.id }";
    let first = registry.register(
        "avro-value",
        "AVRO",
        &serde_json::json!({"type": "record", "name": "Stay", "fields": [
            {"name": "id", "type": "long"}, {"name": "dx", "type": ["null", "string"], "default": null}]}),
    );
    // The same subject later: messages of both are in the topic.
    let second = registry.register(
        "avro-value",
        "AVRO",
        &serde_json::json!({"type": "record", "name": "Stay", "fields": [
            {"name": "id", "type": "long"}, {"name": "dx", "type": ["null", "string"], "default": null},
            {"name": "ward", "type": ["null", "int"], "default": null}]}),
    );
    assert_ne!(first, second);
    broker.topic("avro", 1, &[]);
    let with_ward = [avro(2, Some("type 2 diabetes mellitus")), vec![2, 14]].concat();
    let messages = [
        framed(first, &avro(1, Some("heart attack"))),
        framed(second, &with_ward),
        framed(first, &avro(3, None)),
        framed(first, &avro(4, Some("heart attack"))[..6]),
        framed(first, &with_ward),
        framed(4711, &avro(6, None)),
        b"{\"id\":7}".to_vec(),
    ];
    broker.send("avro", messages.map(|message| (0, message)));
    let ran = consume(&place, &file(&broker, "avro", &format!("format: avro\n{registered}"), fields), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let sql = "select id, outcome, object_id from harmonized where consumer = 'avro' order by id";
    assert_eq!(place.rows(sql), ["1,mapped,TOY:1", "2,mapped,TOY:2", "3,absent,"]);
    let reasons =
        |topic: &str| broker.read(topic).iter().map(|m| m.header("generel-reason").to_string()).collect::<Vec<_>>();
    assert_eq!(reasons("avro.dead"), ["schema_mismatch", "schema_mismatch", "unknown_schema", "not_framed"]);

    // Types of their own, which the schema refers to, one of them by way of the other.
    registry.register(
        "code",
        "AVRO",
        &serde_json::json!({"type": "enum", "name": "Kind", "namespace": "org.example", "symbols": ["MAIN", "SIDE"]}),
    );
    registry.register_with(
        "said",
        "AVRO",
        &serde_json::json!({"type": "record", "name": "Said", "namespace": "org.example", "fields": [
            {"name": "kind", "type": "Kind"}, {"name": "text", "type": "string"}]}),
        &[("org.example.Kind", "code")],
    );
    let parts = registry.register_with(
        "parts-value",
        "AVRO",
        &serde_json::json!({"type": "record", "name": "Visit", "namespace": "org.example", "fields": [
            {"name": "id", "type": "long"}, {"name": "dx", "type": "org.example.Said"},
            {"name": "other", "type": ["null", "Said"]}]}),
        &[("org.example.Said", "said")],
    );
    broker.topic("parts", 1, &[]);
    let visit = |id: u8, kind: u8| [vec![id * 2, kind * 2, 24], b"heart attack".to_vec(), vec![0]].concat();
    broker.send("parts", [(1, 1), (2, 2)].map(|(id, kind)| (0, framed(parts, &visit(id, kind)))));
    let text = "fields: [{ name: dx, text: $.dx.text }]\ncarry: { id: $.id }";
    let ran = consume(&place, &file(&broker, "parts", &format!("format: avro\n{registered}"), text), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(place.rows(&sql.replace("'avro'", "'parts'")), ["1,mapped,TOY:1"]);
    assert_eq!(reasons("parts.dead"), ["schema_mismatch"], "an enum of two has no third");

    let text = serde_json::json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"});
    registry.register("text", "JSON", &text);
    let schema = registry.register_with(
        "json-value",
        "JSON",
        &serde_json::json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
            "properties": {"id": {"type": "integer"}, "dx": {"$ref": "text.json"}}, "required": ["id", "dx"]}),
        &[("text.json", "text")],
    );
    broker.topic("json", 1, &[]);
    let messages = [r#"{"id":1,"dx":"heart attack"}"#, r#"{"id":2}"#, r#"{"id":3,"dx":"#, r#"{"id":4,"dx":4}"#];
    broker.send("json", messages.map(|message| (0, framed(schema, message.as_bytes()))));
    let ran = consume(&place, &file(&broker, "json", &format!("format: json_schema\n{registered}"), fields), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(place.rows(&sql.replace("'avro'", "'json'")), ["1,mapped,TOY:1"]);
    assert_eq!(reasons("json.dead"), ["schema_mismatch", "invalid_json", "schema_mismatch"]);

    // A registry that does not answer is no reason to throw messages away.
    drop(registry);
    broker.send("json", [(0, framed(schema + 1000, b"{}"))]);
    let ran = consume(&place, &file(&broker, "json", &format!("format: json_schema\n{registered}"), fields), &[]);
    ran.fails_with(1, &["registry", "127.0.0.1"]);
    assert_eq!(reasons("json.dead").len(), 3);
}

/// A server that answers everything with a status.
fn always(status: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
        }
    });
    port
}

/// What is the registry's fault is no reason to throw messages away.
#[test]
fn a_registry_that_refuses_or_fails_is_an_error() {
    let Some(broker) = Broker::start() else { return };
    let place = place();
    broker.topic("faults", 1, &[]);
    broker.send("faults", [(0, framed(1, &avro(1, None)))]);
    for (status, words) in [
        ("401 Unauthorized", "status 401"),
        ("500 Internal Server Error", "status 500"),
        ("404 Not Found", "status 404"),
    ] {
        let registry = format!("format: avro\nregistry: {{ url: 'http://127.0.0.1:{}' }}", always(status));
        let ran = consume(&place, &file(&broker, "faults", &registry, "fields: [{ name: dx, text: $.dx }]"), &[]);
        ran.fails_with(1, &["schema registry", words, "check the address and the login"]);
        assert_eq!(broker.read("faults.dead").len(), 0, "{status}");
    }
}

#[test]
fn fhir_and_csv_are_read_as_they_are() {
    let Some(broker) = Broker::start() else { return };
    let place = place();
    broker.topic("fhir", 1, &[]);
    broker.topic("csv", 1, &[]);
    let condition = |id: &str, concept: serde_json::Value| {
        serde_json::json!({"resourceType": "Condition", "id": id, "code": concept}).to_string()
    };
    let bundle = serde_json::json!({"resourceType": "Bundle", "entry": [
        {"resource": {"resourceType": "Condition", "id": "b1", "code": {"text": "Heart attack"}}},
        {"resource": {"resourceType": "Patient", "id": "b2"}}]});
    let messages = [
        condition("c1", serde_json::json!({"text": "type 2 diabetes mellitus"})),
        condition(
            "c2",
            serde_json::json!({"coding": [{"system": "urn:oid:1.2", "code": "x", "display": "myocardial infarction"}]}),
        ),
        bundle.to_string(),
    ];
    broker.send("fhir", messages.map(|message| (0, message.into_bytes())));
    let ran = consume(&place, &file(&broker, "fhir", "format: fhir", "output: { topic: out, shape: enriched }"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let sql = "select kafka_offset, field, coalesce(source_name, ''), object_id from harmonized \
        where consumer = 'fhir' and outcome = 'mapped' order by 1, 2";
    let rows = [
        "0,code,type 2 diabetes mellitus,TOY:2",
        "1,code,myocardial infarction,TOY:1",
        "2,entry_code,Heart attack,TOY:1",
    ];
    assert_eq!(place.rows(sql), rows);
    // The concepts are codings beside those that were there.
    let sent: Vec<serde_json::Value> =
        broker.read("out").iter().map(|m| serde_json::from_str(&m.text()).expect("JSON")).collect();
    assert_eq!(sent[0]["code"]["coding"][0]["code"], "TOY:2");
    assert_eq!(sent[1]["code"]["coding"][0]["code"], "x");
    assert_eq!(sent[1]["code"]["coding"][1]["code"], "TOY:1");
    assert_eq!(sent[2]["entry"][0]["resource"]["code"]["coding"][0]["code"], "TOY:1");

    broker.send("csv", [(0, b"7;heart attack;x".to_vec()), (0, b"8;heart attack".to_vec())]);
    let format = "format: csv\ncolumns: [id, dx, note]\ndelimiter: ';'";
    let ran =
        consume(&place, &file(&broker, "csv", format, "fields: [{ name: dx, text: $.dx }]\ncarry: { id: $.id }"), &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(place.rows("select id, object_id from harmonized where consumer = 'csv'"), ["7,TOY:1"]);
    assert_eq!(broker.read("csv.dead")[0].header("generel-reason"), "column_count");
}

/// What is saved of a lake is all that a consumer needs: the same index, and so the same answers.
#[test]
fn a_saved_index_answers_as_the_lake_does() {
    let place = place();
    let mappings = "subject_id\tsubject_label\tpredicate_id\tobject_id\tmapping_justification\n\
        LOCAL:7\tbad heart\tskos:exactMatch\tTOY:1\tsemapv:ManualMappingCuration\n";
    place.write("own.sssom.tsv", mappings);
    let ran = place.generel(&["ingest", "--format", "sssom", "--source", "own", "own.sssom.tsv"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let save = || place.generel(&["index", "save", "toy-index", "--source", "toy", "--curated", "own"]);
    let ran = save();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let version = |text: &str| text.rsplit("version ").next().map(|rest| rest[..16].to_string()).expect("a version");
    assert!(ran.stderr.contains("4 concepts, 5 names"), "{}", ran.stderr);
    // Saved again it is the same, and no row is there twice.
    assert_eq!(version(&save().stderr), version(&ran.stderr));
    let count = "select count(*) from concept_names";
    let copied = place.generel(&["sql", "-c", count, "--output", "csv", "--lake", "toy-index"]);
    assert_eq!(copied.stdout.lines().nth(1), Some("5"), "{copied:?}");
    place.generel(&["index", "save", "other", "--source", "nothing"]).fails_with(2, &["nothing", "no concepts"]);

    let Some(broker) = Broker::start() else { return };
    broker.topic("codes", 1, &[]);
    let messages = [r#"{"id":1,"dx":"Heart attack"}"#, r#"{"id":2,"code":"LOCAL:7"}"#];
    broker.send("codes", messages.map(|message| (0, message.as_bytes().to_vec())));
    let fields = "fields: [{ name: dx, text: $.dx, code: $.code }]\ncarry: { id: $.id }";
    let target = "target: { lake: toy-index, source: toy, curated: [own] }";
    let file = file(&broker, "codes", "format: json", fields).replace("target: { source: toy }", target);
    let ran = consume(&place, &file, &["--lake", "empty"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let sql = "select id, object_id, index_version from harmonized order by id";
    let rows = place.generel(&["sql", "-c", sql, "--output", "csv", "--lake", "empty"]).stdout;
    let (first, made) = (version(&save().stderr), rows.lines().skip(1).collect::<Vec<_>>());
    assert_eq!(made, [format!("1,TOY:1,{first}"), format!("2,TOY:1,{first}")]);
}
