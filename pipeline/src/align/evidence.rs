//! The evidence for pairs of codes: every pair of similar names, weighed, and what the codes say together. Pure functions.

use std::collections::{HashMap, HashSet};

use super::confidence::{self, Confidence, OF_CODES, OF_NAMES, PARENTS_ALIGN, PARENTS_DIFFER};
use super::lexical::LexicalEvidence;

/// A pair of similar names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NamePair {
    pub(super) subject: usize,
    pub(super) object: usize,
    pub(super) subject_name: usize,
    pub(super) object_name: usize,
    pub(super) cosine: f32,
    pub(super) both_labels: bool,
    pub(super) lexical: LexicalEvidence,
}

impl NamePair {
    pub(super) fn features(&self) -> [f64; OF_NAMES.len()] {
        confidence::of_names(self.cosine, &self.lexical, self.both_labels)
    }
}

/// Two codes by their best pair of names.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    pub(super) best: NamePair,
    /// What ranks the subject's objects and the object's subjects: see [`Confidence::rank_score`].
    pub(super) score: f64,
    /// How far the subject's next object and the object's next subject are behind.
    pub(super) margins: [f64; 2],
    /// Whether parents align, and whether they differ.
    pub(super) parents: [bool; 2],
    /// Probability that the codes mean the same, 0 to 1.
    pub confidence: f64,
}

impl Pair {
    /// Whether each is the other's best.
    pub(super) fn is_mutual(&self) -> bool {
        self.margins[0] >= 0.0 && self.margins[1] >= 0.0
    }

    fn features(&self) -> [f64; OF_CODES.len()] {
        let mut all = confidence::of_codes(self.score, self.margins, &self.best.features());
        all[PARENTS_ALIGN] = f64::from(u8::from(self.parents[0]));
        all[PARENTS_DIFFER] = f64::from(u8::from(self.parents[1]));
        all
    }
}

/// Parents of the codes of a source.
#[derive(Debug, Default)]
pub(super) struct Parents {
    of: HashMap<usize, Vec<usize>>,
}

impl Parents {
    pub(super) fn add(&mut self, child: usize, parent: usize) {
        self.of.entry(child).or_default().push(parent);
    }

    /// Parents and theirs, so many levels up.
    fn above(&self, code: usize, levels: usize) -> HashSet<usize> {
        let mut all = HashSet::new();
        let mut front = vec![code];
        for _ in 0..levels {
            front = front.iter().filter_map(|c| self.of.get(c)).flatten().copied().filter(|p| all.insert(*p)).collect();
        }
        all.remove(&code);
        all
    }
}

/// Levels of parents whose best objects are looked at, and of their objects' ancestors that are accepted.
const LEVELS: usize = 2;
/// Margin from which on a mapping of a parent is trusted.
const SURE: f64 = 1.0;
const OBJECT_LEVELS: usize = 4;

/// Pairs of codes from pairs of names: the best pair of names of each counts. Sorted by subject, the best object first.
pub(super) fn weigh(names: &[NamePair], weights: &Confidence, parents: Option<(&Parents, &Parents)>) -> Vec<Pair> {
    let mut pairs = best_names(names, weights);
    set_margins(&mut pairs);
    if let Some((left, right)) = parents {
        set_parents(&mut pairs, left, right);
    }
    for pair in &mut pairs {
        pair.confidence = weights.probability(&pair.features());
    }
    pairs.sort_by(|a, b| {
        a.best
            .subject
            .cmp(&b.best.subject)
            .then(b.confidence.total_cmp(&a.confidence))
            .then_with(|| tie(&a.best, &b.best))
    });
    pairs
}

/// Equals fall by the order of names.
fn tie(a: &NamePair, b: &NamePair) -> std::cmp::Ordering {
    (a.subject_name, a.object_name).cmp(&(b.subject_name, b.object_name))
}

