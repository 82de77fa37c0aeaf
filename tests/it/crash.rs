//! Killed at any moment, run again: same counts, no row twice.

use std::process::Stdio;
use std::time::Duration;

use crate::support::{Place, pull, repository};

const TABLES: [&str; 12] = [
    "concepts",
    "concept_names",
    "patient_events",
    "kg_edges",
    "gwas_associations",
    "embeddings",
    "mappings",
    "name_neighbors",
    "harmonized",
    "harmonized_records",
    "quarantine",
    "runs",
];

/// A cut of the bundled sample that is ingested, embedded and aligned in a few seconds.
fn job(place: &Place) {
    let sample = repository().join("jobs/sample");
    let sample = sample.display();
    let terms: String =
        (0..400).map(|i| format!("[Term]\nid: T:{i}\nname: disorder number {i} of organ {}\n\n", i % 20)).collect();
    place.write("terms.obo", terms);
    place.write(
        "job.yaml",
        format!(
            "name: crash\ningest:\n  - {{ format: omop, source: hospital, inputs: [{sample}/omop] }}\n  \
         - {{ format: obo, source: t, inputs: [terms.obo] }}\n  \
         - {{ format: gwas-catalog, source: gwas, inputs: [{sample}/gwas_catalog_v1.0.1_2015-06-08.tsv.gz] }}\n\
         align:\n  - {{ left: 'hospital:condition_occurrence', right: t, min_score: 0.2 }}\n"
        ),
    );
}

fn counts(place: &Place) -> Vec<String> {
    let queries = TABLES.map(|t| format!("select '{t}', count(*) from {t}"));
    place.rows(&format!("select * from ({}) order by 1", queries.join(" union all ")))
}

#[test]
fn killed_runs_are_completed_without_doubles() {
    let whole = Place::new();
    pull(&whole);
    job(&whole);
    let began = std::time::Instant::now();
    assert_eq!(whole.generel(&["run", "job.yaml"]).code, 0);
    let whole_ms = began.elapsed().as_millis() as u64;
    let expected = counts(&whole);
    let place = Place::new();
    job(&place);
    // Spread over the whole run, with an uneven step so that every stage is hit.
    for part in [7, 23, 41, 67, 89] {
        let mut child = place
            .command(&["run", "job.yaml"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("generel runs");
        std::thread::sleep(Duration::from_millis(whole_ms * part / 100));
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    let ran = place.generel(&["run", "job.yaml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(counts(&place), expected);
    assert_eq!(place.value("select count(*) - count(distinct key) from embeddings"), "0");
    let doubles = "select count(*) from (select subject_id, object_id from mappings group by 1, 2 having count(*) > 1)";
    assert_eq!(place.value(doubles), "0");
}
