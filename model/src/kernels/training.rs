//! What training does to rows of activations, forward and backward.

use super::rows::{load, store, vectors};
use super::simd::Simd;
use super::{Isa, Kernel, math};

/// `out = GELU(x)`.
pub(crate) fn gelu(isa: Isa, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "slices of different lengths");
    isa.run(Gelu { x, out });
}

struct Gelu<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Gelu<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (x, out) = (self.x.as_ptr(), self.out.as_mut_ptr());
        // SAFETY: `at + n` is at most the length of both.
        vectors::<S>(self.x.len(), |at, n| unsafe {
            let [y] = math::gelu(s, [load(s, x.add(at), n)]);
            store(s, out.add(at), n, y);
        });
    }
}

/// `grad ← grad · GELU'(x)`.
pub(crate) fn gelu_backward(isa: Isa, x: &[f32], grad: &mut [f32]) {
    assert_eq!(x.len(), grad.len(), "slices of different lengths");
    isa.run(GeluBackward { x, grad });
}

struct GeluBackward<'a> {
    x: &'a [f32],
    grad: &'a mut [f32],
}

impl Kernel for GeluBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        /// 1 / √(2π).
        const DENSITY: f32 = 0.398_942_3;
        let (x, grad) = (self.x.as_ptr(), self.grad.as_mut_ptr());
        // SAFETY: `at + n` is at most the length of both.
        vectors::<S>(self.x.len(), |at, n| unsafe {
            let v = load(s, x.add(at), n);
            let density = s.mul(math::exp(s, s.mul(s.mul(v, v), s.splat(-0.5))), s.splat(DENSITY));
            let slope = s.fma(v, density, math::normal_cdf(s, v));
            store(s, grad.add(at), n, s.mul(slope, load(s, grad.add(at), n)));
        });
    }
}

/// Layer normalization of rows: normalized rows (before weight and bias) in place of `x`, the result into `y`, and one
/// over each row's deviation into `scales`.
pub(crate) fn normalize_rows(
    x: &mut [f32],
    weight: &[f32],
    bias: &[f32],
    epsilon: f32,
    y: &mut [f32],
    scales: &mut [f32],
) {
    let width = weight.len();
    assert!(x.len() == y.len() && x.len() == scales.len() * width && bias.len() == width, "rows of another width");
    for ((x, y), scale) in x.chunks_exact_mut(width).zip(y.chunks_exact_mut(width)).zip(scales) {
        let mean = sum_of(x, x, |v, _| v) / width as f32;
        let variance = sum_of(x, x, |v, _| (v - mean) * (v - mean)) / width as f32;
        *scale = 1.0 / (variance + epsilon).sqrt();
        for (((x, y), w), b) in x.iter_mut().zip(y).zip(weight).zip(bias) {
            *x = (*x - mean) * *scale;
            *y = *x * w + b;
        }
    }
}

/// Backward of [`normalize_rows`]: from normalized rows and their scales, the gradient of the result in place becomes the
/// gradient of the input; those of weight and bias are added to.
pub(crate) fn normalize_rows_backward(
    normalized: &[f32],
    scales: &[f32],
    weight: &[f32],
    grad: &mut [f32],
    (weight_grad, bias_grad): (&mut [f32], &mut [f32]),
) {
    let width = weight.len();
    for ((x, g), scale) in normalized.chunks_exact(width).zip(grad.chunks_exact_mut(width)).zip(scales) {
        for ((((g, x), w), dw), db) in g.iter_mut().zip(x).zip(weight).zip(&mut *weight_grad).zip(&mut *bias_grad) {
            *dw += *g * x;
            *db += *g;
            *g *= w;
        }
        let mean = sum_of(g, g, |g, _| g) / width as f32;
        let along = dot(g, x) / width as f32;
        for (g, x) in g.iter_mut().zip(x) {
            *g = (*g - mean - x * along) * scale;
        }
    }
}

/// Adds the sum of rows to a row.
pub(crate) fn add_sum_of_rows(rows: &[f32], row: &mut [f32]) {
    for values in rows.chunks_exact(row.len()) {
        for (sum, value) in row.iter_mut().zip(values) {
            *sum += value;
        }
    }
}

/// `a += b`.
pub(crate) fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// The dot product of two rows, in 32-bit floats.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| a * b)
}

/// `Σ f(a, b)` in eight parts side by side, which the compiler makes vectors of.
#[inline(always)]
fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| f(*a, *b)).sum::<f32>()
}
