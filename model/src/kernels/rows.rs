//! What is done to rows of activations between the matrix products.

use super::simd::Simd;
use super::{Isa, Kernel};

/// Largest 8-bit weight, in units of its scale.
pub(super) const LARGEST_WEIGHT: f32 = 127.0;
/// Largest 8-bit activation, in units of its scale.
const LARGEST_ACTIVATION: f32 = 255.0;

/// Visits a row vector by vector: `at` and the number of floats from there on, `LANES` but for the last.
#[inline(always)]
fn vectors<S: Simd>(len: usize, mut visit: impl FnMut(usize, usize)) {
    let mut at = 0;
    while at < len {
        visit(at, S::LANES.min(len - at));
        at += S::LANES;
    }
}

/// # Safety
/// `n` floats can be read from `p`.
#[inline(always)]
unsafe fn load<S: Simd>(s: S, p: *const f32, n: usize) -> S::F {
    // SAFETY: the caller's.
    unsafe { if n == S::LANES { s.load(p) } else { s.load_part(p, n) } }
}

/// # Safety
/// `n` floats can be written to `p`.
#[inline(always)]
unsafe fn store<S: Simd>(s: S, p: *mut f32, n: usize, v: S::F) {
    // SAFETY: the caller's.
    unsafe { if n == S::LANES { s.store(p, v) } else { s.store_part(p, n, v) } }
}

/// Floats rounded to bfloat16.
pub(super) struct RoundBf16<'a> {
    pub(super) x: &'a [f32],
    /// At least as long.
    pub(super) out: &'a mut [u32],
}

impl Kernel for RoundBf16<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (x, out) = (self.x.as_ptr(), self.out[..self.x.len()].as_mut_ptr().cast::<f32>());
        // SAFETY: both slices have the row's length.
        vectors::<S>(self.x.len(), |at, n| unsafe { store(s, out.add(at), n, s.round_bf16(load(s, x.add(at), n))) });
    }
}

/// Rows of floats as 8-bit integers with a scale and a zero each: `x ≈ scale · (integer − zero)`.
pub(super) struct Quantize<'a> {
    /// `[rows, inputs]`.
    pub(super) x: &'a [f32],
    pub(super) inputs: usize,
    /// Words of a row.
    pub(super) depth: usize,
    /// Each integer in 16 bits, two a word; else in 8 bits, four a word.
    pub(super) wide: bool,
    /// `[rows, depth]`.
    pub(super) words: &'a mut [u32],
    pub(super) scales: &'a mut [f32],
    pub(super) zeros: &'a mut [f32],
}

impl Kernel for Quantize<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let outputs = self.words.chunks_exact_mut(self.depth).zip(self.scales).zip(self.zeros);
        for (x, ((words, scale), zero)) in self.x.chunks_exact(self.inputs).zip(outputs) {
            let (mut least, mut most) = (s.splat(0.0), s.splat(0.0));
            vectors::<S>(x.len(), |at, n| {
                // SAFETY: `at + n` is at most the row's length. Lanes beyond are 0, which is among the bounds anyway.
                let v = unsafe { load(s, x.as_ptr().add(at), n) };
                (least, most) = (s.min(least, v), s.max(most, v));
            });
            let (least, most) = (s.smallest(least), s.largest(most));
            let unit = if most > least { (most - least) / LARGEST_ACTIVATION } else { 1.0 };
            *scale = unit;
            *zero = (-least / unit).round_ties_even();
            let (inverse, shift) = (s.splat(1.0 / unit), s.splat(*zero));
            let out = words.as_mut_ptr().cast::<u8>();
            vectors::<S>(x.len(), |at, n| {
                // SAFETY: as above; a row has room for `inputs` integers.
                unsafe {
                    let y = s.fma(load(s, x.as_ptr().add(at), n), inverse, shift);
                    let y = s.to_ints(s.min(s.max(y, s.splat(0.0)), s.splat(LARGEST_ACTIVATION)));
                    let bytes = if self.wide { 2 } else { 1 };
                    let store = |p: *mut u8| if self.wide { s.store_halves(p.cast(), y) } else { s.store_bytes(p, y) };
                    if n == S::LANES {
                        store(out.add(at * bytes));
                    } else {
                        let mut part = [0u8; 32];
                        store(part.as_mut_ptr());
                        std::ptr::copy_nonoverlapping(part.as_ptr(), out.add(at * bytes), n * bytes);
                    }
                }
            });
        }
    }
}

/// Scale and shift of a layer normalization.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) epsilon: f32,
}

