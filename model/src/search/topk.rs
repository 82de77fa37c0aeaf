//! What is searched for, and the best of a stream of scores.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::{Error, Result};

/// A neighbor of a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// Row of the corpus.
    pub index: u32,
    /// Cosine similarity, in [-1, 1]; see [`super::cosine`].
    pub score: f32,
}

/// What to search for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchOptions {
    /// Neighbors a query; `None` for all that reach the score.
    pub k: Option<usize>,
    /// Whether all that tie with the k-th are neighbors too.
    pub ties: bool,
    /// Neighbors below this cosine are not neighbors.
    pub min_score: f32,
}

impl SearchOptions {
    pub(super) fn check(&self) -> Result<()> {
        if self.k == Some(0) { Err(Error::Search("k must be at least 1".into())) } else { Ok(()) }
    }
}

/// Which of two rows a tie goes to, by their numbers.
pub type TieOrder = dyn Fn(u32, u32) -> Ordering + Send + Sync;

/// Keeps the k best neighbors, or all; ties go to the first row of an order, and then to the smaller index. With groups,
/// only the best of each group.
#[derive(Clone)]
pub(super) struct TopK<'a> {
    k: Option<usize>,
    tie_order: Option<&'a TieOrder>,
    /// Whether what ties with the k-th is kept too.
    ties: bool,
    /// A score must reach this to be looked at; rises once k are held.
    floor: f32,
    /// Neighbors with their groups: best first where there is a k.
    best: Vec<(Neighbor, u32)>,
    grouped: bool,
}

impl<'a> TopK<'a> {
    /// The best that are asked for.
    pub(super) fn new(options: SearchOptions, tie_order: Option<&'a TieOrder>) -> Self {
        let SearchOptions { k, ties, min_score } = options;
        Self { k, tie_order, ties, floor: min_score, best: Vec::new(), grouped: false }
    }

    /// What a score must reach to be looked at.
    pub(super) fn floor(&self) -> f32 {
        self.floor
    }

    /// Offers a neighbor; the order of calls makes no difference. A NaN score is never kept.
    pub(super) fn offer(&mut self, index: u32, score: f32, group: Option<u32>) {
        if score.is_nan() || score < self.floor {
            return;
        }
        let neighbor = Neighbor { index, score };
        self.grouped = group.is_some();
        let Some(k) = self.k else { return self.best.push((neighbor, group.unwrap_or(index))) };
        let full = self.best.len() >= k;
        if full && !self.ties && self.before(&self.best[k - 1].0, &neighbor) {
            return;
        }
        let held = group.and_then(|group| self.best.iter().position(|(_, g)| *g == group));
        if let Some(at) = held {
            if self.before(&self.best[at].0, &neighbor) {
                return;
            }
            self.best.remove(at);
        } else if full && !self.ties {
            self.best.pop();
        }
        let at = self.best.partition_point(|(n, _)| self.before(n, &neighbor));
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
            let mut best = std::mem::take(&mut self.best);
            best.sort_unstable_by(|(a, _), (b, _)| self.order(a, b));
            self.best = best;
            if self.grouped {
                let mut seen = HashSet::new();
                self.best.retain(|(_, group)| seen.insert(*group));
            }
        }
        self.best.into_iter().map(|(n, _)| n).collect()
    }

    /// Best first.
    fn order(&self, a: &Neighbor, b: &Neighbor) -> Ordering {
        let by_order = || self.tie_order.map_or(Ordering::Equal, |order| order(a.index, b.index));
        b.score.total_cmp(&a.score).then_with(by_order).then(a.index.cmp(&b.index))
    }

    fn before(&self, a: &Neighbor, b: &Neighbor) -> bool {
        self.order(a, b).is_lt()
    }
}
