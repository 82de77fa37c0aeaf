//! Measures of rankings and correlations, with intervals from resamples.

mod graph;

pub use graph::GraphEmbedding;

use serde::{Deserialize, Serialize};

/// A measure and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The measure.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// What it was measured on.
    pub n: usize,
}

/// The area under the ROC curve: how often a right pair's score is above a wrong one's, ties counting half. `None` where
/// one side is empty.
pub fn auc(right: &[f32], wrong: &[f32]) -> Option<f64> {
    if right.is_empty() || wrong.is_empty() {
        return None;
    }
    let mut all: Vec<(f32, bool)> = right.iter().map(|s| (*s, true)).chain(wrong.iter().map(|s| (*s, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut at) = (0.0, 0);
    while at < all.len() {
        let end = at + all[at..].iter().take_while(|(s, _)| *s == all[at].0).count();
        let rank = (at + end + 1) as f64 / 2.0;
        sum += rank * all[at..end].iter().filter(|(_, is_right)| *is_right).count() as f64;
        at = end;
    }
    let (n, m) = (right.len() as f64, wrong.len() as f64);
    Some((sum - n * (n + 1.0) / 2.0) / (n * m))
}

/// Spearman's rank correlation, ties with their mean rank. `None` below three pairs, or where one side is constant.
pub fn spearman(x: &[f32], y: &[f32]) -> Option<f64> {
    if x.len() != y.len() || x.len() < 3 {
        return None;
    }
    let (x, y) = (ranks(x), ranks(y));
    let mean = (x.len() as f64 + 1.0) / 2.0;
    let product: f64 = x.iter().zip(&y).map(|(a, b)| (a - mean) * (b - mean)).sum();
    let square = |v: &[f64]| v.iter().map(|a| (a - mean) * (a - mean)).sum::<f64>();
    let norm = (square(&x) * square(&y)).sqrt();
    (norm > 0.0).then(|| product / norm)
}

fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let end = at + order[at..].iter().take_while(|i| values[**i] == values[order[at]]).count();
        order[at..end].iter().for_each(|i| ranks[*i] = (at + end + 1) as f64 / 2.0);
        at = end;
    }
    ranks
}

/// A measure of `n` things and its interval from so many resamples of them; `None` where it has no value.
pub fn estimate(n: usize, resamples: usize, measure: impl Fn(&[usize]) -> Option<f64>) -> Option<Estimate> {
    let all: Vec<usize> = (0..n).collect();
    let value = measure(&all)?;
    let mut random = fastrand::Rng::with_seed(n as u64);
    let mut values: Vec<f64> = (0..resamples)
        .filter_map(|_| {
            let some: Vec<usize> = (0..n).map(|_| random.usize(..n)).collect();
            measure(&some)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| match values.len() {
        0 => value,
        len => values[((len - 1) as f64 * share).round() as usize],
    };
    Some(Estimate { value, low: at(0.025), high: at(0.975), n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_pairs() {
        assert_eq!(auc(&[0.9, 0.8], &[0.1, 0.2]), Some(1.0));
        assert_eq!(auc(&[0.5], &[0.5, 0.1]), Some(0.75));
        assert_eq!(auc(&[], &[0.5]), None);
        let mut random = fastrand::Rng::with_seed(5);
        let mut some = |n: usize| -> Vec<f32> { (0..n).map(|_| (random.f32() * 8.0).round()).collect() };
        let (right, wrong) = (some(40), some(60));
        let mut wins = 0.0;
        for r in &right {
            for w in &wrong {
                wins += if r > w {
                    1.0
                } else if r == w {
                    0.5
                } else {
                    0.0
                };
            }
        }
        assert!((auc(&right, &wrong).unwrap() - wins / 2400.0).abs() < 1e-12);
    }

    #[test]
    fn correlation_is_of_ranks() {
        assert!((spearman(&[1.0, 2.0, 3.0], &[1.0, 10.0, 100.0]).unwrap() - 1.0).abs() < 1e-12);
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[4.0, 3.0, 2.0, 1.0]).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[5.0, 5.0, 5.0]), None);
    }

    #[test]
    fn an_interval_holds_the_value() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let e =
            estimate(100, 500, |some| Some(some.iter().map(|i| values[*i]).sum::<f64>() / some.len() as f64)).unwrap();
        assert!(e.low < e.value && e.value < e.high && (e.value - 49.5).abs() < 1e-9);
    }
}
