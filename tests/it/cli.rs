//! The command line: every documented failure is one clear line with the documented exit code.

use crate::support::{GOOD, OBO, Place, ssf};

#[test]
fn failures_are_one_line_with_the_documented_code() {
    let place = Place::new();
    let ingest = |format: &str, file: &str| place.generel(&["ingest", "--format", format, "--source", "s", file]);
    let missing = ingest("obo", "missing.obo");
    missing.fails_with(1, &["missing.obo", "no such file"]);
    assert_eq!(missing.stderr.lines().count(), 1, "the system's words beside ours: {}", missing.stderr);
    ingest("xml", "missing.obo").fails_with(2, &["unknown format 'xml'", "obo", "gwas-ssf"]);
    place.write("empty.obo", "");
    ingest("obo", "empty.obo").fails_with(1, &["empty.obo", "empty"]);
    place.write("not.tsv", "a,b,c\n1,2,3\n");
    ingest("gwas-ssf", "not.tsv").fails_with(1, &["not.tsv:1", "chromosome"]);
    ingest("gwas-catalog", "not.tsv").fails_with(1, &["not.tsv:1"]);
    ingest("obo", "not.tsv").fails_with(1, &["not.tsv", "OBO"]);
    place.write("a.obo", OBO);
    assert_eq!(ingest("obo", "a.obo").code, 0);
    let unknown = place.generel(&["sql", "-c", "select nothing from concepts"]);
    unknown.fails_with(1, &["No field named nothing", "concepts.name"]);
    assert_eq!(unknown.stderr.lines().count(), 1, "{}", unknown.stderr);
    place.generel(&["sql", "-c", "selec 1"]).fails_with(1, &["selec"]);
    place.generel(&["sql", "--lake", "nowhere", "-c", "select 1"]).fails_with(1, &["nowhere", "no such folder"]);
    place.generel(&["run", "missing.yaml"]).fails_with(1, &["missing.yaml"]);
    place.write("bad.yaml", "name: x\nalgin: []\n");
    place.generel(&["run", "bad.yaml"]).fails_with(2, &["bad.yaml", "algin"]);
    place.generel(&["align", "--left", "nobody", "--right", "s"]).fails_with(2, &["'nobody'", "it has: s"]);
    place.generel(&["model", "show", "--model", "no-such"]).fails_with(1, &["generel model pull no-such"]);
    assert_eq!(place.generel(&["ingest"]).code, 2);
    assert_eq!(place.generel(&["--help"]).code, 0);
}

#[test]
#[cfg(unix)]
fn a_folder_without_permission_is_one_line() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("cdm/PERSON.csv", "person_id,year_of_birth\n1,1970\n");
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(place.path("cdm"), closed).expect("permissions");
    // Root reads everything; there the case cannot be made.
    if std::fs::read_dir(place.path("cdm")).is_err() {
        place
            .generel(&["ingest", "--format", "omop", "--source", "s", "cdm"])
            .fails_with(1, &["cdm", "permission denied"]);
    }
    std::fs::set_permissions(place.path("cdm"), std::fs::Permissions::from_mode(0o700)).expect("permissions");
}

