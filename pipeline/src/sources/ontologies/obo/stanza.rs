//! A `[Term]` stanza on its way to become rows.

use generel_schemas::RejectedRow;
use generel_schemas::ids::{Curie, source_curie};
use generel_schemas::tables::{HAS_DB_XREF, NameType, SUB_CLASS_OF};

use super::super::super::Chunk;
use super::super::super::output::Output;
use super::super::super::text::delimited::Taken as Fate;
use super::super::terms::{CONSIDER, EQUIVALENT_CLASS, Link, Name, REPLACED_BY, Register, Term, curie_or_text};
use super::Line;
use super::syntax::{
    Bad, Taken, Value, label_start, non_empty, old_synonym, quoted, set_once, synonym, tag_value, truth, unescape,
};
use super::typedefs::Relations;

/// Tags of which each becomes a row.
const ROW_TAGS: [&str; 14] = [
    "name",
    "synonym",
    "exact_synonym",
    "narrow_synonym",
    "broad_synonym",
    "related_synonym",
    "is_a",
    "relationship",
    "xref",
    "xref_analog",
    "xref_unk",
    "replaced_by",
    "consider",
    "equivalent_to",
];
/// Tags that become columns of the term's own row, or rows at the end of the file.
const OTHER_TAGS: [&str; 5] = ["id", "namespace", "def", "is_obsolete", "alt_id"];

/// What the stanzas of a file have in common.
pub(super) struct File {
    pub(super) stem: String,
    pub(super) default_namespace: Option<String>,
    pub(super) relations: Relations,
    pub(super) register: Register,
}

/// A `[Term]` so far.
pub(super) struct Stanza {
    /// Items read, the term itself included.
    read: u64,
    id: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    definition: Option<String>,
    definition_unreadable: bool,
    obsolete: bool,
    synonyms: Vec<(String, NameType)>,
    links: Vec<Link>,
    alternatives: Vec<String>,
    rejected: Vec<RejectedRow>,
    /// What becomes of the whole stanza if no `id:` comes.
    without_id: RejectedRow,
}

impl Stanza {
    pub(super) fn new(header: &Line<'_>) -> Self {
        Self {
            read: 1,
            id: None,
            name: None,
            namespace: None,
            definition: None,
            definition_unreadable: false,
            obsolete: false,
            synonyms: Vec::new(),
            links: Vec::new(),
            alternatives: Vec::new(),
            rejected: Vec::new(),
            without_id: header.reject(Some("id"), Bad::Missing),
        }
    }

    pub(super) fn take(&mut self, line: &Line<'_>, text: Option<&str>, relations: &Relations) {
        let Some(text) = text else {
            let lossy = String::from_utf8_lossy(line.bytes);
            return self.reject(line.reject(tag_value(&lossy).map(|(tag, _)| tag), Bad::Utf8));
        };
        let Some((tag, value)) = tag_value(text) else {
            return self.reject(line.reject(None, Bad::Syntax("expected 'tag: value'")));
        };
        match self.item(tag, &Value::of(value), relations) {
            Ok(()) => self.read += u64::from(ROW_TAGS.contains(&tag)),
            Err(bad) => self.reject(line.reject(Some(tag), bad)),
        }
    }

    fn reject(&mut self, row: RejectedRow) {
        self.read += 1;
        self.rejected.push(row);
    }

    fn item(&mut self, tag: &str, value: &Value<'_>, relations: &Relations) -> Taken {
        let body = value.body;
        if body.is_empty() && (ROW_TAGS.contains(&tag) || OTHER_TAGS.contains(&tag)) {
            return Err(Bad::Missing);
        }
        match tag {
            "id" => set_once(&mut self.id, body),
            "name" => set_once(&mut self.name, body),
            "namespace" => {
                self.namespace.get_or_insert_with(|| unescape(body));
                Ok(())
            }
            "def" => {
                self.define(body);
                Ok(())
            }
            "is_obsolete" => truth(body).map(|obsolete| self.obsolete = obsolete),
            "alt_id" => identifier(body).map(|id| self.alternatives.push(id)),
            "synonym" => synonym(body).map(|found| self.synonyms.push(found)),
            "exact_synonym" | "narrow_synonym" | "broad_synonym" | "related_synonym" => {
                old_synonym(tag, body).map(|found| self.synonyms.push(found))
            }
            "is_a" => self.link(SUB_CLASS_OF, body, value),
            "replaced_by" => self.link(REPLACED_BY, body, value),
            "consider" => self.link(CONSIDER, body, value),
            "equivalent_to" => self.link(EQUIVALENT_CLASS, body, value),
            "relationship" => self.relate(value, relations),
            "xref" | "xref_analog" | "xref_unk" => self.cross_refer(value),
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

    fn link(&mut self, predicate: &str, target: &str, value: &Value<'_>) -> Taken {
        let object = curie_or_text(identifier(target)?);
        let object_name = value.comment.map(str::to_string);
        self.links.push(Link { predicate: predicate.to_string(), object, object_name });
        Ok(())
    }

    fn relate(&mut self, value: &Value<'_>, relations: &Relations) -> Taken {
        let mut words = value.body.split_whitespace();
        let (Some(relation), Some(target), None) = (words.next(), words.next(), words.next()) else {
            return Err(Bad::Syntax("expected a relation and one identifier"));
        };
        let relation = unescape(relation);
        let predicate = match (relations.get(&relation), relation.parse::<Curie>()) {
            (Some(known), _) => known.clone(),
            (None, Ok(curie)) => curie.to_string(),
            (None, Err(_)) => format!("obo:{relation}"),
        };
        self.link(&predicate, target, value)
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
        self.links.push(Link { predicate: HAS_DB_XREF.to_string(), object: curie_or_text(object), object_name });
        Ok(())
    }

    pub(super) fn finish(mut self, file: &mut File, out: &mut Output, chunk: &mut Chunk) {
        let Some(code) = self.id.take() else {
            // Without a subject none of the items can be a row: the stanza as a whole is the one row rejected.
            let id_line = self.rejected.into_iter().find(|row| row.column.as_deref() == Some("id"));
            chunk.rows_read += 1;
            chunk.rejected.push(id_line.unwrap_or(self.without_id));
            return;
        };
        chunk.rows_read += self.read;
        chunk.rejected.append(&mut self.rejected);
        if self.definition_unreadable && self.definition.is_none() {
            out.hole("definition");
        }
        let label = self.name.clone().map(|name| Name::english(name, NameType::Label));
        let synonyms = self.synonyms.into_iter().map(|(text, name_type)| Name::english(text, name_type));
        let term = Term {
            curie: code.parse::<Curie>().unwrap_or_else(|_| source_curie(&file.stem, &code)).to_string(),
            code,
            name: self.name,
            category: self.namespace.or_else(|| file.default_namespace.clone()),
            definition: self.definition,
            obsolete: self.obsolete,
            names: label.into_iter().chain(synonyms).collect(),
            links: self.links,
        };
        if file.register.add(&term, self.alternatives, &file.stem) {
            term.write_concept(out);
            chunk.rows_taken += 1;
        } else {
            chunk.take(Fate::Ignored("another stanza of a term that has one"));
        }
        chunk.rows_taken += term.write_rest(out);
    }
}

/// One identifier without blanks.
fn identifier(body: &str) -> Taken<String> {
    let id = unescape(body);
    if id.contains(char::is_whitespace) { Err(Bad::Syntax("expected one identifier")) } else { Ok(id) }
}
