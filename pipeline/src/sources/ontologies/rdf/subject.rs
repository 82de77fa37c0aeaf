//! What is said of one subject, on its way to become rows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use generel_schemas::tables::NameType;
use oxrdf::{Literal, Term as Object};

use super::super::super::text::delimited::Taken;
use super::super::iri;
use super::super::terms::{LANGUAGE, Link, Name, Term, curie_or_text, is_abbreviation, one_line};
use super::State;
use super::blanks::{Axiom, Waiting};
use super::vocabulary::{Kind, Role, kind, role};

const LITERAL: &str = "literal without a column";
const METADATA: &str = "metadata of the record";
const NO_TEXT: &str = "a text was expected, and there is none";
const ANONYMOUS: &str = "anonymous node as a value";

/// A subject while its triples come.
#[derive(Debug, Default)]
pub(super) struct Subject {
    iri: String,
    /// Whether it is said to be a class or concept.
    is_concept: bool,
    /// Whether it is said to be something else.
    is_other: bool,
    names: Vec<Name>,
    definition: Option<Text>,
    /// With its rank.
    code: Option<(u8, String)>,
    category: Option<String>,
    obsolete: Option<bool>,
    /// Property and object; IRIs are shortened at the end.
    links: Vec<(String, Value)>,
    /// Anonymous superclasses.
    anonymous: Vec<String>,
    alternatives: Vec<String>,
    /// Triples that say what it is.
    types: u64,
    ignored: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Text {
    text: String,
    is_english: bool,
}

#[derive(Debug)]
enum Value {
    Iri(String),
    Text(String),
}

impl Subject {
    pub(super) fn new(iri: String) -> Self {
        Self { iri, ..Self::default() }
    }

    pub(super) fn iri(&self) -> &str {
        &self.iri
    }

    pub(super) fn take(&mut self, property: &str, object: &Object) {
        match (role(property), object) {
            (Role::Type, Object::NamedNode(class)) => {
                self.types += 1;
                self.is_concept |= kind(class.as_str()) == Kind::Concept;
                self.is_other |= kind(class.as_str()) == Kind::Other;
            }
            (Role::Metadata, _) => self.ignore(METADATA),
            (Role::SuperClass, Object::BlankNode(blank)) => self.anonymous.push(blank.as_str().to_string()),
            (_, Object::BlankNode(_)) => self.ignore(ANONYMOUS),
            (Role::Xref | Role::Replacement | Role::SuperClass | Role::Link, Object::NamedNode(node)) => {
                self.links.push((property.to_string(), Value::Iri(node.as_str().to_string())));
            }
            (Role::AlternativeId, Object::NamedNode(node)) => self.alternatives.push(iri::code(node.as_str())),
            (_, Object::NamedNode(_)) => self.ignore(NO_TEXT),
            (role, Object::Literal(literal)) => self.literal(property, role, literal),
        }
    }

    fn literal(&mut self, property: &str, role: Role, literal: &Literal) {
        let text = one_line(literal.value());
        if text.is_empty() {
            return self.ignore(NO_TEXT);
        }
        match role {
            Role::Name(name_type) => self.name(text, name_type, literal.language()),
            Role::Definition => self.define(Text { text, is_english: literal.language().is_none_or(is_english) }),
            Role::Code(rank) => match &self.code {
                None => self.code = Some((rank, text)),
                Some((other, _)) => {
                    if rank < *other {
                        self.code = Some((rank, text));
                    }
                    self.ignore("another code of the term");
                }
            },
            Role::Category if self.category.is_none() => self.category = Some(text),
            Role::Deprecated if self.obsolete.is_none() => self.obsolete = Some(matches!(text.as_str(), "true" | "1")),
            Role::Category | Role::Deprecated => self.ignore("said before"),
            Role::AlternativeId => self.alternatives.push(text),
            Role::Xref | Role::Replacement => self.links.push((property.to_string(), Value::Text(text))),
            Role::Type | Role::SuperClass | Role::Link | Role::Metadata => self.ignore(LITERAL),
        }
    }

    fn name(&mut self, text: String, name_type: NameType, language: Option<&str>) {
        let language = language.map_or(Cow::Borrowed(LANGUAGE), |tag| Cow::Owned(tag.to_string()));
        let name = Name { text, name_type, language };
        if self.names.contains(&name) {
            self.ignore("repeated name");
        } else {
            self.names.push(name);
        }
    }

    /// There is room for one definition: the first in English, else the first.
    fn define(&mut self, found: Text) {
        match &self.definition {
            None => self.definition = Some(found),
            Some(kept) => {
                if found.is_english && !kept.is_english {
                    self.definition = Some(found);
                }
                self.ignore("another definition");
            }
        }
    }

