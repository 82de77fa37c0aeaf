//! Ontologies and vocabularies in RDF: OWL and SKOS, as RDF/XML, Turtle or N-Triples.
//!
//! A row is a triple. What is said of a subject is gathered (see `gathered`); anonymous superclasses (`owl:Restriction`) are resolved within the file and become edges. Which
//! property says what is in `vocabulary`. Objects have no names in the edges: their labels may come later in the file.

mod blanks;
mod gathered;
mod namespaces;
mod statements;
mod subject;
mod vocabulary;

use std::path::PathBuf;

use generel_schemas::Table;
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, KG_EDGES};
use oxrdf::{NamedOrBlankNode, Term, Triple};

use self::blanks::Blanks;
use self::gathered::Gathered;
use self::namespaces::Namespaces;
use self::statements::{Next, Statements, Syntax};
use super::super::output::Output;
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::Taken;
use super::super::{Chunk, ChunkReader, InputFile, ReadOptions, Reader, Source};
use super::terms::Register;
use crate::{Error, Result};

/// What a triple takes in memory beside the text of its object.
const TRIPLE_BYTES: usize = 200;

/// The format `rdf`.
pub(in super::super) struct Rdf;

impl Source for Rdf {
    fn name(&self) -> &'static str {
        "rdf"
    }

    fn doc(&self) -> &'static str {
        "ontology or vocabulary (OWL, SKOS) in RDF/XML, Turtle or N-Triples (.owl, .rdf, .ttl, .nt)"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format rdf --source mondo mondo.owl"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        statements::recognize(head)
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let syntax = Syntax::of(&Head::read(&file.place)?);
        let scattered = matches!(syntax, Syntax::NTriples);
        let statements = Statements::open(file, options.encoding, syntax)?;
        Ok(Reader::Chunks(Box::new(RdfReader {
            statements,
            state: State { stem: file.stem(), ..State::default() },
            path: file.path().to_path_buf(),
            subjects: Gathered::new(scattered),
            chunk_rows: options.chunk_rows.max(1) as u64,
            ended: false,
        })))
    }
}

/// What was read so far, and the rows since the last chunk.
#[derive(Default)]
struct State {
    stem: String,
    namespaces: Option<Namespaces>,
    blanks: Blanks,
    register: Register,
    out: Output,
    chunk: Chunk,
}

impl State {
    /// Counts triples whose fate is known now.
    fn settle(&mut self, triples: u64, taken: Taken) {
        self.chunk.rows_read += triples;
        match taken {
            Taken::Kept => self.chunk.rows_taken += triples,
            Taken::Ignored(_) if triples == 0 => {}
            Taken::Ignored(why) => *self.chunk.ignored.entry(why).or_default() += triples,
        }
    }

    /// The CURIE of an IRI, by the registry or by a prefix of the file; else the IRI.
    fn curie(&self, iri: &str) -> String {
        let namespaces = self.namespaces.as_ref();
        namespaces.map_or_else(|| super::iri::reference(iri), |namespaces| namespaces.curie(iri))
    }
}

struct RdfReader {
    statements: Statements,
    state: State,
    path: PathBuf,
    subjects: Gathered,
    chunk_rows: u64,
    ended: bool,
}

impl ChunkReader for RdfReader {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        while self.state.chunk.rows_read < self.chunk_rows {
            if let Some(subject) = self.subjects.pop() {
                subject.finish(&mut self.state);
                continue;
            }
            if self.ended {
                break;
            }
            match self.statements.next()? {
                Next::Triple(triple) => self.take(triple)?,
                Next::Rejected(row) => {
                    self.state.chunk.rows_read += 1;
                    self.state.chunk.rejected.push(row);
                }
                Next::End => {
                    self.subjects.close();
                    self.ended = true;
                }
            }
        }
        let mut written = 0;
        while self.ended && self.subjects.is_empty() && written < self.chunk_rows {
            if self.state.end_waiting() {
                written += 1;
            } else if let Some(rows) = self.state.register.write_alternative(&mut self.state.out) {
                written += rows;
            } else {
                break;
            }
        }
        let mut chunk = std::mem::take(&mut self.state.chunk);
        std::mem::take(&mut self.state.out).finish_into(&mut chunk)?;
        Ok(if chunk.rows_read == 0 && chunk.batches.is_empty() { None } else { Some(chunk) })
    }
}

