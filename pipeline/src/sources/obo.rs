//! OBO 1.2 and 1.4 ontologies, read stanza by stanza.
//!
//! A row is what becomes one row of the lake: the term itself, each of its names and each of its edges. A tag may
//! stand before the `id:` and `name:` that its row needs, so a stanza is gathered whole before its rows are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, RecordBatch, StringBuilder, new_null_array};
use arrow::datatypes::DataType;
use generel_schemas::ids::{Curie, source_curie};
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, HAS_DB_XREF, KG_EDGES, NameType, SUB_CLASS_OF};
use generel_schemas::{RejectReason, RejectedRow, Table};

use super::input::InputFile;
use super::lines::Lines;
use super::{Chunk, ChunkReader, ReadOptions, Source};
use crate::{Error, Result};

/// Predicate of an obsolete term's replacement: IAO's "term replaced by".
const REPLACED_BY: &str = "IAO:0100001";
/// OBO files state no language; in practice they are English.
const LANGUAGE: &str = "en";
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

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Box<dyn ChunkReader>> {
        let mut lines = Lines::new(file.reader()?, file.path.clone());
        find_start(&mut lines)?;
        let mut parser = Parser::new(file.stem());
        parser.line(&Line::of(&lines));
        Ok(Box::new(OboReader { lines, parser, chunk_rows: options.chunk_rows.max(1) as u64, ended: false }))
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

/// What is wrong with a line of a stanza.
#[derive(Debug)]
enum Bad {
    Missing,
    Repeated,
    Utf8,
    Syntax(&'static str),
}

type Taken<T = ()> = std::result::Result<T, Bad>;

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

/// Rows gathered since the last chunk.
#[derive(Default)]
struct Rows {
    read: u64,
    concepts: Texts<5>,
    obsolete: BooleanBuilder,
    names: Texts<4>,
    edges: Texts<6>,
    rejected: Vec<RejectedRow>,
    nulled: BTreeMap<&'static str, u64>,
}

impl Rows {
    fn name(&mut self, code: &str, name: &str, name_type: NameType) {
        self.names.push([Some(code), Some(name), Some(name_type.as_str()), Some(LANGUAGE)]);
    }

    fn into_chunk(mut self) -> Result<Chunk> {
        let mut concepts = self.concepts.finish();
        concepts.push(Arc::new(self.obsolete.finish()));
        let mut edges = self.edges.finish();
        let count = edges[0].len();
        // object_category, weight, provenance: OBO says nothing of them.
        edges.extend([DataType::Utf8, DataType::Float64, DataType::Utf8].map(|kind| new_null_array(&kind, count)));
        let mut batches =
            vec![batch(&CONCEPTS, concepts)?, batch(&CONCEPT_NAMES, self.names.finish())?, batch(&KG_EDGES, edges)?];
        batches.retain(|(_, batch)| batch.num_rows() > 0);
        Ok(Chunk { rows_read: self.read, batches, rejected: self.rejected, nulled: self.nulled })
    }
}

/// Text columns, filled row by row.
struct Texts<const N: usize>([StringBuilder; N]);

impl<const N: usize> Default for Texts<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| StringBuilder::new()))
    }
}

impl<const N: usize> Texts<N> {
    fn push(&mut self, row: [Option<&str>; N]) {
        for (column, value) in self.0.iter_mut().zip(row) {
            column.append_option(value);
        }
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.0.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect()
    }
}

/// A batch of a table without the columns that are the engine's: the first, `source`, and the last, `input_id`.
fn batch(table: &'static Table, columns: Vec<ArrayRef>) -> Result<(&'static Table, RecordBatch)> {
    let inner: Vec<usize> = (1..table.columns.len().saturating_sub(1)).collect();
    let schema = table.schema().project(&inner)?;
    Ok((table, RecordBatch::try_new(Arc::new(schema), columns)?))
}

/// A value without its trailing ` ! comment` and `{qualifiers}`.
struct Value<'a> {
    body: &'a str,
    comment: Option<&'a str>,
}

impl<'a> Value<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.trim();
        // A name may hold a lone quote (5" tube): then quotes hide nothing.
        let marks = Marks::find(text, true).or_else(|| Marks::find(text, false)).unwrap_or_default();
        let (body, comment) = match marks.comment {
            Some(at) => (text[..at].trim_end(), Some(text[at + 1..].trim()).filter(|c| !c.is_empty())),
            None => (text, None),
        };
        let body = match (marks.open, marks.close) {
            // Chemical names end in braces too; qualifiers are told from them by the = within.
            (Some(open), Some(close)) if close + 1 == body.len() && body[open..close].contains('=') => {
                body[..open].trim_end()
            }
            _ => body,
        };
        Self { body, comment }
    }
}

