//! The two operations that candle has no packed or fast form of: attention within sequences, and exact GELU.
//!
//! Each has a CPU kernel and, for any other device, the same in candle's tensor operations; the tests compare the two.

use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::pack::PackedBatch;

/// Scaled dot-product attention within each sequence.
///
/// `qkv` is `[tokens, 3 · hidden]` (query, key, value side by side); the result is `[tokens, hidden]`.
pub(super) fn attention(qkv: &Tensor, batch: &PackedBatch, heads: usize) -> Result<Tensor> {
    match qkv.device() {
        Device::Cpu => qkv.apply_op1_no_bwd(&PackedAttention { offsets: batch.offsets.clone(), heads }),
        _ => attention_by_tensors(qkv, batch, heads),
    }
}

/// `x · Φ(x)` with the exact (erf) Φ, elementwise.
pub(super) fn gelu(x: &Tensor) -> Result<Tensor> {
    match x.device() {
        Device::Cpu => x.apply_op1_no_bwd(&Gelu),
        _ => x.gelu_erf(),
    }
}

fn attention_by_tensors(qkv: &Tensor, batch: &PackedBatch, heads: usize) -> Result<Tensor> {
    let hidden = qkv.dim(1)? / 3;
    let size = hidden / heads;
    let scale = 1.0 / (size as f64).sqrt();
    let sequences = batch
        .ranges()
        .map(|r| {
            // [tokens, 3, heads, size] → three times [heads, tokens, size]
            let own = qkv.narrow(0, r.start, r.len())?.reshape((r.len(), 3, heads, size))?.permute((1, 2, 0, 3))?;
            let part = |i| own.get(i)?.contiguous();
            let (q, k, v) = (part(0)?, part(1)?, part(2)?);
            let weights = candle_nn::ops::softmax(&(q.matmul(&k.transpose(1, 2)?)? * scale)?, D::Minus1)?;
            weights.matmul(&v)?.transpose(0, 1)?.reshape((r.len(), hidden))
        })
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&sequences, 0)
}

struct PackedAttention {
    offsets: Vec<usize>,
    heads: usize,
}

impl CustomOp1 for PackedAttention {
    fn name(&self) -> &'static str {
        "packed-attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = contiguous(storage, layout)?;
        let (tokens, width) = layout.shape().dims2()?;
        let hidden = width / 3;
        let mut out = vec![0f32; tokens * hidden];
        let mut rest = out.as_mut_slice();
        let mut sequences = Vec::with_capacity(self.offsets.len());
        for w in self.offsets.windows(2) {
            let (own, tail) = rest.split_at_mut((w[1] - w[0]) * hidden);
            rest = tail;
            sequences.push((&qkv[w[0] * width..w[1] * width], own));
        }
        sequences.into_par_iter().with_min_len(8).for_each_init(Scratch::default, |scratch, (qkv, out)| {
            attend(qkv, out, hidden, self.heads, scratch);
        });
        Ok((CpuStorage::F32(out), Shape::from((tokens, hidden))))
    }
}

#[derive(Default)]
struct Scratch {
    keys: Vec<f32>,
    weights: Vec<f32>,
}

/// Attention of one sequence: `qkv` is `[n, 3 · hidden]`, `out` is `[n, hidden]`.
fn attend(qkv: &[f32], out: &mut [f32], hidden: usize, heads: usize, scratch: &mut Scratch) {
    let (width, n, size) = (3 * hidden, out.len() / hidden, hidden / heads);
    let scale = 1.0 / (size as f32).sqrt();
    let Scratch { keys, weights } = scratch;
    weights.resize(n, 0.0);
    for head in 0..heads {
        let at = head * size;
        // Keys transposed, [size, n], so that the inner loop runs over keys without a reduction.
        keys.clear();
        keys.resize(size * n, 0.0);
        for (j, row) in qkv.chunks_exact(width).enumerate() {
            for (d, key) in row[hidden + at..hidden + at + size].iter().enumerate() {
                keys[d * n + j] = *key;
            }
        }
        for i in 0..n {
            let query = &qkv[i * width + at..i * width + at + size];
            weights.fill(0.0);
            for (q, column) in query.iter().zip(keys.chunks_exact(n)) {
                let q = q * scale;
                for (w, k) in weights.iter_mut().zip(column) {
                    *w += q * k;
                }
            }
            softmax(weights);
            let out = &mut out[i * hidden + at..i * hidden + at + size];
            for (w, row) in weights.iter().zip(qkv.chunks_exact(width)) {
                for (o, v) in out.iter_mut().zip(&row[2 * hidden + at..2 * hidden + at + size]) {
                    *o += w * v;
                }
            }
        }
    }
}

fn softmax(values: &mut [f32]) {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for v in values.iter_mut() {
        *v = (*v - max).exp();
        sum += *v;
    }
    let inverse = 1.0 / sum;
    for v in values {
        *v *= inverse;
    }
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu-erf"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = contiguous(storage, layout)?.to_vec();
        out.par_chunks_mut(16 * 1024).for_each(|chunk| {
            for x in chunk {
                *x = 0.5 * *x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// erf by Abramowitz & Stegun 7.1.26: absolute error below 5e-7 in f32,
/// branch-free so that it vectorizes.
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let poly = t * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152_1 + t * 1.061_405_4))));
    (1.0 - poly * exp_negative(a * a)).copysign(x)
}

/// `exp(-x)` for x ≥ 0: 2^n · 2^f with a polynomial for 2^f, relative error below 1e-6.
///
/// Rounding by a magic number, not `floor`: that is a library call on baseline x86-64 and would keep the loop from
/// being vectorized. The sum's low bits are n, ready to be added to the exponent.
fn exp_negative(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23
    let y = (-x * std::f32::consts::LOG2_E).max(-126.0);
    let shifted = y + MAGIC;
    let f = y - (shifted - MAGIC);
    let p = 1.0
        + f * (std::f32::consts::LN_2
            + f * (0.240_226_5 + f * (0.055_504_11 + f * (0.009_618_13 + f * (0.001_333_36 + f * 0.000_154_04)))));
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else {
        candle_core::bail!("expected f32");
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("expected a contiguous tensor"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 4.0
            })
            .collect()
    }

    /// erf in f64 by its Taylor series, exact to 1e-12 for |x| ≤ 4.
    fn erf_f64(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn gelu_agrees_with_f64() {
        let mut worst = 0f64;
        for i in -4000..=4000 {
            let x = i as f32 / 1000.0;
            worst = worst.max((f64::from(erf(x)) - erf_f64(f64::from(x))).abs());
        }
        assert!(worst < 6e-7, "worst absolute error of erf: {worst:e}");
        assert_eq!(erf(30.0), 1.0);
        assert_eq!(erf(-30.0), -1.0);
    }

    #[test]
    fn packed_attention_agrees_with_tensor_operations() {
        let (hidden, heads) = (48, 4);
        let sequences: Vec<Vec<u32>> = [3usize, 1, 17, 8].iter().map(|n| vec![0; *n]).collect();
        let batch = PackedBatch::new(sequences.iter().map(Vec::as_slice));
        let values = random(batch.tokens() * 3 * hidden, 7);
        let qkv = Tensor::from_vec(values, (batch.tokens(), 3 * hidden), &Device::Cpu).unwrap();
        let ours = attention(&qkv, &batch, heads).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let theirs =
            attention_by_tensors(&qkv, &batch, heads).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst < 2e-6, "{worst:e}");
    }
}
