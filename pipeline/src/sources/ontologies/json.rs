//! The nodes and edges of an OBO Graphs document one by one, without holding the document.
//!
//! JSON is scanned byte by byte only as far as needed to tell where an element begins and ends; the element itself is
//! then parsed as JSON, so that a broken one is rejected alone and the memory needed is that of one element.

use std::io::BufRead;
use std::path::PathBuf;

use crate::{Error, Result};

/// A longer element is an error of the whole file: it is not the document it claims to be.
const MAX_ELEMENT_BYTES: usize = 64 << 20;
/// Longer keys are none that we know.
const MAX_KEY_BYTES: usize = 32;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An element of a graph's `nodes`.
    Node,
    /// An element of a graph's `edges`.
    Edge,
    /// A graph's `meta`.
    Meta,
}

/// Reads elements.
pub(super) struct Elements {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    scan: Scan,
}

impl Elements {
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn new(mut reader: Box<dyn BufRead + Send>, path: PathBuf) -> Result<Self> {
        let head = reader.fill_buf().map_err(|e| Error::read(&path, 1, e))?;
        if head.starts_with(BOM) {
            reader.consume(BOM.len());
        }
        Ok(Self { reader, path, scan: Scan { line: 1, ..Scan::default() } })
    }

    /// Moves to the next element: what it is and the line on which it begins. Its text is [`Elements::element`].
    ///
    /// # Errors
    /// When the file cannot be read on, is no JSON or has no graph.
    pub(super) fn advance(&mut self) -> Result<Option<(Kind, u64)>> {
        loop {
            let buffer = self.reader.fill_buf().map_err(|e| Error::read(&self.path, self.scan.line, e))?;
            if buffer.is_empty() {
                let fault = self.scan.end();
                return fault.map_or(Ok(None), |message| Err(Error::format(&self.path, self.scan.line, message)));
            }
            let scan = &mut self.scan;
            let found = buffer.iter().enumerate().find_map(|(at, byte)| Some((at + 1, scan.step(*byte)?)));
            let read = found.as_ref().map_or(buffer.len(), |(at, _)| *at);
            self.reader.consume(read);
            match found {
                None => {}
                Some((_, Step::Element(kind, line))) => return Ok(Some((kind, line))),
                Some((_, Step::Fault(message))) => {
                    return Err(Error::format(&self.path, self.scan.line, message));
                }
            }
        }
    }

    /// The text of the current element.
    pub(super) fn element(&self) -> &[u8] {
        &self.scan.element
    }

    /// The number of the graph that the current element is of.
    pub(super) fn graph(&self) -> u64 {
        self.scan.graph
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Graphs,
    Nodes,
    Edges,
    Meta,
    Other,
}

impl Key {
    fn of(text: &[u8]) -> Self {
        match text {
            b"graphs" => Self::Graphs,
            b"nodes" => Self::Nodes,
            b"edges" => Self::Edges,
            b"meta" => Self::Meta,
            _ => Self::Other,
        }
    }
}

/// An object or array that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// With the key whose value comes, if one does.
    Object(Option<Key>),
    Array,
}

/// An element that is being read.
#[derive(Debug, Clone, Copy)]
struct Capture {
    kind: Kind,
    /// Levels open around it.
    depth: usize,
    line: u64,
    /// A number, a string or a word: it ends where something else begins.
    scalar: bool,
}

/// What a byte ends.
enum Step {
    Element(Kind, u64),
    Fault(&'static str),
}

/// Where in the document we are.
#[derive(Default)]
struct Scan {
    line: u64,
    stack: Vec<Level>,
    in_string: bool,
    escaped: bool,
    key: Vec<u8>,
    capture: Option<Capture>,
    element: Vec<u8>,
    started: bool,
    /// Graphs begun.
    graph: u64,
    has_graph: bool,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Option<Step> {
        if byte == b'\n' {
            self.line += 1;
        }
        if self.in_string {
            return self.string_byte(byte);
        }
        if byte.is_ascii_whitespace() {
            return self.keep(byte);
        }
        if !self.started && byte != b'{' {
            return Some(Step::Fault("not OBO Graphs: expected a JSON object {\"graphs\": [...]}"));
        }
        if self.started && self.stack.is_empty() {
            return Some(Step::Fault("something stands behind the end of the JSON document"));
        }
        let ended = match (self.capture, byte) {
            (Some(capture), b',' | b']' | b'}') if capture.scalar => self.finish(capture),
            _ => None,
        };
        match byte {
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => return self.close(byte).or(ended),
            b'"' => {
                self.begin_value(true);
                self.in_string = true;
                self.key.clear();
            }
            b':' => {
                if let Some(Level::Object(key)) = self.stack.last_mut() {
                    *key = Some(Key::of(&self.key));
                }
            }
            b',' => {
                if let Some(Level::Object(key)) = self.stack.last_mut() {
                    *key = None;
                }
            }
            _ => self.begin_value(true),
        }
        if ended.is_some() { ended } else { self.keep(byte) }
    }

    fn string_byte(&mut self, byte: u8) -> Option<Step> {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_string = false,
            _ if self.key.len() < MAX_KEY_BYTES => self.key.push(byte),
            _ => {}
        }
        self.keep(byte)
    }

