//! The k best of a stream of scores.

use super::Neighbor;

/// Keeps the k best neighbors, best first; ties go to the smaller index. With groups, only the best of each group.
#[derive(Debug, Clone)]
pub(super) struct TopK {
    k: usize,
    /// A score must reach this to be looked at; rises once k are held.
    pub(super) floor: f32,
    best: Vec<(Neighbor, u32)>,
}

impl TopK {
    pub(super) fn new(k: usize, min_score: f32) -> Self {
        Self { k, floor: min_score, best: Vec::with_capacity(k.min(64)) }
    }

    /// Offers a neighbor. `index` must not fall from call to call: that is what makes ties deterministic.
    /// A NaN score is never kept.
    pub(super) fn offer(&mut self, index: u32, score: f32, group: Option<u32>) {
        let full = self.best.len() == self.k;
        // Once full, an equal score with a larger index loses.
        if score.is_nan() || score < self.floor || (full && score <= self.floor) {
            return;
        }
        let group = group.unwrap_or(index);
        if let Some(at) = self.best.iter().position(|(_, g)| *g == group) {
            if self.best[at].0.score >= score {
                return;
            }
            self.best.remove(at);
        } else if full {
            self.best.pop();
        }
        let at = self.best.partition_point(|(n, _)| n.score >= score);
        self.best.insert(at, (Neighbor { index, score }, group));
        if self.best.len() == self.k {
            self.floor = self.best[self.k - 1].0.score;
        }
    }

    pub(super) fn into_sorted(self) -> Vec<Neighbor> {
        self.best.into_iter().map(|(n, _)| n).collect()
    }
}
