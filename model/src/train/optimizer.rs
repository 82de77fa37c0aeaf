//! AdamW (Loshchilov and Hutter 2019) over the flat parameters, with a learning rate for each group of them.

use std::ops::Range;

use rayon::prelude::*;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;
/// Parameters, or their gradients, that one thread takes at a time.
pub(super) const PIECE: usize = 1 << 16;

/// Parameters with one learning rate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) range: Range<usize>,
    pub(super) learning_rate: f32,
    pub(super) weight_decay: f32,
    /// Gradients of the group are scaled down to this length together, where they are longer.
    pub(super) clip: f32,
}

/// The moments of all parameters.
#[derive(Debug, Clone)]
pub(super) struct AdamW {
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
}

impl AdamW {
    pub(super) fn new(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len] }
    }

    /// Moves a group's parameters; `step` counts from 1, `rate` is the schedule's share of the learning rate. The length
    /// that the group's gradients had.
    pub(super) fn step(&mut self, group: &Group, step: u64, rate: f32, values: &mut [f32], grads: &[f32]) -> f32 {
        let grads = &grads[group.range.clone()];
        let squares = |piece: &[f32]| piece.iter().map(|g| f64::from(g * g)).sum::<f64>();
        let squares: Vec<f64> = grads.par_chunks(PIECE).map(squares).collect();
        let norm = squares.iter().sum::<f64>().sqrt() as f32;
        let scale = if norm > group.clip { group.clip / norm } else { 1.0 };
        let learning_rate = group.learning_rate * rate;
        let (c1, c2) = (1.0 - BETA_1.powi(step as i32), 1.0 - BETA_2.powi(step as i32));
        let pieces = (values[group.range.clone()].par_chunks_mut(PIECE), grads.par_chunks(PIECE));
        let moments = (
            self.first[group.range.clone()].par_chunks_mut(PIECE),
            self.second[group.range.clone()].par_chunks_mut(PIECE),
        );
        pieces.0.zip(pieces.1).zip(moments.0.zip(moments.1)).for_each(|((values, grads), (first, second))| {
            for (((value, g), m), v) in values.iter_mut().zip(grads).zip(first).zip(second) {
                let g = g * scale;
                *m = BETA_1 * *m + (1.0 - BETA_1) * g;
                *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
                let moved = (*m / c1) / ((*v / c2).sqrt() + EPSILON);
                *value -= learning_rate * (moved + group.weight_decay * *value);
            }
        });
        norm
    }
}

/// The share of the learning rate at a step: linear warm-up, then half a cosine down to a hundredth.
pub(super) fn schedule(step: u64, warm_up: u64, steps: u64) -> f32 {
    if step < warm_up {
        return (step + 1) as f32 / warm_up as f32;
    }
    let share = (step - warm_up) as f32 / (steps.saturating_sub(warm_up)).max(1) as f32;
    0.01 + 0.99 * 0.5 * (1.0 + (std::f32::consts::PI * share.min(1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few steps against numbers of PyTorch's formula, in f64.
    #[test]
    fn steps_agree_with_f64() {
        let group = Group { range: 0..3, learning_rate: 0.01, weight_decay: 0.1, clip: f32::INFINITY };
        let (mut adam, mut values) = (AdamW::new(3), vec![1.0f32, -2.0, 0.5]);
        let (mut p, mut m, mut v) = ([1.0f64, -2.0, 0.5], [0f64; 3], [0f64; 3]);
        for step in 1..=20u64 {
            let grads: Vec<f32> = values.iter().map(|x| x * 0.3 + 0.1).collect();
            adam.step(&group, step, 1.0, &mut values, &grads);
            for i in 0..3 {
                let g = p[i] * 0.3 + 0.1;
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let c = |beta: f64| 1.0 - beta.powi(step as i32);
                p[i] -= 0.01 * (m[i] / c(0.9) / ((v[i] / c(0.999)).sqrt() + 1e-8) + 0.1 * p[i]);
            }
        }
        for (value, expected) in values.iter().zip(p) {
            assert!((f64::from(*value) - expected).abs() < 1e-5, "{value} {expected}");
        }
    }

    #[test]
    fn the_schedule_rises_and_falls() {
        assert!((schedule(0, 10, 100) - 0.1).abs() < 1e-6);
        assert!((schedule(9, 10, 100) - 1.0).abs() < 1e-6);
        assert!(schedule(99, 10, 100) < 0.02);
    }
}
