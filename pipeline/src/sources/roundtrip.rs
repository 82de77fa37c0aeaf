//! What is read is what was written, for random texts in the ways in which tables, graphs, records and ontologies are
//! written. The dialects of genetics have a file of their own.

use std::io::Write;

use proptest::prelude::*;

use super::testing::{cells, options, read, rejected, table_cells};
use super::{Chunk, ReadOptions, Source, graphs, mapping, ontologies, patients, vocabularies};
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS};

/// Any text a field can hold: no outer blanks, no word for a missing value.
fn text() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "a", "Z", "0", " ", ",", ";", "|", "\"", "\"\"", "'", "\n", "#", "é", "病", "\\", "{", "}", "[", "]", ":", "!",
        "<", "&",
    ]);
    proptest::collection::vec(pieces, 0..8).prop_map(|parts| format!("x{}y", parts.concat()))
}

/// The same on one line without what separates fields there.
fn without(text: &str, separators: &[char]) -> String {
    text.chars().filter(|c| !separators.contains(c) && *c != '\n').collect()
}

fn rows() -> impl Strategy<Value = Vec<[String; 3]>> {
    proptest::collection::vec([text(), text(), text()], 1..10)
}

fn good(format: &dyn Source, name: &str, bytes: &[u8], options: &ReadOptions) -> Vec<Chunk> {
    let chunks = read(format, &[(name, bytes)], options).unwrap();
    assert_eq!(rejected(&chunks), [], "{}: {}", format.name(), String::from_utf8_lossy(bytes));
    chunks
}

fn column(rows: &[[String; 3]], at: usize) -> Vec<String> {
    rows.iter().map(|row| row[at].clone()).collect()
}

/// A CSV writer that is not ours.
fn csv(delimiter: u8, header: &[&str], rows: &[Vec<String>]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(header).unwrap();
    rows.iter().for_each(|row| writer.write_record(row).unwrap());
    writer.into_inner().unwrap()
}

fn mapped(folder: &tempfile::TempDir, read: &str) -> ReadOptions {
    let path = folder.path().join("map.yaml");
    let mut file = std::fs::File::create(&path).unwrap();
    writeln!(file, "{read}missing: []\ntables:\n  concepts: {{code: c, curie: c, name: n, definition: d}}").unwrap();
    ReadOptions { mapping: Some(path), ..options() }
}

fn concepts_are(chunks: &[Chunk], rows: &[[String; 3]]) {
    for (at, name) in ["code", "name", "definition"].into_iter().enumerate() {
        assert_eq!(cells(chunks, name), column(rows, at), "{name}");
    }
}