fn best_names(names: &[NamePair], weights: &Confidence) -> Vec<Pair> {
    let mut best: HashMap<(usize, usize), Pair> = HashMap::new();
    for name in names {
        let score = weights.rank_score(&name.features());
        let pair = Pair { best: *name, score, margins: [0.0; 2], parents: [false; 2], confidence: 0.0 };
        best.entry((name.subject, name.object))
            .and_modify(|held| {
                let better = score > held.score || score == held.score && tie(name, &held.best).is_lt();
                if better {
                    *held = pair.clone();
                }
            })
            .or_insert(pair);
    }
    let mut pairs: Vec<Pair> = best.into_values().collect();
    pairs.sort_by_key(|p| (p.best.subject, p.best.object));
    pairs
}

/// How far the next object of the subject, and the next subject of the object, is behind.
fn set_margins(pairs: &mut [Pair]) {
    for (side, of) in
        [(0, |p: &Pair| p.best.subject), (1, |p: &Pair| p.best.object)] as [(usize, fn(&Pair) -> usize); 2]
    {
        // The two best of each code.
        let mut two: HashMap<usize, (f64, Option<f64>)> = HashMap::new();
        for pair in pairs.iter() {
            two.entry(of(pair))
                .and_modify(|(first, second)| {
                    if pair.score > *first {
                        (*first, *second) = (pair.score, Some(*first));
                    } else if second.is_none_or(|s| pair.score > s) {
                        *second = Some(pair.score);
                    }
                })
                .or_insert((pair.score, None));
        }
        for pair in pairs.iter_mut() {
            let (first, second) = two[&of(pair)];
            let next = if pair.score >= first { second } else { Some(first) };
            pair.margins[side] = confidence::margin(pair.score, next);
        }
    }
}

/// Whether what is above the subject is mapped to what is above the object, or elsewhere.
fn set_parents(pairs: &mut [Pair], left: &Parents, right: &Parents) {
    // The sure objects of the subjects: far above the others, on either side.
    let is_sure = |p: &&Pair| p.margins.iter().all(|m| *m >= SURE);
    let sure: HashMap<usize, usize> = pairs.iter().filter(is_sure).map(|p| (p.best.subject, p.best.object)).collect();
    let mut above_objects: HashMap<usize, HashSet<usize>> = HashMap::new();
    for of_subject in pairs.chunk_by_mut(|a, b| a.best.subject == b.best.subject) {
        let above = left.above(of_subject[0].best.subject, LEVELS);
        let mapped: Vec<usize> = above.iter().filter_map(|p| sure.get(p)).copied().collect();
        for pair in of_subject {
            let object = pair.best.object;
            let above = above_objects.entry(object).or_insert_with(|| right.above(object, OBJECT_LEVELS));
            if mapped.is_empty() || above.is_empty() {
                continue;
            }
            let aligns = mapped.iter().any(|o| above.contains(o));
            pair.parents = [aligns, !aligns];
        }
    }
}

/// An alignment that the weights are fitted on.
pub(super) struct Example<'a> {
    pub(super) names: &'a [NamePair],
    pub(super) parents: Option<(&'a Parents, &'a Parents)>,
    /// Says of a subject and an object whether they are the same; nothing, of a subject of which nothing is known.
    pub(super) is_right: &'a dyn Fn(usize, usize) -> Option<bool>,
}

/// Fits the weights on alignments.
pub(super) fn fit(examples: &[Example], start: &Confidence) -> Confidence {
    let mut weights = start.clone();
    // Which names speak for a pair depends on the weights: twice is enough.
    for _ in 0..2 {
        let groups: Vec<_> = examples.iter().flat_map(|e| groups(e, &weights)).collect();
        weights.names = confidence::fit_ranking(&groups);
    }
    let mut known = Vec::new();
    for Example { names, parents, is_right } in examples {
        let pairs = weigh(names, &weights, *parents);
        known.extend(pairs.iter().filter_map(|p| Some((p.features(), is_right(p.best.subject, p.best.object)?))));
    }
    weights.examples = (known.iter().filter(|(_, right)| *right).count() as u64, known.len() as u64);
    weights.codes = confidence::fit(&known);
    weights
}

