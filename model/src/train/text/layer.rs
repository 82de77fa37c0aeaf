//! One layer of the encoder, forward and backward, over the tokens of a packed batch.

use std::ops::Range;

use super::attention::Heads;
use crate::kernels::{Isa, Matrix, product, training as rows};
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
    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn matrix<'a>(&self, p: &'a [f32]) -> Matrix<'a> {
        Matrix::new(&p[self.weights.clone()], self.outputs(), self.inputs)
    }

    fn forward(&self, p: &[f32], x: &[f32]) -> Vec<f32> {
        let tokens = x.len() / self.inputs;
        let mut y = vec![0.0; tokens * self.outputs()];
        product(Matrix::new(x, tokens, self.inputs), self.matrix(p).t(), &mut y, false);
        rows::add_to_rows(&mut y, &p[self.bias.clone()]);
        y
    }

    /// Adds to the weights' gradients.
    fn backward_weights(&self, x: &[f32], grad: &[f32], grads: &mut [f32]) {
        let tokens = x.len() / self.inputs;
        let grad_matrix = Matrix::new(grad, tokens, self.outputs());
        product(grad_matrix.t(), Matrix::new(x, tokens, self.inputs), &mut grads[self.weights.clone()], true);
        rows::add_sum_of_rows(grad, &mut grads[self.bias.clone()]);
    }

    /// The gradient of the input, into `out` or added to it.
    fn backward_input(&self, p: &[f32], grad: &[f32], out: &mut Vec<f32>, add: bool) {
        let tokens = grad.len() / self.outputs();
        out.resize(tokens * self.inputs, 0.0);
        product(Matrix::new(grad, tokens, self.outputs()), self.matrix(p), out, add);
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
    /// `[tokens, hidden]` → the same.
    pub(super) fn forward(&self, p: &[f32], batch: &PackedBatch, heads: Heads, input: Vec<f32>, isa: Isa) -> (Vec<f32>, LayerTape) {
        let hidden = heads.hidden;
        let qkv = self.qkv.forward(p, &input);
        let mut context = vec![0.0; input.len()];
        let mut weights = vec![0.0; weights_of(batch, heads.heads)];
        let mut rest = weights.as_mut_slice();
        for range in batch.ranges() {
            let (own, others) = rest.split_at_mut(heads.heads * range.len() * range.len());
            let (from, to) = (range.start * hidden, range.end * hidden);
            heads.forward(&qkv[3 * from..3 * to], &mut context[from..to], own);
            rest = others;
        }
        let mut x = self.output.forward(p, &context);
        rows::add(&mut x, &input);
        let (between, norm) = self.norm.forward(p, x);
        let wide = self.up.forward(p, &between);
        let mut active = vec![0.0; wide.len()];
        rows::gelu(isa, &wide, &mut active);
        let mut x = self.down.forward(p, &active);
        rows::add(&mut x, &between);
        let (y, out_norm) = self.out_norm.forward(p, x);
        (y, LayerTape { input, qkv, weights, context, norm, between, wide, out_norm })
    }

    /// The gradient of the result becomes that of the input, unless it is the `first` layer, whose input is fixed; those of
    /// the weights are added to.
    pub(super) fn backward(&self, run: &Backward<'_>, tape: &LayerTape, mut grad: Vec<f32>, grads: &mut [f32]) -> Vec<f32> {
        let Backward { p, batch, heads, isa, .. } = *run;
        self.out_norm.backward(p, &tape.out_norm, &mut grad, grads);
        let mut active = vec![0.0; tape.wide.len()];
        rows::gelu(isa, &tape.wide, &mut active);
        self.down.backward_weights(&active, &grad, grads);
        let mut wide = active;
        self.down.backward_input(p, &grad, &mut wide, false);
        rows::gelu_backward(isa, &tape.wide, &mut wide);
        self.up.backward_weights(&tape.between, &wide, grads);
        self.up.backward_input(p, &wide, &mut grad, true);
        self.norm.backward(p, &tape.norm, &mut grad, grads);
        self.output.backward_weights(&tape.context, &grad, grads);
        let mut context = Vec::new();
        self.output.backward_input(p, &grad, &mut context, false);
        let mut qkv = vec![0.0; tape.qkv.len()];
        let (mut weights, mut room) = (tape.weights.as_slice(), Vec::new());
        for range in batch.ranges() {
            let (own, others) = weights.split_at(heads.heads * range.len() * range.len());
            let (from, to) = (range.start * heads.hidden, range.end * heads.hidden);
            let (before, after) = (&tape.qkv[3 * from..3 * to], &mut qkv[3 * from..3 * to]);
            heads.backward(before, own, &context[from..to], after, &mut room);
            weights = others;
        }
        self.qkv.backward_weights(&tape.input, &qkv, grads);
        if !run.first {
            self.qkv.backward_input(p, &qkv, &mut grad, true);
        }
        grad
    }
}

/// What all layers' ways back share.
#[derive(Clone, Copy)]
pub(super) struct Backward<'a> {
    pub(super) p: &'a [f32],
    pub(super) batch: &'a PackedBatch,
    pub(super) heads: Heads,
    pub(super) isa: Isa,
    /// Whether nothing below the layer is trained.
    pub(super) first: bool,
}
