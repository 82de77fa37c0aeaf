//! One layer of the encoder, forward and backward, over the tokens of a packed batch, `[tokens, …]` throughout.

use std::f64::consts::{PI, SQRT_2};
use std::ops::Range;

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::super::layout::{Layer, Linear, Norm};
use super::gradients::Gradients;
use crate::encoder::{Block, Blocks};

/// What all layers share on their way there and back.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    /// The parameters as they are, and as matrix products take them.
    pub(super) floats: &'a Tensor,
    pub(super) products: &'a Tensor,
    pub(super) blocks: &'a Blocks,
    pub(super) heads: usize,
    pub(super) hidden: usize,
}

/// What a layer's way back needs.
pub(super) struct LayerTape {
    input: Tensor,
    attention: Vec<BlockTape>,
    context: Tensor,
    norm: NormTape,
    between: Tensor,
    wide: Tensor,
    out_norm: NormTape,
}

/// A block's queries (scaled), keys and values, `[sequences, heads, longest, size]` as products take them, and attention
/// weights, `[sequences, heads, longest, longest]`.
struct BlockTape {
    qkv: [Tensor; 3],
    weights: Tensor,
}

struct NormTape {
    normalized: Tensor,
    /// `[tokens, 1]`.
    scales: Tensor,
}

impl Run<'_> {
    /// A vector of the parameters.
    fn row(&self, range: &Range<usize>) -> Result<Tensor> {
        self.floats.narrow(0, range.start, range.len())
    }

    /// `[outputs, inputs]`, as products take it.
    fn matrix(&self, linear: &Linear) -> Result<Tensor> {
        let Linear { weights, inputs, .. } = linear;
        self.products.narrow(0, weights.start, weights.len())?.reshape((weights.len() / inputs, *inputs))
    }

    fn product(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let numbers = self.products.dtype();
        a.to_dtype(numbers)?.matmul(&b.to_dtype(numbers)?)?.to_dtype(self.floats.dtype())
    }

    fn head_size(&self) -> usize {
        self.hidden / self.heads
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_size() as f64).sqrt()
    }

    /// `[tokens, parts · hidden]` → a block's `[parts, sequences, heads, longest, size]`.
    fn heads_of(&self, spread: &Tensor, block: &Block, parts: usize) -> Result<Tensor> {
        let Block { first, sequences, longest, .. } = block;
        spread
            .narrow(0, *first, sequences * longest)?
            .reshape((*sequences, *longest, parts, self.heads, self.head_size()))?
            .permute((2, 0, 3, 1, 4))?
            .contiguous()
    }

    /// Blocks' `[sequences, heads, longest, size]` for each part → `[tokens, parts · hidden]`.
    fn tokens_of(&self, blocks: &[Vec<Tensor>]) -> Result<Tensor> {
        let rows = blocks.iter().map(|parts| {
            let parts: Vec<Tensor> = parts.iter().map(|x| x.transpose(1, 2)?.flatten_from(2)).collect::<Result<_>>()?;
            Tensor::cat(&parts, D::Minus1)?.flatten_to(1)
        });
        Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?.index_select(&self.blocks.gather, 0)
    }

    fn attend(&self, qkv: &Tensor) -> Result<(Tensor, Vec<BlockTape>)> {
        let spread = qkv.index_select(&self.blocks.spread, 0)?;
        let (mut contexts, mut tapes) = (Vec::new(), Vec::new());
        for block in &self.blocks.all {
            let of_block = self.heads_of(&spread, block, 3)?;
            let part = |i: usize| of_block.get(i)?.to_dtype(self.products.dtype());
            let q = of_block.get(0)?.affine(self.scale(), 0.0)?.to_dtype(self.products.dtype())?;
            let (k, v) = (part(1)?, part(2)?);
            let scores = self.product(&q, &k.t()?)?.broadcast_add(&block.mask)?;
            let weights = softmax_last_dim(&scores)?;
            contexts.push(vec![self.product(&weights, &v)?]);
            tapes.push(BlockTape { qkv: [q, k, v], weights });
        }
        Ok((self.tokens_of(&contexts)?, tapes))
    }

    /// The gradient of `qkv` from that of the context.
    fn attend_backward(&self, tapes: &[BlockTape], grad: &Tensor) -> Result<Tensor> {
        let spread = grad.index_select(&self.blocks.spread, 0)?;
        let mut grads = Vec::new();
        for (block, BlockTape { qkv: [q, k, v], weights }) in self.blocks.all.iter().zip(tapes) {
            // Padding has the gradient of its sequence's first token there, and none in truth.
            let is_token = block.shares.gt(0f32)?.to_dtype(grad.dtype())?.unsqueeze(D::Minus1)?;
            let grad = self.heads_of(&spread, block, 1)?.squeeze(0)?.broadcast_mul(&is_token)?;
            let slopes = self.product(&grad, &v.t()?)?;
            let along = (&slopes * weights)?.sum_keepdim(D::Minus1)?;
            let scores = (slopes.broadcast_sub(&along)? * weights)?;
            let queries = self.product(&scores, k)?.affine(self.scale(), 0.0)?;
            let keys = self.product(&scores.t()?, q)?;
            let values = self.product(&weights.t()?, &grad)?;
            grads.push(vec![queries, keys, values]);
        }
        self.tokens_of(&grads)
    }
}

