//! OBO 1.2 and 1.4 ontologies, read stanza by stanza.
//!
//! A row is what becomes one row of the lake: the term itself, each of its names and each of its edges. A tag may
//! stand before the `id:` and `name:` that its row needs, so a stanza is gathered whole before its rows are made.

mod rows;
mod syntax;

use generel_schemas::ids::{Curie, source_curie};
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, HAS_DB_XREF, KG_EDGES, NameType, SUB_CLASS_OF};
use generel_schemas::{RejectReason, RejectedRow, Table};

use self::rows::Rows;
use self::syntax::{
    Bad, Taken, Value, curie_or_text, label_start, non_empty, quoted, set_once, stanza_kind, synonym, tag_value, truth,
    unescape,
};
use super::recognize::{Head, Likeness};
use super::text::lines::Lines;
use super::{Chunk, ChunkReader, InputFile, ReadOptions, Reader, Source};
use crate::{Error, Result};

/// Predicate of an obsolete term's replacement: IAO's "term replaced by".
const REPLACED_BY: &str = "IAO:0100001";
/// Tags of which each becomes a row.
const ROW_TAGS: [&str; 6] = ["name", "synonym", "is_a", "relationship", "xref", "replaced_by"];
/// Tags that become columns of the term's own row.
const COLUMN_TAGS: [&str; 4] = ["id", "namespace", "def", "is_obsolete"];

/// The format `obo`.
pub(super) struct Obo;

impl Source for Obo {
    fn name(&self) -> &'static str {
        "obo"
    }

    fn doc(&self) -> &'static str {
        "ontology in OBO 1.2 or 1.4 (.obo or .obo.gz): terms, names, is_a, relationships, xrefs"
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
        let mut parser = Parser::new(file.stem());
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
        while !self.ended && self.parser.rows.read < self.chunk_rows {
            if self.lines.advance()? {
                self.parser.line(&Line::of(&self.lines));
            } else {
                self.parser.end_stanza();
                self.ended = true;
            }
        }
        if self.parser.rows.read == 0 {
            return Ok(None);
        }
        std::mem::take(&mut self.parser.rows).into_chunk().map(Some)
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
    stem: String,
    in_header: bool,
    default_namespace: Option<String>,
    stanza: Option<Stanza>,
    rows: Rows,
}

impl Parser {
    fn new(stem: String) -> Self {
        Self { stem, in_header: true, default_namespace: None, stanza: None, rows: Rows::default() }
    }

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
            stanza.take(line, text);
        } else if self.in_header
            && let Some(("default-namespace", value)) = text.and_then(tag_value)
        {
            self.default_namespace = non_empty(unescape(Value::of(value).body));
        }
    }

    fn end_stanza(&mut self) {
        if let Some(stanza) = self.stanza.take() {
            stanza.finish(&self.stem, self.default_namespace.as_deref(), &mut self.rows);
        }
    }
}

/// A `[Term]` on its way to become rows.
struct Stanza {
    /// Items read, the term itself included.
    read: u64,
    id: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    definition: Option<String>,
    definition_unreadable: bool,
    obsolete: bool,
    synonyms: Vec<(String, NameType)>,
    edges: Vec<Edge>,
    rejected: Vec<RejectedRow>,
    /// What becomes of the whole stanza if no `id:` comes.
    without_id: RejectedRow,
}

struct Edge {
    predicate: String,
    object: String,
    object_name: Option<String>,
}

impl Stanza {
    fn new(header: &Line<'_>) -> Self {
        Self {
            read: 1,
            id: None,
            name: None,
            namespace: None,
            definition: None,
            definition_unreadable: false,
            obsolete: false,
            synonyms: Vec::new(),
            edges: Vec::new(),
            rejected: Vec::new(),
            without_id: header.reject(Some("id"), Bad::Missing),
        }
    }

    fn take(&mut self, line: &Line<'_>, text: Option<&str>) {
        let Some(text) = text else {
            let lossy = String::from_utf8_lossy(line.bytes);
            return self.reject(line.reject(tag_value(&lossy).map(|(tag, _)| tag), Bad::Utf8));
        };
        let Some((tag, value)) = tag_value(text) else {
            return self.reject(line.reject(None, Bad::Syntax("expected 'tag: value'")));
        };
        match self.item(tag, &Value::of(value)) {
            Ok(()) => self.read += u64::from(ROW_TAGS.contains(&tag)),
            Err(bad) => self.reject(line.reject(Some(tag), bad)),
        }
    }

    fn reject(&mut self, row: RejectedRow) {
        self.read += 1;
        self.rejected.push(row);
    }

    fn item(&mut self, tag: &str, value: &Value<'_>) -> Taken {
        if value.body.is_empty() && (ROW_TAGS.contains(&tag) || COLUMN_TAGS.contains(&tag)) {
            return Err(Bad::Missing);
        }
        match tag {
            "id" => set_once(&mut self.id, value.body),
            "name" => set_once(&mut self.name, value.body),
            "namespace" => {
                self.namespace.get_or_insert_with(|| unescape(value.body));
                Ok(())
            }
            "def" => {
                self.define(value.body);
                Ok(())
            }
            "is_obsolete" => truth(value.body).map(|obsolete| self.obsolete = obsolete),
            "synonym" => synonym(value.body).map(|found| self.synonyms.push(found)),
            "is_a" => self.link(SUB_CLASS_OF.to_string(), value.body, value),
            "replaced_by" => self.link(REPLACED_BY.to_string(), value.body, value),
            "relationship" => self.relate(value),
            "xref" => self.cross_refer(value),
            _ => Ok(()),
        }
    }