    fn ignore(&mut self, why: &'static str) {
        *self.ignored.entry(why).or_default() += 1;
    }

    /// Makes rows of it.
    pub(super) fn finish(mut self, state: &mut State) {
        let axioms: Vec<Axiom> = state.blanks.take_axioms().collect();
        let columns = self.columns();
        if self.is_other && !self.is_concept {
            let parts = [self.names.len(), self.links.len(), self.anonymous.len(), self.alternatives.len()];
            let triples =
                parts.iter().sum::<usize>() as u64 + self.types + columns + self.ignored.values().sum::<u64>();
            return state.settle(triples, Taken::Ignored("about a property, an ontology or an individual"));
        }
        self.apply(&axioms);
        let has_label = self.names.iter().any(|name| name.name_type == NameType::Label);
        let is_concept = has_label || (self.is_concept && self.says_something());
        for (why, count) in std::mem::take(&mut self.ignored) {
            state.settle(count, Taken::Ignored(why));
        }
        let (anonymous, alternatives) = (std::mem::take(&mut self.anonymous), std::mem::take(&mut self.alternatives));
        let (own, former) = (self.types + columns, alternatives.len() as u64);
        let term = self.into_term(state);
        if !is_concept {
            state.settle(own + former, Taken::Ignored("said of what has no label here"));
        } else if state.register.add(&term, alternatives, &state.stem) {
            term.write_concept(&mut state.out);
            state.settle(own + former, Taken::Kept);
        } else {
            state.settle(own, Taken::Ignored("said apart from the rest of the term"));
            state.settle(former, Taken::Kept);
        }
        let rows = term.write_rest(&mut state.out);
        state.settle(rows, Taken::Kept);
        for blank in anonymous {
            let (subject, subject_name) = (term.curie.clone(), term.name.clone());
            state.super_class(Waiting { subject, subject_name, subject_category: term.category.clone(), blank });
        }
    }

    /// Triples that became columns of the term's own row.
    fn columns(&self) -> u64 {
        let said = [self.definition.is_some(), self.code.is_some(), self.category.is_some(), self.obsolete.is_some()];
        said.into_iter().filter(|said| *said).count() as u64
    }

    /// Whether anything is said beyond what it is: a bare declaration only makes a reference well-formed.
    fn says_something(&self) -> bool {
        let nothing = self.names.is_empty() && self.links.is_empty() && self.anonymous.is_empty();
        !(nothing && self.alternatives.is_empty() && self.ignored.is_empty() && self.columns() == 0)
    }

    /// Abbreviations are synonyms of which an axiom says so.
    fn apply(&mut self, axioms: &[Axiom]) {
        for axiom in axioms.iter().filter(|axiom| axiom.source.as_deref() == Some(self.iri.as_str())) {
            let (Some(property), Some(target), Some(kind)) = (&axiom.property, &axiom.target, &axiom.synonym_type)
            else {
                continue;
            };
            if role(property) != Role::Name(NameType::Exact) || !is_abbreviation(&iri::reference(kind)) {
                continue;
            }
            let text = one_line(target);
            let synonyms = self.names.iter_mut().filter(|n| n.name_type == NameType::Exact && n.text == text);
            synonyms.for_each(|name| name.name_type = NameType::Abbreviation);
        }
    }

    fn into_term(self, state: &State) -> Term {
        let curie = state.curie(&self.iri);
        let spelled = iri::code(&self.iri);
        let spelled = if spelled == self.iri { curie.clone() } else { spelled };
        let labels = || self.names.iter().filter(|name| name.name_type == NameType::Label);
        let label = labels().find(|name| is_english(&name.language)).or_else(|| labels().next());
        let links = self.links.into_iter().map(|(property, value)| Link {
            predicate: state.curie(&property),
            object: match value {
                Value::Iri(iri) => state.curie(&iri),
                Value::Text(text) if role(&property) == Role::Xref => curie_or_text(text),
                Value::Text(text) => iri::reference(&text),
            },
            object_name: None,
        });
        Term {
            name: label.map(|label| label.text.clone()),
            code: self.code.map_or(spelled, |(_, code)| code),
            curie,
            category: self.category,
            definition: self.definition.map(|definition| definition.text),
            obsolete: self.obsolete.unwrap_or(false),
            links: links.collect(),
            names: self.names,
        }
    }
}

fn is_english(tag: &str) -> bool {
    tag.split('-').next().is_some_and(|language| language.eq_ignore_ascii_case("en"))
}
