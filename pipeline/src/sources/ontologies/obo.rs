//! OBO 1.2 and 1.4 ontologies, read stanza by stanza.
//!
//! A row is what becomes one row of the lake: the term itself, each of its names and each of its edges. A tag may
//! stand before the `id:` and `name:` that its row needs, so a stanza is gathered whole before its rows are made.
//! Alternative ids become rows at the end of the file, when it is known which of them are terms of their own.
//!
//! Tags are those of the OBO Flat File Format 1.4 guide, with the spellings of 1.0 for synonyms and xrefs. Logical
//! definitions (`intersection_of`, `union_of`) are no edges: what follows from them stands in `is_a` and
//! `relationship`, where an ontology is released with its inferences. A definition's sources have no column.

mod stanza;
mod syntax;
mod typedefs;

use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, KG_EDGES};
use generel_schemas::{RejectReason, RejectedRow, Table};

use self::stanza::{File, Stanza};
use self::syntax::{Bad, Value, non_empty, stanza_kind, tag_value, unescape};
use super::super::output::Output;
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::Taken;
use super::super::text::lines::Lines;
use super::super::{Chunk, ChunkReader, InputFile, ReadOptions, Reader, Source};
use super::terms::Register;
use crate::{Error, Result};

/// The format `obo`.
pub(in super::super) struct Obo;

impl Source for Obo {
    fn name(&self) -> &'static str {
        "obo"
    }

    fn doc(&self) -> &'static str {
        "ontology in OBO 1.2 or 1.4 (.obo or .obo.gz): terms, names, is_a, relationships, xrefs, former ids"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format obo --source doid doid.obo.gz"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let says = head.text.starts_with("format-version:");
        let stanza = head.lines().any(|line| line.trim() == "[Term]");
        match (says, stanza) {
            (true, _) => Likeness::new(99, "it begins with format-version:"),
            (false, true) => Likeness::new(80, "it has [Term] stanzas"),
            _ => None,
        }
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let mut lines = Lines::new(file.reader(options.encoding)?, file.path().to_path_buf());
        find_start(&mut lines)?;
        let relations = typedefs::relations(file, options.encoding)?;
        let mut parser = Parser {
            file: File { stem: file.stem(), default_namespace: None, relations, register: Register::default() },
            in_header: true,
            stanza: None,
            out: Output::default(),
            chunk: Chunk::default(),
        };
        parser.line(&Line::of(&lines));
        let chunk_rows = options.chunk_rows.max(1) as u64;
        Ok(Reader::Chunks(Box::new(OboReader { lines, parser, chunk_rows, ended: false })))
    }
}

/// Moves to the first line that says something, which tells whether this is OBO at all.
fn find_start(lines: &mut Lines) -> Result<()> {
    while lines.advance()? {
        let line = lines.line().trim_ascii();
        if line.is_empty() || line.starts_with(b"!") {
            continue;
        }
        let text = String::from_utf8_lossy(line);
        if stanza_kind(&text).is_some() || tag_value(&text).is_some() {
            return Ok(());
        }
        break;
    }
    let message = "not OBO: expected a line 'tag: value' (such as format-version: 1.2) or '[Term]'";
    Err(Error::format(lines.path(), lines.number().max(1), message))
}

struct OboReader {
    lines: Lines,
    parser: Parser,
    chunk_rows: u64,
    ended: bool,
}

impl ChunkReader for OboReader {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        while !self.ended && self.parser.chunk.rows_read < self.chunk_rows {
            if self.lines.advance()? {
                self.parser.line(&Line::of(&self.lines));
            } else {
                self.parser.end_stanza();
                self.ended = true;
            }
        }
        while self.ended && self.parser.chunk.rows_read < self.chunk_rows && self.parser.alternative() {}
        if self.parser.chunk.rows_read == 0 {
            return Ok(None);
        }
        let mut chunk = std::mem::take(&mut self.parser.chunk);
        std::mem::take(&mut self.parser.out).finish_into(&mut chunk)?;
        Ok(Some(chunk))
    }
}

