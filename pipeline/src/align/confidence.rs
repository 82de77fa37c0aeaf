//! From evidence to the probability that a mapping is right: two regressions, fitted on given mappings.
//!
//! The first ranks: a conditional logistic regression weighs what two names say so that the right object of a subject
//! stands above its others. The second calibrates: a logistic regression makes a probability of that rank score and of
//! what only the codes together say, how far other codes are behind and whether neighbours align.

use std::path::Path;

use serde::{Deserialize, Serialize};

use generel_model::ModelInfo;

use super::lexical::LexicalEvidence;
use crate::{Error, Result};

/// What two names say; the order is that of [`of_names`].
pub(super) const OF_NAMES: [&str; 12] = [
    "cosine",
    "closeness",
    "equal",
    "same_words",
    "overlap",
    "containment",
    "characters",
    "other_codes",
    "missing_codes",
    "opposite",
    "both_labels",
    "equal_labels",
];
/// What makes two codes' best pair of names a probability; the order is that of [`of_codes`].
pub(super) const OF_CODES: [&str; 9] = [
    "intercept",
    "rank_score",
    "subject_margin",
    "object_margin",
    "cosine",
    "equal",
    "same_words",
    "parents_align",
    "parents_differ",
];
/// Where in these the parents stand.
pub(super) const PARENTS_ALIGN: usize = 7;
pub(super) const PARENTS_DIFFER: usize = 8;
/// A margin beyond this says no more.
const MOST_MARGIN: f64 = 4.0;
/// Name of the file that holds a model's own weights, beside its parameters.
const FILE: &str = "alignment.json";

/// Weights of the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// The model whose cosines are weighed.
    pub model_id: String,
    /// What it was fitted on.
    pub fitted_on: String,
    /// Mappings that were right, and all that were looked at.
    pub examples: (u64, u64),
    /// Weights of what two names say: of the rank score.
    pub names: Vec<f64>,
    /// Weights of the rank score and what two codes say: of the probability.
    pub codes: Vec<f64>,
}

impl Confidence {
    /// The weights that are stored with a model, of vectors with so many components, else those of whole vectors, else those
    /// that come with the program.
    ///
    /// # Errors
    /// When the stored weights cannot be read.
    pub fn of_model(info: &ModelInfo) -> Result<Self> {
        let own = file(info);
        for path in [info.folder.join(&own), info.folder.join(FILE)] {
            match std::fs::read_to_string(&path) {
                Ok(text) => return Self::parsed(&text, &path),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io(&path, e)),
            }
        }
        Self::parsed(include_str!("confidence.json"), Path::new("confidence.json"))
    }

    fn parsed(text: &str, path: &Path) -> Result<Self> {
        let read: Self = serde_json::from_str(text)
            .map_err(|e| Error::Invalid(format!("{}: not weights of an alignment: {e}", path.display())))?;
        if read.names.len() != OF_NAMES.len() || read.codes.len() != OF_CODES.len() {
            return Err(Error::Invalid(format!(
                "{}: made by another version; fit it again with generel eval fit, or remove it",
                path.display()
            )));
        }
        Ok(read)
    }

    /// Stores the weights with a model.
    ///
    /// # Errors
    /// When the model's folder cannot be written.
    pub fn store(&self, info: &ModelInfo) -> Result<std::path::PathBuf> {
        let path = info.folder.join(file(info));
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::Internal(e.to_string()))?;
        std::fs::write(&path, text + "\n").map_err(|e| Error::io(&path, e))?;
        Ok(path)
    }

    /// How well a pair of names speaks for two codes, to be compared with other pairs of either.
    pub(super) fn rank_score(&self, evidence: &[f64; OF_NAMES.len()]) -> f64 {
        evidence.iter().zip(&self.names).map(|(x, w)| x * w).sum()
    }

    /// Probability that a mapping is right.
    pub(super) fn probability(&self, evidence: &[f64; OF_CODES.len()]) -> f64 {
        sigmoid(evidence.iter().zip(&self.codes).map(|(x, w)| x * w).sum())
    }
}

/// The file of a model's own weights: cosines of the first components alone are others.
fn file(info: &ModelInfo) -> String {
    if info.is_cut() { format!("alignment-{}.json", info.dimension) } else { FILE.to_string() }
}

/// What two names say as numbers.
pub(super) fn of_names(cosine: f32, lexical: &LexicalEvidence, both_labels: bool) -> [f64; OF_NAMES.len()] {
    let flag = |b: bool| f64::from(u8::from(b));
    let cosine = f64::from(cosine).clamp(-1.0, 1.0);
    [
        cosine,
        // Near 1 small differences say much.
        -(1.0 - cosine + 0.02).ln(),
        flag(lexical.equal),
        flag(lexical.same_words),
        f64::from(lexical.overlap),
        f64::from(lexical.containment),
        f64::from(lexical.characters),
        flag(lexical.other_codes),
        flag(lexical.missing_codes),
        flag(lexical.opposite),
        flag(both_labels),
        flag(both_labels && lexical.same_words),
    ]
}

