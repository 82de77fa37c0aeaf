//! What an ontology's own relations are called elsewhere.

use std::collections::HashMap;

use super::super::super::input::{Encoding, InputFile};
use super::super::super::text::lines::Lines;
use super::syntax::{Value, stanza_kind, tag_value, unescape};
use crate::Result;

/// Relations without a prefix by their ids: `part_of` → `BFO:0000050`, where its `[Typedef]` says so by an xref.
pub(super) type Relations = HashMap<String, String>;

/// Reads the `[Typedef]` stanzas, which stand at the end of a file though its terms need them: a reading of its own,
/// which looks at the first bytes of each line only.
pub(super) fn relations(file: &InputFile, encoding: Option<Encoding>) -> Result<Relations> {
    let mut lines = Lines::new(file.reader(encoding)?, file.path().to_path_buf());
    let (mut relations, mut in_typedef, mut id) = (Relations::new(), false, None);
    while lines.advance()? {
        let line = lines.line();
        if line.first() == Some(&b'[') {
            let kind = std::str::from_utf8(line).ok().and_then(|text| stanza_kind(text.trim()));
            in_typedef = kind == Some("Typedef");
            id = None;
        } else if in_typedef {
            let Some((tag, value)) = std::str::from_utf8(line).ok().and_then(|text| tag_value(text.trim())) else {
                continue;
            };
            let text = unescape(Value::of(value).body);
            match (tag, &id) {
                ("id", None) => id = Some(text),
                ("xref", Some(id)) if is_relation(&text) && !id.contains(':') => {
                    relations.entry(id.clone()).or_insert(text);
                }
                _ => {}
            }
        }
    }
    Ok(relations)
}

/// Whether an id is of the Relation Ontology or the Basic Formal Ontology: an xref to another place (a web page, the
/// relation of a neighbour) is not the relation itself.
fn is_relation(id: &str) -> bool {
    let local = id.strip_prefix("RO:").or_else(|| id.strip_prefix("BFO:"));
    local.is_some_and(|local| !local.is_empty() && local.bytes().all(|b| b.is_ascii_digit()))
}
