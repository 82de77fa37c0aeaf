//! NDJSON under a mapping: an object a line, its values as text, nested objects as `outer.inner`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use generel_schemas::{RejectReason, RejectedRow};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Rows;
use crate::sources::output::Output;
use crate::sources::recognize::Head;
use crate::sources::text::delimited::{RowParser, Taken};
use crate::sources::{Chunk, Slab, SlabParser};
use crate::{Error, Result};

/// Objects in objects beyond this depth stay JSON text.
const MAX_DEPTH: usize = 8;

type Object<'a> = BTreeMap<std::borrow::Cow<'a, str>, &'a RawValue>;

/// Whether a file's beginning is an object a line.
pub(super) fn looks_like(head: &Head) -> bool {
    head.text.trim_start().starts_with('{')
}

/// The keys of the first lines, and those that the mapping names besides, in the order in which they come.
///
/// # Errors
/// When no line of the beginning is an object.
pub(super) fn columns(path: &Path, head: &Head, named: &[String]) -> Result<Vec<String>> {
    let (mut names, mut known) = (Vec::new(), HashSet::new());
    let mut see = |name: &str| {
        if !known.contains(name) {
            known.insert(name.to_string());
            names.push(name.to_string());
        }
    };
    let mut values = 0;
    for line in head.lines() {
        if let Ok(object) = parse(line) {
            walk("", &object, 0, &mut |name, _| {
                values += 1;
                see(name);
            });
        }
    }
    if values == 0 {
        return Err(Error::format(
            path,
            1,
            "no line of the file's beginning is a JSON object: expected one on each line",
        ));
    }
    named.iter().for_each(|name| see(name));
    Ok(names)
}

fn parse(line: &str) -> serde_json::Result<Object<'_>> {
    let mut reader = serde_json::Deserializer::from_str(line);
    let object = Object::deserialize(&mut reader)?;
    reader.end()?;
    Ok(object)
}

/// Hands on every value that is no object, and the objects that are too deep.
fn walk<'a>(prefix: &str, object: &Object<'a>, depth: usize, see: &mut impl FnMut(&str, &'a RawValue)) {
    for (key, value) in object {
        let inner = (value.get().starts_with('{') && depth < MAX_DEPTH).then(|| parse(value.get()).ok()).flatten();
        let name = if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
        match inner {
            Some(inner) => walk(&name, &inner, depth + 1, see),
            None => see(&name, value),
        }
    }
}

/// The lines of a file as rows.
pub(super) struct Ndjson {
    rows: Rows,
    index: HashMap<String, usize>,
}

impl Ndjson {
    pub(super) fn new(rows: Rows) -> Self {
        let index = rows.schema.fields().iter().enumerate().map(|(i, f)| (f.name().clone(), i)).collect();
        Self { rows, index }
    }

    fn line(&self, text: &str, line: u64, out: &mut Output) -> serde_json::Result<()> {
        let object = parse(text)?;
        let mut values: Vec<Option<String>> = vec![None; self.index.len()];
        walk("", &object, 0, &mut |name, value| {
            if let Some(place) = self.index.get(name).and_then(|index| values.get_mut(*index)) {
                *place = text_of(value.get());
            }
        });
        self.rows.push(values.iter().map(Option::as_deref), line, out);
        Ok(())
    }
}

/// A string without its quotes, NULL as none, everything else as written: a number keeps all its digits.
fn text_of(json: &str) -> Option<String> {
    match json {
        "null" => None,
        _ if json.starts_with('"') => serde_json::from_str(json).ok(),
        _ => Some(json.to_string()),
    }
}

impl SlabParser for Ndjson {
    fn parse(&self, slab: &Slab<'_>) -> Result<Chunk> {
        let (mut out, mut chunk) = (Output::default(), Chunk::default());
        let lines = slab.bytes.split_inclusive(|byte| *byte == b'\n');
        for (line, bytes) in (slab.first_line..).zip(lines) {
            let (reason, message) = match std::str::from_utf8(bytes).map(str::trim) {
                Err(_) => (RejectReason::InvalidUtf8, "the line is not UTF-8 text (see --encoding)"),
                Ok("") => continue,
                Ok(text) => match self.line(text, line, &mut out) {
                    Ok(()) => {
                        chunk.rows_read += 1;
                        chunk.take(Taken::Kept);
                        continue;
                    }
                    Err(error) if error.is_eof() && bytes.last() != Some(&b'\n') => {
                        (RejectReason::TornLine, "the file ends in the middle of the object")
                    }
                    Err(_) => (RejectReason::Malformed, "expected a JSON object on one line"),
                },
            };
            chunk.rows_read += 1;
            // What cannot be read may hold a person anywhere.
            let raw = if self.rows.mapping.masked.is_empty() {
                String::from_utf8_lossy(bytes.trim_ascii())
            } else {
                "***".into()
            };
            chunk.rejected.push(RejectedRow {
                line,
                column: None,
                reason,
                message: message.into(),
                raw: raw.into_owned(),
            });
        }
        self.rows.finish(&mut out, &mut chunk)?;
        out.finish_into(&mut chunk)?;
        Ok(chunk)
    }
}