/// Layer normalization of rows in place, after `add` (as long, or empty) was added to them.
pub(crate) fn layer_norm(isa: Isa, x: &mut [f32], add: &[f32], norm: &Norm) {
    let width = norm.weight.len();
    assert!(norm.bias.len() == width && x.len().is_multiple_of(width), "rows of another width");
    assert!(add.is_empty() || add.len() == x.len(), "rows that do not fit together");
    isa.run(LayerNorm { x, add, norm });
}

struct LayerNorm<'a> {
    x: &'a mut [f32],
    add: &'a [f32],
    norm: &'a Norm,
}

impl Kernel for LayerNorm<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Norm { weight, bias, epsilon } = self.norm;
        let width = weight.len();
        for (i, row) in self.x.chunks_exact_mut(width).enumerate() {
            let row = row.as_mut_ptr();
            let mut sum = s.splat(0.0);
            vectors::<S>(width, |at, n| {
                // SAFETY: here and below `at + n ≤ width`, the length of a row of each slice.
                unsafe {
                    let mut v = load(s, row.add(at), n);
                    if !self.add.is_empty() {
                        v = s.add(v, load(s, self.add.as_ptr().add(i * width + at), n));
                        store(s, row.add(at), n, v);
                    }
                    sum = s.add(sum, v);
                }
            });
            let mean = s.sum(sum) / width as f32;
            let mut squares = s.splat(0.0);
            vectors::<S>(width, |at, n| {
                // SAFETY: as above. Lanes beyond the row are not counted: they hold the mean.
                unsafe {
                    let v = if n == S::LANES {
                        load(s, row.add(at), n)
                    } else {
                        let mut lanes = [mean; 16];
                        std::ptr::copy_nonoverlapping(row.add(at), lanes.as_mut_ptr(), n);
                        s.load(lanes.as_ptr())
                    };
                    let d = s.sub(v, s.splat(mean));
                    squares = s.fma(d, d, squares);
                }
            });
            let scale = 1.0 / (s.sum(squares) / width as f32 + epsilon).sqrt();
            vectors::<S>(width, |at, n| {
                // SAFETY: as above.
                unsafe {
                    let d = s.mul(s.sub(load(s, row.add(at), n), s.splat(mean)), s.splat(scale));
                    let y = s.fma(d, load(s, weight.as_ptr().add(at), n), load(s, bias.as_ptr().add(at), n));
                    store(s, row.add(at), n, y);
                }
            });
        }
    }
}

/// The mean of rows, scaled to length 1, into `out`. A mean without a direction stays as it is.
pub(crate) fn mean_of_rows(isa: Isa, rows: &[f32], out: &mut [f32]) {
    assert!(!out.is_empty() && rows.len().is_multiple_of(out.len()), "rows of another width");
    isa.run(Mean { rows, out });
}

struct Mean<'a> {
    rows: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Mean<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.out.len();
        let rows = self.rows.len() / width;
        let share = s.splat(1.0 / rows as f32);
        let mut squares = s.splat(0.0);
        vectors::<S>(width, |at, n| {
            let mut sum = s.splat(0.0);
            for row in 0..rows {
                // SAFETY: here and below `at + n ≤ width`, the length of each row.
                sum = s.add(sum, unsafe { load(s, self.rows.as_ptr().add(row * width + at), n) });
            }
            let mean = s.mul(sum, share);
            squares = s.fma(mean, mean, squares);
            unsafe { store(s, self.out.as_mut_ptr().add(at), n, mean) };
        });
        let length = s.sum(squares).sqrt().max(1e-12);
        let scale = s.splat(1.0 / length);
        vectors::<S>(width, |at, n| {
            // SAFETY: as above.
            unsafe {
                let p = self.out.as_mut_ptr().add(at);
                store(s, p, n, s.mul(load(s, p, n), scale));
            }
        });
    }
}

/// `out = a + b + c`, all of one length: the embedding of a token.
pub(crate) fn add_rows(isa: Isa, a: &[f32], b: &[f32], c: &[f32], out: &mut [f32]) {
    assert!(a.len() == out.len() && b.len() == out.len() && c.len() == out.len(), "rows of another width");
    isa.run(AddRows { a, b, c, out });
}

struct AddRows<'a> {
    a: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        vectors::<S>(self.out.len(), |at, n| {
            // SAFETY: `at + n` is at most the length of all four.
            unsafe {
                let two = s.add(load(s, self.a.as_ptr().add(at), n), load(s, self.b.as_ptr().add(at), n));
                store(s, self.out.as_mut_ptr().add(at), n, s.add(two, load(s, self.c.as_ptr().add(at), n)));
            }
        });
    }
}
