//! The demo's parts that need no embedding of whole ontologies: the sample is what its notice says, and its job is
//! valid. The demo itself is run by the crash test's cut and, whole, by hand (see README).

use crate::support::{Place, repository};

#[test]
fn the_bundled_job_is_valid_and_every_file_has_an_origin() {
    let sample = repository().join("jobs/sample");
    let notice = std::fs::read_to_string(sample.join("NOTICE.md")).expect("notice");
    for file in ["omop/*.csv.gz", "doid-2016.obo.gz", "hp-2016-04-01.obo.gz", "gwas_catalog_v1.0.1_2015-06-08.tsv.gz"] {
        assert!(notice.contains(&format!("`{file}`")), "{file} has no origin and licence");
    }
    let place = Place::new();
    let job = std::fs::read_to_string(sample.join("demo.yaml")).expect("job");
    place.write("job.yaml", job.replace("sample/", &format!("{}/", sample.display())));
    let ran = place.generel(&["run", "job.yaml", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("ingest  ").count(), 7, "{}", ran.stderr);
}
