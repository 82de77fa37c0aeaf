//! Output as JSON: the record with its concepts written into it, or a row a mention.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::answer::{Answer, Outcome};
use super::extract::{Found, List, Mention, Place};
use super::mentions::Said;
use super::plan::Plan;

/// Bytes of a concept's member beside its value.
const MEMBER_BYTES: usize = 32;

/// Which index and model made an output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made<'a> {
    pub(crate) index_version: &'a str,
    pub(crate) model_id: &'a str,
    /// The two as the member `generel` of an enriched record.
    pub(crate) member: &'a str,
}

/// The member of enriched records that says who made them.
pub(crate) fn made_member(index_version: &str, model_id: &str) -> String {
    format!("\"generel\":{}", serde_json::json!({"index_version": index_version, "model_id": model_id}))
}

/// A record whose mentions are answered.
pub(crate) struct Answered<'a> {
    pub(crate) record: &'a str,
    pub(crate) found: &'a Found,
    /// One a mention.
    pub(crate) answers: &'a [&'a Arc<Answer>],
}

/// What is written into a record at one place.
enum Piece<'a> {
    /// These, one after another.
    Parts([&'a str; 4]),
    /// The concepts of a list.
    List(&'a List),
}

impl Answered<'_> {
    /// The bytes of the record with its concepts, about.
    pub(crate) fn size(record: usize, answers: &[&Arc<Answer>]) -> usize {
        record + answers.iter().map(|answer| answer.json.len() + MEMBER_BYTES).sum::<usize>()
    }

    /// Tells the record with its concepts, part by part. What the record says stays byte for byte; concepts are members
    /// beside the texts they were found in, lists beside lists, and codings of CodeableConcepts; `made`, if given, is the
    /// member that says who made them.
    pub(crate) fn enriched(&self, plan: &Plan, made: Option<&str>, mut out: impl FnMut(&str)) {
        let Some((end, has_members)) = self.found.root else { return self.wrapped(plan, made, out) };
        let mut pieces: SmallVec<[(u32, Piece<'_>); 4]> = SmallVec::new();
        for (mention, answer) in self.found.mentions.iter().zip(self.answers) {
            let field = &plan.fields[mention.field];
            match mention.place {
                Place::After(at) if field.codeable && answer.object_id.is_some() => {
                    pieces.push((at, Piece::Parts([",\"coding\":[", answer.coding(), "]", ""])));
                }
                Place::After(at) if !field.codeable && answer.outcome != Outcome::Absent => {
                    pieces.push((at, Piece::Parts([",", &field.into, ":", &answer.json])));
                }
                Place::Last(at, empty) if answer.object_id.is_some() => {
                    pieces.push((at, Piece::Parts([if empty { "" } else { "," }, answer.coding(), "", ""])));
                }
                _ => {}
            }
        }
        pieces.extend(self.found.lists.iter().map(|list| (list.end, Piece::List(list))));
        if let Some(made) = made {
            pieces.push((end, Piece::Parts([if has_members { "," } else { "" }, made, "", ""])));
        }
        pieces.sort_by_key(|(at, _)| *at);
        let mut from = 0;
        for (at, piece) in pieces {
            out(&self.record[from..at as usize]);
            match piece {
                Piece::Parts(parts) => parts.into_iter().for_each(&mut out),
                Piece::List(list) => {
                    let answers = &self.answers[list.mentions.clone()];
                    let of_field = self.found.mentions[list.mentions.clone()].iter().zip(answers);
                    let of_field = of_field.filter(|(mention, _)| mention.field == list.field);
                    let answers: Vec<&str> = of_field.map(|(_, answer)| or_null(answer)).collect();
                    tell_list(&plan.fields[list.field].into, &answers, &mut out);
                }
            }
            from = at as usize;
        }
        out(&self.record[from..]);
    }

    /// A record that is no object, as a member of one; as it is where nothing was looked for.
    fn wrapped(&self, plan: &Plan, made: Option<&str>, mut out: impl FnMut(&str)) {
        if plan.fields.is_empty() {
            return out(self.record);
        }
        out("{\"value\":");
        out(self.record.trim());
        for (number, field) in plan.fields.iter().enumerate() {
            let of_field = self.found.mentions.iter().zip(self.answers).filter(|(m, _)| m.field == number);
            let json: Vec<&str> = of_field.map(|(_, answer)| or_null(answer)).collect();
            match json.as_slice() {
                [] => {}
                [one] if !self.found.lists.iter().any(|l| l.field == number) => {
                    [",", &field.into, ":", one].into_iter().for_each(&mut out);
                }
                all => tell_list(&field.into, all, &mut out),
            }
        }
        if let Some(made) = made {
            [",", made].into_iter().for_each(&mut out);
        }
        out("}");
    }
}

/// Tells a member that is a list.
fn tell_list(name: &str, answers: &[&str], out: impl FnMut(&str)) {
    [",", name, ":[", &answers.join(","), "]"].into_iter().for_each(out);
}

/// A row of a flat output: what a message says at one place, and what that means.
pub(crate) struct Row<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) line: Option<u32>,
    pub(crate) field: &'a str,
    /// The how-manieth place of the field.
    pub(crate) position: i32,
    pub(crate) said: &'a Said<'a>,
    pub(crate) answer: &'a Answer,
    pub(crate) carried: &'a [(&'a str, Option<&'a str>)],
    pub(crate) made: Made<'a>,
}

impl Row<'_> {
    /// Appends the row as a JSON object.
    pub(crate) fn json(&self, out: &mut Vec<u8>) {
        let text = |value: &str| serde_json::Value::from(value).to_string();
        let coding = self.said.codings.first();
        let mut members = format!(
            "{{\"kafka_topic\":{},\"kafka_partition\":{},\"kafka_offset\":{}",
            text(self.topic),
            self.partition,
            self.offset
        );
        let mut add = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                members.push_str(&format!(",{}:{}", text(name), text(value)));
            }
        };
        add("source_vocabulary", coding.and_then(|c| c.vocabulary));
        add("source_code", coding.and_then(|c| c.code));
        add("source_name", self.said.text.or(coding.and_then(|c| c.display)));
        for (name, value) in self.carried {
            add(name, *value);
        }
        add("field", Some(self.field));
        add("model_id", Some(self.made.model_id));
        add("index_version", Some(self.made.index_version));
        if let Some(line) = self.line {
            members.push_str(&format!(",\"line\":{line}"));
        }
        members.push_str(&format!(",\"position\":{},", self.position));
        out.extend_from_slice(members.as_bytes());
        // The answer's own members follow.
        out.extend_from_slice(&self.answer.json.as_bytes()[1..]);
    }
}

/// A list has an element for each of the record's, null where that says nothing.
fn or_null(answer: &Arc<Answer>) -> &str {
    if answer.outcome == Outcome::Absent { "null" } else { &answer.json }
}

/// The places of a field are counted from 0.
pub(crate) fn positions(mentions: &[Mention], fields: usize) -> impl Iterator<Item = i32> {
    let mut next: SmallVec<[i32; 4]> = smallvec![0; fields];
    mentions.iter().map(move |mention| {
        let position = next[mention.field];
        next[mention.field] += 1;
        position
    })
}
