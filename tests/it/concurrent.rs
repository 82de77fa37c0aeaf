//! Two processes write to one lake at the same moment: both commits land, and nothing is there twice.

use std::process::{Child, Output, Stdio};

use crate::support::{Place, ssf};

const ROUNDS: usize = 5;
const FIRST: usize = 3000;
const SECOND: usize = 5000;

fn file(place: &Place, name: &str, rows: usize, first: usize) {
    let row = |i: usize| format!("1\t{0}\tA\tG\t0.1\t0.01\t0.3\t1e-9\trs{0}", first + i);
    let rows: Vec<String> = (0..rows).map(row).collect();
    place.write(name, ssf(&rows.iter().map(String::as_str).collect::<Vec<_>>()));
}

fn spawn(place: &Place, name: &str) -> Child {
    let mut command = place.command(&["ingest", "--format", "gwas-ssf", "--source", "s", name]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("generel runs")
}

/// What two processes say that ingest these files at once.
fn both(place: &Place, names: [&str; 2]) -> [Output; 2] {
    names.map(|name| spawn(place, name)).map(|child| child.wait_with_output().expect("generel ends"))
}

/// Fails where an ingest failed.
fn done(ran: &[Output; 2]) {
    for output in ran {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn whole(place: &Place, rows: usize) {
    let sql = "select count(*) || ' ' || count(distinct rsid) from gwas_associations";
    assert_eq!(place.value(sql), format!("{rows} {rows}"));
}

/// The runs of a table's writing versions, sorted.
fn writers(place: &Place) -> Vec<String> {
    let ran = place.generel(&["lake", "history", "gwas_associations"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let fields = ran.stdout.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let mut runs: Vec<String> = fields.filter(|f| f[2] == "WRITE").map(|f| f[3].to_string()).collect();
    runs.sort();
    runs
}

#[test]
fn two_files_land_in_a_new_and_in_an_old_table() {
    for _ in 0..ROUNDS {
        let place = Place::new();
        file(&place, "a.tsv", FIRST, 1);
        file(&place, "b.tsv", SECOND, 100_001);
        done(&both(&place, ["a.tsv", "b.tsv"]));
        whole(&place, FIRST + SECOND);
        file(&place, "c.tsv", SECOND, 200_001);
        file(&place, "d.tsv", FIRST, 300_001);
        done(&both(&place, ["c.tsv", "d.tsv"]));
        whole(&place, 2 * (FIRST + SECOND));
        let runs = place.rows("select run_id from runs order by 1");
        assert_eq!((runs.len(), writers(&place)), (4, runs));
        let tables = place.generel(&["lake", "history", "gwas_associations"]).stdout;
        assert_eq!(tables.matches("CREATE TABLE").count(), 1, "{tables}");
    }
}

#[test]
fn one_changed_file_lands_beside_another() {
    for _ in 0..ROUNDS {
        let place = Place::new();
        file(&place, "a.tsv", FIRST, 1);
        assert_eq!(place.generel(&["ingest", "--source", "s", "a.tsv"]).code, 0);
        file(&place, "a.tsv", FIRST + 1, 1);
        file(&place, "b.tsv", SECOND, 100_001);
        done(&both(&place, ["a.tsv", "b.tsv"]));
        whole(&place, FIRST + 1 + SECOND);
    }
}

#[test]
fn one_file_is_taken_once_by_two() {
    for _ in 0..ROUNDS {
        let place = Place::new();
        file(&place, "seed.tsv", 1, 900_001);
        assert_eq!(place.generel(&["ingest", "--source", "s", "seed.tsv"]).code, 0);
        file(&place, "a.tsv", FIRST, 1);
        let ran = both(&place, ["a.tsv", "a.tsv"]);
        assert!(ran.iter().any(|output| output.status.success()), "{ran:?}");
        whole(&place, FIRST + 1);
        let again = place.generel(&["ingest", "--format", "gwas-ssf", "--source", "s", "a.tsv"]);
        assert!(again.stderr.contains("in the lake already"), "{}", again.stderr);
        whole(&place, FIRST + 1);
    }
}
