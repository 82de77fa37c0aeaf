//! From pairs of names to mappings between codes: the best pair of two codes counts, ranks and margins per subject,
//! mutual best, and the rows of `mappings`. Pure functions.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, RecordBatch, StringArray};
use chrono::NaiveDate;
use generel_schemas::sssom;
use generel_schemas::tables::MAPPINGS;

use super::names::Names;
use crate::{Result, VERSION};

/// A pair of similar names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) subject: usize,
    pub(super) object: usize,
    pub(super) subject_name: usize,
    pub(super) object_name: usize,
    /// Whether the two names are equal but for case and blanks.
    pub(super) lexical: bool,
    /// Cosine.
    pub(super) score: f32,
}

impl Candidate {
    /// Equal names before similar ones, then by score, then by the fixed order of names.
    fn better_than(&self, other: &Self) -> bool {
        (self.lexical, self.score).partial_cmp(&(other.lexical, other.score)) == Some(std::cmp::Ordering::Greater)
            || (self.lexical == other.lexical
                && self.score == other.score
                && (self.subject_name, self.object_name) < (other.subject_name, other.object_name))
    }
}

/// A mapping between two codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub(super) best: Candidate,
    /// 1 = the subject's best object.
    pub rank: i32,
    /// Score minus that of the subject's next object.
    pub margin: Option<f64>,
    /// Whether the subject is also the object's best.
    pub mutual: bool,
}

/// The best `k` objects of each subject. `backward` are the candidates of the opposite direction, for mutual best.
pub(super) fn select(forward: Vec<Candidate>, backward: &[Candidate], k: usize) -> Vec<Mapping> {
    let best_subject = best_of_each(backward);
    let mut pairs: HashMap<(usize, usize), Candidate> = HashMap::new();
    for candidate in forward {
        pairs
            .entry((candidate.subject, candidate.object))
            .and_modify(|held| {
                if candidate.better_than(held) {
                    *held = candidate;
                }
            })
            .or_insert(candidate);
    }
    let mut pairs: Vec<Candidate> = pairs.into_values().collect();
    pairs.sort_by(|a, b| {
        a.subject
            .cmp(&b.subject)
            .then_with(|| if a.better_than(b) { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater })
    });
    let mut mappings = Vec::with_capacity(pairs.len());
    for of_subject in pairs.chunk_by(|a, b| a.subject == b.subject) {
        for (i, best) in of_subject.iter().take(k).enumerate() {
            let next = of_subject.get(i + 1).map(|n| f64::from(best.score) - f64::from(n.score));
            let mutual = best_subject.get(&best.object).is_some_and(|s| s.object == best.subject);
            mappings.push(Mapping { best: *best, rank: i as i32 + 1, margin: next, mutual });
        }
    }
    mappings
}

/// For each subject of the candidates its best object.
fn best_of_each(candidates: &[Candidate]) -> HashMap<usize, Candidate> {
    let mut best: HashMap<usize, Candidate> = HashMap::new();
    for candidate in candidates {
        best.entry(candidate.subject)
            .and_modify(|held| {
                if candidate.better_than(held) {
                    *held = *candidate;
                }
            })
            .or_insert(*candidate);
    }
    best
}

