//! One layer of the encoder, forward and backward, over the tokens of a packed batch.

use super::attention::Heads;
use crate::Precision;
use crate::kernels::{Isa, ProductRoom, TrainedMatrix, training as rows};
use crate::pack::PackedBatch;
use crate::train::text::layout;

/// A layer with its weights as they are at one step.
pub(super) struct Layer {
    qkv: Matrix,
    output: Matrix,
    norm: Norm,
    up: Matrix,
    down: Matrix,
    out_norm: Norm,
}

/// A linear layer's weights, packed, and where they are among the parameters.
struct Matrix {
    packed: TrainedMatrix,
    at: layout::Linear,
}

/// A layer normalization's weight and bias, and where they are among the parameters.
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    at: layout::Norm,
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

impl Matrix {
    fn new(at: &layout::Linear, p: &[f32], (isa, precision): (Isa, Precision), back: bool) -> Self {
        let both = (&p[at.weights.clone()], &p[at.bias.clone()]);
        Self { packed: TrainedMatrix::new(isa, precision, both, at.inputs, back), at: at.clone() }
    }

    /// The gradients of its weights and bias, which may lie apart.
    fn grads<'a>(&self, grads: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        let both = &mut grads[self.at.weights.start..self.at.bias.end];
        let (weights, rest) = both.split_at_mut(self.at.weights.len());
        (weights, &mut rest[self.at.bias.start - self.at.weights.end..])
    }
}

impl Norm {
    fn new(at: &layout::Norm, p: &[f32]) -> Self {
        Self { weight: p[at.weight.clone()].to_vec(), bias: p[at.bias.clone()].to_vec(), at: at.clone() }
    }

    fn forward(&self, mut x: Vec<f32>) -> (Vec<f32>, NormTape) {
        let (mut y, mut scales) = (vec![0.0; x.len()], vec![0.0; x.len() / self.weight.len()]);
        rows::normalize_rows(&mut x, &self.weight, &self.bias, self.at.epsilon, &mut y, &mut scales);
        (y, NormTape { normalized: x, scales })
    }

    fn backward(&self, tape: &NormTape, grad: &mut [f32], grads: &mut [f32]) {
        let both = &mut grads[self.at.weight.start..self.at.bias.end];
        let (weight_grad, bias_grad) = both.split_at_mut(self.weight.len());
        rows::normalize_rows_backward(&tape.normalized, &tape.scales, &self.weight, grad, (weight_grad, bias_grad));
    }
}

/// Floats of all sequences' attention weights.
fn weights_of(batch: &PackedBatch, heads: usize) -> usize {
    batch.ranges().map(|r| heads * r.len() * r.len()).sum()
}

impl Layer {
    /// Takes the weights out of the parameters, packed, for the way back too if there is one.
    pub(super) fn new(at: &layout::Layer, p: &[f32], by: (Isa, Precision), back: bool) -> Self {
        let matrix = |linear: &layout::Linear| Matrix::new(linear, p, by, back);
        Self {
            qkv: matrix(&at.qkv),
            output: matrix(&at.output),
            norm: Norm::new(&at.norm, p),
            up: matrix(&at.up),
            down: matrix(&at.down),
            out_norm: Norm::new(&at.out_norm, p),
        }
    }

    /// `[tokens, hidden]` → the same.
    pub(super) fn forward(&self, run: &Run<'_>, input: Vec<f32>, room: &mut ProductRoom) -> (Vec<f32>, LayerTape) {
        let Run { batch, heads, isa } = *run;
        let hidden = heads.hidden;
        let qkv = self.qkv.packed.forward(&input, room);
        let mut context = vec![0.0; input.len()];
        let mut weights = vec![0.0; weights_of(batch, heads.heads)];
        let mut rest = weights.as_mut_slice();
        for range in batch.ranges() {
            let (own, others) = rest.split_at_mut(heads.heads * range.len() * range.len());
            let (from, to) = (range.start * hidden, range.end * hidden);
            heads.forward(&qkv[3 * from..3 * to], &mut context[from..to], own);
            rest = others;
        }
        let mut x = self.output.packed.forward(&context, room);
        rows::add(&mut x, &input);
        let (between, norm) = self.norm.forward(x);
        let wide = self.up.packed.forward(&between, room);
        let mut active = vec![0.0; wide.len()];
        rows::gelu(isa, &wide, &mut active);
        let mut x = self.down.packed.forward(&active, room);
        rows::add(&mut x, &between);
        let (y, out_norm) = self.out_norm.forward(x);
        (y, LayerTape { input, qkv, weights, context, norm, between, wide, out_norm })
    }

    /// The gradient of the result becomes that of the input; not where `is_first`: what is below is not trained. Those of the weights
    /// are added to.
    pub(super) fn backward(
        &self,
        run: &Run<'_>,
        is_first: bool,
        tape: &LayerTape,
        mut grad: Vec<f32>,
        (grads, room): (&mut [f32], &mut ProductRoom),
    ) -> Vec<f32> {
        let Run { batch, heads, isa } = *run;
        self.out_norm.backward(&tape.out_norm, &mut grad, grads);
        let mut active = vec![0.0; tape.wide.len()];
        rows::gelu(isa, &tape.wide, &mut active);
        self.down.packed.backward_weights(&active, &grad, self.down.grads(grads), room);
        let mut wide = self.down.packed.backward_input(&grad, room);
        rows::gelu_backward(isa, &tape.wide, &mut wide);
        self.up.packed.backward_weights(&tape.between, &wide, self.up.grads(grads), room);
        rows::add(&mut grad, &self.up.packed.backward_input(&wide, room));
        self.norm.backward(&tape.norm, &mut grad, grads);
        self.output.packed.backward_weights(&tape.context, &grad, self.output.grads(grads), room);
        let context = self.output.packed.backward_input(&grad, room);
        let mut qkv = vec![0.0; tape.qkv.len()];
        let (mut weights, mut slopes) = (tape.weights.as_slice(), Vec::new());
        for range in batch.ranges() {
            let (own, others) = weights.split_at(heads.heads * range.len() * range.len());
            let (from, to) = (range.start * heads.hidden, range.end * heads.hidden);
            let (before, after) = (&tape.qkv[3 * from..3 * to], &mut qkv[3 * from..3 * to]);
            heads.backward(before, own, &context[from..to], after, &mut slopes);
            weights = others;
        }
        self.qkv.packed.backward_weights(&tape.input, &qkv, self.qkv.grads(grads), room);
        if !is_first {
            rows::add(&mut grad, &self.qkv.packed.backward_input(&qkv, room));
        }
        grad
    }
}

/// What all layers share on their way there and back.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) batch: &'a PackedBatch,
    pub(super) heads: Heads,
    pub(super) isa: Isa,
}
