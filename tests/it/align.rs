//! Aligning again after changes gives what aligning from the start gives.

use crate::support::Place;

const SITES: [&str; 12] =
    ["lung", "breast", "colon", "skin", "kidney", "liver", "brain", "bone", "stomach", "ovary", "prostate", "thyroid"];
const DISEASES: [(&str, &str); 8] = [
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
fn obo(prefix: &str, has: impl Fn(usize) -> bool, renamed: impl Fn(usize) -> bool) -> String {
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

fn align(place: &Place, left: &str, right: &str) -> (Vec<String>, String) {
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
