//! One layer of the encoder, forward and backward, over the tokens of a packed batch, `[tokens, …]` throughout.

use std::f64::consts::{PI, SQRT_2};
use std::ops::Range;

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::super::layout::{Layer, Linear, Norm};
use super::gradients::Gradients;
use crate::encoder::Blocks;

/// What all layers share on their way there and back.
pub(super) struct Run<'a> {
    /// The parameters as they are, and as matrix products take them.
    pub(super) floats: &'a Tensor,
    pub(super) products: &'a Tensor,
    pub(super) blocks: &'a Blocks,
    pub(super) heads: usize,
    pub(super) hidden: usize,
}

/// What they share on their way back.
pub(super) struct Back {
    /// For each block, as [`Blocks::is_token`] has it.
    pub(super) is_token: Vec<Tensor>,
    /// `[1, tokens]`: a product with it sums columns, faster than candle's sums do.
    pub(super) ones: Tensor,
}

/// What a layer's way back needs. What only products take is kept as they take it.
pub(super) struct LayerTape {
    input: Tensor,
    attention: Vec<BlockTape>,
    context: Tensor,
    norm: NormTape,
    between: Tensor,
    wide: Tensor,
    out_norm: NormTape,
}

/// A block's queries, keys and values, `[3, sequences, heads, longest, size]` as products take them, and attention weights,
/// `[sequences, heads, longest, longest]`.
struct BlockTape {
    qkv: Tensor,
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

    /// As products take it. Before it is transposed: a GPU converts what lies in order several times as fast.
    fn factor(&self, x: &Tensor) -> Result<Tensor> {
        x.to_dtype(self.products.dtype())
    }

    /// The product of two [`Run::factor`]s, as all else takes it.
    fn product(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        a.matmul(b)?.to_dtype(self.floats.dtype())
    }

    fn scale(&self) -> f64 {
        ((self.hidden / self.heads) as f64).sqrt().recip()
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
            let qkv = self.factor(&block.heads_of(&spread, 3, self.heads)?)?;
            let (q, k, v) = (qkv.get(0)?, qkv.get(1)?, qkv.get(2)?);
            let scores = self.product(&q, &k.t()?)?.affine(self.scale(), 0.0)?.broadcast_add(&block.mask)?;
            let weights = softmax_last_dim(&scores)?;
            contexts.push(vec![self.product(&self.factor(&weights)?, &v)?]);
            tapes.push(BlockTape { qkv, weights });
        }
        Ok((self.tokens_of(&contexts)?, tapes))
    }

    /// The gradient of `qkv` from that of the context.
    fn attend_backward(&self, back: &Back, tapes: &[BlockTape], grad: &Tensor) -> Result<Tensor> {
        let spread = grad.index_select(&self.blocks.spread, 0)?;
        let mut grads = Vec::new();
        for ((block, is_token), BlockTape { qkv, weights }) in self.blocks.all.iter().zip(&back.is_token).zip(tapes) {
            let (q, k, v) = (qkv.get(0)?, qkv.get(1)?, qkv.get(2)?);
            // Padding has the gradient of its sequence's first token there, and none in truth.
            let grad = block.heads_of(&spread, 1, self.heads)?.squeeze(0)?.broadcast_mul(is_token)?;
            let grad = self.factor(&grad)?;
            let slopes = self.product(&grad, &v.t()?)?;
            let along = (&slopes * weights)?.sum_keepdim(D::Minus1)?;
            let scores = (slopes.broadcast_sub(&along)? * weights)?.affine(self.scale(), 0.0)?;
            let scores = self.factor(&scores)?;
            let (queries, keys) = (self.product(&scores, &k)?, self.product(&scores.t()?, &q)?);
            let values = self.product(&self.factor(weights)?.t()?, &grad)?;
            grads.push(vec![queries, keys, values]);
        }
        self.tokens_of(&grads)
    }
}

impl Back {
    /// `[tokens, n]` → `n` sums.
    fn sum(&self, grad: &Tensor) -> Result<Tensor> {
        self.ones.matmul(grad)
    }
}

impl Linear {
    /// Of a factor.
    fn forward(&self, run: &Run<'_>, x: &Tensor) -> Result<Tensor> {
        run.product(x, &run.matrix(self)?.t()?)?.broadcast_add(&run.row(&self.bias)?)
    }

    /// Adds the gradients of weights and bias, from the input (a factor) and the result's gradient; the latter as a factor,
    /// for the input's.
    fn backward_weights(
        &self,
        (run, back): (&Run<'_>, &Back),
        x: &Tensor,
        grad: &Tensor,
        grads: &mut Gradients,
    ) -> Result<Tensor> {
        let factor = run.factor(grad)?;
        grads.add(&self.weights, &run.product(&factor.t()?, x)?)?;
        grads.add(&self.bias, &back.sum(grad)?)?;
        Ok(factor)
    }

    /// Of a factor.
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
    fn backward(
        &self,
        (run, back): (&Run<'_>, &Back),
        tape: &NormTape,
        grad: &Tensor,
        grads: &mut Gradients,
    ) -> Result<Tensor> {
        let NormTape { normalized, scales } = tape;
        grads.add(&self.weight, &back.sum(&(grad * normalized)?)?)?;
        grads.add(&self.bias, &back.sum(grad)?)?;
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
    pub(super) fn forward(&self, run: &Run<'_>, x: Tensor) -> Result<(Tensor, LayerTape)> {
        let input = run.factor(&x)?;
        let (context, attention) = run.attend(&self.qkv.forward(run, &input)?)?;
        let context = run.factor(&context)?;
        let (y, norm) = self.norm.forward(run, &(self.output.forward(run, &context)? + x)?)?;
        let between = run.factor(&y)?;
        let wide = self.up.forward(run, &between)?;
        let x = (self.down.forward(run, &run.factor(&wide.gelu_erf()?)?)? + y)?;
        let (y, out_norm) = self.out_norm.forward(run, &x)?;
        Ok((y, LayerTape { input, attention, context, norm, between, wide, out_norm }))
    }

    /// The gradient of the result becomes that of the input; not where `is_first`: what is below is not trained. Those of
    /// the weights are added to.
    pub(super) fn backward(
        &self,
        run: &Run<'_>,
        back: &Back,
        is_first: bool,
        tape: LayerTape,
        grad: Tensor,
        grads: &mut Gradients,
    ) -> Result<Tensor> {
        let by = (run, back);
        let grad = self.out_norm.backward(by, &tape.out_norm, &grad, grads)?;
        let active = run.factor(&tape.wide.gelu_erf()?)?;
        let factor = self.down.backward_weights(by, &active, &grad, grads)?;
        let wide = (self.down.backward_input(run, &factor)? * gelu_slope(&tape.wide)?)?;
        let factor = self.up.backward_weights(by, &tape.between, &wide, grads)?;
        let grad = (grad + self.up.backward_input(run, &factor)?)?;
        let grad = self.norm.backward(by, &tape.norm, &grad, grads)?;
        let factor = self.output.backward_weights(by, &tape.context, &grad, grads)?;
        let qkv = run.attend_backward(back, &tape.attention, &self.output.backward_input(run, &factor)?)?;
        let factor = self.qkv.backward_weights(by, &tape.input, &qkv, grads)?;
        if is_first { Ok(grad) } else { grad + self.qkv.backward_input(run, &factor)? }
    }
}
