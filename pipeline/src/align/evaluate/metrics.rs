//! How good ranked objects are, against mappings known to be right. Confidence intervals by resampling subjects.

use serde::{Deserialize, Serialize};

/// Ranks beyond this are not looked at.
pub(super) const DEPTH: usize = 10;
/// Bins of the reliability curve, of equally many subjects.
const BINS: usize = 10;
/// Points of the precision-recall curve.
const POINTS: usize = 100;
/// Resampling starts from here, so that the same input gives the same intervals.
const SEED: u64 = 20_241_126;

/// The objects found for a subject, best first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Ranked {
    /// Score of each object, and whether it is right.
    pub(super) found: Vec<(f64, bool)>,
    /// Objects that are right, found or not.
    pub(super) right: usize,
}

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The number.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Precision and recall where mappings of at least a score are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The score.
    pub threshold: f64,
    /// Right mappings among those kept.
    pub precision: f64,
    /// Right mappings kept among all that are right.
    pub recall: f64,
}

/// Subjects whose best objects have about the same score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Mean score of the best objects.
    pub confidence: f64,
    /// Share of them that is right.
    pub accuracy: f64,
    /// Subjects.
    pub subjects: u64,
}

/// What is measured over subjects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Subjects.
    pub subjects: u64,
    /// Share of subjects whose best object is right.
    pub hits_at_1: Measure,
    /// Share of subjects with a right object among the first 5.
    pub hits_at_5: Measure,
    /// Share of subjects with a right object among the first 10.
    pub hits_at_10: Measure,
    /// Mean of 1 / rank of the first right object.
    pub mean_reciprocal_rank: Measure,
    /// Area under the precision-recall curve over all pairs (average precision).
    pub average_precision: Measure,
    /// Mean difference of confidence and accuracy of the best objects, in bins of equally many subjects.
    pub calibration_error: Measure,
    /// The best F1 of the best objects over all thresholds, and where it is.
    pub best_f1: f64,
    /// The point of the best F1.
    pub best: CurvePoint,
    /// Precision and recall of the best objects over thresholds.
    pub curve: Vec<CurvePoint>,
    /// Confidence against accuracy.
    pub reliability: Vec<ReliabilityBin>,
}

impl Metrics {
    /// The calibration error where scores are probabilities; a ranking's scores, which may be anything, have none.
    pub fn calibration(&self) -> Option<f64> {
        Some(self.calibration_error.value).filter(|error| *error <= 1.0)
    }
}

