//! Scaled dot-product attention within one sequence.

use super::simd::Simd;
use super::{Aligned, Isa, Kernel, math};

/// Queries that are taken together.
const QUERIES: usize = 4;
/// The score of a key that is not there: its weight is 0 beside any other.
const NO_KEY: f32 = -1e30;

/// Attention of one sequence of `n` tokens, whose queries are scaled already.
pub(crate) struct Attention<'a> {
    /// `[n, 3 · hidden]`: query, key and value side by side.
    pub(crate) qkv: &'a [f32],
    /// Tokens of the sequence.
    pub(crate) n: usize,
    /// Number of heads.
    pub(crate) heads: usize,
    /// Added to the score of head `h`, query `i` and key `j`.
    pub(crate) bias: Option<&'a RelativeBias>,
    /// `[n, hidden]`.
    pub(crate) out: &'a mut [f32],
}

/// What is added to scores by the distance of key and query (MPNet).
#[derive(Debug, Clone)]
pub(crate) struct RelativeBias {
    /// `values[h · (2 · longest − 1) + j − i + longest − 1]`.
    pub(crate) values: Vec<f32>,
    /// The longest sequence.
    pub(crate) longest: usize,
}

/// Memory that is used again for every sequence.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    keys: Aligned,
    scores: Aligned,
}

impl Attention<'_> {
    /// Computes it.
    ///
    /// # Panics
    /// When the slices do not fit together: a defect of the caller.
    pub(crate) fn run(self, isa: Isa, scratch: &mut AttentionScratch) {
        let hidden = self.out.len() / self.n.max(1);
        assert!(
            hidden * self.n == self.out.len() && self.qkv.len() == 3 * self.out.len(),
            "slices do not fit together"
        );
        assert!(hidden.is_multiple_of(self.heads), "heads of different sizes");
        if let Some(bias) = self.bias {
            assert!(self.n <= bias.longest && bias.values.len() == self.heads * (2 * bias.longest - 1), "another bias");
        }
        let padded = self.n.next_multiple_of(isa.lanes());
        scratch.keys.reserve(hidden / self.heads * padded);
        scratch.scores.reserve(QUERIES * padded);
        let AttentionScratch { keys, scores } = scratch;
        isa.run(Run { attention: self, padded, keys: keys.floats_mut(), scores: scores.floats_mut() });
    }
}

struct Run<'a, 'b> {
    attention: Attention<'a>,
    /// Tokens, rounded up to whole vectors.
    padded: usize,
    /// Keys of one head, transposed: `[size, padded]`.
    keys: &'b mut [f32],
    /// `[QUERIES, padded]`.
    scores: &'b mut [f32],
}

impl Kernel for Run<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for head in 0..self.attention.heads {
            self.transpose_keys(head);
            for first in (0..self.attention.n).step_by(QUERIES) {
                // Where fewer are left, the last one is taken again and not written twice.
                let rows: [usize; QUERIES] = std::array::from_fn(|r| (first + r).min(self.attention.n - 1));
                // SAFETY: the slices have the lengths that `Attention::run` has checked or made.
                unsafe {
                    self.score(s, head, rows);
                    let scales = self.soften(s);
                    self.mix(s, head, rows, scales);
                }
            }
        }
    }
}

impl Run<'_, '_> {
    fn hidden(&self) -> usize {
        self.attention.out.len() / self.attention.n
    }

    fn size(&self) -> usize {
        self.hidden() / self.attention.heads
    }

    #[inline(always)]
    fn transpose_keys(&mut self, head: usize) {
        let (hidden, size, padded) = (self.hidden(), self.size(), self.padded);
        for (j, row) in self.attention.qkv.chunks_exact(3 * hidden).enumerate() {
            for (d, key) in row[hidden + head * size..][..size].iter().enumerate() {
                self.keys[d * padded + j] = *key;
            }
        }
        for d in 0..size {
            self.keys[d * padded + self.attention.n..(d + 1) * padded].fill(0.0);
        }
    }

