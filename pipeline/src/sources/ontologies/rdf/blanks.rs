//! Anonymous nodes: superclasses of the form "some R is F", and axioms that annotate a synonym.

use std::collections::{HashMap, VecDeque};

use oxrdf::Term as Object;

use super::super::super::output::Edge;
use super::super::super::text::delimited::Taken;
use super::State;
use super::vocabulary::{OBO_IN_OWL, OWL};

/// Why a superclass is not kept.
const EXPRESSION: &str = "anonymous class expression";

/// Anonymous nodes that are still needed.
#[derive(Debug, Default)]
pub(super) struct Blanks {
    restrictions: HashMap<String, Restriction>,
    axioms: HashMap<String, Axiom>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Default)]
struct Restriction {
    property: Option<String>,
    filler: Option<String>,
}

/// An annotation of a statement.
#[derive(Debug, Default)]
pub(super) struct Axiom {
    pub(super) source: Option<String>,
    pub(super) property: Option<String>,
    pub(super) target: Option<String>,
    pub(super) synonym_type: Option<String>,
}

/// A superclass whose node was not complete when its subject was.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) subject: String,
    pub(super) subject_name: Option<String>,
    pub(super) subject_category: Option<String>,
    pub(super) blank: String,
}

impl Blanks {
    pub(super) fn take(&mut self, blank: &str, property: &str, object: &Object) {
        let iri = match object {
            Object::NamedNode(node) => Some(node.as_str().to_string()),
            Object::BlankNode(_) | Object::Literal(_) => None,
        };
        match (property.strip_prefix(OWL), property.strip_prefix(OBO_IN_OWL)) {
            (Some("onProperty"), _) => self.restriction(blank).property = iri,
            (Some("someValuesFrom"), _) => self.restriction(blank).filler = iri,
            (Some("annotatedSource"), _) => self.axiom(blank).source = iri,
            (Some("annotatedProperty"), _) => self.axiom(blank).property = iri,
            (Some("annotatedTarget"), _) => {
                if let Object::Literal(literal) = object {
                    self.axiom(blank).target = Some(literal.value().to_string());
                }
            }
            (_, Some("hasSynonymType")) => self.axiom(blank).synonym_type = iri,
            _ => {}
        }
    }

    fn restriction(&mut self, blank: &str) -> &mut Restriction {
        self.restrictions.entry(blank.to_string()).or_default()
    }

    fn axiom(&mut self, blank: &str) -> &mut Axiom {
        self.axioms.entry(blank.to_string()).or_default()
    }

    /// The axioms since the last call: ontologies write them behind the term that they are about.
    pub(super) fn take_axioms(&mut self) -> impl Iterator<Item = Axiom> {
        std::mem::take(&mut self.axioms).into_values()
    }

    /// Property and filler of a restriction that is complete.
    fn resolve(&mut self, blank: &str) -> Option<(String, String)> {
        let complete = |r: &Restriction| Some((r.property.clone()?, r.filler.clone()?));
        let found = complete(self.restrictions.get(blank)?)?;
        self.restrictions.remove(blank);
        Some(found)
    }
}

impl State {
    /// Writes a superclass as an edge if its node is complete, else keeps it for the end of the file.
    pub(super) fn super_class(&mut self, waiting: Waiting) {
        if !self.resolved(&waiting) {
            self.blanks.waiting.push_back(waiting);
        }
    }

    /// At the end of the file: settles the next superclass that waits; false when none does.
    pub(super) fn end_waiting(&mut self) -> bool {
        let Some(waiting) = self.blanks.waiting.pop_front() else { return false };
        if !self.resolved(&waiting) {
            self.settle(1, Taken::Ignored(EXPRESSION));
        }
        true
    }

    fn resolved(&mut self, waiting: &Waiting) -> bool {
        let Some((property, filler)) = self.blanks.resolve(&waiting.blank) else { return false };
        let (predicate, object) = (self.curie(&property), self.curie(&filler));
        self.out.edge(&Edge {
            subject: Some(&waiting.subject),
            subject_name: waiting.subject_name.as_deref(),
            subject_category: waiting.subject_category.as_deref(),
            predicate: Some(&predicate),
            object: Some(&object),
            ..Edge::default()
        });
        self.settle(1, Taken::Kept);
        true
    }
}