/// The objects of each subject of which something is known.
fn groups(example: &Example, weights: &Confidence) -> Vec<Vec<([f64; OF_NAMES.len()], bool)>> {
    let pairs = best_names(example.names, weights);
    let of_subjects = pairs.chunk_by(|a, b| a.best.subject == b.best.subject);
    let known = of_subjects.map(|pairs| {
        let is_right = |p: &Pair| (example.is_right)(p.best.subject, p.best.object);
        pairs.iter().filter_map(|p| Some((p.best.features(), is_right(p)?))).collect::<Vec<_>>()
    });
    known.filter(|group| !group.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rank score is ten times the cosine.
    fn weights() -> Confidence {
        let mut names = vec![0.0; OF_NAMES.len()];
        names[0] = 10.0;
        let mut codes = vec![0.0; OF_CODES.len()];
        (codes[1], codes[2], codes[PARENTS_ALIGN]) = (1.0, 1.0, 1.0);
        Confidence { model_id: "m".into(), fitted_on: "nothing".into(), examples: (0, 0), names, codes }
    }

    fn pair(subject: usize, object: usize, cosine: f32) -> NamePair {
        NamePair {
            subject,
            object,
            subject_name: subject,
            object_name: object,
            cosine,
            both_labels: false,
            lexical: LexicalEvidence::default(),
        }
    }

    #[test]
    fn the_best_pair_of_names_counts_and_margins_are_to_the_next_code() {
        let better = NamePair { object_name: 7, ..pair(0, 1, 0.9) };
        let pairs = weigh(&[pair(0, 1, 0.7), better, pair(0, 2, 0.8), pair(3, 1, 0.5)], &weights(), None);
        assert_eq!(pairs.iter().map(|p| (p.best.subject, p.best.object)).collect::<Vec<_>>(), [(0, 1), (0, 2), (3, 1)]);
        assert_eq!(pairs[0].best, better);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-5;
        assert!(near(pairs[0].margins[0], 1.0) && near(pairs[0].margins[1], 4.0), "{:?}", pairs[0]);
        assert!(near(pairs[1].margins[0], -1.0) && near(pairs[1].margins[1], 4.0));
        assert!(pairs[0].is_mutual() && !pairs[1].is_mutual() && !pairs[2].is_mutual());
    }

    #[test]
    fn ties_fall_by_the_order_of_names_and_have_no_margin() {
        let pairs = weigh(&[pair(0, 2, 0.5), pair(0, 1, 0.5)], &weights(), None);
        assert_eq!(pairs.iter().map(|p| p.best.object).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(pairs[0].margins[0], 0.0);
    }

    #[test]
    fn parents_speak_for_their_children() {
        let (mut left, mut right) = (Parents::default(), Parents::default());
        left.add(0, 10);
        right.add(1, 20);
        right.add(20, 11);
        right.add(2, 12);
        let names = [pair(0, 1, 0.5), pair(0, 2, 0.5), pair(0, 3, 0.5), pair(10, 11, 0.9)];
        let pairs = weigh(&names, &weights(), Some((&left, &right)));
        let of = |object: usize| pairs.iter().find(|p| p.best.object == object).unwrap().parents;
        assert_eq!(of(1), [true, false]);
        assert_eq!(of(2), [false, true]);
        // What has no parents says nothing.
        assert_eq!(of(3), [false, false]);
        assert_eq!(pairs[0].best.object, 1);
    }

    #[test]
    fn a_fit_learns_what_tells_right_from_wrong() {
        let names: Vec<NamePair> = (0..200).flat_map(|s| [pair(s, s, 0.9), pair(s, s + 1000, 0.4)]).collect();
        let is_right = |s, o| (s < 100).then_some(s == o);
        let fitted = fit(&[Example { names: &names, parents: None, is_right: &is_right }], &weights());
        assert_eq!(fitted.examples, (100, 200));
        let pairs = weigh(&names, &fitted, None);
        for pair in pairs {
            assert_eq!(pair.confidence > 0.5, pair.best.subject == pair.best.object);
        }
    }
}
