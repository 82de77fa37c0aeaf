//! The paths of all fields put together: what is to be done at each place of a record.

use super::super::path::{FieldPath, Step};

/// Where a field's parts stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldPaths {
    pub(crate) text: Option<FieldPath>,
    pub(crate) code: Option<FieldPath>,
    pub(crate) vocabulary: Option<FieldPath>,
    pub(crate) display: Option<FieldPath>,
    /// Whether these are the parts of a FHIR CodeableConcept.
    pub(crate) codeable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Text,
    Code,
    Vocabulary,
    Display,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capture {
    /// A part of a field, and whether the concept goes after it.
    Part(usize, Part, bool),
    /// The value begins a mention of a field.
    Mention(usize),
    /// The value begins a coding of a field's mention.
    Coding(usize),
    /// The value is the list of a field's codings.
    Codings(usize),
    /// The value is a list whose elements are a field's mentions.
    List(usize),
    /// The vocabulary of all codes of a field.
    Vocabulary(usize),
    /// A carried column.
    Carried(usize),
}

/// A place that some path goes through.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) members: Vec<(String, usize)>,
    pub(super) elements: Vec<(usize, usize)>,
    pub(super) every: Option<usize>,
    pub(super) captures: Vec<Capture>,
}

/// The paths of a consumer's fields and carried columns, put together.
#[derive(Debug)]
pub(crate) struct Extractor {
    pub(super) nodes: Vec<Node>,
    pub(super) fields: usize,
    pub(super) carried: usize,
}

impl Extractor {
    /// Puts paths together.
    ///
    /// # Errors
    /// Where the paths of a field do not say which code belongs to which text.
    pub(crate) fn new(fields: &[FieldPaths], carried: &[FieldPath]) -> Result<Self, String> {
        let mut all = Self { nodes: vec![Node::default()], fields: fields.len(), carried: carried.len() };
        for (number, field) in fields.iter().enumerate() {
            all.add_field(number, field)?;
        }
        for (number, path) in carried.iter().enumerate() {
            all.capture(path.steps(), Capture::Carried(number));
        }
        Ok(all)
    }

    fn add_field(&mut self, number: usize, field: &FieldPaths) -> Result<(), String> {
        let parts = [
            (Part::Text, &field.text),
            (Part::Code, &field.code),
            (Part::Vocabulary, &field.vocabulary),
            (Part::Display, &field.display),
        ];
        let paths = || parts.iter().filter_map(|(_, path)| path.as_ref());
        // What is mentioned once for each element of a list is what the innermost list has.
        let base = if field.codeable {
            let text = field.text.as_ref().map_or(&[][..], FieldPath::steps);
            text[..text.len().saturating_sub(1)].to_vec()
        } else {
            paths().map(FieldPath::repeated).max_by_key(|steps| steps.len()).unwrap_or(&[]).to_vec()
        };
        let apart = |path: &FieldPath| !field.codeable && !path.steps().starts_with(&base);
        let of_all = field.vocabulary.as_ref().filter(|path| apart(path) && path.repeated().is_empty());
        if let Some(other) = paths().find(|path| apart(path) && Some(*path) != of_all) {
            return Err(format!("{other} and the field's other paths must go through one list"));
        }
        self.capture(&base, Capture::Mention(number));
        if field.codeable {
            let coding = [&base[..], &[Step::Member("coding".into()), Step::Every]].concat();
            self.capture(&coding, Capture::Coding(number));
            self.capture(&coding[..coding.len() - 1], Capture::Codings(number));
        }
        let anchor = if field.text.is_some() { Part::Text } else { Part::Code };
        for (part, path) in parts {
            let Some(path) = path else { continue };
            if Some(path) == of_all {
                self.capture(path.steps(), Capture::Vocabulary(number));
                continue;
            }
            let may_anchor = matches!(part, Part::Text | Part::Code) && !(field.codeable && part == Part::Code);
            let anchors = may_anchor && matches!(path.steps().last(), Some(Step::Member(_)));
            self.capture(path.steps(), Capture::Part(number, part, anchors));
            if part == anchor && path.steps().last() == Some(&Step::Every) {
                self.capture(&path.steps()[..path.steps().len() - 1], Capture::List(number));
            }
        }
        Ok(())
    }

    fn capture(&mut self, steps: &[Step], capture: Capture) {
        let mut node = 0;
        for step in steps {
            node = self.child(node, step);
        }
        // A mention begins before its parts are found.
        let first = matches!(capture, Capture::Mention(_) | Capture::Coding(_));
        let captures = &mut self.nodes[node].captures;
        captures.insert(if first { 0 } else { captures.len() }, capture);
    }

    fn child(&mut self, node: usize, step: &Step) -> usize {
        let new = self.nodes.len();
        let of = &mut self.nodes[node];
        let found = match step {
            Step::Every => of.every,
            Step::Member(name) => of.members.iter().find(|(n, _)| n == name).map(|(_, child)| *child),
            Step::Element(place) => of.elements.iter().find(|(p, _)| p == place).map(|(_, child)| *child),
        };
        if let Some(found) = found {
            return found;
        }
        match step {
            Step::Every => of.every = Some(new),
            Step::Member(name) => of.members.push((name.clone(), new)),
            Step::Element(place) => of.elements.push((*place, new)),
        }
        self.nodes.push(Node::default());
        new
    }
}
