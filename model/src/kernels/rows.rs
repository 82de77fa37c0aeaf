//! What is done to rows of activations between the matrix products.

use super::simd::Simd;
use super::{Isa, Kernel};

/// Largest 8-bit weight, in units of its scale.
pub(super) const LARGEST_WEIGHT: f32 = 127.0;
/// Largest activation, in units of its scale: 7 bits, so that AVX2 can add two products in 16 bits without loss.
const LARGEST_ACTIVATION: f32 = 127.0;
/// Activations of a row that are kept as floats, at most. A few channels of a Transformer are tens of times larger than
/// the others (Dettmers et al. 2022): they would cost all others their precision.
pub(super) const OUTLIERS: usize = 4;
/// How many times the root mean square of its row an activation must be to stand out.
const STANDS_OUT: f32 = 6.0;

/// Visits a row vector by vector: `at` and the number of floats from there on, `LANES` but for the last.
#[inline(always)]
pub(super) fn vectors<S: Simd>(len: usize, mut visit: impl FnMut(usize, usize)) {
    let mut at = 0;
    while at < len {
        visit(at, S::LANES.min(len - at));
        at += S::LANES;
    }
}

/// # Safety
/// `n` floats can be read from `p`.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(s: S, p: *const f32, n: usize) -> S::F {
    // SAFETY: the caller's.
    unsafe { if n == S::LANES { s.load(p) } else { s.load_part(p, n) } }
}

/// # Safety
/// `n` floats can be written to `p`.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(s: S, p: *mut f32, n: usize, v: S::F) {
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

/// Set in an outlier's input where that is a place among the columns that were made floats.
pub(super) const WIDE: u32 = 1 << 31;

/// An activation that stands out of its row; a value of 0 ends a row's list.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outlier {
    pub(super) input: u32,
    pub(super) value: f32,
}

/// Rows of floats as integers with a scale and a zero each, `x ≈ scale · (integer − zero)`, and what stands out of them.
pub(super) struct Quantize<'a> {
    /// `[rows, inputs]`.
    pub(super) x: &'a [f32],
    pub(super) inputs: usize,
    /// Words of a row.
    pub(super) depth: usize,
    /// `[rows, depth]`, four integers each.
    pub(super) words: &'a mut [u32],
    pub(super) scales: &'a mut [f32],
    pub(super) zeros: &'a mut [f32],
    /// `[rows, OUTLIERS]`, or empty: then nothing stands out.
    pub(super) outliers: &'a mut [Outlier],
    /// Room for a row.
    pub(super) rest: &'a mut [f32],
}

impl Kernel for Quantize<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut outliers = self.outliers.chunks_exact_mut(OUTLIERS);
        let outputs = self.words.chunks_exact_mut(self.depth).zip(self.scales.iter_mut().zip(self.zeros));
        for (x, (words, (scale, zero))) in self.x.chunks_exact(self.inputs).zip(outputs) {
            let (mut range, squares) = measure(s, x);
            let limit = STANDS_OUT * (squares / x.len() as f32).sqrt();
            let mut row = x;
            if let Some(outliers) = outliers.next() {
                outliers.fill(Outlier::default());
                if range.1.max(-range.0) > limit {
                    find_outliers(s, x, limit, outliers);
                    self.rest.copy_from_slice(x);
                    for outlier in outliers.iter().filter(|o| o.value != 0.0) {
                        self.rest[outlier.input as usize] = 0.0;
                    }
                    row = self.rest;
                    range = measure(s, row).0;
                }
            }
            let (least, most) = range;
            let unit = if most > least { (most - least) / LARGEST_ACTIVATION } else { 1.0 };
            *scale = unit;
            *zero = (-least / unit).round_ties_even();
            write_integers(s, row, unit, *zero, words);
        }
    }
}

/// The least and the largest value, 0 among them, and the sum of squares.
#[inline(always)]
fn measure<S: Simd>(s: S, x: &[f32]) -> ((f32, f32), f32) {
    let zero = s.splat(0.0);
    // Four of each: a sum is ready for the next vector only after a while.
    let mut all = [(zero, zero, zero); 4];
    let with = |(least, most, squares), v: S::F| (s.min(least, v), s.max(most, v), s.fma(v, v, squares));
    let mut fours = x.chunks_exact(4 * S::LANES);
    for four in &mut fours {
        for (i, own) in all.iter_mut().enumerate() {
            // SAFETY: there are four vectors.
            *own = with(*own, unsafe { s.load(four.as_ptr().add(i * S::LANES)) });
        }
    }
    let rest = fours.remainder();
    vectors::<S>(rest.len(), |at, n| {
        // SAFETY: `at + n` is at most the rest's length. Lanes beyond are 0, which changes nothing.
        all[0] = with(all[0], unsafe { load(s, rest.as_ptr().add(at), n) });
    });
    let joined = |a: (S::F, S::F, S::F), b: (S::F, S::F, S::F)| (s.min(a.0, b.0), s.max(a.1, b.1), s.add(a.2, b.2));
    let (least, most, squares) = joined(joined(all[0], all[1]), joined(all[2], all[3]));
    ((s.smallest(least), s.largest(most)), s.sum(squares))
}

