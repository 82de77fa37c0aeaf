//! Which pairs a step takes: by the seed, the task and the step alone, so that a resumed run goes on as it would have.

use std::collections::HashMap;

use super::data::Task;

/// Draws a task's batches: every pair once an epoch, in an order of its own each time.
pub(super) struct Sampler {
    seed: u64,
    pairs: usize,
    /// The epoch whose order is at hand.
    epoch: Option<(u64, Vec<u32>)>,
}

impl Sampler {
    pub(super) fn new(seed: u64, pairs: usize) -> Self {
        Self { seed, pairs, epoch: None }
    }

    /// The `n` pairs of the step; fewer where the task has fewer.
    pub(super) fn batch(&mut self, step: u64, n: usize) -> Vec<usize> {
        let n = n.min(self.pairs);
        let first = step * n as u64;
        (first..first + n as u64).map(|at| self.pair(at)).collect()
    }

    fn pair(&mut self, at: u64) -> usize {
        let (epoch, place) = (at / self.pairs as u64, (at % self.pairs as u64) as usize);
        if self.epoch.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut order: Vec<u32> = (0..self.pairs as u32).collect();
            fastrand::Rng::with_seed(self.seed ^ epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15)).shuffle(&mut order);
            self.epoch = Some((epoch, order));
        }
        self.epoch.as_ref().map_or(0, |(_, order)| order[place] as usize)
    }
}

/// The pairs of each entity, by the left side.
pub(super) fn by_entity(task: &Task, entities: &[u32]) -> HashMap<u32, Vec<u32>> {
    let mut pairs: HashMap<u32, Vec<u32>> = HashMap::new();
    for (i, left) in task.left.iter().enumerate() {
        pairs.entry(entities[*left as usize]).or_default().push(i as u32);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_comes_once_an_epoch_wherever_one_begins() {
        let mut sampler = Sampler::new(3, 50);
        let steps: Vec<Vec<usize>> = (0..10).map(|step| sampler.batch(step, 10)).collect();
        for epoch in steps.chunks(5) {
            let mut all: Vec<usize> = epoch.concat();
            all.sort_unstable();
            assert_eq!(all, (0..50).collect::<Vec<_>>());
        }
        assert_eq!(Sampler::new(3, 50).batch(7, 10), steps[7]);
        assert_ne!(Sampler::new(4, 50).batch(7, 10), steps[7]);
    }
}
