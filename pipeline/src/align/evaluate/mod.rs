//! How good an alignment is, against mappings known to be right, and what each part of the evidence adds.
//!
//! Weights that are fitted are fitted on four fifths of the subjects and measured on the others, in turn.

mod metrics;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use generel_schemas::sssom;
use serde::{Deserialize, Serialize};

pub use metrics::{CurvePoint, Measure, Metrics, ReliabilityBin};

use super::confidence::Confidence;
use super::evidence::{self, Example, NamePair, Pair, Parents};
use super::mapping_file::read_mappings;
use super::{AlignOptions, Sides};
use crate::training::{self, key};
use crate::{Error, Result, Session};
use metrics::{Ranked, measure};

/// Parts of the subjects that are held out in turn.
const FOLDS: u64 = 5;
/// Subjects of one alignment that weights are fitted on: none should outweigh the others.
const FITTED_SUBJECTS: usize = 4000;

/// What to evaluate and how.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluateOptions {
    /// The alignment.
    pub align: AlignOptions,
    /// Files of mappings known to be right.
    pub gold: Vec<PathBuf>,
    /// Resamples of the confidence intervals.
    pub resamples: usize,
    /// Where given, subjects alone that have one of these names, by [`key`]: those of concepts that a training held out.
    /// Short names are of many concepts, and tell nothing.
    pub held_out: Option<HashSet<String>>,
}

/// What became of the gold mappings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldCounts {
    /// Mappings of the files that say that two codes are the same.
    pub mappings: u64,
    /// Of these, with codes that the two sources have.
    pub known: u64,
    /// Distinct subjects of those.
    pub subjects: u64,
    /// Subjects none of whose right objects has an equal name: the hard ones.
    pub hard_subjects: u64,
}

/// One way to rank objects, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodResult {
    /// Its name.
    pub method: String,
    /// Over all subjects.
    pub all: Metrics,
    /// Over the hard subjects.
    pub hard: Metrics,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Source of the subjects.
    pub left: String,
    /// Source of the objects.
    pub right: String,
    /// The model that embedded both.
    pub model_id: String,
    /// What the stored weights were fitted on.
    pub weights: String,
    /// Names of the gold files.
    pub gold: Vec<String>,
    /// Whether only subjects were looked at whose concepts a training held out.
    #[serde(default)]
    pub held_out: bool,
    /// What became of them.
    pub counts: GoldCounts,
    /// The methods, simplest first; the last is what `align` does.
    pub methods: Vec<MethodResult>,
}