/// The largest of the values whose magnitude is above a limit, the first of equal ones first.
#[inline(always)]
fn find_outliers<S: Simd>(s: S, x: &[f32], limit: f32, outliers: &mut [Outlier]) {
    let (limit, one) = (s.splat(limit), s.splat(1.0));
    vectors::<S>(x.len(), |at, n| {
        // SAFETY: `at + n` is at most the row's length.
        let magnitudes = s.copysign(unsafe { load(s, x.as_ptr().add(at), n) }, one);
        let mut found = s.above(magnitudes, limit);
        while found != 0 {
            let input = at + found.trailing_zeros() as usize;
            found &= found - 1;
            let value = x[input];
            let place = outliers.iter().position(|o| o.value.abs() < value.abs());
            if let Some(place) = place {
                outliers[place..].rotate_right(1);
                outliers[place] = Outlier { input: input as u32, value };
            }
        }
    });
}

/// `x / unit + zero`, within the range of activations; not rounded yet.
#[inline(always)]
fn in_units<S: Simd>(s: S, x: S::F, inverse: S::F, zero: S::F) -> S::F {
    s.min(s.max(s.fma(x, inverse, zero), s.splat(0.0)), s.splat(LARGEST_ACTIVATION))
}

/// `round(x / unit) + zero` of a row, a byte each.
#[inline(always)]
fn write_integers<S: Simd>(s: S, x: &[f32], unit: f32, zero: f32, words: &mut [u32]) {
    let (inverse, shift) = (s.splat(1.0 / unit), s.splat(zero));
    let out = words.as_mut_ptr().cast::<u8>();
    vectors::<S>(x.len(), |at, n| {
        // SAFETY: `at + n` is at most the row's length, and a row of words has as many bytes.
        unsafe {
            let y = s.to_ints(in_units(s, load(s, x.as_ptr().add(at), n), inverse, shift));
            if n == S::LANES {
                s.store_bytes(out.add(at), y);
            } else {
                let mut bytes = [0u8; 16];
                s.store_bytes(bytes.as_mut_ptr(), y);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.add(at), n);
            }
        }
    });
}

/// Added and taken off again, it rounds to the nearest integer, ties to even, what is less than 2²² either way.
const ROUNDS: f32 = 12_582_912.0;

/// To the nearest integer, ties to even. As additions, which vectorize everywhere.
pub(super) fn round(x: f32) -> f32 {
    (x + ROUNDS) - ROUNDS
}

/// Length of the difference of a row and its units.
pub(super) fn distance(row: &[f32], units: &[f32], unit: f32) -> f32 {
    let mut squares = [0f32; 8];
    for (row, units) in row.chunks(8).zip(units.chunks(8)) {
        for ((sum, x), n) in squares.iter_mut().zip(row).zip(units) {
            *sum += (x - n * unit) * (x - n * unit);
        }
    }
    squares.iter().sum::<f32>().sqrt()
}

/// Length of what a row loses when it is rounded to bfloat16.
pub(super) struct LostInBf16<'a>(pub(super) &'a [f32]);

impl Kernel for LostInBf16<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut squares = s.splat(0.0);
        vectors::<S>(self.0.len(), |at, n| {
            // SAFETY: `at + n` is at most the row's length.
            let x = unsafe { load(s, self.0.as_ptr().add(at), n) };
            let lost = s.sub(x, s.round_bf16(x));
            squares = s.fma(lost, lost, squares);
        });
        s.sum(squares).sqrt()
    }
}

/// Length of what a row loses as the integers that [`Quantize`] makes of it.
pub(super) struct LostInIntegers<'a> {
    pub(super) x: &'a [f32],
    pub(super) unit: f32,
    pub(super) zero: f32,
}

impl Kernel for LostInIntegers<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (inverse, unit) = (s.splat(1.0 / self.unit), s.splat(self.unit));
        let (zero, shift) = (s.splat(self.zero), s.splat(ROUNDS));
        let mut squares = s.splat(0.0);
        vectors::<S>(self.x.len(), |at, n| {
            // SAFETY: `at + n` is at most the row's length. Lanes beyond are 0, and lose nothing.
            let x = unsafe { load(s, self.x.as_ptr().add(at), n) };
            let y = in_units(s, x, inverse, zero);
            let y = s.sub(s.sub(s.add(y, shift), shift), zero);
            let lost = s.sub(x, s.mul(y, unit));
            squares = s.fma(lost, lost, squares);
        });
        s.sum(squares).sqrt()
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