impl RdfReader {
    fn take(&mut self, triple: Triple) -> Result<()> {
        if self.state.namespaces.is_none() {
            self.state.namespaces = Some(self.statements.namespaces());
        }
        match triple.subject {
            NamedOrBlankNode::BlankNode(blank) => {
                self.state.blanks.take(blank.as_str(), triple.predicate.as_str(), &triple.object);
                self.state.settle(1, Taken::Ignored("part of an anonymous node"));
            }
            NamedOrBlankNode::NamedNode(subject) => {
                let bytes = match &triple.object {
                    Term::Literal(literal) => literal.value().len(),
                    _ => 0,
                };
                let current = self.subjects.subject(subject.as_str(), bytes + TRIPLE_BYTES).ok_or_else(|| {
                    let message = format!("{subject} comes back far behind its first triples; sort the file's lines");
                    Error::format(&self.path, 1, message)
                })?;
                current.take(triple.predicate.as_str(), &triple.object);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use generel_schemas::RejectReason;
    use proptest::prelude::*;

    use super::super::super::testing::{self, cells, ignored, rejected, table_cells};
    use super::*;
    use crate::Error;

    fn read(name: &str, bytes: &[u8]) -> Result<Vec<Chunk>> {
        testing::read(&Rdf, &[(name, bytes)], &testing::options())
    }

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("../tests/fixtures/rdf/{name}")).unwrap()
    }

    fn reads(chunks: &[Chunk]) -> u64 {
        chunks.iter().map(|chunk| chunk.rows_read).sum()
    }

    /// The rows of a table as text, sorted.
    fn rows(chunks: &[Chunk], table: &Table, columns: &[&str]) -> Vec<String> {
        let columns: Vec<_> = columns.iter().map(|column| table_cells(chunks, table, column)).collect();
        let row = |at: usize| columns.iter().map(|column| column[at].as_str()).collect::<Vec<_>>().join("|");
        let mut rows: Vec<String> = (0..columns[0].len()).map(row).collect();
        rows.sort();
        rows
    }

    #[test]
    fn owl_in_rdf_xml() {
        let chunks = read("toy.owl", &fixture("toy.owl")).unwrap();
        assert_eq!(
            rows(&chunks, &CONCEPTS, &["code", "curie", "name", "category", "definition", "obsolete"]),
            [
                "NCIT:C9|ncit:C9|neoplasm|-|-|false",
                "TOY:0000001|TOY:0000001|disease|toy|A disposition to be ill.|false",
                "TOY:0000002|TOY:0000002|lung cancer|toy|-|false",
                "TOY:0000003|TOY:0000003|obsolete lung tumour|-|-|true",
                "TOY:0000009|TOY:0000009|lung cancer|toy|-|true",
            ]
        );
        assert_eq!(
            rows(&chunks, &CONCEPT_NAMES, &["code", "name", "name_type", "language"]),
            [
                "NCIT:C9|neoplasm|label|en",
                "TOY:0000001|disease|label|en",
                "TOY:0000001|illness|exact|en",
                "TOY:0000001|maladie|label|fr",
                "TOY:0000002|LC|abbreviation|en",
                "TOY:0000002|cancer|broad|en",
                "TOY:0000002|lung cancer|label|en",
                "TOY:0000002|lung carcinoma|narrow|en",
                "TOY:0000002|lung tumor|related|en",
                "TOY:0000003|obsolete lung tumour|label|en",
            ]
        );
        assert_eq!(
            rows(&chunks, &KG_EDGES, &["subject", "subject_name", "predicate", "object"]),
            [
                "TOY:0000002|lung cancer|RO:0004026|UBERON:0002048",
                "TOY:0000002|lung cancer|oboInOwl:hasDbXref|mesh:D008175",
                "TOY:0000002|lung cancer|owl:equivalentClass|ncit:C9",
                "TOY:0000002|lung cancer|rdfs:subClassOf|TOY:0000001",
                "TOY:0000002|lung cancer|skos:exactMatch|snomedct:254637007",
                "TOY:0000003|obsolete lung tumour|IAO:0100001|TOY:0000002",
                "TOY:0000009|lung cancer|IAO:0100001|TOY:0000002",
            ]
        );
        assert!(rejected(&chunks).is_empty());
        assert_eq!(reads(&chunks), chunks.iter().map(|chunk| chunk.rows_taken).sum::<u64>() + ignored(&chunks));
    }

    #[test]
    fn skos_in_turtle() {
        let chunks = read("toy.ttl", &fixture("toy.ttl")).unwrap();
        assert_eq!(
            rows(&chunks, &CONCEPTS, &["code", "curie", "name", "definition", "obsolete"]),
            ["E10|icd:E10|type 1 diabetes|-|false", "E11|icd:E11|type 2 diabetes|Too much sugar.|false"]
        );
        assert_eq!(
            rows(&chunks, &CONCEPT_NAMES, &["code", "name", "name_type", "language"]),
            [
                "E10|type 1 diabetes|label|en",
                "E11|Typ-2-Diabetes|label|de",
                "E11|adult-onset diabetes|exact|en",
                "E11|type 2 diabetes|label|en",
                "E11|type two diabetis|related|en",
            ]
        );
        assert_eq!(
            rows(&chunks, &KG_EDGES, &["subject", "predicate", "object"]),
            [
                "icd:E11|skos:broader|icd:E08-E13",
                "icd:E11|skos:exactMatch|mesh:D003924",
                "icd:E11|skos:related|icd:E10",
            ]
        );
    }

    #[test]
    fn n_triples_line_by_line() {
        let chunks = read("toy.nt", &fixture("toy.nt")).unwrap();
        assert_eq!(cells(&chunks, "curie"), ["TOY:0000001", "TOY:0000002"]);
        assert_eq!(table_cells(&chunks, &CONCEPTS, "name"), ["disease", "M\u{e9}ni\u{e8}re"]);
        assert_eq!(
            rows(&chunks, &KG_EDGES, &["subject", "predicate", "object"]),
            ["TOY:0000002|RO:0004026|UBERON:0002048", "TOY:0000002|rdfs:subClassOf|TOY:0000001"]
        );
        assert_eq!(rejected(&chunks), [(6, "-", RejectReason::Malformed), (7, "-", RejectReason::Malformed)]);
        let torn = read("x.nt", b"<http://a.b/c> <http://a.b/d> <http://a.b/e> .\n<http://a.b/c> <http://a").unwrap();
        assert_eq!(rejected(&torn), [(2, "-", RejectReason::TornLine)]);
        let latin = read("x.nt", b"<http://a.b/c> <http://a.b/d> \"\xe9\" .\n").unwrap();
        assert_eq!(rejected(&latin), [(1, "-", RejectReason::InvalidUtf8)]);
    }

    #[test]
    fn a_subject_that_comes_again_is_one_concept() {
        let text = "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> . @prefix o: <http://purl.obolibrary.org/obo/> .\n\
            @prefix owl: <http://www.w3.org/2002/07/owl#> .\n\
            o:T_1 a owl:Class ; rdfs:label \"one\" ; rdfs:label \"one\"@en ; rdfs:label \" \" .\n\
            o:T_2 a owl:Class .\n\
            o:T_1 rdfs:subClassOf [ a owl:Class ] ; o:IAO_0000115 \"late\" ; rdfs:label \"eins\"@de ; rdfs:comment \"c\" .\n";
        let chunks = read("x.ttl", text.as_bytes()).unwrap();
        assert_eq!(table_cells(&chunks, &CONCEPTS, "curie"), ["T:1"]);
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "name"), ["one", "eins"]);
        assert!(table_cells(&chunks, &KG_EDGES, "subject").is_empty());
        assert_eq!((reads(&chunks), ignored(&chunks)), (10, 7));
    }

    #[test]
    fn triples_of_a_subject_may_stand_anywhere_in_n_triples() {
        let text = String::from_utf8(fixture("toy.nt")).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_by_key(|line| line.rsplit(' ').nth(1).map(|object| object.len()));
        let (whole, mixed) =
            (read("toy.nt", text.as_bytes()).unwrap(), read("x.nt", lines.join("\n").as_bytes()).unwrap());
        for (table, columns) in [
            (&CONCEPTS, &["code", "curie", "definition", "obsolete"][..]),
            (&KG_EDGES, &["subject", "predicate", "object"][..]),
            (&CONCEPT_NAMES, &["code", "name", "name_type", "language"][..]),
        ] {
            assert_eq!(rows(&whole, table, columns), rows(&mixed, table, columns));
        }
        assert_eq!(reads(&whole), reads(&mixed));
    }

    #[test]
    fn broken_documents_are_errors_with_a_line() {
        for (name, text, line) in [
            ("x.ttl", "<http://a.b/c> <http://a.b/d> \"e\" .\n<http://a.b/c> oops", 2),
            (
                "x.rdf",
                "<?xml version=\"1.0\"?>\n<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n</wrong>",
                3,
            ),
            (
                "x.owl",
                "<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n<rdf:Description rdf:about=\"http://a.b/c\">",
                2,
            ),
            ("x.xml", "<?xml version=\"1.0\"?>\n<html/>", 1),
            ("x.csv", "a,b\n1,2\n", 1),
        ] {
            let Err(Error::Format { line: found, message, .. }) = read(name, text.as_bytes()) else { panic!("{text}") };
            assert_eq!(found, line, "{message}");
        }
        assert!(matches!(read("x.nt", b""), Err(Error::Empty { .. })));
    }

    #[test]
    fn syntaxes_are_recognized() {
        for (name, least) in [("toy.owl", 99), ("toy.ttl", 95), ("toy.nt", 95)] {
            let text = String::from_utf8(fixture(name)).unwrap();
            let head = Head { name: "without".to_string(), text };
            assert!(Rdf.recognize(&head).unwrap().score >= least, "{name}");
        }
        for text in
            ["chr\tpos\n1\t2\n", "<html></html>", "{}", "format-version: 1.2\n", "#curie_map:\nsubject_id\n", ""]
        {
            assert!(Rdf.recognize(&Head { name: String::new(), text: text.to_string() }).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..3usize) {
            let (name, head) = [
                ("x.nt", "<http://a.b/c> <http://a.b/d> \"e\" .\n"),
                ("x.ttl", "@prefix : <http://a.b/> .\n:a :b :c .\n"),
                ("x.rdf", "<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n"),
            ][kind];
            let _ = read(name, &bytes);
            let _ = read(name, &[head.as_bytes(), &bytes].concat());
        }

        #[test]
        fn any_statements_balance(parts in proptest::collection::vec(proptest::sample::select(vec![
            ":a ", ":b ", "_:x ", "[ ", "] ", "a ", ". ", "; ", ", ", "rdfs:label ", "rdfs:subClassOf ", "owl:Class ",
            "owl:onProperty ", "owl:someValuesFrom ", "\"x\" ", "\"y\"@de ", "owl:deprecated ", "o:id ", "o:hasDbXref ",
            "o:hasAlternativeId ", "owl:Ontology ", ":a a owl:Class . ", ":a rdfs:label \"x\" . ", "\"true\" ",
        ]), 0..40)) {
            let head = "@prefix : <http://a.b/> . @prefix owl: <http://www.w3.org/2002/07/owl#> .\n\
                @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n\
                @prefix o: <http://www.geneontology.org/formats/oboInOwl#> .\n";
            let _ = read("x.ttl", format!("{head}{}", parts.concat()).as_bytes());
        }
    }
}