/// Measures ranked objects.
pub(super) fn measure(all: &[Ranked], resamples: usize) -> Metrics {
    if all.is_empty() {
        return Metrics::default();
    }
    let once = vec![1u32; all.len()];
    let order = Order::of(all);
    let values = numbers(all, &order, &once);
    let mut drawn: Vec<[f64; 6]> = Vec::with_capacity(resamples);
    let mut random = SEED;
    for _ in 0..resamples {
        let mut weights = vec![0u32; all.len()];
        for _ in 0..all.len() {
            weights[(next(&mut random) % all.len() as u64) as usize] += 1;
        }
        drawn.push(numbers(all, &order, &weights));
    }
    let interval = |i: usize| {
        let mut sorted: Vec<f64> = drawn.iter().map(|d| d[i]).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| sorted.get((share * sorted.len().saturating_sub(1) as f64).round() as usize).copied();
        let value = values[i];
        Measure { value, low: at(0.025).unwrap_or(value), high: at(0.975).unwrap_or(value) }
    };
    let curve = curve(all, &order);
    let f1 = |p: &CurvePoint| {
        let sum = p.precision + p.recall;
        if sum > 0.0 { 2.0 * p.precision * p.recall / sum } else { 0.0 }
    };
    let best = curve.iter().copied().max_by(|a, b| f1(a).total_cmp(&f1(b))).unwrap_or_default();
    let step = curve.len().div_ceil(POINTS).max(1);
    let last = curve.len().saturating_sub(1);
    let thinned = curve.iter().enumerate().filter(|(i, _)| i % step == 0 || *i == last).map(|(_, p)| *p).collect();
    Metrics {
        subjects: all.len() as u64,
        hits_at_1: interval(0),
        hits_at_5: interval(1),
        hits_at_10: interval(2),
        mean_reciprocal_rank: interval(3),
        average_precision: interval(4),
        calibration_error: interval(5),
        best_f1: f1(&best),
        best,
        curve: thinned,
        reliability: reliability(all, &order, &once),
    }
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Orders by score, which resampling does not change.
struct Order {
    /// Subject and rank of all pairs, best score first.
    pairs: Vec<(u32, u32)>,
    /// Subjects by the score of their best object, lowest first; those without an object are not among them.
    subjects: Vec<u32>,
}

impl Order {
    fn of(all: &[Ranked]) -> Self {
        let mut pairs: Vec<(u32, u32)> = (0u32..)
            .zip(all)
            .flat_map(|(s, ranked)| (0..ranked.found.len().min(DEPTH) as u32).map(move |r| (s, r)))
            .collect();
        let score = |(s, r): &(u32, u32)| all[*s as usize].found[*r as usize].0;
        pairs.sort_by(|a, b| score(b).total_cmp(&score(a)));
        let subjects = pairs.iter().rev().filter(|(_, r)| *r == 0).map(|(s, _)| *s).collect();
        Self { pairs, subjects }
    }
}

/// Hits at 1, 5, 10, MRR, average precision, calibration error of subjects that count so many times each.
fn numbers(all: &[Ranked], order: &Order, weights: &[u32]) -> [f64; 6] {
    let mut sums = [0.0; 4];
    let (mut subjects, mut right) = (0.0, 0.0);
    for (ranked, weight) in all.iter().zip(weights) {
        let weight = f64::from(*weight);
        subjects += weight;
        right += weight * ranked.right as f64;
        if let Some(rank) = ranked.found.iter().take(DEPTH).position(|(_, right)| *right) {
            for (sum, within) in sums.iter_mut().zip([1, 5, 10]) {
                *sum += if rank < within { weight } else { 0.0 };
            }
            sums[3] += weight / (rank + 1) as f64;
        }
    }
    let [h1, h5, h10, mrr] = sums.map(|sum| sum / f64::max(subjects, 1.0));
    let bins = reliability(all, order, weights);
    let error: f64 = bins.iter().map(|b| b.subjects as f64 * (b.confidence - b.accuracy).abs()).sum();
    let binned: u64 = bins.iter().map(|b| b.subjects).sum();
    [h1, h5, h10, mrr, average_precision(all, order, weights, right), error / f64::max(binned as f64, 1.0)]
}

/// Σ (Rₙ − Rₙ₋₁) Pₙ over pairs of falling score; pairs of one score come at once.
fn average_precision(all: &[Ranked], order: &Order, weights: &[u32], right: f64) -> f64 {
    let (mut kept, mut hits, mut area) = (0.0, 0.0, 0.0);
    let score = |(s, r): &(u32, u32)| all[*s as usize].found[*r as usize].0;
    for tied in order.pairs.chunk_by(|a, b| score(a) == score(b)) {
        let mut new = 0.0;
        for (s, r) in tied {
            let weight = f64::from(weights[*s as usize]);
            kept += weight;
            new += if all[*s as usize].found[*r as usize].1 { weight } else { 0.0 };
        }
        hits += new;
        if kept > 0.0 {
            area += new * hits / kept;
        }
    }
    if right > 0.0 { area / right } else { 0.0 }
}

/// Precision and recall of the best objects at each of their scores.
fn curve(all: &[Ranked], order: &Order) -> Vec<CurvePoint> {
    let (mut kept, mut hits) = (0.0, 0.0);
    let mut points: Vec<CurvePoint> = Vec::new();
    for subject in order.subjects.iter().rev() {
        let (threshold, right) = all[*subject as usize].found[0];
        kept += 1.0;
        hits += f64::from(u8::from(right));
        let point = CurvePoint { threshold, precision: hits / kept, recall: hits / all.len() as f64 };
        match points.last_mut() {
            Some(last) if last.threshold == threshold => *last = point,
            _ => points.push(point),
        }
    }
    points
}

fn reliability(all: &[Ranked], order: &Order, weights: &[u32]) -> Vec<ReliabilityBin> {
    let total: u64 = order.subjects.iter().map(|s| u64::from(weights[*s as usize])).sum();
    let size = total.div_ceil(BINS as u64).max(1);
    let mut bins: Vec<ReliabilityBin> = Vec::new();
    let mut current = ReliabilityBin::default();
    for subject in &order.subjects {
        let weight = weights[*subject as usize];
        if weight == 0 {
            continue;
        }
        let (score, right) = all[*subject as usize].found[0];
        current.confidence += f64::from(weight) * score;
        current.accuracy += if right { f64::from(weight) } else { 0.0 };
        current.subjects += u64::from(weight);
        if current.subjects >= size {
            bins.push(std::mem::take(&mut current));
        }
    }
    if current.subjects > 0 {
        bins.push(current);
    }
    for bin in &mut bins {
        bin.confidence /= bin.subjects as f64;
        bin.accuracy /= bin.subjects as f64;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(found: &[(f64, bool)], right: usize) -> Ranked {
        Ranked { found: found.to_vec(), right }
    }

    #[test]
    fn numbers_of_a_small_example() {
        let all = [
            ranked(&[(0.9, true), (0.2, false)], 1),
            ranked(&[(0.8, false), (0.7, true)], 1),
            ranked(&[(0.6, false)], 1),
            ranked(&[], 1),
        ];
        let metrics = measure(&all, 200);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(metrics.hits_at_1.value, 0.25);
        near(metrics.hits_at_5.value, 0.5);
        near(metrics.mean_reciprocal_rank.value, 0.375);
        // Hits are the first and the third of the pairs: (1/1 + 2/3) / 4.
        near(metrics.average_precision.value, (1.0 + 2.0 / 3.0) / 4.0);
        // Of the best objects the first is right: precision 1, recall 1/4.
        near(metrics.best.precision, 1.0);
        near(metrics.best_f1, 0.4);
        near(metrics.calibration_error.value, (0.1 + 0.8 + 0.6) / 3.0);
        assert!(metrics.hits_at_1.low <= 0.25 && metrics.hits_at_1.high >= 0.25 && metrics.hits_at_1.high < 1.0);
    }

    #[test]
    fn intervals_narrow_with_more_subjects_and_repeat() {
        let few: Vec<Ranked> = (0..20).map(|i| ranked(&[(0.5, i % 2 == 0)], 1)).collect();
        let many: Vec<Ranked> = (0..2000).map(|i| ranked(&[(0.5, i % 2 == 0)], 1)).collect();
        let width = |m: &Metrics| m.hits_at_1.high - m.hits_at_1.low;
        let (few, many) = (measure(&few, 300), measure(&many, 300));
        assert!(width(&many) < 0.06 && width(&few) > 0.3, "{} {}", width(&many), width(&few));
        // √(p (1 − p) / n) on both sides of the mean, 1.96 times.
        assert!((width(&many) - 2.0 * 1.96 * (0.25f64 / 2000.0).sqrt()).abs() < 0.01);
    }

    #[test]
    fn ties_come_at_once() {
        let all = [ranked(&[(0.5, true), (0.5, false)], 1)];
        assert!((measure(&all, 0).average_precision.value - 0.5).abs() < 1e-12);
        assert_eq!(measure(&[], 10), Metrics::default());
    }
}