proptest! {
    #[test]
    fn delimited_text(rows in rows()) {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<Vec<String>> = rows.iter().map(|row| row.to_vec()).collect();
        for (delimiter, name) in [(b',', ","), (b';', ";"), (b'\t', "\\t"), (b'|', "|")] {
            let how = format!("read: {{delimiter: '{name}', quoted: true}}\n");
            let bytes = csv(delimiter, &["c", "n", "d"], &lines);
            concepts_are(&good(&mapping::AnyTable, "t.csv", &bytes, &mapped(&folder, &how)), &rows);
        }
        let plain: Vec<[String; 3]> = rows.iter().map(|row| row.clone().map(|text| without(&text, &['\t']))).collect();
        let body: String = plain.iter().map(|row| row.join("\t") + "\r\n").collect();
        concepts_are(&good(&mapping::AnyTable, "t.tsv", format!("c\tn\td\r\n{body}").as_bytes(), &mapped(&folder, "")), &plain);
        let dense: Vec<[String; 3]> = rows.iter().map(|row| row.clone().map(|text| without(&text, &[' ']))).collect();
        let body: String = dense.iter().map(|[c, n, d]| format!("  {c}   {n} {d}\n")).collect();
        concepts_are(&good(&mapping::AnyTable, "t.txt", format!("c n  d\n{body}").as_bytes(), &mapped(&folder, "read: {delimiter: blanks}\n")), &dense);
    }

    #[test]
    fn ndjson(rows in rows()) {
        let folder = tempfile::tempdir().unwrap();
        let lines = rows.iter().map(|[c, n, d]| serde_json::json!({ "c": c, "n": n, "d": d }).to_string() + "\n");
        let body: String = lines.collect();
        concepts_are(&good(&mapping::AnyTable, "t.ndjson", body.as_bytes(), &mapped(&folder, "")), &rows);
    }

    #[test]
    fn graphs(rows in rows(), ids in proptest::collection::vec((1..9999u32, 1..9999u32), 10)) {
        let one_line = |text: &str| without(text, &['\t']);
        let edges: Vec<_> = rows.iter().zip(&ids).collect();
        let names = |at: usize| rows.iter().map(|row| one_line(&row[at])).collect::<Vec<_>>();
        let kgx: String = edges.iter().map(|([a, b, _], (s, o))| {
            format!("MONDO:{s:07}\tbiolink:related_to\tHP:{o:07}\t{}\t{}\n", one_line(a), one_line(b))
        }).collect();
        let chunks = good(&graphs::Kgx, "g_edges.tsv", format!("subject\tpredicate\tobject\tsubject_name\tobject_name\n{kgx}").as_bytes(), &options());
        prop_assert_eq!(cells(&chunks, "subject"), ids[..rows.len()].iter().map(|(s, _)| format!("MONDO:{s:07}")).collect::<Vec<_>>());
        prop_assert_eq!((cells(&chunks, "subject_name"), cells(&chunks, "object_name")), (names(0), names(1)));

        let header = "relation display_relation x_index x_id x_type x_name x_source y_index y_id y_type y_name y_source";
        let header: Vec<&str> = header.split(' ').collect();
        let lines: Vec<Vec<String>> = edges.iter().map(|([a, b, _], (s, o))| {
            let (s, o) = (s.to_string(), o.to_string());
            ["drug_protein", "target", "1", &s, "gene/protein", a, "NCBI", "2", &o, "drug", b, "DrugBank"].map(str::to_string).to_vec()
        }).collect();
        let chunks = good(&graphs::PrimeKg, "kg.csv", &csv(b',', &header, &lines), &options());
        prop_assert_eq!((cells(&chunks, "subject_name"), cells(&chunks, "object_name")), (column(&rows, 0), column(&rows, 1)));

        let sssom: String = edges.iter().map(|([a, b, _], (s, o))| {
            format!("MONDO:{s:07}\t{}\tskos:exactMatch\tHP:{o:07}\t{}\tsemapv:LexicalMatching\t0.5\n", one_line(a), one_line(b))
        }).collect();
        let header = "subject_id\tsubject_label\tpredicate_id\tobject_id\tobject_label\tmapping_justification\tconfidence\n";
        let chunks = good(&ontologies::Sssom, "m.sssom.tsv", format!("{header}{sssom}").as_bytes(), &options());
        prop_assert_eq!((cells(&chunks, "subject_name"), cells(&chunks, "object_name")), (names(0), names(1)));
        prop_assert_eq!(cells(&chunks, "weight"), vec!["0.5"; rows.len()]);
    }

    #[test]
    fn records(rows in rows(), days in proptest::collection::vec((1950..2030i32, 1..=12u32, 1..=28u32), 10)) {
        let lines: Vec<Vec<String>> = rows.iter().zip(&days).enumerate().map(|(at, ([person, code, _], (y, m, d)))| {
            vec![at.to_string(), person.clone(), "201826".into(), format!("{y}-{m:02}-{d:02}"), code.clone()]
        }).collect();
        let header = ["condition_occurrence_id", "person_id", "condition_concept_id", "condition_start_date", "condition_source_value"];
        let chunks = good(&patients::Omop, "condition_occurrence.csv", &csv(b',', &header, &lines), &options());
        prop_assert_eq!(cells(&chunks, "source_code"), column(&rows, 1));
        prop_assert_eq!(cells(&chunks, "event_date"), lines.iter().map(|line| line[3].clone()).collect::<Vec<_>>());
        let key = options().person_key;
        prop_assert_eq!(cells(&chunks, "person_id"), rows.iter().map(|row| key.pseudonym("test", &row[0])).collect::<Vec<_>>());

        let conditions: Vec<Vec<String>> = rows.iter().zip(&days).map(|([person, name, _], (y, m, d))| {
            vec![format!("{y}-{m:02}-{d:02}"), String::new(), person.clone(), "e1".into(), "44054006".into(), name.clone()]
        }).collect();
        let header = ["START", "STOP", "PATIENT", "ENCOUNTER", "CODE", "DESCRIPTION"];
        let chunks = good(&patients::SyntheaCsv, "conditions.csv", &csv(b',', &header, &conditions), &options());
        prop_assert_eq!(cells(&chunks, "source_name"), column(&rows, 1));
    }

    #[test]
    fn vocabularies(rows in rows()) {
        let bare = |text: &str| without(text, &['|', '\t']);
        let atoms: String = rows.iter().enumerate().map(|(at, [name, ..])| {
            format!("C{at:07}|ENG|P|L1|PF|S1|Y|A{at}||M1|D1|MSH|MH|D{at:06}|{}|0|N||\n", bare(name))
        }).collect();
        let chunks = good(&vocabularies::Umls, "MRCONSO.RRF", atoms.as_bytes(), &options());
        prop_assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "name"), rows.iter().map(|row| bare(&row[0])).collect::<Vec<_>>());

        let terms: String = rows.iter().enumerate().map(|(at, [name, definition, synonym])| {
            format!(
                "\n[Term]\nid: MONDO:{at:07}\nname: {}\ndef: \"{}\" [PMID:1]\nsynonym: \"{}\" EXACT []\n",
                escaped(&bare(name)), escaped(&bare(definition)), escaped(&bare(synonym))
            )
        }).collect();
        let chunks = good(&ontologies::Obo, "o.obo", format!("format-version: 1.4\n{terms}").as_bytes(), &options());
        prop_assert_eq!(table_cells(&chunks, &CONCEPTS, "name"), rows.iter().map(|row| bare(&row[0])).collect::<Vec<_>>());
        prop_assert_eq!(table_cells(&chunks, &CONCEPTS, "definition"), rows.iter().map(|row| bare(&row[1])).collect::<Vec<_>>());
    }
}

/// OBO's escapes.
fn escaped(text: &str) -> String {
    let special = |c| matches!(c, '\\' | '"' | '!' | '{' | '}' | '[' | ']' | ',' | ':');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}