/// Mappings as rows of the `mappings` table.
pub(super) fn batch(
    mappings: &[Mapping],
    left: &Names,
    right: &Names,
    [subject_source, object_source]: [&str; 2],
    model_id: &str,
    alignment_id: &str,
    date: NaiveDate,
) -> Result<RecordBatch> {
    let text = |f: &dyn Fn(&Mapping) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(mappings.iter().map(f)))
    };
    let constant = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; mappings.len()])) };
    let days = date.signed_duration_since(NaiveDate::default()).num_days() as i32;
    let columns: Vec<ArrayRef> = vec![
        text(&|m| left.curie(m.best.subject).to_string()),
        text(&|m| left.label(m.best.subject).to_string()),
        constant(subject_source),
        text(&|m| left.name(m.best.subject_name).name.clone()),
        text(&|m| left.name(m.best.subject_name).match_field().to_string()),
        text(&|m| predicate(m).to_string()),
        text(&|m| right.curie(m.best.object).to_string()),
        text(&|m| right.label(m.best.object).to_string()),
        constant(object_source),
        text(&|m| right.name(m.best.object_name).name.clone()),
        text(&|m| right.name(m.best.object_name).match_field().to_string()),
        text(&|m| justification(m).to_string()),
        // No calibration yet: a number here would claim to be a probability.
        Arc::new(Float64Array::from(vec![None; mappings.len()])),
        Arc::new(Float64Array::from_iter_values(mappings.iter().map(|m| f64::from(m.best.score).clamp(0.0, 1.0)))),
        constant(sssom::COSINE),
        constant("generel"),
        constant(VERSION),
        Arc::new(Date32Array::from(vec![days; mappings.len()])),
        Arc::new(Int32Array::from_iter_values(mappings.iter().map(|m| m.rank))),
        Arc::new(mappings.iter().map(|m| m.margin).collect::<Float64Array>()),
        Arc::new(BooleanArray::from_iter(mappings.iter().map(|m| Some(m.mutual)))),
        constant(model_id),
        constant(alignment_id),
    ];
    Ok(RecordBatch::try_new(MAPPINGS.schema(), columns)?)
}

/// Equal names of the best object are an exact match; similarity alone claims less.
fn predicate(mapping: &Mapping) -> &'static str {
    if mapping.best.lexical && mapping.rank == 1 { sssom::EXACT_MATCH } else { sssom::CLOSE_MATCH }
}

fn justification(mapping: &Mapping) -> &'static str {
    if mapping.best.lexical { sssom::LEXICAL_MATCHING } else { sssom::SEMANTIC_SIMILARITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(subject: usize, object: usize, score: f32) -> Candidate {
        Candidate { subject, object, subject_name: subject, object_name: object, lexical: false, score }
    }

    #[test]
    fn best_pair_of_names_counts_and_margins_are_to_the_next_object() {
        let mut better = candidate(0, 1, 0.9);
        better.object_name = 7;
        let mappings = select(vec![candidate(0, 1, 0.8), better, candidate(0, 2, 0.85), candidate(0, 3, 0.1)], &[], 2);
        assert_eq!(mappings.len(), 2);
        assert_eq!((mappings[0].best, mappings[0].rank), (better, 1));
        assert!((mappings[0].margin.unwrap() - 0.05).abs() < 1e-6);
        assert!((mappings[1].margin.unwrap() - 0.75).abs() < 1e-6);
    }

    #[test]
    fn equal_names_win_over_higher_scores() {
        let equal = Candidate { lexical: true, ..candidate(0, 5, 0.97) };
        let mappings = select(vec![candidate(0, 4, 0.99), equal], &[], 5);
        assert_eq!(mappings[0].best, equal);
        assert_eq!(
            (predicate(&mappings[0]), justification(&mappings[0])),
            ("skos:exactMatch", "semapv:LexicalMatching")
        );
        assert_eq!(predicate(&mappings[1]), "skos:closeMatch");
    }

    #[test]
    fn mutual_needs_both_directions() {
        let mappings =
            select(vec![candidate(0, 9, 0.9), candidate(1, 9, 0.8)], &[candidate(9, 0, 0.9), candidate(9, 1, 0.8)], 1);
        assert_eq!(mappings.iter().map(|m| m.mutual).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn ties_fall_by_the_order_of_names() {
        let mappings = select(vec![candidate(0, 4, 0.9), candidate(0, 3, 0.9)], &[], 2);
        assert_eq!(mappings.iter().map(|m| m.best.object).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn rows_have_the_tables_schema() {
        let left = Names::of(&[("X:1", &["Flu"])]);
        let right = Names::of(&[("Y:1", &["influenza", "flu"])]);
        let best = Candidate { subject: 0, object: 0, subject_name: 0, object_name: 1, lexical: true, score: 1.0 };
        let mapping = Mapping { best, rank: 1, margin: None, mutual: true };
        let date = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
        let batch = batch(&[mapping], &left, &right, ["a", "b"], "m", "al", date).unwrap();
        assert_eq!(batch.num_rows(), 1);
        assert_eq!(batch.schema(), MAPPINGS.schema());
    }
}