impl Linear {
    fn forward(&self, run: &Run<'_>, x: &Tensor) -> Result<Tensor> {
        run.product(x, &run.matrix(self)?.t()?)?.broadcast_add(&run.row(&self.bias)?)
    }

    /// Adds the gradients of weights and bias.
    fn backward_weights(&self, run: &Run<'_>, x: &Tensor, grad: &Tensor, grads: &mut Gradients) -> Result<()> {
        grads.add(&self.weights, &run.product(&grad.t()?, x)?)?;
        grads.add(&self.bias, &grad.sum(0)?)
    }

    fn backward_input(&self, run: &Run<'_>, grad: &Tensor) -> Result<Tensor> {
        run.product(grad, &run.matrix(self)?)
    }
}

impl Norm {
    fn forward(&self, run: &Run<'_>, x: &Tensor) -> Result<(Tensor, NormTape)> {
        let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variances = centered.sqr()?.mean_keepdim(D::Minus1)?;
        let scales = variances.affine(1.0, f64::from(self.epsilon))?.sqrt()?.recip()?;
        let normalized = centered.broadcast_mul(&scales)?;
        let y = normalized.broadcast_mul(&run.row(&self.weight)?)?.broadcast_add(&run.row(&self.bias)?)?;
        Ok((y, NormTape { normalized, scales }))
    }

    /// The gradient of the result becomes that of the input.
    fn backward(&self, run: &Run<'_>, tape: &NormTape, grad: &Tensor, grads: &mut Gradients) -> Result<Tensor> {
        let NormTape { normalized, scales } = tape;
        grads.add(&self.weight, &(grad * normalized)?.sum(0)?)?;
        grads.add(&self.bias, &grad.sum(0)?)?;
        let grad = grad.broadcast_mul(&run.row(&self.weight)?)?;
        let along = (&grad * normalized)?.mean_keepdim(D::Minus1)?;
        let rest = grad.broadcast_sub(&grad.mean_keepdim(D::Minus1)?)?;
        (rest - normalized.broadcast_mul(&along)?)?.broadcast_mul(scales)
    }
}

/// The slope of `x · Φ(x)`: `Φ(x) + x · φ(x)`.
fn gelu_slope(x: &Tensor) -> Result<Tensor> {
    let share = x.affine(1.0 / SQRT_2, 0.0)?.erf()?.affine(0.5, 0.5)?;
    let density = x.sqr()?.affine(-0.5, 0.0)?.exp()?.affine(1.0 / (2.0 * PI).sqrt(), 0.0)?;
    share + (density * x)?
}

impl Layer {
    /// `[tokens, hidden]` → the same.
    pub(super) fn forward(&self, run: &Run<'_>, input: Tensor) -> Result<(Tensor, LayerTape)> {
        let (context, attention) = run.attend(&self.qkv.forward(run, &input)?)?;
        let (between, norm) = self.norm.forward(run, &(self.output.forward(run, &context)? + &input)?)?;
        let wide = self.up.forward(run, &between)?;
        let x = (self.down.forward(run, &wide.gelu_erf()?)? + &between)?;
        let (y, out_norm) = self.out_norm.forward(run, &x)?;
        Ok((y, LayerTape { input, attention, context, norm, between, wide, out_norm }))
    }

    /// The gradient of the result becomes that of the input; not where `is_first`: what is below is not trained. Those of
    /// the weights are added to.
    pub(super) fn backward(
        &self,
        run: &Run<'_>,
        is_first: bool,
        tape: &LayerTape,
        grad: Tensor,
        grads: &mut Gradients,
    ) -> Result<Tensor> {
        let grad = self.out_norm.backward(run, &tape.out_norm, &grad, grads)?;
        self.down.backward_weights(run, &tape.wide.gelu_erf()?, &grad, grads)?;
        let wide = (self.down.backward_input(run, &grad)? * gelu_slope(&tape.wide)?)?;
        self.up.backward_weights(run, &tape.between, &wide, grads)?;
        let grad = (grad + self.up.backward_input(run, &wide)?)?;
        let grad = self.norm.backward(run, &tape.norm, &grad, grads)?;
        self.output.backward_weights(run, &tape.context, &grad, grads)?;
        let context = self.output.backward_input(run, &grad)?;
        let qkv = run.attend_backward(&tape.attention, &context)?;
        self.qkv.backward_weights(run, &tape.input, &qkv, grads)?;
        if is_first { Ok(grad) } else { grad + self.qkv.backward_input(run, &qkv)? }
    }
}