    /// The first definition counts: EFO has terms with several, and the lake has room for one.
    fn define(&mut self, body: &str) {
        match quoted(body) {
            Some((text, _)) if self.definition.is_none() => self.definition = non_empty(text),
            Some(_) => {}
            None => self.definition_unreadable = true,
        }
    }

    fn link(&mut self, predicate: String, target: &str, value: &Value<'_>) -> Taken {
        let target = unescape(target);
        if target.contains(char::is_whitespace) {
            return Err(Bad::Syntax("expected one identifier"));
        }
        let object_name = value.comment.map(str::to_string);
        self.edges.push(Edge { predicate, object: curie_or_text(target), object_name });
        Ok(())
    }

    fn relate(&mut self, value: &Value<'_>) -> Taken {
        let mut words = value.body.split_whitespace();
        let (Some(relation), Some(target), None) = (words.next(), words.next(), words.next()) else {
            return Err(Bad::Syntax("expected a relation and one identifier"));
        };
        let relation = unescape(relation);
        let predicate = relation.parse::<Curie>().map_or_else(|_| format!("obo:{relation}"), |curie| curie.to_string());
        self.link(predicate, target, value)
    }

    fn cross_refer(&mut self, value: &Value<'_>) -> Taken {
        let (id, label) = match label_start(value.body) {
            Some(at) => {
                let (label, _) =
                    quoted(&value.body[at..]).ok_or(Bad::Syntax("the label's closing quote is missing"))?;
                (value.body[..at].trim_end(), non_empty(label))
            }
            None => (value.body, None),
        };
        let object = unescape(id);
        if object.trim().is_empty() {
            return Err(Bad::Missing);
        }
        let object_name = label.or_else(|| value.comment.map(str::to_string));
        self.edges.push(Edge { predicate: HAS_DB_XREF.to_string(), object: curie_or_text(object), object_name });
        Ok(())
    }

    fn finish(mut self, stem: &str, default_namespace: Option<&str>, rows: &mut Rows) {
        let Some(code) = self.id.take() else {
            // Without a subject none of the items can be a row: the stanza as a whole is the one row rejected.
            let id_line = self.rejected.into_iter().find(|row| row.column.as_deref() == Some("id"));
            rows.read += 1;
            rows.rejected.push(id_line.unwrap_or(self.without_id));
            return;
        };
        rows.read += self.read;
        rows.rejected.append(&mut self.rejected);
        if self.definition_unreadable && self.definition.is_none() {
            *rows.nulled.entry("definition").or_default() += 1;
        }
        let curie = code.parse::<Curie>().unwrap_or_else(|_| source_curie(stem, &code)).to_string();
        let (name, category) = (self.name.as_deref(), self.namespace.as_deref().or(default_namespace));
        rows.concepts.push([Some(code.as_str()), Some(curie.as_str()), name, category, self.definition.as_deref()]);
        rows.obsolete.append_value(self.obsolete);
        if let Some(name) = name {
            rows.name(&code, name, NameType::Label);
        }
        for (synonym, name_type) in &self.synonyms {
            rows.name(&code, synonym, *name_type);
        }
        for Edge { predicate, object, object_name } in &self.edges {
            let (predicate, object) = (Some(predicate.as_str()), Some(object.as_str()));
            rows.edges.push([Some(curie.as_str()), name, category, predicate, object, object_name.as_deref()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::AsArray;
    use proptest::prelude::*;

    use super::*;
    use crate::person::PersonKey;

    fn read(bytes: &[u8]) -> Result<Vec<Chunk>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.obo");
        std::fs::write(&path, bytes).unwrap();
        let mut options = ReadOptions::new("test", PersonKey::new(b"key".to_vec()));
        options.chunk_rows = 3;
        let file = InputFile::open(&super::super::Place::local(&path))?;
        let mut reader = Obo.open(&file, &options)?.into_chunks();
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            assert_eq!(chunk.rows_read, chunk.rows_kept() + chunk.rejected.len() as u64);
            chunks.push(chunk);
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
        assert_eq!(chunks.iter().map(|c| c.rows_read).sum::<u64>(), 7);
        assert_eq!(column(&chunks, &CONCEPTS, "definition"), ["What it is."]);
        assert_eq!(column(&chunks, &CONCEPTS, "category"), ["own"]);
        assert_eq!(column(&chunks, &CONCEPT_NAMES, "name"), ["a name", "other"]);
        assert_eq!(column(&chunks, &CONCEPT_NAMES, "name_type"), ["label", "exact"]);
        assert_eq!(column(&chunks, &KG_EDGES, "predicate"), ["rdfs:subClassOf", "obo:part_of", "RO:1", "IAO:0100001"]);
        assert_eq!(column(&chunks, &KG_EDGES, "object"), ["mesh:D1", "T:2", "T:3", "T:5"]);
        assert_eq!(column(&chunks, &KG_EDGES, "object_name"), ["parent", "whole", "NULL", "NULL"]);
        assert_eq!(column(&chunks, &KG_EDGES, "subject_name"), ["a name"; 4]);
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
            "relationship: ", "is_obsolete: ", "replaced_by: ", "T:1", "\"", "\\", "{", "}", "a=b", " ! ", "[]",
            "EXACT", " ", "\u{e9}", "\u{3000}", ":", "true",
        ]), 0..60)) {
            let _ = read(format!("[Term]\nid: T:1\n{}", parts.concat()).as_bytes()).unwrap();
        }
    }
}