#[test]
fn every_command_has_help_with_an_example() {
    let place = Place::new();
    for command in ["demo", "run", "ingest", "embed", "align", "cooccurrence", "train", "sql"] {
        let help = place.generel(&[command, "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains("Examples:\n  "), "{command}: {}", help.stdout);
        assert!(help.stdout.contains(&format!("generel {command}")) || help.stdout.contains("| generel"), "{command}");
    }
    let formats = place.generel(&["formats"]);
    for format in ["obo", "omop", "gwas-catalog", "gwas-ssf"] {
        assert!(formats.stdout.contains(&format!("generel ingest --format {format} ")), "{}", formats.stdout);
    }
    assert!(place.generel(&["completions", "bash"]).stdout.contains("generel"));
    assert!(place.generel(&["man"]).stdout.contains("generel"));
    assert!(place.generel(&["job-schema"]).stdout.contains("\"ingest\""));
}

#[test]
fn a_job_file_does_only_what_is_stale() {
    let place = Place::new();
    place.write("toy.obo", OBO);
    place.write("gwas.tsv", ssf(&[GOOD]));
    place.write(
        "job.yaml",
        "name: nightly\ningest:\n  - { format: obo, source: toy, inputs: [toy.obo] }\n  \
         - { format: gwas-ssf, source: ukb, inputs: [gwas.tsv], trait: Heart attack }\n\
         align:\n  - { left: ukb, right: toy, out: out/traits.sssom.tsv }\n\
         export:\n  - { sql: \"select subject_label, object_id from mappings where rank = 1\", file: out/answer.csv }\n",
    );
    let dry = place.generel(&["run", "job.yaml", "--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(dry.stderr.contains("align   ukb to toy"), "{}", dry.stderr);
    assert!(!place.path("out").exists());
    let first = place.generel(&["run", "job.yaml"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let answer = std::fs::read_to_string(place.path("out/answer.csv")).expect("answer");
    assert_eq!(answer, "subject_label,object_id\nHeart attack,TOY:1\n");
    let sssom = std::fs::read_to_string(place.path("out/traits.sssom.tsv")).expect("sssom");
    assert!(sssom.starts_with("# curie_map:\n"), "{sssom}");
    assert!(sssom.contains("\tskos:exactMatch\tTOY:1\tmyocardial infarction\t"), "{sssom}");
    let again = place.generel(&["run", "job.yaml"]);
    assert!(again.stderr.contains("everything is up to date"), "{}", again.stderr);
    assert_eq!(place.value("select count(*) from runs where job = 'nightly'"), "1");
}

#[test]
fn an_alignment_becomes_a_concept_map_and_a_coverage_report() {
    let place = Place::new();
    place.write("toy.obo", OBO);
    place.write("gwas.tsv", ssf(&[GOOD]));
    place.write(
        "CONCEPT.csv",
        "concept_id\tconcept_name\tvocabulary_id\tstandard_concept\tconcept_code\tinvalid_reason\n\
         312327\tMyocardial infarction\tTOY\tS\t1\t\n",
    );
    place.write(
        "curated.tsv",
        "subject_id\tobject_id\tauthor_id\nukb:Heart%20attack\tTOY:1\torcid:0000-0002-1825-0097\n",
    );
    let ingested = place.generel(&["ingest", "--format", "obo", "--source", "toy", "toy.obo"]);
    assert_eq!(ingested.code, 0, "{}", ingested.stderr);
    let ingested =
        place.generel(&["ingest", "--format", "gwas-ssf", "--source", "ukb", "--trait", "Heart attack", "gwas.tsv"]);
    assert_eq!(ingested.code, 0, "{}", ingested.stderr);
    let align = ["align", "--left", "ukb", "--right", "toy"];
    place
        .generel(&[&align[..], &["--source-to-concept-map", "map.csv"]].concat())
        .fails_with(2, &["required arguments"]);
    let map = ["--source-to-concept-map", "map.csv", "--concepts", "CONCEPT.csv", "--coverage", "-"];
    let ran = place.generel(&[&align[..], &map].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("| ukb    | all      | 1     | 1      | 0        | 0        |"), "{}", ran.stdout);
    assert!(ran.stderr.contains("1 rows, 1 with a concept id, 1 of them standard"), "{}", ran.stderr);
    let map = std::fs::read_to_string(place.path("map.csv")).expect("a map");
    let row = map.lines().nth(1).expect("a row");
    assert!(row.starts_with("Heart attack,0,ukb,Heart attack,312327,TOY,"), "{map}");
    assert!(row.ends_with(",2099-12-31,"), "{map}");
    // Who made a curated mapping stands in the file, and no tool beside it.
    let ran = place.generel(&[&align[..], &["--curated", "curated.tsv", "--out", "-"]].concat());
    assert!(
        ran.stdout.contains("\tsemapv:ManualMappingCuration\torcid:0000-0002-1825-0097\t\t\t\t\t"),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    assert!(ran.stdout.contains("#   orcid: "), "{}", ran.stdout);
}

#[test]
fn embed_writes_one_object_a_line() {
    let place = Place::new();
    let ran = place.generel(&["embed", "--text", "heart attack", "--text", " "]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let lines: Vec<serde_json::Value> = ran.stdout.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines[0]["vector"].as_array().map(Vec::len), Some(384));
    assert!(lines[1]["vector"].is_null());
}
