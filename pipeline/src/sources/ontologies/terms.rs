//! What a term of an ontology becomes, whichever format it was read from.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use generel_schemas::ids::{Curie, source_curie};
use generel_schemas::tables::NameType;

use super::super::output::{Concept, Edge, Output};

/// Predicate of an obsolete term's replacement: IAO's "term replaced by".
pub(super) const REPLACED_BY: &str = "IAO:0100001";
/// Predicate of what may stand for an obsolete term.
pub(super) const CONSIDER: &str = "oboInOwl:consider";
/// Predicate of a class of the same meaning.
pub(super) const EQUIVALENT_CLASS: &str = "owl:equivalentClass";
/// Ontologies that state no language are English in practice.
pub(super) const LANGUAGE: &str = "en";

/// A term and what is said of it.
#[derive(Debug, Default)]
pub(super) struct Term {
    pub(super) code: String,
    pub(super) curie: String,
    pub(super) name: Option<String>,
    pub(super) category: Option<String>,
    pub(super) definition: Option<String>,
    pub(super) obsolete: bool,
    /// All names, the label included.
    pub(super) names: Vec<Name>,
    pub(super) links: Vec<Link>,
}

/// One name of a term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) name_type: NameType,
    pub(super) language: Cow<'static, str>,
}

impl Name {
    /// A name in [`LANGUAGE`].
    pub(super) fn english(text: String, name_type: NameType) -> Self {
        Self { text, name_type, language: Cow::Borrowed(LANGUAGE) }
    }
}

/// One edge from a term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) predicate: String,
    pub(super) object: String,
    pub(super) object_name: Option<String>,
}

impl Term {
    /// The row of `concepts`.
    pub(super) fn write_concept(&self, out: &mut Output) {
        out.concept(&Concept {
            code: Some(&self.code),
            curie: Some(&self.curie),
            name: self.name.as_deref(),
            category: self.category.as_deref(),
            definition: self.definition.as_deref(),
            obsolete: Some(self.obsolete),
        });
    }

    /// The rows of `concept_names` and `kg_edges`; how many there were.
    pub(super) fn write_rest(&self, out: &mut Output) -> u64 {
        for name in &self.names {
            out.name(&self.code, &name.text, name.name_type, &name.language);
        }
        for link in &self.links {
            out.edge(&Edge {
                subject: Some(&self.curie),
                subject_name: self.name.as_deref(),
                subject_category: self.category.as_deref(),
                predicate: Some(&link.predicate),
                object: Some(&link.object),
                object_name: link.object_name.as_deref(),
                ..Edge::default()
            });
        }
        (self.names.len() + self.links.len()) as u64
    }
}

/// The terms of a file so far, and the alternative ids that wait for its end: only then it is known which of them are
/// terms of their own, which most ontologies make of some and not of others.
///
/// Terms are kept as hashes: eight bytes each, whatever their ids look like.
#[derive(Debug, Default)]
pub(super) struct Register {
    terms: HashSet<u64>,
    replaced: HashSet<u64>,
    waiting: VecDeque<Alternative>,
}

/// A former id of a term, left behind by a merger.
#[derive(Debug)]
struct Alternative {
    code: String,
    curie: String,
    name: Option<String>,
    category: Option<String>,
    /// CURIE of the term.
    term: String,
}

impl Register {
    /// Whether the term is the first of its CURIE. Its alternative ids are taken up either way.
    pub(super) fn add(&mut self, term: &Term, alternatives: Vec<String>, stem: &str) -> bool {
        for link in term.links.iter().filter(|link| link.predicate == REPLACED_BY) {
            self.replaced.insert(hash(&(&term.curie, &link.object)));
        }
        for code in alternatives {
            let curie = code.parse::<Curie>().unwrap_or_else(|_| source_curie(stem, &code)).to_string();
            let (name, category) = (term.name.clone(), term.category.clone());
            self.waiting.push_back(Alternative { code, curie, name, category, term: term.curie.clone() });
        }
        self.terms.insert(hash(&term.curie))
    }

    /// At the end of the file: writes the next alternative id as an obsolete concept with an edge to the term, each
    /// unless it is there already. How many rows that were; `None` when no more wait.
    pub(super) fn write_alternative(&mut self, out: &mut Output) -> Option<u64> {
        let alternative = self.waiting.pop_front()?;
        let mut rows = 0;
        if self.terms.insert(hash(&alternative.curie)) {
            out.concept(&Concept {
                code: Some(&alternative.code),
                curie: Some(&alternative.curie),
                name: alternative.name.as_deref(),
                category: alternative.category.as_deref(),
                definition: None,
                obsolete: Some(true),
            });
            rows += 1;
        }
        if self.replaced.insert(hash(&(&alternative.curie, &alternative.term))) {
            out.edge(&Edge {
                subject: Some(&alternative.curie),
                subject_name: alternative.name.as_deref(),
                subject_category: alternative.category.as_deref(),
                predicate: Some(REPLACED_BY),
                object: Some(&alternative.term),
                object_name: alternative.name.as_deref(),
                ..Edge::default()
            });
            rows += 1;
        }
        Some(rows)
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// By the word that ontologies use for abbreviations, or by OMO's term for it.
pub(super) fn is_abbreviation(synonym_type: &str) -> bool {
    synonym_type.to_ascii_lowercase().contains("abbrev") || matches!(synonym_type, "OMO:0003000" | "OMO:0003012")
}

/// Text on one line, without outer blanks; files lay out long texts over several.
pub(super) fn one_line(text: &str) -> String {
    let text = text.trim();
    if text.contains(['\n', '\r', '\t']) {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        text.to_string()
    }
}

/// A CURIE in its one spelling, or the text.
pub(super) fn curie_or_text(text: String) -> String {
    text.parse::<Curie>().map_or(text, |curie| curie.to_string())
}
