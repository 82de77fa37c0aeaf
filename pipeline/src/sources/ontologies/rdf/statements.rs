//! The triples of a file, in whichever of three syntaxes it is written.

use std::io::{BufRead, Read};

use generel_schemas::{RejectReason, RejectedRow};
use oxrdf::Triple;
use oxrdfxml::{RdfXmlParseError, RdfXmlParser, ReaderRdfXmlParser};
use oxttl::turtle::ReaderTurtleParser;
use oxttl::{NTriplesParser, TurtleParseError, TurtleParser};

use super::super::super::input::{Encoding, InputFile};
use super::super::super::recognize::{Head, Likeness};
use super::super::super::text::lines::Lines;
use super::namespaces::Namespaces;
use super::vocabulary::RDF;
use crate::{Error, Result};

const BOM: &[u8] = b"\xef\xbb\xbf";

type Input = Box<dyn BufRead + Send>;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Without the namespace of RDF it is some other XML.
    Xml {
        is_rdf: bool,
    },
    Turtle,
    NTriples,
}

impl Syntax {
    /// By the content; N-Triples is Turtle too, and told from it by the name or by the first lines.
    pub(super) fn of(head: &Head) -> Self {
        let text = head.text.trim_start();
        if ["<?xml", "<!--", "<!DOCTYPE", "<rdf:", "<RDF"].iter().any(|start| text.starts_with(start)) {
            return Self::Xml { is_rdf: text.contains(RDF) };
        }
        let is_lines = match head.name.rsplit_once('.') {
            Some((_, "nt" | "ntriples")) => true,
            Some((_, "ttl" | "turtle")) => false,
            _ => looks_like_lines(head),
        };
        if is_lines { Self::NTriples } else { Self::Turtle }
    }
}

/// How sure it is that a file is RDF.
pub(super) fn recognize(head: &Head) -> Option<Likeness> {
    match Syntax::of(head) {
        Syntax::Xml { is_rdf: true } => Likeness::new(99, "XML with the namespace of RDF"),
        Syntax::Xml { is_rdf: false } => None,
        _ if looks_like_lines(head) => Likeness::new(97, "the first line is an N-Triples statement"),
        _ if head.lines().any(|line| is_directive(line) && line.contains('<')) => {
            Likeness::new(95, "it has @prefix or @base lines")
        }
        _ => None,
    }
}

/// Whether the first line is a statement, and none a directive of Turtle.
fn looks_like_lines(head: &Head) -> bool {
    let mut lines = head.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.next().is_some_and(|line| statement(line).is_some()) && !head.lines().any(is_directive)
}

/// `@prefix` and `@base`, or their spelling in SPARQL.
fn is_directive(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    ["@prefix", "@base"].contains(&word) || ["prefix", "base"].iter().any(|w| word.eq_ignore_ascii_case(w))
}

/// The one statement of a line.
fn statement(line: &str) -> Option<Triple> {
    let mut statements = NTriplesParser::new().for_slice(line);
    let triple = statements.next()?.ok()?;
    statements.next().is_none().then_some(triple)
}

/// What comes next in a file.
pub(super) enum Next {
    Triple(Triple),
    Rejected(RejectedRow),
    End,
}

/// Reads triples.
pub(super) struct Statements {
    parser: Parser,
    file: InputFile,
    encoding: Option<Encoding>,
}

enum Parser {
    Xml(Box<ReaderRdfXmlParser<Input>>),
    Turtle(Box<ReaderTurtleParser<Input>>),
    NTriples(Lines),
}

impl Statements {
    /// # Errors
    /// When the file cannot be read, or is XML of another kind.
    pub(super) fn open(file: &InputFile, encoding: Option<Encoding>, syntax: Syntax) -> Result<Self> {
        let mut input = file.reader(encoding)?;
        let head = input.fill_buf().map_err(|e| Error::read(file.path(), 1, e))?;
        if head.starts_with(BOM) {
            input.consume(BOM.len());
        }
        // Lenient: published ontologies have IRIs with blanks and the like, which do no harm here.
        let base = base_iri(file);
        let unusable = |_| Error::Internal("base IRI of an RDF file".to_string());
        let parser = match syntax {
            Syntax::Xml { is_rdf: false } => {
                return Err(Error::format(file.path(), 1, "not RDF/XML: the namespace of RDF is missing"));
            }
            Syntax::Xml { is_rdf: true } => {
                let parser = RdfXmlParser::new().lenient().with_base_iri(base).map_err(unusable)?;
                Parser::Xml(Box::new(parser.for_reader(input)))
            }
            Syntax::Turtle => {
                let parser = TurtleParser::new().lenient().with_base_iri(base).map_err(unusable)?;
                Parser::Turtle(Box::new(parser.for_reader(input)))
            }
            Syntax::NTriples => Parser::NTriples(Lines::new(input, file.path().to_path_buf())),
        };
        Ok(Self { parser, file: file.clone(), encoding })
    }