/// A line and where it stood.
struct Line<'a> {
    bytes: &'a [u8],
    number: u64,
    terminated: bool,
}

impl<'a> Line<'a> {
    fn of(lines: &'a Lines) -> Self {
        Self { bytes: lines.line().trim_ascii(), number: lines.number(), terminated: lines.terminated() }
    }

    fn reject(&self, tag: Option<&str>, bad: Bad) -> RejectedRow {
        let (reason, message) = match bad {
            Bad::Missing => (RejectReason::MissingValue, "a value is needed"),
            Bad::Repeated => (RejectReason::Malformed, "the tag may stand only once in a stanza"),
            Bad::Utf8 => (RejectReason::InvalidUtf8, "the line is not UTF-8 text"),
            Bad::Syntax(_) if !self.terminated => (RejectReason::TornLine, "the file ends in the middle of the line"),
            Bad::Syntax(expected) => (RejectReason::Malformed, expected),
        };
        RejectedRow {
            line: self.number,
            column: tag.map(str::to_string),
            reason,
            message: message.to_string(),
            raw: String::from_utf8_lossy(self.bytes).into_owned(),
        }
    }
}

/// Where in the file we are, and the rows since the last chunk.
struct Parser {
    file: File,
    in_header: bool,
    stanza: Option<Stanza>,
    out: Output,
    chunk: Chunk,
}

impl Parser {
    fn line(&mut self, line: &Line<'_>) {
        if line.bytes.is_empty() || line.bytes.starts_with(b"!") {
            return;
        }
        let text = std::str::from_utf8(line.bytes).ok();
        if let Some(kind) = text.and_then(stanza_kind) {
            self.end_stanza();
            self.in_header = false;
            self.stanza = (kind == "Term").then(|| Stanza::new(line));
            return;
        }
        if let Some(stanza) = &mut self.stanza {
            stanza.take(line, text, &self.file.relations);
        } else if self.in_header
            && let Some(("default-namespace", value)) = text.and_then(tag_value)
        {
            self.file.default_namespace = non_empty(unescape(Value::of(value).body));
        }
    }

    fn end_stanza(&mut self) {
        if let Some(stanza) = self.stanza.take() {
            stanza.finish(&mut self.file, &mut self.out, &mut self.chunk);
        }
    }