/// Byte positions of what ends a value: all of ASCII characters, so that a text can be cut there.
#[derive(Default)]
struct Marks {
    comment: Option<usize>,
    open: Option<usize>,
    close: Option<usize>,
}

impl Marks {
    /// `None` if a quote stays open.
    fn find(text: &str, quotes: bool) -> Option<Self> {
        let bytes = text.as_bytes();
        let (mut marks, mut in_quotes, mut i) = (Self::default(), false, 0);
        while i < bytes.len() {
            let after_blank = i == 0 || bytes[i - 1].is_ascii_whitespace();
            match bytes[i] {
                b'\\' => i += 1,
                b'"' if quotes => in_quotes = !in_quotes,
                _ if in_quotes => {}
                b'!' if after_blank && bytes.get(i + 1).is_none_or(u8::is_ascii_whitespace) => {
                    marks.comment = Some(i);
                    break;
                }
                b'{' if after_blank => marks.open = Some(i),
                b'}' => marks.close = Some(i),
                _ => {}
            }
            i += 1;
        }
        (!in_quotes).then_some(marks)
    }
}

/// The word in a `[Stanza]` line.
fn stanza_kind(line: &str) -> Option<&str> {
    let line = line.split_once(" !").map_or(line, |(header, _)| header);
    let kind = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    (!kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then_some(kind)
}

fn tag_value(line: &str) -> Option<(&str, &str)> {
    let (tag, value) = line.split_once(':')?;
    let is_tag = !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    (is_tag && (value.is_empty() || value.starts_with([' ', '\t']))).then_some((tag, value))
}

/// Where an xref's label begins: at an unescaped quote after a blank, or at the very start.
fn label_start(body: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'"' if i == 0 || bytes[i - 1].is_ascii_whitespace() => return Some(i),
            _ => {}
        }
        i += 1;
    }
    None
}

/// The unescaped text within leading quotes, and what follows them.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let bytes = inner.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'"' => return Some((unescape(&inner[..i]).trim().to_string(), &inner[i + 1..])),
            _ => {}
        }
        i += 1;
    }
    None
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n' | 't' | 'W') => plain.push(' '),
            Some(other) => plain.push(other),
            None => plain.push('\\'),
        }
    }
    plain
}

fn synonym(body: &str) -> Taken<(String, NameType)> {
    let (name, rest) = quoted(body).ok_or(Bad::Syntax("expected the synonym in quotes"))?;
    if name.is_empty() {
        return Err(Bad::Missing);
    }
    let mut words = rest.split('[').next().unwrap_or_default().split_whitespace();
    let name_type = match (words.next(), words.next()) {
        (Some("EXACT"), Some(kind)) if is_abbreviation(kind) => NameType::Abbreviation,
        (Some("EXACT"), _) => NameType::Exact,
        (Some("NARROW"), _) => NameType::Narrow,
        (Some("BROAD"), _) => NameType::Broad,
        (Some("RELATED") | None, _) => NameType::Related,
        (Some(_), _) => return Err(Bad::Syntax("expected EXACT, NARROW, BROAD or RELATED after the synonym")),
    };
    Ok((name, name_type))
}

/// By the word that ontologies use, or by OMO's term for it.
fn is_abbreviation(kind: &str) -> bool {
    kind.to_ascii_lowercase().contains("abbrev") || matches!(kind, "OMO:0003000" | "OMO:0003012")
}

fn truth(body: &str) -> Taken<bool> {
    match body {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Bad::Syntax("expected true or false")),
    }
}

fn set_once(slot: &mut Option<String>, body: &str) -> Taken {
    let text = unescape(body).trim().to_string();
    match slot {
        _ if text.is_empty() => Err(Bad::Missing),
        Some(_) => Err(Bad::Repeated),
        None => {
            *slot = Some(text);
            Ok(())
        }
    }
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

fn curie_or_text(text: String) -> String {
    text.parse::<Curie>().map_or(text, |curie| curie.to_string())
}

#[cfg(test)]
mod tests {
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
        let mut reader = Obo.open(&InputFile::open(&path)?, &options)?;
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
