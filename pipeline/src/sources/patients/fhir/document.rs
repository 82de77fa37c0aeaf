//! JSON documents: bundles, arrays of them, single resources, one after the other.
//!
//! A bundle is walked entry by entry, so that each has its line and one that is broken spoils no other.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;

use generel_schemas::RejectReason;

use super::events::{Links, Maker};
use super::json::Text;
use super::resource::{Entry, Resource};
use super::sink::Sink;
use crate::Result;

/// A place in a text of JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    at: usize,
    /// Up to where line breaks were counted, and the line there.
    counted: usize,
    line: u64,
}

impl Position {
    pub(super) fn on_line(line: u64) -> Self {
        Self { at: 0, counted: 0, line }
    }
}

/// Reads JSON values one after the other.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) position: Position,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.position.at..).unwrap_or_default()
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.rest().as_bytes();
        let blanks = rest.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(rest.len());
        self.position.at += blanks;
        rest.get(blanks).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position.at += usize::from(found);
        found
    }

    /// The next value; the place stays where there is none.
    fn value<T: Deserialize<'a>>(&mut self) -> std::result::Result<T, RejectReason> {
        let mut stream = serde_json::Deserializer::from_str(self.rest()).into_iter::<T>();
        match stream.next() {
            None => Err(RejectReason::TornLine),
            Some(Err(error)) => Err(reason(&error)),
            Some(Ok(value)) => {
                self.position.at += stream.byte_offset();
                Ok(value)
            }
        }
    }

    /// Why the next byte is not the one that had to come.
    fn unexpected(&mut self) -> RejectReason {
        if self.peek().is_none() { RejectReason::TornLine } else { RejectReason::Malformed }
    }

    /// The line of the next value.
    fn line(&mut self) -> u64 {
        self.peek();
        let Position { at, counted, line } = self.position;
        let passed = self.text.as_bytes().get(counted..at).unwrap_or_default();
        let line = line + memchr::memchr_iter(b'\n', passed).count() as u64;
        self.position = Position { at, counted: at.max(counted), line };
        line
    }

    /// Moves to the next document: the elements of an array are documents too.
    pub(super) fn next_document(&mut self) -> bool {
        while matches!(self.peek(), Some(b'[' | b',' | b']')) {
            self.position.at += 1;
        }
        self.peek().is_some()
    }

    /// Reads a document.
    pub(super) fn document(&mut self, maker: &Maker, sink: &mut Sink) -> Result<()> {
        let line = self.line();
        let start = self.position.at;
        let whole = if self.peek() == Some(b'{') { self.value::<Resource<'a>>() } else { Err(RejectReason::Malformed) };
        let doubt = match whole {
            Ok(resource) if !resource.kind.is("Bundle") => {
                return sink.resource(maker, &resource, None, &Links::default(), line);
            }
            Ok(_) => None,
            Err(reason) => Some(reason),
        };
        self.position.at = start;
        if !self.bundle(maker, sink)?
            && let Some(reason) = doubt
        {
            sink.broken(reason, line)?;
        }
        Ok(())
    }

    /// Reads a bundle; whether there was anything in it. Behind a place that is no JSON nothing can be trusted: it ends
    /// the text.
    pub(super) fn bundle(&mut self, maker: &Maker, sink: &mut Sink) -> Result<bool> {
        let mut found = Vec::new();
        let walked = self.walk(&mut found);
        let links = Links::of(found.iter().filter_map(|(_, entry)| entry.as_ref()));
        for (line, entry) in &found {
            sink.entry(maker, entry.as_ref(), &links, *line)?;
        }
        if let Err(reason) = walked {
            let line = self.line();
            self.position.at = self.text.len();
            sink.broken(reason, line)?;
            return Ok(true);
        }
        Ok(!found.is_empty())
    }

    fn walk(&mut self, found: &mut Vec<(u64, Option<Entry<'a>>)>) -> std::result::Result<(), RejectReason> {
        if !self.eat(b'{') {
            return Err(self.unexpected());
        }
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key: Text<'a> = self.value()?;
            if !self.eat(b':') {
                return Err(self.unexpected());
            }
            if key.is("entry") && self.eat(b'[') {
                self.entries(found)?;
            } else {
                self.value::<IgnoredAny>()?;
            }
            if self.eat(b'}') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.unexpected());
            }
        }
    }

    fn entries(&mut self, found: &mut Vec<(u64, Option<Entry<'a>>)>) -> std::result::Result<(), RejectReason> {
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            let line = self.line();
            let entry = if self.peek() == Some(b'{') { self.value::<Entry<'a>>().ok() } else { None };
            if entry.is_none() {
                self.value::<IgnoredAny>()?;
            }
            found.push((line, entry));
            if self.eat(b']') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.unexpected());
            }
        }
    }
}

/// Why a text is no JSON. The parser's own message may quote it.
pub(super) fn reason(error: &serde_json::Error) -> RejectReason {
    if error.classify() == Category::Eof { RejectReason::TornLine } else { RejectReason::Malformed }
}
