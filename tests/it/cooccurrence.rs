//! `generel cooccurrence`: from patients' events to edges, without telling of few.

use std::fmt::Write as _;

use crate::support::Place;

/// Twelve persons with A and B in a week, with E a year later, two of them with C too; and 28 with D alone.
fn place() -> Place {
    let place = Place::new();
    let mut rows = String::from(
        "condition_occurrence_id,person_id,condition_concept_id,condition_start_date,condition_source_value\n",
    );
    let mut id = 0;
    let mut event = |person: u32, date: &str, code: &str| {
        id += 1;
        writeln!(rows, "{id},{person},0,{date},{code}").expect("a row");
    };
    for person in 0..12 {
        event(person, "2020-01-01", "A");
        event(person, "2020-01-07", "B");
        event(person, "2021-01-07", "E");
        if person < 2 {
            event(person, "2020-01-03", "C");
        }
    }
    for person in 12..40 {
        event(person, "2020-01-01", "D");
    }
    place.write("cdm/CONDITION_OCCURRENCE.csv", rows);
    let ran = place.generel(&["ingest", "--format", "omop", "--source", "hospital", "cdm"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    place
}

#[test]
fn events_of_the_same_persons_become_edges_and_few_persons_are_not_told_of() {
    let place = place();
    let ran = place.generel(&["cooccurrence"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("1 of 5 codes and 0 pairs have fewer than 11 persons"), "{}", ran.stderr);
    let edges =
        "select subject, predicate, object, round(weight, 4), provenance from kg_edges where source = 'cooccurrence'";
    // ln(12 · 24 / (12 · 12)) = 0.6931; the codes have no vocabulary.
    assert_eq!(place.rows(edges), ["hospital:A,biolink:correlated_with,hospital:B,0.6931,12 persons within 30 days"]);
    // A name that is none takes nothing away.
    place.generel(&["cooccurrence", "--source", "synthae"]).fails_with(2, &["source", "'synthae'", "known: "]);
    place.generel(&["cooccurrence", "--tables", "conditions"]).fails_with(2, &["tables", "'conditions'", "condition"]);
    let again = place.generel(&["cooccurrence"]);
    assert!(again.stderr.contains("up to date, nothing to do"), "{}", again.stderr);

    let wider = place.generel(&["cooccurrence", "--window-days", "400"]);
    assert_eq!(wider.code, 0, "{}", wider.stderr);
    assert_eq!(
        place.value("select count(*) from kg_edges where source = 'cooccurrence'"),
        "3",
        "A, B and E, once each"
    );
    assert_eq!(place.value("select count(*) from runs where job = 'cooccurrence cooccurrence'"), "2");
}

#[test]
fn a_job_file_counts_too() {
    let place = place();
    place
        .write("job.yaml", "name: nightly\ncooccurrence:\n  - { name: together, window_days: 400, min_persons: 12 }\n");
    let ran = place.generel(&["run", "job.yaml", "--dry-run"]);
    assert!(ran.stderr.contains("cooccurrence together within 400 days"), "{}", ran.stderr);
    for done in ["3 pairs", "up to date"] {
        let ran = place.generel(&["run", "job.yaml"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains(done), "{}", ran.stderr);
    }
    assert_eq!(place.value("select count(*) from runs where job = 'nightly'"), "1");
    place.write("job.yaml", "name: nightly\ncooccurrence:\n  - { window_days: ten }\n");
    place.generel(&["run", "job.yaml"]).fails_with(2, &["job.yaml", "3"]);
}

#[test]
fn what_cannot_be_counted_is_said() {
    let place = Place::new();
    place.generel(&["cooccurrence"]).fails_with(1, &["lake"]);
    for arguments in [["cooccurrence", "--min-persons", "0"], ["cooccurrence", "--shift", "0.5"]] {
        place.generel(&arguments).fails_with(2, &[arguments[1]]);
    }
    let place = self::place();
    assert_eq!(place.generel(&["cooccurrence", "--shift", "3"]).code, 0);
    assert_eq!(place.value("select count(*) from kg_edges"), "0", "nothing is three times as common as by chance");
}
