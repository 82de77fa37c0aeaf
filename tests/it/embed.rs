//! Embedding from the command line: what is kept, what is counted, and where it runs.

use crate::support::{Place, Ran, pull, repository};

fn with_ontology() -> Place {
    let place = Place::new();
    pull(&place);
    let doid = repository().join("jobs/sample/doid-2016.obo.gz");
    let ran = place.generel(&["ingest", "--source", "doid", doid.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    place
}

/// The metrics of the embedding operator in an EXPLAIN ANALYZE: name and value.
fn metric(plan: &str, name: &str) -> u64 {
    let value = plan.split(&format!("{name}=")).nth(1).unwrap_or_else(|| panic!("no {name} in {plan}"));
    let digits: String = value.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let unit = if value[digits.len()..].trim_start().starts_with('K') { 1000.0 } else { 1.0 };
    (digits.parse::<f64>().expect("a number") * unit).round() as u64
}

fn analyzed(place: &Place, sql: &str) -> String {
    let ran = place.generel(&["sql", "-c", &format!("EXPLAIN ANALYZE {sql}"), "--output", "csv"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let line = ran.stdout.lines().find(|line| line.contains("EmbedExec")).unwrap_or_default();
    line.to_string()
}

#[test]
fn vectors_of_queries_are_kept_and_found_by_the_next() {
    let place = with_ontology();
    let sql =
        "SELECT count(embed(name)) FROM (SELECT name FROM concepts WHERE name IS NOT NULL ORDER BY code LIMIT 1200)";
    let first = analyzed(&place, sql);
    let distinct = metric(&first, "distinct");
    assert!(distinct > 1000 && metric(&first, "strings") == 1200, "{first}");
    assert_eq!((metric(&first, "encoded"), metric(&first, "store_hits")), (distinct, 0), "{first}");
    assert!(metric(&first, "tokens") > 3 * distinct, "{first}");
    assert!((1..=100).contains(&metric(&first, "batch_fill_percent")), "{first}");
    let kept = place.value("SELECT count(*) FROM embeddings");
    // Plans show three digits.
    assert!(kept.parse::<u64>().expect("a number").abs_diff(distinct) <= 5, "{kept} kept of {first}");

    // In another process: nothing goes through the model, and nothing new is written.
    let second = analyzed(&place, sql);
    assert_eq!((metric(&second, "encoded"), metric(&second, "store_hits")), (0, distinct), "{second}");
    assert_eq!(place.value("SELECT count(*) FROM embeddings"), kept);
    let same = "SELECT max(1 - cosine_similarity(e.vector, embed(e.key || ' '))) < 1e-6 FROM embeddings e";
    assert_eq!(place.value(same), "true");

    // Another precision is another model.
    let int8 =
        place.generel(&["sql", "--precision", "int8", "-c", "SELECT count(*) FROM embeddings", "--output", "csv"]);
    assert_eq!(int8.stdout.lines().nth(1), Some("0"), "{int8:?}");
    let few = "SELECT cosine_similarity(embed('flu'), as_vector(vector, model_id)) FROM embeddings_all";
    let two = place.generel(&["sql", "--precision", "int8", "-c", few]);
    assert_eq!(two.code, 1, "{two:?}");
}

#[test]
fn a_repeated_text_is_embedded_once() {
    let place = Place::new();
    pull(&place);
    std::fs::create_dir(place.path("lake")).expect("a lake without tables");
    let rows = "(SELECT 'text ' || (value % 7) AS t FROM generate_series(1, 100000))";
    let plan = analyzed(&place, &format!("SELECT count(embed(t)) FROM {rows}"));
    assert_eq!((metric(&plan, "strings"), metric(&plan, "encoded")), (100_000, 7), "{plan}");
}

/// How many texts come to the operator: those of rows that are dropped, equal calls and constants do not.
#[test]
fn what_need_not_be_embedded_is_not() {
    let place = Place::new();
    pull(&place);
    std::fs::create_dir(place.path("lake")).expect("a lake without tables");
    let rows = "(SELECT value AS id, 'text ' || (value % 7) AS t FROM generate_series(1, 900))";
    let cases = [
        (format!("SELECT cosine_similarity(embed(t), embed('flu')) FROM {rows}"), 901),
        (format!("SELECT id FROM {rows} WHERE concept_similarity(t, 'flu') + concept_similarity(t, 'cold') > -2"), 902),
        (format!("SELECT id FROM {rows} WHERE concept_similarity(t, 'flu') > -1 AND id % 9 = 0"), 101),
        (format!("SELECT id, embed(t) FROM {rows} ORDER BY id DESC LIMIT 10"), 10),
        (format!("SELECT upper(t) AS u, embed(t) AS v FROM {rows} ORDER BY u, id LIMIT 10"), 10),
        (format!("SELECT embed(t) AS v, id FROM {rows} LIMIT 10"), 10),
        (format!("SELECT DISTINCT t, embed(t) FROM {rows}"), 7),
        (
            format!(
                "SELECT a.id FROM {rows} a CROSS JOIN generate_series(1, 3) WHERE concept_similarity(a.t, 'x') > -1"
            ),
            901,
        ),
        // Not the same text for all rows.
        ("SELECT embed(uuid()) FROM generate_series(1, 5)".to_string(), 5),
    ];
    for (sql, strings) in cases {
        let ran = place.generel(&["sql", "-c", &format!("EXPLAIN ANALYZE {sql}"), "--output", "csv"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let operators = ran.stdout.lines().filter(|line| line.contains("EmbedExec"));
        assert_eq!(operators.map(|line| metric(line, "strings")).sum::<u64>(), strings, "{sql}: {}", ran.stdout);
    }
}

#[test]
fn the_precision_is_part_of_the_model_and_named() {
    let place = Place::new();
    pull(&place);
    let line = |arguments: &[&str], what: &str| {
        let ran = place.generel(&[&["model", "show"], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout.lines().find(|l| l.starts_with(what)).unwrap_or_default().to_string()
    };
    for precision in ["f32", "bf16", "int8"] {
        assert!(line(&["--precision", precision], "model_id").ends_with(&format!("-{precision}")));
        assert!(line(&["--precision", precision], "precision").ends_with(precision));
    }
    let unknown = place.generel(&["model", "show", "--precision", "fp8"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("auto, f32, bf16, int8"), "{unknown:?}");
    let nowhere = place.generel(&["embed", "--text", "flu", "--device", "tpu"]);
    assert!(nowhere.code == 2 && nowhere.stderr.contains("cuda:N"), "{nowhere:?}");
    place.write("job.yaml", "name: j\nprecision: f64\nsteps: []\n");
    let job = place.generel(&["run", "job.yaml"]);
    assert!(job.code != 0 && job.stderr.contains("f64"), "{job:?}");
}

#[test]
fn a_gpu_that_is_not_there_costs_a_line_in_the_log() {
    let place = Place::new();
    pull(&place);
    // The highest ordinal there is: also a machine with GPUs has not so many.
    let ran = place.generel(&["embed", "--text", "flu", "--device", "cuda:255"]);
    assert!(ran.code == 0 && ran.stdout.contains("\"vector\":["), "{ran:?}");
    assert!(ran.stderr.contains("the GPU cannot be used; embedding on the CPU"), "{ran:?}");
    place.write("libgenerel_cuda.so", "no library");
    let mut command = place.command(&["embed", "--text", "flu", "--device", "cuda:0"]);
    command.env("GENEREL_CUDA", place.path("libgenerel_cuda.so"));
    let damaged = Ran::of(command);
    assert!(damaged.code == 0 && damaged.stderr.contains("cannot be opened"), "{damaged:?}");
}

#[test]
fn texts_are_piped_in_line_by_line() {
    let place = Place::new();
    pull(&place);
    let piped = |bytes: &[u8]| {
        let path = place.write("in.txt", bytes);
        let mut command = place.command(&["embed", "--stdin"]);
        command.stdin(std::fs::File::open(path).expect("a file"));
        Ran::of(command)
    };
    let ran = piped("heart attack\r\n\n心臓発作 🫀\nheart  attack".as_bytes());
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((ran.code, lines.len()), (0, 4), "{ran:?}");
    assert_eq!(lines[0]["vector"].as_array().map(Vec::len), Some(384));
    assert!(lines[0]["text"] == "heart attack" && lines[1]["vector"].is_null() && !lines[2]["vector"].is_null());
    assert_eq!(lines[0]["vector"], lines[3]["vector"]);
    piped(b"fine\nM\xe9ni\xe8re\n").fails_with(1, &["line 2, byte 2", "UTF-8"]);
    assert_eq!(piped(b"").stdout, "");
}

#[test]
fn the_bench_of_a_model_says_what_it_measured() {
    let place = Place::new();
    pull(&place);
    place.write("names.txt", (0..600).map(|i| format!("disease {i}\n")).collect::<String>());
    let ran = place.generel(&["model", "bench", "--texts", "names.txt", "--threads", "1", "--seconds", "60"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for words in
        ["model      all-MiniLM-L6-v2 (f32)", "cpu, 1 thread, ", "344 distinct", "strings/s  ", "tokens/s   ", "% ("]
    {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    place.write("one.txt", "a name\n\na  name\n");
    place.generel(&["model", "bench", "--texts", "one.txt"]).fails_with(1, &["--texts", "two distinct"]);
    place.generel(&["model", "bench", "--texts", "none.txt"]).fails_with(1, &["none.txt"]);
}
