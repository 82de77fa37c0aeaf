//! Self-attention of one sequence, forward and backward, from queries, keys and values side by side.

use crate::kernels::training::dot;

/// Sizes of a sequence's attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) heads: usize,
    pub(super) hidden: usize,
}

impl Heads {
    fn size(self) -> usize {
        self.hidden / self.heads
    }

    fn scale(self) -> f32 {
        1.0 / (self.size() as f32).sqrt()
    }

    /// `[n, 3 · hidden]` → `[n, hidden]`; the weights `[heads, n, n]` are kept for the way back.
    pub(super) fn forward(self, qkv: &[f32], out: &mut [f32], weights: &mut [f32]) {
        let (hidden, size) = (self.hidden, self.size());
        let n = out.len() / hidden;
        out.fill(0.0);
        for head in 0..self.heads {
            let at = |row: usize, part: usize| &qkv[row * 3 * hidden + part * hidden + head * size..][..size];
            for i in 0..n {
                let row = &mut weights[(head * n + i) * n..][..n];
                for (j, weight) in row.iter_mut().enumerate() {
                    *weight = dot(at(i, 0), at(j, 1)) * self.scale();
                }
                soften(row);
                let out = &mut out[i * hidden + head * size..][..size];
                for (j, weight) in row.iter().enumerate() {
                    add_scaled(out, *weight, at(j, 2));
                }
            }
        }
    }

    /// The gradient of `qkv` from that of the result; `room` has `2 n` floats.
    pub(super) fn backward(
        self,
        qkv: &[f32],
        weights: &[f32],
        grad: &[f32],
        qkv_grad: &mut [f32],
        room: &mut Vec<f32>,
    ) {
        let (hidden, size) = (self.hidden, self.size());
        let n = grad.len() / hidden;
        qkv_grad.fill(0.0);
        room.resize(n, 0.0);
        for head in 0..self.heads {
            let place = |row: usize, part: usize| row * 3 * hidden + part * hidden + head * size;
            for i in 0..n {
                let grad = &grad[i * hidden + head * size..][..size];
                let weights = &weights[(head * n + i) * n..][..n];
                let mut along = 0.0;
                for (j, (slope, weight)) in room.iter_mut().zip(weights).enumerate() {
                    *slope = dot(grad, &qkv[place(j, 2)..][..size]);
                    along += *slope * weight;
                    add_scaled(&mut qkv_grad[place(j, 2)..][..size], *weight, grad);
                }
                for (j, (slope, weight)) in room.iter().zip(weights).enumerate() {
                    let slope = (slope - along) * weight * self.scale();
                    add_scaled(&mut qkv_grad[place(i, 0)..][..size], slope, &qkv[place(j, 1)..][..size]);
                    add_scaled(&mut qkv_grad[place(j, 1)..][..size], slope, &qkv[place(i, 0)..][..size]);
                }
            }
        }
    }
}

fn add_scaled(out: &mut [f32], scale: f32, row: &[f32]) {
    for (out, value) in out.iter_mut().zip(row) {
        *out += scale * value;
    }
}

fn soften(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = (*value - most).exp();
        sum += *value;
    }
    for value in row {
        *value /= sum;
    }
}
