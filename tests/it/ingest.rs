//! Ingest: every row ends in the right place with the right reason, and nothing is done twice.

use std::io::Write;

use crate::support::{GOOD, OBO, Place, SSF_HEADER, ssf};

fn ingest(place: &Place, name: &str, more: &[&str]) -> crate::support::Ran {
    let mut arguments = vec!["ingest", "--format", "gwas-ssf", "--source", "s", name];
    arguments.extend(more);
    place.generel(&arguments)
}

fn balanced(stderr: &str) -> (u64, u64, u64) {
    let line = stderr.lines().find(|l| l.contains(" rows read = ")).unwrap_or_else(|| panic!("{stderr}"));
    let (read, rest) = line.split_once(" rows read = ").expect("read");
    let read: u64 = read.rsplit(' ').next().expect("read").parse().expect("read");
    let (kept, rest) = rest.split_once(" quarantined").expect("quarantined");
    let numbers: Vec<u64> = kept.split([' ', '+']).filter_map(|w| w.parse().ok()).collect();
    let _ = rest;
    let (quarantined, kept) = numbers.split_last().expect("numbers");
    (read, kept.iter().sum(), *quarantined)
}

#[test]
fn every_bad_row_is_quarantined_with_its_reason() {
    let place = Place::new();
    let mut file: Vec<u8> = b"\xef\xbb\xbf".to_vec();
    file.extend(SSF_HEADER.as_bytes());
    file.extend(b"\r\n");
    for row in [
        GOOD,
        "1\t1001\tA\tG\t0.1\t0.01\t0.3\t1e-400\trs2",
        "1\t1002\tA\tG\t0.1\t0.01\t0.3\t2\trs3",
        "1\t1003\tA\tG\t0.1\t0.01\t0.3\t1e-9",
        "1\t1004\tA\tG\t0.1\t0.01\t0.3\t1e-9\trs5\textra",
    ] {
        file.extend(row.as_bytes());
        file.extend(b"\r\n");
    }
    file.extend(b"1\t1005\tA\tG\t0.1\t0.01\t0.3\t1e-9\trs\xff6\r\n");
    file.extend(b"1\t1006\tA\tG\t0.1");
    place.write("bad.tsv", &file);
    let ran = ingest(&place, "bad.tsv", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(balanced(&ran.stderr), (7, 2, 5));
    assert_eq!(place.value("select count(*) from gwas_associations"), "2");
    assert_eq!(place.value("select neg_log_10_p_value from gwas_associations where rsid = 'rs2'"), "400.0");
    assert_eq!(
        place.rows("select line, reason, coalesce(\"column\", '') from quarantine order by line"),
        ["4,p_value_out_of_range,p_value", "5,column_count,", "6,column_count,", "7,invalid_utf8,", "8,torn_line,"]
    );
    assert_eq!(place.value("select status from runs"), "done_with_rejects");
}

#[test]
fn what_is_piped_in_is_taken_like_a_file() {
    let place = Place::new();
    let piped = |name: &str| {
        let mut command = place.command(&["ingest", "--source", "s", "--study-id", "S1", "-"]);
        command.stdin(std::fs::File::open(place.path(name)).expect("a file"));
        crate::support::Ran::of(command)
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(ssf(&[GOOD, "1\t1\tA\tG\t0.1\t0.01\t0.3\t7\trs2"]).as_bytes()).expect("gzip");
    place.write("a.gz", gzip.finish().expect("gzip"));
    place.write("b.tsv", ssf(&["X\t2000\tac\tA\t-0.2\t0.02\t0.4\t0.5\trs7"]));
    place.write("empty", "");
    for (name, said) in
        [("a.gz", "1 gwas_associations + 1 quarantined"), ("b.tsv", "1 gwas_associations"), ("a.gz", "already")]
    {
        let ran = piped(name);
        assert!(ran.code == 0 && ran.stderr.contains(said) && ran.stderr.contains("stdin"), "{name}: {}", ran.stderr);
    }
    // Two contents are two inputs: neither replaces the other.
    assert_eq!(place.rows("select rsid, study_id from gwas_associations order by rsid"), ["rs1,S1", "rs7,S1"]);
    assert_eq!(place.value("select file || ':' || line from quarantine"), "stdin:3");
    let ran = place.generel(&["quarantine", "reingest", "--source", "s"]);
    assert!(ran.code == 2 && ran.stderr.contains("pipe it in again"), "{}", ran.stderr);
    let ran = piped("empty");
    assert!(ran.code == 1 && ran.stderr.contains("empty"), "{}", ran.stderr);
}

#[test]
fn gzip_gives_the_same_rows_and_a_corrupt_one_gives_none() {
    let place = Place::new();
    let text = ssf(&[GOOD, "X\t2000\tacg\tA\t-0.2\t0.02\t0.4\t0.5\trs7"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).expect("gzip");
    let gzip = gzip.finish().expect("gzip");
    place.write("good.tsv.gz", &gzip);
    assert_eq!(ingest(&place, "good.tsv.gz", &[]).code, 0);
    assert_eq!(place.value("select effect_allele || chromosome from gwas_associations where rsid = 'rs7'"), "ACG23");
    place.write("cut.tsv.gz", &gzip[..gzip.len() - 12]);
    ingest(&place, "cut.tsv.gz", &[]).fails_with(1, &["cut.tsv.gz", "gzip", "nothing was written"]);
    assert_eq!(place.value("select count(*) from gwas_associations"), "2");
}

#[test]
fn the_same_content_is_taken_once_and_changed_content_replaces_its_rows() {
    let place = Place::new();
    place.write("a.tsv", ssf(&[GOOD]));
    assert_eq!(ingest(&place, "a.tsv", &[]).code, 0);
    let again = ingest(&place, "a.tsv", &[]);
    assert!(again.stderr.contains("in the lake already"), "{}", again.stderr);
    // A copy elsewhere is the same content.
    place.write("copy/b.tsv", ssf(&[GOOD]));
    assert!(ingest(&place, "copy/b.tsv", &[]).stderr.contains("in the lake already"));
    // The same bytes read with another option are other rows.
    assert_eq!(ingest(&place, "a.tsv", &["--trait", "asthma"]).code, 0);
    assert_eq!(place.rows("select rsid, trait from gwas_associations"), ["rs1,asthma"]);
    let other = "2\t5\tA\tG\t0.1\t0.01\t0.3\t1e-9\trs9";
    let torn = "2\t6\tA\tG\t0.1\t0.01\t0.3\t7\trs10";
    place.write("a.tsv", ssf(&[other, torn]));
    assert_eq!(ingest(&place, "a.tsv", &[]).code, 0);
    assert_eq!(place.rows("select rsid from gwas_associations"), ["rs9"]);
    assert_eq!(place.value("select count(*) from quarantine"), "1");
    // Back to what it was: the old mark is retired, so the content is taken again.
    place.write("a.tsv", ssf(&[GOOD]));
    assert_eq!(ingest(&place, "a.tsv", &[]).code, 0);
    assert_eq!(place.rows("select rsid from gwas_associations"), ["rs1"]);
    assert_eq!(place.value("select count(*) from quarantine"), "0");
    // One row a run that changed something: first, trait, changed, back.
    assert_eq!(place.value("select count(*) from runs"), "4");
}

#[test]
fn too_many_rejects_write_nothing() {
    let place = Place::new();
    place.write("a.tsv", ssf(&[GOOD, "1\t0\tA\tG\t0.1\t0.01\t0.3\t1e-9\trs2"]));
    ingest(&place, "a.tsv", &["--max-rejects", "10%"]).fails_with(3, &["1 of 2 rows", "10%", "nothing was written"]);
    assert_eq!(place.value("select count(*) from gwas_associations"), "0");
    assert_eq!(place.value("select count(*) from quarantine"), "0");
    assert_eq!(ingest(&place, "a.tsv", &["--max-rejects", "50%"]).code, 0);
    assert_eq!(place.value("select count(*) from gwas_associations"), "1");
}

#[test]
fn an_ontology_fills_three_tables() {
    let place = Place::new();
    place.write("toy.obo", OBO);
    let ran = place.generel(&["ingest", "--format", "obo", "--source", "toy", "toy.obo"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (read, kept, quarantined) = balanced(&ran.stderr);
    assert_eq!((read, quarantined), (kept, 0));
    assert_eq!(place.value("select count(*) from concepts"), "4");
    assert_eq!(place.value("select count(*) from concept_names"), "5");
    assert_eq!(
        place.rows("select subject, predicate, object from kg_edges order by subject"),
        ["TOY:1,oboInOwl:hasDbXref,mesh:D009203", "TOY:2,rdfs:subClassOf,TOY:4"]
    );
}

#[test]
fn patients_are_pseudonyms_and_conditions_have_names() {
    let place = Place::new();
    place.write("cdm/PERSON.csv", "person_id,year_of_birth,gender_concept_id\nanna-1,1970,0\n");
    place.write(
        "cdm/CONDITION_OCCURRENCE.csv",
        "condition_occurrence_id,person_id,condition_concept_id,condition_start_date,condition_source_value,condition_source_concept_id\n\
         1,anna-1,7,2020-02-03,22298006,7\n2,anna-1,7,not a date,22298006,7\n",
    );
    place.write(
        "cdm/CONCEPT.csv",
        "concept_id,concept_name,domain_id,vocabulary_id,concept_class_id,standard_concept,concept_code\n\
         7,Myocardial infarction,Condition,SNOMED,Clinical Finding,S,22298006\n",
    );
    let ran = place.generel(&["ingest", "--format", "omop", "--source", "hospital", "cdm"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!ran.stderr.contains("anna-1"), "{}", ran.stderr);
    assert_eq!(
        place.rows("select source_name, curie(source_vocabulary, source_code), event_date from patient_events where event_table = 'condition_occurrence'"),
        ["Myocardial infarction,snomedct:22298006,2020-02-03"]
    );
    assert_eq!(place.value("select count(*) from patient_events where person_id like '%anna%'"), "0");
    assert_eq!(place.value("select count(distinct person_id) from patient_events"), "1");
    assert_eq!(place.rows("select reason, strpos(raw, 'anna') from quarantine"), ["invalid_date,0"]);
}
