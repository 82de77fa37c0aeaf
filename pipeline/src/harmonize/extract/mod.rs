//! What a record says: one pass over its JSON finds the values at the fields' paths and where they stand, and skips the
//! rest. No Kafka, no model, no I/O.

mod found;
mod json;
mod places;

use std::borrow::Cow;
use std::ops::Range;

use smallvec::{SmallVec, smallvec};

use super::reject::{Reason, Rejected};
pub(crate) use found::{Coding, Found, List, Mention, Place, Text};
use json::{Kind, Malformed, Scanner, TOO_DEEP};
use places::{Capture, Node, Part};
pub(crate) use places::{Extractor, FieldPaths};

impl Extractor {
    /// What a record says.
    ///
    /// # Errors
    /// Where it is no JSON, nested too deeply, or a field's value has the wrong type.
    pub(crate) fn extract(&self, record: &str) -> Result<Found, Rejected> {
        let mut pass = Pass {
            nodes: &self.nodes,
            json: Scanner::new(record),
            found: Found {
                carried: smallvec![None; self.carried],
                vocabularies: smallvec![None; self.fields],
                ..Found::default()
            },
            current: smallvec![None; self.fields],
        };
        let kind = pass.json.peek()?;
        pass.value(&[0], kind)?;
        if kind == Kind::Object {
            let end = pass.json.at() - 1;
            let before = record.as_bytes()[..end].iter().rev().find(|b| !b.is_ascii_whitespace());
            pass.found.root = Some((end as u32, before != Some(&b'{')));
        }
        pass.json.finish()?;
        Ok(pass.found)
    }
}

/// One pass over a record.
struct Pass<'a> {
    nodes: &'a [Node],
    json: Scanner<'a>,
    found: Found,
    /// The mention that each field's parts belong to.
    current: SmallVec<[Option<usize>; 4]>,
}

