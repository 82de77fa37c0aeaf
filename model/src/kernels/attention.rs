//! Scaled dot-product attention within one sequence.

use super::simd::Simd;
use super::{Aligned, Isa, Kernel, math};

/// Rows that are taken together, at most: enough that no sum waits for itself, few enough for the registers.
const TOGETHER: usize = 12;
/// Below any score.
const LEAST: f32 = -1e30;

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
    queries: Aligned,
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
        let lanes = isa.lanes();
        scratch.queries.reserve(hidden / self.heads * lanes);
        scratch.scores.reserve((self.n + TOGETHER) * lanes);
        let AttentionScratch { queries, scores } = scratch;
        isa.run(Run { attention: self, queries: queries.floats_mut(), scores: scores.floats_mut() });
    }
}

/// Queries stand in the lanes of vectors: what is done to their scores needs no look across lanes.
struct Run<'a, 'b> {
    attention: Attention<'a>,
    /// A block of queries of one head, transposed: `[size, LANES]`.
    queries: &'b mut [f32],
    /// `[n, LANES]`, and room for a group of rows.
    scores: &'b mut [f32],
}

/// The next rows of some, and how many are taken together: `$run` with a constant for it.
macro_rules! in_groups {
    ($rows:expr, $first:ident, $group:ident => $run:expr) => {
        let mut $first = 0;
        while $first < $rows {
            $first += match $rows - $first {
                9.. => {
                    const $group: usize = TOGETHER;
                    $run;
                    $group
                }
                5..=8 => {
                    const $group: usize = 8;
                    $run;
                    $group
                }
                _ => {
                    const $group: usize = 4;
                    $run;
                    $group
                }
            };
        }
    };
}

impl Kernel for Run<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let n = self.attention.n;
        for head in 0..self.attention.heads {
            for first in (0..n).step_by(S::LANES) {
                let block = (head, first, S::LANES.min(n - first));
                // SAFETY: the slices have the lengths that `Attention::run` has checked or made.
                unsafe {
                    self.transpose_queries(s, block);
                    in_groups!(n, key, G => self.score::<S, G>(s, block, key));
                    let shares = self.soften(s);
                    in_groups!(block.2, row, G => self.mix::<S, G>(s, block, row, shares));
                }
            }
        }
    }
}

/// A head, the first query of a block, and how many it has.
type Block = (usize, usize, usize);

impl Run<'_, '_> {
    fn hidden(&self) -> usize {
        self.attention.out.len() / self.attention.n
    }

    fn size(&self) -> usize {
        self.hidden() / self.attention.heads
    }

    /// Lanes behind the last query hold it once more: what comes of them is not used.
    #[inline(always)]
    unsafe fn transpose_queries<S: Simd>(&mut self, s: S, (head, first, rows): Block) {
        let (hidden, size) = (self.hidden(), self.size());
        let whole = size / S::LANES * S::LANES;
        let queries = &self.attention.qkv[first * 3 * hidden + head * size..];
        for d in (0..whole).step_by(S::LANES) {
            // SAFETY: each row has `size` floats of this head from there on, and there is room for `size` vectors.
            unsafe {
                let to = self.queries.as_mut_ptr().add(d * S::LANES);
                s.transpose(queries.as_ptr().add(d), 3 * hidden, rows, to, S::LANES);
            }
        }
        for d in whole..size {
            for (lane, query) in self.queries[d * S::LANES..][..S::LANES].iter_mut().enumerate() {
                *query = queries[lane.min(rows - 1) * 3 * hidden + d];
            }
        }
    }

    /// Scores of a block's queries against some keys. Where fewer are left, the last one is taken again, and its scores stand
    /// behind those of all keys.
    #[inline(always)]
    unsafe fn score<S: Simd, const G: usize>(&mut self, s: S, (head, first, rows): Block, key: usize) {
        let (hidden, size, n) = (self.hidden(), self.size(), self.attention.n);
        let row = |g: usize| (key + g).min(n - 1) * 3 * hidden + hidden + head * size;
        let keys: [*const f32; G] = std::array::from_fn(|g| self.attention.qkv[row(g)..].as_ptr());
        let mut sums = [s.splat(0.0); G];
        for d in 0..size {
            // SAFETY: each key has `size` floats, and there are `size` vectors of queries.
            unsafe {
                let queries = s.load(self.queries.as_ptr().add(d * S::LANES));
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum = s.fma(s.splat(*key.add(d)), queries, *sum);
                }
            }
        }
        for (g, sum) in sums.into_iter().enumerate() {
            let mut sum = sum;
            if let Some(bias) = self.attention.bias {
                let none = head * (2 * bias.longest - 1) + bias.longest - 1 + (key + g).min(n - 1);
                let mut values = [0f32; 16];
                for (lane, value) in values[..S::LANES].iter_mut().enumerate() {
                    *value = bias.values[none - (first + lane.min(rows - 1))];
                }
                // SAFETY: no vector has more lanes.
                sum = s.add(sum, unsafe { s.load(values.as_ptr()) });
            }
            // SAFETY: there is room for a group of rows behind the last key.
            unsafe { s.store(self.scores.as_mut_ptr().add((key + g) * S::LANES), sum) };
        }
    }

    /// Exponentials of the scores below their largest; 1 / their sum.
    #[inline(always)]
    unsafe fn soften<S: Simd>(&mut self, s: S) -> [f32; 16] {
        let scores = self.scores.as_mut_ptr();
        let (mut most, mut sum, mut shares) = (s.splat(LEAST), s.splat(0.0), [0f32; 16]);
        // SAFETY: there is a vector for each key, and no vector has more lanes than 16.
        unsafe {
            for key in 0..self.attention.n {
                most = s.max(most, s.load(scores.add(key * S::LANES)));
            }
            for key in 0..self.attention.n {
                let p = scores.add(key * S::LANES);
                let e = math::exp(s, s.sub(s.load(p), most));
                s.store(p, e);
                sum = s.add(sum, e);
            }
            s.store(shares.as_mut_ptr(), s.div(s.splat(1.0), sum));
        }
        shares
    }

    /// The values, weighted, for some queries of a block. Where fewer are left, the last one is taken again.
    #[inline(always)]
    unsafe fn mix<S: Simd, const G: usize>(&mut self, s: S, (head, first, rows): Block, row: usize, shares: [f32; 16]) {
        let (hidden, size, n) = (self.hidden(), self.size(), self.attention.n);
        let lanes: [usize; G] = std::array::from_fn(|g| (row + g).min(rows - 1));
        for at in (0..size).step_by(S::LANES) {
            let width = S::LANES.min(size - at);
            let mut sums = [s.splat(0.0); G];
            for key in 0..n {
                // SAFETY: row `key` has `3 · hidden` floats, the value's part from there on.
                unsafe {
                    let p = self.attention.qkv.as_ptr().add(key * 3 * hidden + 2 * hidden + head * size + at);
                    let value = if width == S::LANES { s.load(p) } else { s.load_part(p, width) };
                    let weights = self.scores.as_ptr().add(key * S::LANES);
                    for (sum, lane) in sums.iter_mut().zip(lanes) {
                        *sum = s.fma(s.splat(*weights.add(lane)), value, *sum);
                    }
                }
            }
            for (sum, lane) in sums.into_iter().zip(lanes) {
                // SAFETY: each row of `out` has `hidden` floats.
                unsafe {
                    let p = self.attention.out.as_mut_ptr().add((first + lane) * hidden + head * size + at);
                    let y = s.mul(sum, s.splat(shares[lane]));
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
