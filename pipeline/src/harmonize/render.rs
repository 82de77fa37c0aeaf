//! Output as JSON: the record with its concepts written into it, or a row a mention.

use std::sync::Arc;

use super::answer::{Answer, Outcome};
use super::extract::{Found, Mention, Place};
use super::mentions::Said;
use super::plan::Plan;

/// Which index and model made an output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made<'a> {
    pub(crate) index_version: &'a str,
    pub(crate) model_id: &'a str,
}

/// A record whose mentions are answered.
pub(crate) struct Answered<'a> {
    pub(crate) record: &'a str,
    pub(crate) found: &'a Found,
    /// One a mention.
    pub(crate) answers: &'a [Arc<Answer>],
}

impl Answered<'_> {
    /// Appends the record with its concepts. What the record says stays byte for byte; concepts are members beside the
    /// texts they were found in, lists beside lists, and codings of CodeableConcepts; `generel` says who made them.
    pub(crate) fn enriched(&self, plan: &Plan, made: Option<Made<'_>>, out: &mut Vec<u8>) {
        let Some((end, has_members)) = self.found.root else { return self.wrapped(plan, made, out) };
        let mut pieces: Vec<(u32, Vec<u8>)> = Vec::with_capacity(self.answers.len() + 1);
        for (mention, answer) in self.found.mentions.iter().zip(self.answers) {
            let field = &plan.fields[mention.field];
            match mention.place {
                Place::After(at) if answer.outcome != Outcome::Absent => {
                    let piece = match field.codeable {
                        true => [b",\"coding\":[" as &[u8], coding(answer).as_bytes(), b"]"].concat(),
                        false => member(&field.into, &answer.json),
                    };
                    if !field.codeable || answer.object_id.is_some() {
                        pieces.push((at, piece));
                    }
                }
                Place::Last(at, empty) if answer.object_id.is_some() => {
                    let comma = if empty { "" } else { "," };
                    pieces.push((at, [comma, &coding(answer)].concat().into_bytes()));
                }
                _ => {}
            }
        }
        for list in &self.found.lists {
            let answers = &self.answers[list.mentions.clone()];
            let of_field = self.found.mentions[list.mentions.clone()].iter().zip(answers);
            let of_field = of_field.filter(|(mention, _)| mention.field == list.field);
            let json: Vec<&str> = of_field.map(|(_, answer)| or_null(answer)).collect();
            let all = format!("[{}]", json.join(","));
            pieces.push((list.end, member(&plan.fields[list.field].into, &all)));
        }
        if let Some(made) = made {
            let comma = if has_members { "," } else { "" };
            pieces.push((end, [comma, "\"generel\":", &json(made)].concat().into_bytes()));
        }
        pieces.sort_by_key(|(at, _)| *at);
        let mut from = 0;
        for (at, piece) in pieces {
            out.extend_from_slice(&self.record.as_bytes()[from..at as usize]);
            out.extend_from_slice(&piece);
            from = at as usize;
        }
        out.extend_from_slice(&self.record.as_bytes()[from..]);
    }

    /// A record that is no object, as a member of one.
    fn wrapped(&self, plan: &Plan, made: Option<Made<'_>>, out: &mut Vec<u8>) {
        let Some(made) = made else { return out.extend_from_slice(self.record.as_bytes()) };
        out.extend_from_slice(b"{\"value\":");
        out.extend_from_slice(self.record.trim().as_bytes());
        for (number, field) in plan.fields.iter().enumerate() {
            let of_field = self.found.mentions.iter().zip(self.answers).filter(|(m, _)| m.field == number);
            let json: Vec<&str> = of_field.map(|(_, answer)| or_null(answer)).collect();
            match json.as_slice() {
                [] => {}
                [one] if !self.found.lists.iter().any(|l| l.field == number) => {
                    out.extend_from_slice(&member(&field.into, one));
                }
                all => out.extend_from_slice(&member(&field.into, &format!("[{}]", all.join(",")))),
            }
        }
        out.extend_from_slice(b",\"generel\":");
        out.extend_from_slice(json(made).as_bytes());
        out.push(b'}');
    }
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

fn member(name: &str, json: &str) -> Vec<u8> {
    [",", name, ":", json].concat().into_bytes()
}

/// A FHIR Coding: the ontology's IRI where its prefix is known.
fn coding(answer: &Answer) -> String {
    let curie = answer.object_id.as_deref().unwrap_or_default();
    let prefix = curie.split(':').next().unwrap_or_default();
    let system =
        generel_schemas::ids::known(prefix).map_or_else(|| format!("urn:generel:{prefix}"), |p| p.uri.to_string());
    serde_json::json!({"system": system, "code": curie, "display": answer.object_label, "userSelected": false})
        .to_string()
}

fn json(made: Made<'_>) -> String {
    serde_json::json!({"index_version": made.index_version, "model_id": made.model_id}).to_string()
}

/// The places of a field are counted from 0.
pub(crate) fn positions(mentions: &[Mention], fields: usize) -> Vec<i32> {
    let mut next = vec![0; fields];
    mentions
        .iter()
        .map(|mention| {
            let position = next[mention.field];
            next[mention.field] += 1;
            position
        })
        .collect()
}