    fn open(&mut self, byte: u8) {
        self.started = true;
        self.begin_value(false);
        if self.capture.is_none() && byte == b'[' && self.in_graph(self.stack.len()) {
            self.has_graph |= matches!(self.stack.last(), Some(Level::Object(Some(Key::Nodes | Key::Edges))));
        }
        if byte == b'{' && matches!(self.stack.as_slice(), [Level::Object(Some(Key::Graphs)), Level::Array]) {
            self.graph += 1;
        }
        self.stack.push(if byte == b'{' { Level::Object(None) } else { Level::Array });
    }

    fn close(&mut self, byte: u8) -> Option<Step> {
        let open = self.stack.pop();
        if matches!(open, Some(Level::Array)) != (byte == b']') {
            return Some(Step::Fault("not JSON: a bracket closes what it did not open"));
        }
        let fault = self.keep(byte);
        match self.capture {
            Some(capture) if fault.is_none() && capture.depth == self.stack.len() => self.finish(capture),
            _ => fault,
        }
    }

    fn finish(&mut self, capture: Capture) -> Option<Step> {
        self.capture = None;
        Some(Step::Element(capture.kind, capture.line))
    }

    /// Begins to keep a value if it is an element of interest.
    fn begin_value(&mut self, scalar: bool) {
        if self.capture.is_none()
            && let Some(kind) = self.wanted(scalar)
        {
            self.element.clear();
            self.capture = Some(Capture { kind, depth: self.stack.len(), line: self.line, scalar });
        }
    }

    /// What a value that begins here is.
    fn wanted(&self, scalar: bool) -> Option<Kind> {
        match self.stack.as_slice() {
            [.., Level::Object(Some(Key::Meta))] if !scalar && self.in_graph(self.stack.len()) => Some(Kind::Meta),
            [.., Level::Object(Some(Key::Nodes)), Level::Array] if self.in_graph(self.stack.len() - 1) => {
                Some(Kind::Node)
            }
            [.., Level::Object(Some(Key::Edges)), Level::Array] if self.in_graph(self.stack.len() - 1) => {
                Some(Kind::Edge)
            }
            _ => None,
        }
    }

    /// Whether the first levels are a graph: an element of the document's `graphs`, or a document that is one itself.
    fn in_graph(&self, levels: usize) -> bool {
        matches!(
            self.stack.get(..levels),
            Some([Level::Object(_)] | [Level::Object(Some(Key::Graphs)), Level::Array, Level::Object(_)])
        )
    }

    fn keep(&mut self, byte: u8) -> Option<Step> {
        self.capture?;
        self.element.push(byte);
        let message = "an element is longer than 64 MiB; is this OBO Graphs?";
        (self.element.len() > MAX_ELEMENT_BYTES).then_some(Step::Fault(message))
    }

    /// What is wrong with a document that ends here.
    fn end(&self) -> Option<&'static str> {
        match self {
            Self { started: false, .. } => Some("not OBO Graphs: expected a JSON object {\"graphs\": [...]}"),
            Self { stack, .. } if !stack.is_empty() => Some("the file ends in the middle of the JSON document"),
            Self { has_graph: false, .. } => Some("not OBO Graphs: no graph with nodes in it"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor};

    use proptest::prelude::*;

    use super::*;

    fn elements(text: &str) -> Result<Vec<(Kind, u64, String)>> {
        let reader = BufReader::with_capacity(3, Cursor::new(text.to_string().into_bytes()));
        let mut elements = Elements::new(Box::new(reader), PathBuf::from("t"))?;
        let mut all = Vec::new();
        while let Some((kind, line)) = elements.advance()? {
            all.push((kind, line, String::from_utf8_lossy(elements.element()).into_owned()));
        }
        Ok(all)
    }

    #[test]
    fn elements_of_all_graphs() {
        let text = "{\"x\": [{\"nodes\": [{}]}], \"graphs\": [{\"id\": \"a \\\"nodes\\\": [\",\n \"meta\": {\"a\": [1]},\n\
                    \"nodes\": [{\"id\": \"}]\", \"meta\": {\"nodes\": [1]}},\n {\"b\": 1} ], \"edges\": []},\
                    {\"nodes\": [ 1 , \"s\", [2]], \"edges\": [{}], \"other\": {\"nodes\": [3]}}]}\n";
        use Kind::{Edge, Meta, Node};
        let found = elements(text).unwrap();
        let found: Vec<_> = found.iter().map(|(kind, line, text)| (*kind, *line, text.trim())).collect();
        assert_eq!(
            found,
            [
                (Meta, 2, "{\"a\": [1]}"),
                (Node, 3, "{\"id\": \"}]\", \"meta\": {\"nodes\": [1]}}"),
                (Node, 4, "{\"b\": 1}"),
                (Node, 4, "1"),
                (Node, 4, "\"s\""),
                (Node, 4, "[2]"),
                (Edge, 4, "{}"),
            ]
        );
        assert_eq!(elements("\u{feff}{\"nodes\": [{}]}").unwrap(), [(Node, 1, "{}".to_string())]);
        assert!(elements("{\"edges\": []}").unwrap().is_empty());
    }

    #[test]
    fn other_documents_are_errors() {
        for text in ["", " ", "[]", "{}", "{\"graphs\": []}", "{\"nodes\": [{}", "{\"nodes\": [{}]} x", "{]", "x"] {
            assert!(matches!(elements(text), Err(Error::Format { .. })), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends(parts in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", "\"", "\\", ":", ",", "\"nodes\":[", "\"edges\":[", "\"graphs\":[", "1", " ", "\n",
        ]), 0..60)) {
            let _ = elements(&parts.concat());
            let _ = elements(&format!("{{\"nodes\":[{}]}}", parts.concat()));
        }
    }
}