/// Evaluates an alignment.
///
/// # Errors
/// When a source or the model is missing, a gold file cannot be read, or none of its mappings is between the two sources.
pub async fn evaluate(
    session: &Session,
    options: &EvaluateOptions,
    run_id: &str,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Evaluation> {
    options.align.check()?;
    let sides = Sides::load(session, &options.align).await?;
    let (right, mut counts) = gold(&sides, options)?;
    let (names, _) = sides.candidates(session, &options.align, (run_id, false), progress).await?;
    let easy: HashSet<usize> = names
        .iter()
        .filter(|n| n.lexical.equal && right.get(&n.subject).is_some_and(|o| o.contains(&n.object)))
        .map(|n| n.subject)
        .collect();
    counts.hard_subjects = counts.subjects - easy.len() as u64;
    let judge = Judge { right: &right, easy: &easy, resamples: options.resamples };
    let methods = methods(&sides, &names, &judge);
    let file_name = |p: &PathBuf| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let gold: Vec<String> = options.gold.iter().map(file_name).collect();
    let model_id = session.embedder()?.info().model_id.clone();
    Ok(Evaluation {
        left: options.align.left.to_string(),
        right: options.align.right.to_string(),
        model_id,
        weights: sides.weights.fitted_on.clone(),
        gold,
        held_out: options.held_out.is_some(),
        counts,
        methods,
    })
}

/// Fits the weights of the evidence on the gold mappings of several alignments, as many subjects of each at most.
///
/// # Errors
/// As of [`evaluate`].
pub async fn fit(
    session: &Session,
    all: &[EvaluateOptions],
    run_id: &str,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Confidence> {
    let mut known = Vec::new();
    for options in all {
        let sides = Sides::load(session, &options.align).await?;
        let (right, _) = gold(&sides, options)?;
        let (names, _) = sides.candidates(session, &options.align, (run_id, false), progress).await?;
        let mut subjects: Vec<usize> = right.keys().copied().collect();
        subjects.sort_by_key(|s| digest(&sides, *s));
        subjects.truncate(FITTED_SUBJECTS);
        let subjects: HashSet<usize> = subjects.into_iter().collect();
        let is_right =
            move |s: usize, o: usize| subjects.contains(&s).then(|| right.get(&s).is_some_and(|r| r.contains(&o)));
        known.push((sides.neighbors, names, is_right));
    }
    let examples: Vec<Example> = known
        .iter()
        .map(|(neighbors, names, is_right)| Example { names, parents: Some(neighbors.parents()), is_right })
        .collect();
    let fitted_on: Vec<String> = all.iter().map(|o| format!("{} to {}", o.align.left, o.align.right)).collect();
    let info = session.embedder()?.info();
    let mut fitted = evidence::fit(&examples, &Confidence::of_model(info)?);
    (fitted.model_id, fitted.fitted_on) = (info.model_id.clone(), fitted_on.join(", "));
    Ok(fitted)
}

fn digest(sides: &Sides, subject: usize) -> u64 {
    crate::sources::Fingerprint::of(&[sides.left.curie(subject).as_bytes()]).as_i64() as u64
}

/// The objects that are right, by subject.
type Right = HashMap<usize, HashSet<usize>>;

fn gold(sides: &Sides, EvaluateOptions { gold: files, held_out, .. }: &EvaluateOptions) -> Result<(Right, GoldCounts)> {
    let (of_left, of_right) = (sides.left.numbers(), sides.right.numbers());
    let mut right = Right::new();
    let mut counts = GoldCounts::default();
    let others = [sssom::BROAD_MATCH, sssom::NARROW_MATCH, sssom::RELATED_MATCH];
    let mut seen: Vec<(String, String)> = Vec::new();
    for file in files {
        for mapping in read_mappings(file)? {
            if mapping.negative || others.contains(&mapping.predicate.as_str()) {
                continue;
            }
            counts.mappings += 1;
            let known = [(&mapping.subject, &mapping.object), (&mapping.object, &mapping.subject)]
                .into_iter()
                .find_map(|(s, o)| of_left.get(s.as_str()).zip(of_right.get(o.as_str())));
            match known {
                Some((subject, object)) => {
                    counts.known += 1;
                    right.entry(*subject).or_default().insert(*object);
                }
                None if seen.len() < 3 => seen.push((mapping.subject, mapping.object)),
                None => {}
            }
        }
    }
    if right.is_empty() {
        let files: Vec<String> = files.iter().map(|f: &PathBuf| Path::display(f).to_string()).collect();
        let examples: Vec<String> = seen.iter().map(|(s, o)| format!("{s} → {o}")).collect();
        return Err(Error::Invalid(format!(
            "{}: none of {} mappings is between codes of the two sources; it has {}, the sources have codes like {} and {}",
            files.join(", "),
            counts.mappings,
            if examples.is_empty() { "nothing".to_string() } else { examples.join(", ") },
            sides.left.curie(0),
            sides.right.curie(0),
        )));
    }
    if let Some(held_out) = held_out {
        let tells = |key: &String| training::joins(key) && held_out.contains(key);
        let names = sides.left.names();
        let subjects: HashSet<usize> = names.filter(|n| tells(&key(&n.text))).map(|n| n.code_no).collect();
        right.retain(|subject, _| subjects.contains(subject));
        if right.is_empty() {
            return Err(Error::Invalid(format!(
                "none of the subjects of {} gold mappings has a name of a concept that the training held out",
                counts.known
            )));
        }
    }
    counts.subjects = right.len() as u64;
    Ok((right, counts))
}

/// Measures rankings.
struct Judge<'a> {
    right: &'a Right,
    easy: &'a HashSet<usize>,
    resamples: usize,
}

impl Judge<'_> {
    /// Scored pairs of a subject and an object, in any order; of equals the first is better.
    fn result(&self, method: &str, scored: impl IntoIterator<Item = (usize, usize, f64)>) -> MethodResult {
        let mut of_subject: HashMap<usize, HashMap<usize, (f64, usize)>> = HashMap::new();
        for (i, (subject, object, score)) in scored.into_iter().enumerate() {
            if self.right.contains_key(&subject) {
                let held = of_subject.entry(subject).or_default().entry(object).or_insert((score, i));
                if score > held.0 {
                    *held = (score, i);
                }
            }
        }
        let mut subjects: Vec<usize> = self.right.keys().copied().collect();
        subjects.sort_unstable();
        let (mut all, mut hard) = (Vec::new(), Vec::new());
        for subject in subjects {
            let right = &self.right[&subject];
            let objects = of_subject.remove(&subject).unwrap_or_default();
            let mut objects: Vec<(usize, (f64, usize))> = objects.into_iter().collect();
            objects.sort_by(|(_, a), (_, b)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let found = objects.into_iter().map(|(o, (score, _))| (score, right.contains(&o))).collect();
            let ranked = Ranked { found, right: right.len() };
            if !self.easy.contains(&subject) {
                hard.push(ranked.clone());
            }
            all.push(ranked);
        }
        MethodResult {
            method: method.to_string(),
            all: measure(&all, self.resamples),
            hard: measure(&hard, self.resamples),
        }
    }
}

fn methods(sides: &Sides, names: &[NamePair], judge: &Judge) -> Vec<MethodResult> {
    let of_names =
        |score: fn(&NamePair) -> Option<f64>| names.iter().filter_map(move |n| Some((n.subject, n.object, score(n)?)));
    let of_pairs = |pairs: &[Pair], score: fn(&Pair) -> f64| {
        pairs.iter().map(move |p| (p.best.subject, p.best.object, score(p))).collect::<Vec<_>>()
    };
    let without_parents = in_turn(names, sides, judge, None);
    let with_parents = in_turn(names, sides, judge, Some(sides.neighbors.parents()));
    let stored = sides.weigh(names, &sides.weights);
    vec![
        judge.result("equal names", of_names(|n| n.lexical.equal.then_some(1.0))),
        judge.result("equal words in any order", of_names(|n| n.lexical.same_words.then_some(1.0))),
        judge.result("edit distance of sorted words", of_names(|n| Some(f64::from(n.lexical.characters)))),
        judge.result("embedding", of_names(|n| Some(f64::from(n.cosine).clamp(0.0, 1.0)))),
        judge.result("embedding and words", of_pairs(&without_parents, |p| p.score)),
        judge.result("… and other codes", of_pairs(&without_parents, |p| p.confidence)),
        judge.result("… and parents", of_pairs(&with_parents, |p| p.confidence)),
        judge.result("align, with its stored weights", of_pairs(&stored, |p| p.confidence)),
    ]
}

/// Pairs of each subject, weighed by what was fitted on other subjects.
fn in_turn(names: &[NamePair], sides: &Sides, judge: &Judge, parents: Option<(&Parents, &Parents)>) -> Vec<Pair> {
    let folds: Vec<u64> = (0..sides.left.codes()).map(|subject| digest(sides, subject) % FOLDS).collect();
    let mut all = Vec::new();
    for held in 0..FOLDS {
        let is_right = |s: usize, o: usize| match judge.right.get(&s) {
            Some(right) if folds[s] != held => Some(right.contains(&o)),
            _ => None,
        };
        let fitted = evidence::fit(&[Example { names, parents, is_right: &is_right }], &sides.weights);
        let pairs = evidence::weigh(names, &fitted, parents);
        all.extend(pairs.into_iter().filter(|p| folds[p.best.subject] == held));
    }
    all
}