impl Pass<'_> {
    /// Reads a value that paths lead to. As deep as the paths are; what is below is skipped.
    fn value(&mut self, at: &[usize], kind: Kind) -> Result<(), Rejected> {
        let nodes = self.nodes;
        if kind == Kind::Object && at.iter().all(|node| nodes[*node].captures.is_empty()) {
            return self.object(at);
        }
        let lists_before = self.found.lists.len();
        for capture in at.iter().flat_map(|node| &nodes[*node].captures) {
            match *capture {
                Capture::Mention(field) => {
                    self.current[field] = Some(self.found.mentions.len());
                    self.found.mentions.push(Mention { field, ..Mention::default() });
                }
                Capture::Coding(field) => self.mention(field).codings.push(Coding::default()),
                Capture::List(field) if kind == Kind::Array => {
                    let mentions = self.found.mentions.len()..self.found.mentions.len();
                    self.found.lists.push(List { field, mentions, end: 0 });
                }
                _ => {}
            }
        }
        let start = self.json.at();
        match kind {
            Kind::Object => self.object(at)?,
            Kind::Array => self.array(at)?,
            Kind::Text => self.text(at)?,
            _ => {
                self.json.skip(kind)?;
                self.scalar(at, start..self.json.at(), kind)?;
            }
        }
        let end = self.json.at() as u32;
        if matches!(kind, Kind::Object | Kind::Array) {
            self.close(at, start, end, kind)?;
        }
        for list in &mut self.found.lists[lists_before..] {
            if list.end == 0 && at.iter().any(|n| nodes[*n].captures.contains(&Capture::List(list.field))) {
                (list.mentions.end, list.end) = (self.found.mentions.len(), end);
            }
        }
        Ok(())
    }

    /// What there is to do after an object or list.
    fn close(&mut self, at: &[usize], start: usize, end: u32, kind: Kind) -> Result<(), Rejected> {
        let nodes = self.nodes;
        for capture in at.iter().flat_map(|node| &nodes[*node].captures) {
            match *capture {
                Capture::Part(..) => {
                    let kind = if kind == Kind::Array { "a list" } else { "an object" };
                    return Err(wrong_type(start, kind));
                }
                Capture::Codings(field) if kind == Kind::Array => {
                    let empty = self.mention(field).codings.is_empty();
                    self.mention(field).place = Place::Last(end - 1, empty);
                }
                Capture::Carried(column) => {
                    self.found.carried[column] = Some(Text::Span(start as u32..end));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether paths lead on from here.
    fn goes_on(&self, at: &[usize]) -> bool {
        at.iter().any(|node| {
            let node = &self.nodes[*node];
            node.every.is_some() || !node.members.is_empty() || !node.elements.is_empty()
        })
    }

    fn object(&mut self, at: &[usize]) -> Result<(), Rejected> {
        if !self.goes_on(at) {
            return Ok(self.json.skip(Kind::Object)?);
        }
        let nodes = self.nodes;
        // Most paths name one member after another: what there is to find is found at once.
        if let [only] = at
            && nodes[*only].every.is_none()
        {
            let mut key = self.json.first_key()?;
            while let Some(name) = key {
                let kind = self.json.peek()?;
                match nodes[*only].members.iter().find(|(member, _)| *member == *name) {
                    Some((_, child)) => self.value(&[*child], kind)?,
                    None => self.json.skip(kind)?,
                }
                key = self.json.next_key()?;
            }
            return Ok(());
        }
        let mut next = [0usize; MOST_PATHS];
        let find = |key: &str, next: &mut [usize; MOST_PATHS]| {
            let mut count = 0;
            for node in at.iter().map(|n| &nodes[*n]) {
                let member = node.members.iter().find(|(name, _)| name == key).map(|(_, child)| *child);
                for child in member.into_iter().chain(node.every) {
                    if count < MOST_PATHS {
                        next[count] = child;
                        count += 1;
                    }
                }
            }
            count
        };
        let mut key = self.json.first_key()?;
        while let Some(name) = key {
            let kind = self.json.peek()?;
            match find(&name, &mut next) {
                0 => self.json.skip(kind)?,
                some => self.value(&next[..some], kind)?,
            }
            key = self.json.next_key()?;
        }
        Ok(())
    }

    fn array(&mut self, at: &[usize]) -> Result<(), Rejected> {
        if !self.goes_on(at) {
            return Ok(self.json.skip(Kind::Array)?);
        }
        let nodes = self.nodes;
        let mut element = self.json.first_element()?;
        let mut place = 0;
        while let Some(kind) = element {
            let mut next = [0usize; MOST_PATHS];
            let mut count = 0;
            for node in at.iter().map(|n| &nodes[*n]) {
                let one = node.elements.iter().find(|(p, _)| *p == place).map(|(_, child)| *child);
                for child in one.into_iter().chain(node.every) {
                    if count < MOST_PATHS {
                        next[count] = child;
                        count += 1;
                    }
                }
            }
            match count {
                0 => self.json.skip(kind)?,
                _ => self.value(&next[..count], kind)?,
            }
            place += 1;
            element = self.json.next_element()?;
        }
        Ok(())
    }

    fn text(&mut self, at: &[usize]) -> Result<(), Rejected> {
        let text = match self.json.text()? {
            (Cow::Borrowed(_), span) => Text::Span(span.start as u32..span.end as u32),
            (Cow::Owned(text), _) => Text::Owned(text.into()),
        };
        self.keep(at, text);
        Ok(())
    }

    /// A number stands for itself, for codes are often written so; null is nothing.
    fn scalar(&mut self, at: &[usize], span: Range<usize>, kind: Kind) -> Result<(), Rejected> {
        let nodes = self.nodes;
        if kind == Kind::Null {
            return Ok(());
        }
        let is_text = |c: &Capture| matches!(c, Capture::Part(_, Part::Text | Part::Display, _));
        let is_part = |c: &Capture| matches!(c, Capture::Part(..));
        let mut captures = at.iter().flat_map(|node| &nodes[*node].captures);
        let wrong = if kind == Kind::Number { captures.any(is_text) } else { captures.any(is_part) };
        if wrong {
            return Err(wrong_type(span.start, if kind == Kind::Number { "a number" } else { "a boolean" }));
        }
        self.keep(at, Text::Span(span.start as u32..span.end as u32));
        Ok(())
    }

    fn keep(&mut self, at: &[usize], text: Text) {
        let nodes = self.nodes;
        let end = self.json.at() as u32;
        for capture in at.iter().flat_map(|node| &nodes[*node].captures) {
            match *capture {
                Capture::Carried(column) => self.found.carried[column] = Some(text.clone()),
                Capture::Vocabulary(field) => self.found.vocabularies[field] = Some(text.clone()),
                Capture::Part(field, part, anchors) => {
                    let listed = self.found.lists.last().is_some_and(|l| l.field == field && l.end == 0);
                    let mention = self.mention(field);
                    let coding = |mention: &mut Mention| {
                        if mention.codings.is_empty() {
                            mention.codings.push(Coding::default());
                        }
                        mention.codings.len() - 1
                    };
                    match part {
                        Part::Text => mention.text = Some(text.clone()),
                        Part::Code => {
                            let i = coding(mention);
                            mention.codings[i].code = Some(text.clone());
                        }
                        Part::Vocabulary => {
                            let i = coding(mention);
                            mention.codings[i].vocabulary = Some(text.clone());
                        }
                        Part::Display => {
                            let i = coding(mention);
                            mention.codings[i].display = Some(text.clone());
                        }
                    }
                    // After the text, else after the code.
                    match (part, mention.place) {
                        (Part::Text, Place::None | Place::After(_)) if anchors => mention.place = Place::After(end),
                        (Part::Code, Place::None) if anchors => mention.place = Place::After(end),
                        (_, Place::None) if listed => mention.place = Place::Listed,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }

    fn mention(&mut self, field: usize) -> &mut Mention {
        let number = match self.current[field] {
            Some(number) => number,
            None => {
                let number = self.found.mentions.len();
                self.found.mentions.push(Mention { field, ..Mention::default() });
                self.current[field] = Some(number);
                number
            }
        };
        &mut self.found.mentions[number]
    }
}

/// Paths that can go through one place.
const MOST_PATHS: usize = 16;

impl From<Malformed> for Rejected {
    fn from(malformed: Malformed) -> Self {
        let reason = if malformed.what == TOO_DEEP { Reason::TooDeep } else { Reason::InvalidJson };
        Self::new(reason, format!("{} at byte {}", malformed.what, malformed.at))
    }
}

fn wrong_type(at: usize, found: &str) -> Rejected {
    Rejected::new(Reason::WrongType, format!("expected a text at byte {at}, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::super::path::FieldPath;
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> Option<FieldPath> {
        (!text.is_empty()).then(|| text.parse().unwrap())
    }

    fn field(text: &str, code: &str, vocabulary: &str) -> FieldPaths {
        FieldPaths { text: path(text), code: path(code), vocabulary: path(vocabulary), display: None, codeable: false }
    }

    fn said(record: &str, fields: &[FieldPaths]) -> Vec<(usize, String, String)> {
        let found = Extractor::new(fields, &[]).unwrap().extract(record).unwrap();
        let text = |t: &Option<Text>| t.as_ref().map_or("-".to_string(), |t| t.of(record).to_string());
        let codes = |m: &Mention| {
            m.codings.iter().map(|c| format!("{}:{}", text(&c.vocabulary), text(&c.code))).collect::<Vec<_>>().join(" ")
        };
        found.mentions.iter().map(|m| (m.field, text(&m.text), codes(m))).collect()
    }

    #[test]
    fn texts_and_codes_are_found_wherever_they_stand() {
        let record = r#"{"id":7,"dx":{"text":"heart \"attack\"","code":410,"sys":"icd9cm"},"x":[{"a":[1,{"b":2}]}],
            "tags":["flu",null,"cold"],"meds":[{"name":"aspirin"},{"other":1},{"name":"ibuprofen","rx":"5640"}]}"#;
        assert_eq!(
            said(
                record,
                &[
                    field("$.dx.text", "$.dx.code", "$.dx.sys"),
                    field("$.tags[*]", "", ""),
                    field("$.meds[*].name", "$.meds[*].rx", "")
                ]
            ),
            [
                (0, "heart \"attack\"".into(), "icd9cm:410".into()),
                (1, "flu".into(), String::new()),
                (1, "-".into(), String::new()),
                (1, "cold".into(), String::new()),
                (2, "aspirin".into(), String::new()),
                (2, "-".into(), String::new()),
                (2, "ibuprofen".into(), "-:5640".into()),
            ]
        );
        assert_eq!(said(r#"["a","b"]"#, &[field("$[1]", "", "")]), [(0, "b".into(), String::new())]);
        assert_eq!(said(r#""a""#, &[field("$", "", "")]), [(0, "a".into(), String::new())]);
    }

    #[test]
    fn records_that_cannot_be_read_say_why() {
        let fields = [field("$.a", "$.c", "")];
        let extractor = Extractor::new(&fields, &[]).unwrap();
        let deep = format!("{{\"x\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        for (record, reason) in [
            (r#"{"a":"#, Reason::InvalidJson),
            (r#"{"a":"x"} {"#, Reason::InvalidJson),
            ("", Reason::InvalidJson),
            (r#"{"a":5}"#, Reason::WrongType),
            (r#"{"a":{"b":"x"}}"#, Reason::WrongType),
            (r#"{"a":["x"]}"#, Reason::WrongType),
            (r#"{"c":true}"#, Reason::WrongType),
            (&deep, Reason::TooDeep),
        ] {
            assert_eq!(extractor.extract(record).unwrap_err().reason, reason, "{record:.20}");
        }
        assert!(extractor.extract(r#"{"a":null,"c":12}"#).is_ok());
    }

    #[test]
    fn paths_that_repeat_apart_are_refused() {
        assert!(Extractor::new(&[field("$.a[*].t", "$.b[*].c", "")], &[]).unwrap_err().contains("one list"));
        assert!(Extractor::new(&[field("$.a[*].t", "$.a[*].c", "$.system")], &[]).is_ok());
    }

    proptest! {
        #[test]
        fn never_panics_and_agrees_with_serde_json(record in "\\PC{0,40}|[\\[\\]{}:,\"a0 ]{0,30}") {
            let extractor = Extractor::new(&[field("$.a[*].b", "$.a[*].c", "")], &["$.a".parse().unwrap()]).unwrap();
            let ours = extractor.extract(&record);
            let known = serde_json::from_str::<serde_json::Value>(&record);
            if known.is_err() {
                prop_assert!(ours.is_err());
            }
        }

        #[test]
        fn finds_what_serde_json_finds(texts in proptest::collection::vec("\\PC{0,12}", 0..5), extra in "\\PC{0,9}") {
            let list: Vec<_> = texts.iter().map(|t| serde_json::json!({"k": extra, "t": t})).collect();
            let record = serde_json::json!({"z": extra, "l": list}).to_string();
            let found: Vec<_> = said(&record, &[field("$.l[*].t", "", "")]).into_iter().map(|(_, t, _)| t).collect();
            prop_assert_eq!(found, texts);
        }
    }
}