    /// Writes the next alternative id, if one still waits.
    fn alternative(&mut self) -> bool {
        let Some(rows) = self.file.register.write_alternative(&mut self.out) else { return false };
        self.chunk.rows_read += rows.max(1);
        self.chunk.rows_taken += rows;
        if rows == 0 {
            self.chunk.take(Taken::Ignored("alternative id that is a term of its own with this replacement"));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::AsArray;
    use generel_schemas::tables::NameType;
    use proptest::prelude::*;

    use super::super::super::testing;
    use super::syntax::synonym;
    use super::*;

    /// Reads a file; each row read is a row of the lake, unless it was rejected or ignored.
    fn read(bytes: &[u8]) -> Result<Vec<Chunk>> {
        let mut options = testing::options();
        options.chunk_rows = 3;
        let chunks = testing::read(&Obo, &[("test.obo", bytes)], &options)?;
        for chunk in &chunks {
            assert_eq!(chunk.rows_taken, chunk.rows_kept());
        }
        Ok(chunks)
    }

    fn term(lines: &str) -> Vec<Chunk> {
        read(format!("format-version: 1.2\ndefault-namespace: all\n\n[Term]\nid: T:1\n{lines}").as_bytes()).unwrap()
    }

    fn column(chunks: &[Chunk], table: &Table, name: &str) -> Vec<String> {
        chunks
            .iter()
            .flat_map(|chunk| &chunk.batches)
            .filter(|(t, _)| t.name == table.name)
            .flat_map(|(_, batch)| {
                let values = batch.column_by_name(name).unwrap().as_string::<i32>();
                values.iter().map(|v| v.unwrap_or("NULL").to_string()).collect::<Vec<_>>()
            })
            .collect()
    }

    fn rejected(chunks: &[Chunk]) -> Vec<(u64, RejectReason)> {
        chunks.iter().flat_map(|c| &c.rejected).map(|r| (r.line, r.reason)).collect()
    }

    #[test]
    fn a_term_becomes_rows_of_three_tables() {
        let chunks = term(
            "name: a name  \nnamespace: own\ndef: \"What it\\nis.\" [url:http\\://x]\nsynonym: \"other\" EXACT []\n\
             alt_id: T:9\nis_a: MSH:D1 ! parent\nrelationship: part_of T:2 ! whole\nrelationship: RO:1 T:3\n\
             intersection_of: T:4\nreplaced_by: T:5\n",
        );
        assert!(rejected(&chunks).is_empty());
        assert_eq!(chunks.iter().map(|c| c.rows_read).sum::<u64>(), 9);
        assert_eq!(column(&chunks, &CONCEPTS, "code"), ["T:1", "T:9"]);
        assert_eq!(column(&chunks, &CONCEPTS, "definition"), ["What it is.", "NULL"]);
        assert_eq!(column(&chunks, &CONCEPTS, "category"), ["own", "own"]);
        assert_eq!(column(&chunks, &CONCEPT_NAMES, "name"), ["a name", "other"]);
        assert_eq!(column(&chunks, &CONCEPT_NAMES, "name_type"), ["label", "exact"]);
        assert_eq!(
            column(&chunks, &KG_EDGES, "predicate"),
            ["rdfs:subClassOf", "obo:part_of", "RO:1", "IAO:0100001", "IAO:0100001",]
        );
        assert_eq!(column(&chunks, &KG_EDGES, "subject"), ["T:1", "T:1", "T:1", "T:1", "T:9"]);
        assert_eq!(column(&chunks, &KG_EDGES, "object"), ["mesh:D1", "T:2", "T:3", "T:5", "T:1"]);
        assert_eq!(column(&chunks, &KG_EDGES, "object_name"), ["parent", "whole", "NULL", "NULL", "a name"]);
        assert_eq!(column(&chunks, &KG_EDGES, "subject_name"), ["a name"; 5]);
    }

    #[test]
    fn former_ids_are_obsolete_concepts_once() {
        let chunks = read(
            b"[Term]\nid: T:1\nname: one\nalt_id: T:8\nalt_id: T:9\nalt_id: T:7 {a=\"b\"} ! c\nalt_id: two words\nalt_id:\n\
              [Term]\nid: T:8\nname: eight\nis_obsolete: true\nreplaced_by: T:1\nconsider: T:3\n\
              [Term]\nid: T:9\nname: nine\nequivalent_to: T:4 ! four\n\
              [Term]\nid: T:9\nsynonym: \"neuf\" EXACT []\n",
        )
        .unwrap();
        assert_eq!(column(&chunks, &CONCEPTS, "code"), ["T:1", "T:8", "T:9", "T:7"]);
        assert_eq!(testing::table_cells(&chunks, &CONCEPTS, "obsolete"), ["false", "true", "false", "true"]);
        assert_eq!(column(&chunks, &CONCEPTS, "name"), ["one", "eight", "nine", "one"]);
        assert_eq!(column(&chunks, &CONCEPT_NAMES, "name"), ["one", "eight", "nine", "neuf"]);
        let edges: Vec<_> = ["subject", "predicate", "object"].map(|c| column(&chunks, &KG_EDGES, c)).concat();
        let replaced = "IAO:0100001";
        assert_eq!(edges[..5], ["T:8", "T:8", "T:9", "T:9", "T:7"]);
        assert_eq!(edges[5..10], [replaced, "oboInOwl:consider", "owl:equivalentClass", replaced, replaced]);
        assert_eq!(edges[10..], ["T:1", "T:3", "T:4", "T:1", "T:1"]);
        assert_eq!(rejected(&chunks), [(7, RejectReason::Malformed), (8, RejectReason::MissingValue)]);
        assert_eq!(testing::ignored(&chunks), 2);
    }

    #[test]
    fn typedefs_give_relations_their_names() {
        let chunks = read(
            b"[Term]\nid: T:1\nrelationship: part_of T:2\nrelationship: near T:3\nrelationship: RO:0002202 T:4\n\
              [Typedef]\nid: part_of\nname: part of\nxref: http\\://example.org\nxref: BFO:0000050 ! it\n\
              [Typedef]\nid: near\nxref: OTHER:1\n[Typedef]\nid: RO:0002202\nxref: RO:1\n",
        )
        .unwrap();
        assert_eq!(column(&chunks, &KG_EDGES, "predicate"), ["BFO:0000050", "obo:near", "RO:0002202"]);
    }

    #[test]
    fn spellings_of_obo_1_0() {
        let chunks = term(
            "exact_synonym: \"e\" []\nnarrow_synonym: \"n\" [X:1]\nbroad_synonym: \"b\"\nrelated_synonym: \"r\" []\n\
             exact_synonym: bare\nxref_analog: X:1\nxref_unk: X:2\n",
        );
        assert_eq!(column(&chunks, &CONCEPT_NAMES, "name_type"), ["exact", "narrow", "broad", "related"]);
        assert_eq!(column(&chunks, &KG_EDGES, "object"), ["X:1", "X:2"]);
        assert_eq!(rejected(&chunks), [(10, RejectReason::Malformed)]);
    }

    #[test]
    fn escapes_qualifiers_and_comments() {
        let chunks = term(
            "name: a\\: b\\{c\\} {http://p#by=\"x } ! y\"}\n\
             synonym: \"say \\\"hi\\\" ! {now}\\tthere\" BROAD [] {a=\"b\"} ! c\n\
             is_a: T:2 {is_inferred=\"true\"} ! with {braces}\n",
        );
        assert_eq!(column(&chunks, &CONCEPT_NAMES, "name"), ["a: b{c}", "say \"hi\" ! {now} there"]);
        assert_eq!(column(&chunks, &KG_EDGES, "object"), ["T:2"]);
        assert_eq!(column(&chunks, &KG_EDGES, "object_name"), ["with {braces}"]);
        assert_eq!(unescape("\\W\\,\\(\\\\x\\"), " ,(\\x\\");
        for (text, body) in [("5\" tube ! c", "5\" tube"), ("poly {n}", "poly {n}"), ("wow!", "wow!"), ("! c", "")] {
            assert_eq!(Value::of(text).body, body);
        }
    }

    #[test]
    fn synonym_scopes_and_types() {
        for (rest, expected) in [
            ("EXACT []", NameType::Exact),
            ("EXACT layperson []", NameType::Exact),
            ("EXACT ABBREVIATION [a:b]", NameType::Abbreviation),
            ("EXACT OMO:0003012 [a:b]", NameType::Abbreviation),
            ("EXACT my_abbreviation []", NameType::Abbreviation),
            ("BROAD ABBREVIATION []", NameType::Broad),
            ("NARROW []", NameType::Narrow),
            ("RELATED []", NameType::Related),
            ("[]", NameType::Related),
            ("", NameType::Related),
        ] {
            assert_eq!(synonym(&format!("\"x \" {rest}")).unwrap(), ("x".to_string(), expected), "{rest}");
        }
        for bad in ["x EXACT []", "\"x", "\"x\\\" EXACT []", "\" \" EXACT []", "\"x\" EXA"] {
            assert!(synonym(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn xrefs_with_label_url_and_neither() {
        let chunks = term(
            "name: n\nxref: MeSH:D1 \"A \\\"label\\\"\"\nxref: http\\://x.org/a?b=1\nxref: http://x.org\nxref: bare\n\
             xref: P:1 {source=\"S P\"}\nxref: Q:1 \"torn\nxref: \"only label\"\n",
        );
        assert_eq!(
            column(&chunks, &KG_EDGES, "object"),
            ["mesh:D1", "http://x.org/a?b=1", "http://x.org", "bare", "P:1"]
        );
        assert_eq!(column(&chunks, &KG_EDGES, "object_name"), ["A \"label\"", "NULL", "NULL", "NULL", "NULL"]);
        assert_eq!(rejected(&chunks), [(12, RejectReason::Malformed), (13, RejectReason::MissingValue)]);
    }

    #[test]
    fn obsolete_and_unparseable_ids() {
        let chunks = read(b"[Term]\nid: a b\nis_obsolete: true\n[Typedef]\nid: part_of\nname: no row\n").unwrap();
        let batch = &chunks[0].batches[0].1;
        assert!(batch.column_by_name("obsolete").unwrap().as_boolean().value(0));
        assert_eq!(column(&chunks, &CONCEPTS, "code"), ["a b"]);
        assert_eq!(column(&chunks, &CONCEPTS, "curie"), ["test:a%20b"]);
        assert_eq!(chunks.iter().map(|c| c.rows_read).sum::<u64>(), 1);
    }

    #[test]
    fn crlf_and_byte_order_mark() {
        let chunks = read(b"\xef\xbb\xbf[Term]\r\nid: T:1\r\nname: n\r\n\r\n[Term]\r\nid: T:2").unwrap();
        assert_eq!(column(&chunks, &CONCEPTS, "curie"), ["T:1", "T:2"]);
        assert_eq!(column(&chunks, &CONCEPT_NAMES, "name"), ["n"]);
    }

    #[test]
    fn bad_items_are_rejected_alone() {
        let chunks = term("name: n\nname: again\nid: T:2\nsynonym: no quotes\nis_a:\nno tag\nis_a: T:3 T:4\n");
        let reasons: Vec<_> = rejected(&chunks).into_iter().map(|(_, reason)| reason).collect();
        use RejectReason::{Malformed, MissingValue};
        assert_eq!(reasons, [Malformed, Malformed, Malformed, MissingValue, Malformed, Malformed]);
        assert_eq!(column(&chunks, &CONCEPT_NAMES, "name"), ["n"]);

        let torn = term("name: n\nsynonym: \"cut off");
        assert_eq!(rejected(&torn), [(7, RejectReason::TornLine)]);
        let bytes = b"[Term]\nid: T:1\nname: M\xe9ni\xe8re\nsynonym: \"ok\" EXACT []\n";
        let latin = read(bytes).unwrap();
        assert_eq!(rejected(&latin), [(3, RejectReason::InvalidUtf8)]);
        assert_eq!(column(&latin, &CONCEPT_NAMES, "name"), ["ok"]);
        let undefined = term("def: no quotes\n");
        assert_eq!(undefined[0].nulled, BTreeMap::from([("definition", 1)]));
    }

    #[test]
    fn a_stanza_without_id_is_one_rejected_row() {
        for stanza in ["[Term]\nname: n\nis_a: T:1\nbad\n", "[Term]\nid:\nname: n\n", "[Term]\nid: ! c\nname: n\n"] {
            let chunks = read(stanza.as_bytes()).unwrap();
            assert_eq!(chunks.iter().map(|c| c.rows_read).sum::<u64>(), 1, "{stanza}");
            let row = &chunks[0].rejected[0];
            assert_eq!((row.reason, row.column.as_deref()), (RejectReason::MissingValue, Some("id")));
        }
    }

    #[test]
    fn other_files_are_not_obo() {
        for text in ["a,b,c\n1,2,3\n", "\u{0}\u{1}\u{2}", "\n\n", "SNP\tP: x\n"] {
            assert!(matches!(read(text.as_bytes()), Err(Error::Format { .. })));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let _ = read(&[&b"[Term]\nid: T:1\n"[..], bytes.as_slice()].concat()).unwrap();
        }

        #[test]
        fn any_lines_balance(parts in proptest::collection::vec(proptest::sample::select(vec![
            "[Term]", "[Typedef]", "\n", "\n", "\r\n", "id: ", "name: ", "synonym: ", "def: ", "xref: ", "is_a: ",
            "relationship: ", "is_obsolete: ", "alt_id: ", "consider: ", "equivalent_to: ", "replaced_by: ", "T:1", "\"", "\\", "{", "}", "a=b", " ! ", "[]",
            "EXACT", " ", "\u{e9}", "\u{3000}", ":", "true",
        ]), 0..60)) {
            let _ = read(format!("[Term]\nid: T:1\n{}", parts.concat()).as_bytes()).unwrap();
        }
    }
}
