//! The best of a stream of scores.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::Neighbor;

/// Keeps the k best neighbors, or all; ties go to the smaller index. With groups, only the best of each group.
#[derive(Debug, Clone)]
pub(super) struct TopK {
    k: Option<usize>,
    /// Whether what ties with the k-th is kept too.
    ties: bool,
    /// A score must reach this to be looked at; rises once k are held.
    floor: f32,
    /// Neighbors with their groups: best first where there is a k.
    best: Vec<(Neighbor, u32)>,
    grouped: bool,
}

impl TopK {
    /// The `k` best (`None`: all) of at least a score, and with `ties` all that tie with the last.
    pub(super) fn new(k: Option<usize>, ties: bool, min_score: f32) -> Self {
        Self { k, ties, floor: min_score, best: Vec::new(), grouped: false }
    }

    /// What a score must reach to be looked at.
    pub(super) fn floor(&self) -> f32 {
        self.floor
    }

    /// Offers a neighbor; whatever the order of calls, ties go to the smaller index. A NaN score is never kept.
    pub(super) fn offer(&mut self, index: u32, score: f32, group: Option<u32>) {
        if score.is_nan() || score < self.floor {
            return;
        }
        let neighbor = Neighbor { index, score };
        self.grouped = group.is_some();
        let Some(k) = self.k else { return self.best.push((neighbor, group.unwrap_or(index))) };
        let full = self.best.len() >= k;
        if full && !self.ties && before(&self.best[k - 1].0, &neighbor) {
            return;
        }
        let held = group.and_then(|group| self.best.iter().position(|(_, g)| *g == group));
        if let Some(at) = held {
            if before(&self.best[at].0, &neighbor) {
                return;
            }
            self.best.remove(at);
        } else if full && !self.ties {
            self.best.pop();
        }
        let at = self.best.partition_point(|(n, _)| before(n, &neighbor));
        self.best.insert(at, (neighbor, group.unwrap_or(index)));
        if self.best.len() >= k {
            self.floor = self.best[k - 1].0.score;
            while self.best.last().is_some_and(|(n, _)| n.score < self.floor) {
                self.best.pop();
            }
        }
    }

    /// Best first.
    pub(super) fn into_sorted(mut self) -> Vec<Neighbor> {
        if self.k.is_none() {
            self.best.sort_unstable_by(|(a, _), (b, _)| order(a, b));
            if self.grouped {
                let mut seen = HashSet::new();
                self.best.retain(|(_, group)| seen.insert(*group));
            }
        }
        self.best.into_iter().map(|(n, _)| n).collect()
    }
}

/// Best first, of equal ones the smaller index.
fn order(a: &Neighbor, b: &Neighbor) -> Ordering {
    b.score.total_cmp(&a.score).then(a.index.cmp(&b.index))
}

fn before(a: &Neighbor, b: &Neighbor) -> bool {
    order(a, b).is_lt()
}
