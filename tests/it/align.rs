//! Aligning again after changes gives what aligning from the start gives.

use crate::servers::{output, python_with};
use crate::support::Place;

pub const SITES: [&str; 12] =
    ["lung", "breast", "colon", "skin", "kidney", "liver", "brain", "bone", "stomach", "ovary", "prostate", "thyroid"];
pub const DISEASES: [(&str, &str); 8] = [
    ("cancer", "malignant neoplasm"),
    ("inflammation", "infection"),
    ("benign neoplasm", "adenoma"),
    ("abscess", "purulent infection"),
    ("cyst", "simple cyst"),
    ("fibrosis", "scarring"),
    ("infarction", "ischemia"),
    ("atrophy", "wasting"),
];

/// An ontology of these terms. Some share a synonym, so that scores tie.
pub fn obo(prefix: &str, has: impl Fn(usize) -> bool, renamed: impl Fn(usize) -> bool) -> String {
    let mut text = format!("format-version: 1.2\ndefault-namespace: {prefix}\n");
    for term in (0..SITES.len() * DISEASES.len()).filter(|t| has(*t)) {
        let (site, (disease, other)) = (SITES[term % SITES.len()], DISEASES[term / SITES.len()]);
        let name = if renamed(term) { format!("{disease} of {site}") } else { format!("{site} {disease}") };
        text += &format!(
            "\n[Term]\nid: {prefix}:{term}\nname: {name}\nsynonym: \"{other} of the {site}\" EXACT []\n\
             synonym: \"{disease} of unspecified site\" EXACT []\n"
        );
    }
    text
}

pub fn align(place: &Place, left: &str, right: &str) -> (Vec<String>, String) {
    place.write("a.obo", left);
    place.write("b.obo", right);
    for source in ["a", "b"] {
        let ran = place.generel(&["ingest", "--format", "obo", "--source", source, &format!("{source}.obo")]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let ran = place.generel(&["align", "--left", "a", "--right", "b"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mappings = place.rows(
        "select subject_id, object_id, rank, confidence, similarity_score, margin, mutual, subject_match_name, \
         object_match_name from mappings order by subject_id, rank",
    );
    (mappings, ran.stderr)
}

#[test]
fn only_new_names_are_searched_for_and_the_result_is_that_of_a_search_from_the_start() {
    let again = Place::new();
    let all = |_: usize| true;
    let none = |_: usize| false;
    let versions = [
        (obo("A", |t| t % 7 != 0, none), obo("B", |t| t % 5 != 0, none), None),
        // Nothing new but an order of words.
        (obo("A", |t| t % 7 != 0, none), obo("B", |t| t % 5 != 0, |t| t == 13), None),
        // New on the left: each of its three names is searched for.
        (obo("A", |t| t % 7 != 0 || t == 21, none), obo("B", |t| t % 5 != 0, |t| t == 13), Some("3 searched for")),
        // New on the right, and gone on the left.
        (obo("A", |t| t % 7 != 0 && t % 11 != 3, none), obo("B", all, |t| t == 13), None),
        // Gone on the right: who had it for a neighbor is searched for.
        (obo("A", |t| t % 7 != 0 && t % 11 != 3, none), obo("B", |t| t % 13 != 1, |t| t % 17 == 4), None),
        (
            obo("A", |t| t % 7 != 0 && t % 11 != 3, none),
            obo("B", |t| t % 13 != 1, |t| t % 17 == 4),
            Some("nothing to do"),
        ),
    ];
    for (version, (left, right, said)) in versions.iter().enumerate() {
        let (found, stderr) = align(&again, left, right);
        let (expected, _) = align(&Place::new(), left, right);
        assert!(expected.len() > 300, "{}", expected.len());
        assert_eq!(found, expected, "version {version}");
        assert!(said.is_none_or(|said| stderr.contains(said)), "version {version}: {stderr}");
    }
    let searched = "select count(distinct name_key) from name_neighbors where kind = 'left'";
    assert_eq!(again.value(searched), again.value("select 3 * count(*) from concepts where source = 'a'"));
}

/// A person corrects a row of the table: it stays as it is, through whatever comes in and however often the sources are
/// aligned, until it is taken back.
#[test]
fn what_a_person_accepted_is_never_overwritten() {
    let place = Place::new();
    let (all, none) = (|_: usize| true, |_: usize| false);
    let before = obo("A", all, none);
    let of = |subject: &str| {
        let sql = "select object_id, mapping_justification, mapping_tool, coalesce(author_id, '') from mappings \
            where rank = 1 and subject_id = '{subject}'";
        place.rows(&sql.replace("{subject}", subject))
    };
    align(&place, &before, &obo("B", all, none));
    assert!(of("A:3")[0].starts_with("B:3,semapv:LexicalMatching,generel,"), "{:?}", of("A:3"));
    let script = "import sys, deltalake\n\
        table = deltalake.DeltaTable(sys.argv[1])\n\
        changed = table.update(predicate=sys.argv[2], updates=dict(u.split('=', 1) for u in sys.argv[3:]))\n\
        assert changed['num_updated_rows'] == 1, changed\n";
    place.write("accept.py", script);
    let update = |what: &[&str]| {
        let mut python = python_with("deltalake-1.6.6", &["deltalake==1.6.6"], &place);
        python.arg("accept.py").arg(place.path("lake/mappings")).arg("subject_id = 'A:3' and rank = 1");
        output(python.args(what));
    };
    update(&[
        "object_id='B:40'",
        "mapping_justification='semapv:ManualMappingCuration'",
        "mapping_tool='a curator''s table'",
        "author_id='orcid:0000-0001'",
    ]);
    let accepted = ["B:40,semapv:ManualMappingCuration,a curator's table,orcid:0000-0001"];
    for renamed in [50, 51, 52] {
        align(&place, &before, &obo("B", all, |term| term == renamed));
        assert_eq!(of("A:3"), accepted);
    }
    // The other way round it is repeated, as ours.
    let ran = place.generel(&["align", "--left", "b", "--right", "a"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(of("B:40")[0].starts_with("A:3,semapv:ManualMappingCuration,generel,"), "{:?}", of("B:40"));
    let written = place.generel(&["align", "--left", "a", "--right", "b", "--one-to-one", "--out", "out.sssom.tsv"]);
    assert_eq!(written.code, 0, "{}", written.stderr);
    let sssom = std::fs::read_to_string(place.path("out.sssom.tsv")).expect("SSSOM");
    let line = sssom.lines().find(|line| line.starts_with("A:3\t")).expect("the row");
    assert!(line.contains("B:40") && line.contains("orcid:0000-0001"), "{line}");
    // The reference implementation of SSSOM takes the file, and finds nothing wrong.
    let mut sssom_py = python_with("sssom-0.4.21", &["sssom==0.4.21"], &place);
    output(sssom_py.args(["-c", "from sssom.cli import main; main()", "validate", "out.sssom.tsv"]));

    update(&["mapping_justification='semapv:LexicalMatching'"]);
    align(&place, &before, &obo("B", all, none));
    assert!(of("A:3")[0].starts_with("B:3,semapv:LexicalMatching,generel,"), "{:?}", of("A:3"));
}