    /// Scores of some queries against all keys.
    #[inline(always)]
    unsafe fn score<S: Simd>(&mut self, s: S, head: usize, rows: [usize; QUERIES]) {
        let (hidden, size, padded, n) = (self.hidden(), self.size(), self.padded, self.attention.n);
        let query = |row: usize| self.attention.qkv[row * 3 * hidden + head * size..].as_ptr();
        let queries = [query(rows[0]), query(rows[1]), query(rows[2]), query(rows[3])];
        for at in (0..padded).step_by(S::LANES) {
            let mut sums = [s.splat(0.0); QUERIES];
            for d in 0..size {
                // SAFETY: `at + LANES ≤ padded`, and each query has `size` floats.
                unsafe {
                    let keys = s.load(self.keys.as_ptr().add(d * padded + at));
                    for (sum, query) in sums.iter_mut().zip(queries) {
                        *sum = s.fma(s.splat(*query.add(d)), keys, *sum);
                    }
                }
            }
            if let Some(bias) = self.attention.bias {
                let keys = S::LANES.min(n - at);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let values = &bias.values[head * (2 * bias.longest - 1) + bias.longest - 1 - row + at..][..keys];
                    // SAFETY: the slice has `keys` floats.
                    let values = unsafe {
                        if keys == S::LANES { s.load(values.as_ptr()) } else { s.load_part(values.as_ptr(), keys) }
                    };
                    *sum = s.add(*sum, values);
                }
            }
            for (r, sum) in sums.into_iter().enumerate() {
                // SAFETY: a row of scores has `padded` floats.
                unsafe { s.store(self.scores.as_mut_ptr().add(r * padded + at), sum) };
            }
        }
    }

    /// Exponentials of the scores below their largest; 1 / their sum.
    #[inline(always)]
    unsafe fn soften<S: Simd>(&mut self, s: S) -> [f32; QUERIES] {
        let (padded, n) = (self.padded, self.attention.n);
        std::array::from_fn(|r| {
            let row = &mut self.scores[r * padded..(r + 1) * padded];
            row[n..].fill(NO_KEY);
            let row = row.as_mut_ptr();
            let mut most = s.splat(NO_KEY);
            let mut sum = s.splat(0.0);
            // SAFETY: a row has `padded` floats, a multiple of LANES.
            unsafe {
                for at in (0..padded).step_by(S::LANES) {
                    most = s.max(most, s.load(row.add(at)));
                }
                let most = s.splat(s.largest(most));
                for at in (0..padded).step_by(S::LANES) {
                    let e = math::exp(s, s.sub(s.load(row.add(at)), most));
                    s.store(row.add(at), e);
                    sum = s.add(sum, e);
                }
            }
            1.0 / s.sum(sum)
        })
    }

    /// The values, weighted.
    #[inline(always)]
    unsafe fn mix<S: Simd>(&mut self, s: S, head: usize, rows: [usize; QUERIES], scales: [f32; QUERIES]) {
        let (hidden, size, padded, n) = (self.hidden(), self.size(), self.padded, self.attention.n);
        for at in (0..size).step_by(S::LANES) {
            let width = S::LANES.min(size - at);
            let mut sums = [s.splat(0.0); QUERIES];
            for j in 0..n {
                // SAFETY: row `j` has `3 · hidden` floats, the value's part from there on.
                unsafe {
                    let p = self.attention.qkv.as_ptr().add(j * 3 * hidden + 2 * hidden + head * size + at);
                    let value = if width == S::LANES { s.load(p) } else { s.load_part(p, width) };
                    for (r, sum) in sums.iter_mut().enumerate() {
                        *sum = s.fma(s.splat(*self.scores.as_ptr().add(r * padded + j)), value, *sum);
                    }
                }
            }
            for (r, sum) in sums.into_iter().enumerate() {
                // SAFETY: row `rows[r]` of `out` has `hidden` floats.
                unsafe {
                    let p = self.attention.out.as_mut_ptr().add(rows[r] * hidden + head * size + at);
                    let y = s.mul(sum, s.splat(scales[r]));
                    if width == S::LANES { s.store(p, y) } else { s.store_part(p, width, y) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..n).map(|_| rng.f32() * 4.0 - 2.0).collect()
    }

    /// The definition, in f64.
    fn reference(qkv: &[f32], n: usize, heads: usize, size: usize, bias: Option<&RelativeBias>) -> Vec<f64> {
        let hidden = heads * size;
        let at = |row: usize, part: usize, head: usize, d: usize| {
            f64::from(qkv[row * 3 * hidden + part * hidden + head * size + d])
        };
        let mut out = vec![0.0; n * hidden];
        for head in 0..heads {
            for i in 0..n {
                let scores: Vec<f64> = (0..n)
                    .map(|j| {
                        let dot: f64 = (0..size).map(|d| at(i, 0, head, d) * at(j, 1, head, d)).sum();
                        let extra = bias
                            .map_or(0.0, |b| f64::from(b.values[head * (2 * b.longest - 1) + (b.longest - 1 + j) - i]));
                        (dot + extra).exp()
                    })
                    .collect();
                let sum: f64 = scores.iter().sum();
                for d in 0..size {
                    out[i * hidden + head * size + d] = (0..n).map(|j| scores[j] / sum * at(j, 2, head, d)).sum();
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn agrees_with_f64(n in 1usize..40, heads in 1usize..4, size in 1usize..40, biased in any::<bool>(), seed in any::<u64>()) {
            let hidden = heads * size;
            let qkv = random(n * 3 * hidden, seed);
            let longest = n + 3;
            let bias = RelativeBias { values: random(heads * (2 * longest - 1), seed ^ 1), longest };
            let bias = biased.then_some(&bias);
            let expected = reference(&qkv, n, heads, size, bias);
            for isa in Isa::all() {
                let mut out = vec![f32::NAN; n * hidden];
                Attention { qkv: &qkv, n, heads, bias, out: &mut out }.run(isa, &mut AttentionScratch::default());
                for (y, e) in out.iter().zip(&expected) {
                    prop_assert!((f64::from(*y) - e).abs() < 2e-5, "{:?}: {} {}", isa, y, e);
                }
            }
        }
    }
}
