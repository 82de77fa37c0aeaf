//! One layer of the encoder, forward and backward, over the tokens of a packed batch.

use std::ops::Range;

use super::attention::Heads;
use crate::Precision;
use crate::kernels::{Isa, ProductRoom, TrainedMatrix, training as rows};
use crate::pack::PackedBatch;

/// Where a layer's weights are among the parameters.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// `[3 · hidden, hidden]`: query, key and value.
    pub(super) qkv: Linear,
    pub(super) output: Linear,
    pub(super) norm: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) out_norm: Norm,
}

/// A linear layer's weights `[outputs, inputs]` and bias.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) weights: Range<usize>,
    pub(super) bias: Range<usize>,
    pub(super) inputs: usize,
}

/// A layer normalization's weight and bias, which lie side by side.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
    pub(super) epsilon: f32,
}

/// A layer's matrices, packed for the weights of one step.
pub(super) struct LayerMatrices {
    qkv: TrainedMatrix,
    output: TrainedMatrix,
    up: TrainedMatrix,
    down: TrainedMatrix,
}

/// What a layer's way back needs.
#[derive(Debug)]
pub(super) struct LayerTape {
    input: Vec<f32>,
    qkv: Vec<f32>,
    /// Attention weights, sequence by sequence: `[heads, n, n]` each.
    weights: Vec<f32>,
    context: Vec<f32>,
    norm: NormTape,
    between: Vec<f32>,
    wide: Vec<f32>,
    out_norm: NormTape,
}

#[derive(Debug)]
struct NormTape {
    normalized: Vec<f32>,
    scales: Vec<f32>,
}

impl Linear {
    fn pack(&self, p: &[f32], isa: Isa, precision: Precision, back: bool) -> TrainedMatrix {
        let both = (&p[self.weights.clone()], &p[self.bias.clone()]);
        TrainedMatrix::new(isa, precision, both, self.inputs, back)
    }

    /// The gradients of its weights and bias, which may lie apart.
    fn grads<'a>(&self, grads: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        let both = &mut grads[self.weights.start..self.bias.end];
        let (weights, rest) = both.split_at_mut(self.weights.len());
        (weights, &mut rest[self.bias.start - self.weights.end..])
    }
}

impl Norm {
    fn forward(&self, p: &[f32], mut x: Vec<f32>) -> (Vec<f32>, NormTape) {
        let (weight, bias) = (&p[self.weight.clone()], &p[self.bias.clone()]);
        let (mut y, mut scales) = (vec![0.0; x.len()], vec![0.0; x.len() / weight.len()]);
        rows::normalize_rows(&mut x, weight, bias, self.epsilon, &mut y, &mut scales);
        (y, NormTape { normalized: x, scales })
    }

    fn backward(&self, p: &[f32], tape: &NormTape, grad: &mut [f32], grads: &mut [f32]) {
        let weight = &p[self.weight.clone()];
        let both = &mut grads[self.weight.start..self.bias.end];
        let (weight_grad, bias_grad) = both.split_at_mut(weight.len());
        rows::normalize_rows_backward(&tape.normalized, &tape.scales, weight, grad, (weight_grad, bias_grad));
    }
}

/// Floats of all sequences' attention weights.
fn weights_of(batch: &PackedBatch, heads: usize) -> usize {
    batch.ranges().map(|r| heads * r.len() * r.len()).sum()
}

impl Layer {
    /// Packs the matrices, for the way back too if there is one.
    pub(super) fn pack(&self, p: &[f32], isa: Isa, precision: Precision, back: bool) -> LayerMatrices {
        let packed = |linear: &Linear| linear.pack(p, isa, precision, back);
        LayerMatrices {
            qkv: packed(&self.qkv),
            output: packed(&self.output),
            up: packed(&self.up),
            down: packed(&self.down),
        }
    }

    /// `[tokens, hidden]` → the same.
    pub(super) fn forward(
        &self,
        run: &Run<'_>,
        matrices: &LayerMatrices,
        input: Vec<f32>,
        room: &mut ProductRoom,
    ) -> (Vec<f32>, LayerTape) {
        let Run { p, batch, heads, isa } = *run;
        let hidden = heads.hidden;
        let qkv = matrices.qkv.forward(&input, room);
        let mut context = vec![0.0; input.len()];
        let mut weights = vec![0.0; weights_of(batch, heads.heads)];
        let mut rest = weights.as_mut_slice();
        for range in batch.ranges() {
            let (own, others) = rest.split_at_mut(heads.heads * range.len() * range.len());
            let (from, to) = (range.start * hidden, range.end * hidden);
            heads.forward(&qkv[3 * from..3 * to], &mut context[from..to], own);
            rest = others;
        }
        let mut x = matrices.output.forward(&context, room);
        rows::add(&mut x, &input);
        let (between, norm) = self.norm.forward(p, x);
        let wide = matrices.up.forward(&between, room);
        let mut active = vec![0.0; wide.len()];
        rows::gelu(isa, &wide, &mut active);
        let mut x = matrices.down.forward(&active, room);
        rows::add(&mut x, &between);
        let (y, out_norm) = self.out_norm.forward(p, x);
        (y, LayerTape { input, qkv, weights, context, norm, between, wide, out_norm })
    }

    /// The gradient of the result becomes that of the input; not where `is_first`: what is below is not trained. Those of the weights
    /// are added to.
    pub(super) fn backward(
        &self,
        run: &Run<'_>,
        (matrices, is_first): (&LayerMatrices, bool),
        tape: &LayerTape,
        mut grad: Vec<f32>,
        (grads, room): (&mut [f32], &mut ProductRoom),
    ) -> Vec<f32> {
        let Run { p, batch, heads, isa } = *run;
        self.out_norm.backward(p, &tape.out_norm, &mut grad, grads);
        let mut active = vec![0.0; tape.wide.len()];
        rows::gelu(isa, &tape.wide, &mut active);
        matrices.down.backward_weights(&active, &grad, self.down.grads(grads), room);
        let mut wide = matrices.down.backward_input(&grad, room);
        rows::gelu_backward(isa, &tape.wide, &mut wide);
        matrices.up.backward_weights(&tape.between, &wide, self.up.grads(grads), room);
        rows::add(&mut grad, &matrices.up.backward_input(&wide, room));
        self.norm.backward(p, &tape.norm, &mut grad, grads);
        matrices.output.backward_weights(&tape.context, &grad, self.output.grads(grads), room);
        let context = matrices.output.backward_input(&grad, room);
        let mut qkv = vec![0.0; tape.qkv.len()];
        let (mut weights, mut slopes) = (tape.weights.as_slice(), Vec::new());
        for range in batch.ranges() {
            let (own, others) = weights.split_at(heads.heads * range.len() * range.len());
            let (from, to) = (range.start * heads.hidden, range.end * heads.hidden);
            let (before, after) = (&tape.qkv[3 * from..3 * to], &mut qkv[3 * from..3 * to]);
            heads.backward(before, own, &context[from..to], after, &mut slopes);
            weights = others;
        }
        matrices.qkv.backward_weights(&tape.input, &qkv, self.qkv.grads(grads), room);
        if !is_first {
            rows::add(&mut grad, &matrices.qkv.backward_input(&qkv, room));
        }
        grad
    }
}

/// What all layers share on their way there and back.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) p: &'a [f32],
    pub(super) batch: &'a PackedBatch,
    pub(super) heads: Heads,
    pub(super) isa: Isa,
}