/// What two codes say as numbers: the rank score of their best names, the margins to other codes, and these names' evidence.
/// Whether parents align is not known yet.
pub(super) fn of_codes(score: f64, margins: [f64; 2], names: &[f64; OF_NAMES.len()]) -> [f64; OF_CODES.len()] {
    [1.0, score, margins[0], margins[1], names[0], names[2], names[3], 0.0, 0.0]
}

/// A margin as the regression sees it.
pub(super) fn margin(own: f64, next: Option<f64>) -> f64 {
    next.map_or(MOST_MARGIN, |next| (own - next).clamp(-MOST_MARGIN, MOST_MARGIN))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Weights squared times half of this are taken from the likelihood, so that evidence that never varies has no weight.
const PENALTY: f64 = 1.0;

/// Fits a logistic regression: the weights with the greatest penalized likelihood. The first is the intercept, which has
/// no penalty.
pub(super) fn fit<const N: usize>(examples: &[([f64; N], bool)]) -> Vec<f64> {
    let mut penalties = [PENALTY; N];
    penalties[0] = 1e-6;
    newton(&penalties, |weights, gradient, curvature| {
        let mut likelihood = 0.0;
        for (x, right) in examples {
            let score = dot(x, weights);
            let p = sigmoid(score);
            // ln p = −ln(1 + e⁻ˢ), of the other case −ln(1 + eˢ).
            let against = if *right { -score } else { score };
            likelihood -= against.max(0.0) + (-against.abs()).exp().ln_1p();
            add(gradient, f64::from(u8::from(*right)) - p, x);
            add_square(curvature, p * (1.0 - p), x);
        }
        likelihood
    })
}

/// Fits a conditional logistic regression: in each group one of those that are right should stand above the others.
pub(super) fn fit_ranking<const N: usize>(groups: &[Vec<([f64; N], bool)>]) -> Vec<f64> {
    newton(&[PENALTY; N], |weights, gradient, curvature| {
        let mut likelihood = 0.0;
        for group in groups {
            let scores: Vec<f64> = group.iter().map(|(x, _)| dot(x, weights)).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shares: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
            let all: f64 = shares.iter().sum();
            let right: f64 = group.iter().zip(&shares).filter(|((_, right), _)| *right).map(|(_, s)| s).sum();
            if right <= 0.0 || group.iter().all(|(_, right)| *right) {
                continue;
            }
            likelihood += (right / all).ln();
            let mut mean = [0.0; N];
            for ((x, is_right), share) in group.iter().zip(&shares) {
                let p = share / all;
                let q = if *is_right { share / right } else { 0.0 };
                add(gradient, q - p, x);
                add_square(curvature, p, x);
                add(&mut mean, p, x);
            }
            add_square(curvature, -1.0, &mean);
        }
        likelihood
    })
}

fn dot(x: &[f64], weights: &[f64]) -> f64 {
    x.iter().zip(weights).map(|(x, w)| x * w).sum()
}

fn add(to: &mut [f64], times: f64, x: &[f64]) {
    to.iter_mut().zip(x).for_each(|(t, x)| *t += times * x);
}

/// Adds to the lower triangle.
fn add_square(to: &mut [Vec<f64>], times: f64, x: &[f64]) {
    for (i, row) in to.iter_mut().enumerate() {
        row[..=i].iter_mut().zip(x).for_each(|(t, y)| *t += times * x[i] * y);
    }
}

/// Newton's method on a penalized likelihood: `derive` adds the log likelihood's gradient and its negative curvature, or an
/// upper bound of that, and gives its value; each squared weight costs half its penalty. A step that does not raise it is halved.
fn newton(penalties: &[f64], derive: impl Fn(&[f64], &mut [f64], &mut [Vec<f64>]) -> f64) -> Vec<f64> {
    let n = penalties.len();
    let mut weights = vec![0.0; n];
    let at = |weights: &[f64]| {
        let mut gradient: Vec<f64> = weights.iter().zip(penalties).map(|(w, p)| -p * w).collect();
        let penalty = -0.5 * dot(&gradient, weights);
        let mut curvature = vec![vec![0.0; n]; n];
        (0..n).for_each(|i| curvature[i][i] = penalties[i]);
        let value = derive(weights, &mut gradient, &mut curvature) - penalty;
        (value, gradient, curvature)
    };
    let (mut value, mut gradient, mut curvature) = at(&weights);
    for _ in 0..100 {
        let mut step = solve(curvature, gradient);
        let largest = step.iter().fold(0.0f64, |m, s| m.max(s.abs()));
        if largest > 5.0 {
            step.iter_mut().for_each(|s| *s *= 5.0 / largest);
        }
        let mut next;
        loop {
            let moved: Vec<f64> = weights.iter().zip(&step).map(|(w, s)| w + s).collect();
            next = at(&moved);
            if next.0 >= value || step.iter().all(|s| s.abs() < 1e-9) {
                weights = moved;
                break;
            }
            step.iter_mut().for_each(|s| *s *= 0.5);
        }
        let gained = next.0 - value;
        (value, gradient, curvature) = next;
        if gained.abs() < 1e-9 * (1.0 + value.abs()) {
            break;
        }
    }
    weights
}

/// Solves a symmetric positive definite system given by its lower triangle (Cholesky).
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            a[i][j] = if i == j { (a[i][i] - sum).max(1e-12).sqrt() } else { (a[i][j] - sum) / a[j][j] };
        }
    }
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i][i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(folder: &Path) -> ModelInfo {
        serde_json::from_value(serde_json::json!({
            "name": "m", "model_id": "m-f32", "fingerprint": "m", "dimension": 2, "width": 2, "max_tokens": 8,
            "pooling": "mean", "prefix": "", "precision": "f32", "folder": folder
        }))
        .unwrap()
    }

    #[test]
    fn the_program_comes_with_weights() {
        let weights = Confidence::of_model(&info(Path::new("/nowhere"))).unwrap();
        let equal = LexicalEvidence {
            equal: true,
            same_words: true,
            overlap: 1.0,
            containment: 1.0,
            characters: 1.0,
            ..LexicalEvidence::default()
        };
        let same = of_names(1.0, &equal, true);
        let other = of_names(0.6, &LexicalEvidence { other_codes: true, ..LexicalEvidence::default() }, true);
        let sure = weights.probability(&of_codes(weights.rank_score(&same), [4.0, 4.0], &same));
        let unsure = weights.probability(&of_codes(weights.rank_score(&other), [-1.0, -1.0], &other));
        assert!(sure > 0.9 && unsure < 0.1, "{sure} {unsure}");
    }

    #[test]
    fn weights_survive_storage_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let whole = info(dir.path());
        let mut weights = Confidence::of_model(&whole).unwrap();
        weights.fitted_on = "mine".into();
        weights.store(&whole).unwrap();
        assert_eq!(Confidence::of_model(&whole).unwrap(), weights);
        // Shorter vectors have weights of their own, once they are fitted.
        let short = whole.clone().with_dimension(1).unwrap();
        let mut own = Confidence::of_model(&short).unwrap();
        assert_eq!(own, weights);
        own.fitted_on = "shorter".into();
        own.store(&short).unwrap();
        assert_eq!([&whole, &short].map(|of| Confidence::of_model(of).unwrap().fitted_on), ["mine", "shorter"]);
        weights.names.pop();
        weights.store(&whole).unwrap();
        assert!(Confidence::of_model(&whole).unwrap_err().to_string().contains("fit it again"));
    }

    #[test]
    fn a_fit_finds_the_odds() {
        // 1 of 4 is right without the evidence, 3 of 4 with it.
        let of = |x: f64, right: bool, n: usize| std::iter::repeat_n(([1.0, x, 0.0], right), n);
        let examples: Vec<_> = of(0.0, true, 250)
            .chain(of(0.0, false, 750))
            .chain(of(1.0, true, 750))
            .chain(of(1.0, false, 250))
            .collect();
        let weights = fit(&examples);
        assert!((sigmoid(weights[0]) - 0.25).abs() < 0.01, "{weights:?}");
        assert!((sigmoid(weights[0] + weights[1]) - 0.75).abs() < 0.01, "{weights:?}");
        assert_eq!(weights[2], 0.0);
    }

    #[test]
    fn a_ranking_puts_the_right_one_first() {
        // The first number says nothing, the second who is right, three times of four.
        let group = |i: usize| {
            let right = usize::from(i.is_multiple_of(4));
            (0..2).map(|j| ([i as f64, j as f64, 0.0], j == 1 - right)).collect()
        };
        let weights = fit_ranking(&(0..4000).map(group).collect::<Vec<Vec<_>>>());
        assert!((sigmoid(weights[1]) - 0.75).abs() < 0.01 && weights[0].abs() < 1e-9, "{weights:?}");
        assert_eq!(weights[2], 0.0);
    }

    #[test]
    fn a_fit_ends_where_examples_are_separable() {
        let examples: Vec<([f64; 2], bool)> = (0..100).map(|i| ([1.0, f64::from(i)], i >= 50)).collect();
        let weights = fit(&examples);
        assert!(weights.iter().all(|w| w.is_finite()) && weights[1] > 0.0);
    }
}