    /// The next triple. Of N-Triples, a line that is no statement is rejected alone.
    ///
    /// # Errors
    /// When the file cannot be read on; of RDF/XML and Turtle, also when it breaks the syntax: what comes behind
    /// cannot be told.
    pub(super) fn next(&mut self) -> Result<Next> {
        match &mut self.parser {
            Parser::NTriples(lines) => next_line(lines),
            Parser::Turtle(parser) => match parser.next() {
                None => Ok(Next::End),
                Some(Ok(triple)) => Ok(Next::Triple(triple)),
                Some(Err(TurtleParseError::Io(e))) => Err(Error::read(self.file.path(), 1, e)),
                Some(Err(TurtleParseError::Syntax(e))) => {
                    let at = e.location().start;
                    Err(self.broken("Turtle", at.line + 1, at.column + 1))
                }
            },
            Parser::Xml(parser) => match parser.next() {
                Some(Ok(triple)) => Ok(Next::Triple(triple)),
                Some(Err(RdfXmlParseError::Io(e))) => Err(Error::read(self.file.path(), 1, e)),
                // The parser takes the end of the file for the end of the document: its prefixes are then still there.
                None if parser.prefixes().next().is_none() => Ok(Next::End),
                None | Some(Err(RdfXmlParseError::Syntax(_))) => {
                    let offset = parser.buffer_position();
                    let (line, column) = self.position(offset)?;
                    Err(self.broken("RDF/XML", line, column))
                }
            },
        }
    }

    /// The prefixes declared so far.
    pub(super) fn namespaces(&self) -> Namespaces {
        let owned = |(prefix, uri): (&str, &str)| (prefix.to_string(), uri.to_string());
        match &self.parser {
            Parser::Xml(parser) => Namespaces::new(parser.prefixes().map(owned)),
            Parser::Turtle(parser) => Namespaces::new(parser.prefixes().map(owned)),
            Parser::NTriples(_) => Namespaces::default(),
        }
    }

    fn broken(&self, syntax: &str, line: u64, column: u64) -> Error {
        // The parsers' own messages quote the file.
        let message = format!("not valid {syntax}, or cut off: the syntax is broken at column {column}");
        Error::format(self.file.path(), line, message)
    }

    /// Line and column of an offset, by reading the file again.
    fn position(&self, offset: u64) -> Result<(u64, u64)> {
        let failed = |e| Error::read(self.file.path(), 1, e);
        let mut input = self.file.reader(self.encoding)?.take(offset);
        let (mut line, mut column) = (1, 1);
        loop {
            let buffer = input.fill_buf().map_err(failed)?;
            let length = buffer.len();
            if length == 0 {
                return Ok((line, column));
            }
            line += memchr::memchr_iter(b'\n', buffer).count() as u64;
            column = match memchr::memrchr(b'\n', buffer) {
                Some(at) => (length - at) as u64,
                None => column + length as u64,
            };
            input.consume(length);
        }
    }
}

fn next_line(lines: &mut Lines) -> Result<Next> {
    while lines.advance()? {
        let line = lines.line().trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let text = std::str::from_utf8(line);
        if let Some(triple) = text.ok().and_then(statement) {
            return Ok(Next::Triple(triple));
        }
        let (reason, message) = match text {
            Err(_) => (RejectReason::InvalidUtf8, "the line is not UTF-8 text"),
            Ok(_) if !lines.terminated() => (RejectReason::TornLine, "the file ends in the middle of the line"),
            Ok(_) => (RejectReason::Malformed, "expected an N-Triples statement: <subject> <predicate> object ."),
        };
        return Ok(Next::Rejected(RejectedRow {
            line: lines.number(),
            column: None,
            reason,
            message: message.to_string(),
            raw: String::from_utf8_lossy(line).into_owned(),
        }));
    }
    Ok(Next::End)
}

/// What relative IRIs are relative to: the file's name, so that the same file means the same wherever it lies.
fn base_iri(file: &InputFile) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    format!("file:///{}", file.name().chars().map(plain).collect::<String>())
}
