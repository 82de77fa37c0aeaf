//! Exact search: a fast first pass over all pairs, whose rounding is bounded, and the exact score of the few pairs that
//! it cannot rule out.
//!
//! The first pass multiplies blocks of queries with blocks of rows in 32-bit floats, bfloat16 or 8-bit integers: see
//! [`super::scan`]. Whatever the first pass, the result is the same, to the bit.

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::cosine::{directions, of_squares};
use super::device::{self, DeviceRows};
use super::scan::Scan;
use super::topk::{Neighbor, SearchOptions, TieOrder, TopK};
use crate::device::Device;
use crate::kernels::scan::Rows;
use crate::kernels::{Isa, Precision, dot};
use crate::{Error, Result};

/// Rows packed together.
const BLOCK_ROWS: usize = 4096;
/// Packed rows are kept for the next search up to this many bytes; beyond, they are packed anew for every search.
const KEPT_BYTES: usize = 160 << 20;
/// Fewer queries than this are compared row by row: packing the rows would cost more.
const LEAST_QUERIES: usize = 8;
/// Numbers that are hashed together.
const HASHED: usize = 1 << 16;

/// The label of what is different from nothing.
pub const UNLABELED: u32 = u32::MAX;

/// Whether a query and a row of these labels can be neighbors: see [`Corpus::search_apart`].
pub fn labels_differ(a: u32, b: u32) -> bool {
    a != b && a != UNLABELED && b != UNLABELED
}

/// Rows to be searched. Threads can share one.
pub struct Corpus {
    vectors: Vec<f32>,
    dimension: usize,
    /// `|row|²`.
    squares: Vec<f64>,
    /// With groups, k counts them, and each shows its best row.
    groups: Option<Vec<u32>>,
    /// Labels that keep queries and rows apart.
    labels: Option<Vec<u32>>,
    /// `None` for their own order.
    tie_order: Option<Box<TieOrder>>,
    precision: Precision,
    /// The first blocks, once packed.
    kept: Vec<OnceLock<Rows>>,
    /// The rows where a device makes the first pass.
    on_device: Option<Box<dyn DeviceRows>>,
    device_failed: AtomicBool,
}

impl fmt::Debug for Corpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Corpus({} rows of {} dimensions)", self.rows(), self.dimension)
    }
}

impl Corpus {
    /// Rows, row-major with `dimension` columns, of any length. A row without a direction (all zero, or not finite) is
    /// nobody's neighbor. With `groups` (one number a row), k counts groups and each group shows its best row.
    /// `first_pass` is the precision of the first pass, `None` for the fastest; the result does not depend on it, and
    /// where the CPU does not gain from bfloat16 it is 32-bit floats instead.
    ///
    /// # Errors
    /// When the dimension is 0, the vectors are no multiple of it, `groups` has another length than the rows, or there are
    /// more than 2³² rows.
    pub fn new(
        vectors: Vec<f32>,
        dimension: usize,
        groups: Option<Vec<u32>>,
        first_pass: Option<Precision>,
    ) -> Result<Self> {
        let problem = |what: &str| Err(Error::Search(what.to_string()));
        if dimension == 0 {
            return problem("vectors have no dimensions");
        }
        if !vectors.len().is_multiple_of(dimension) {
            return problem("the vectors have not the stated dimension");
        }
        let rows = vectors.len() / dimension;
        if rows > u32::MAX as usize {
            return problem("more than 2^32 rows to search");
        }
        if groups.as_ref().is_some_and(|g| g.len() != rows) {
            return problem("there must be one group a row");
        }
        // With AMX the product is so fast that what counts is how few pairs it leaves.
        let has_amx = Isa::detect().has_amx();
        let precision = first_pass.unwrap_or(if has_amx { Precision::Bf16 } else { Precision::Int8 });
        let bytes = match precision {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
            Precision::Int8 => 1,
        };
        let blocks = rows.div_ceil(BLOCK_ROWS).min(KEPT_BYTES / (BLOCK_ROWS * dimension * bytes));
        let squares = vectors.chunks_exact(dimension).map(|row| dot(row, row)).collect();
        let kept = (0..blocks).map(|_| OnceLock::new()).collect();
        Ok(Self {
            vectors,
            dimension,
            squares,
            groups,
            labels: None,
            tie_order: None,
            precision,
            kept,
            on_device: None,
            device_failed: AtomicBool::new(false),
        })
    }

    /// The same, with a label for each row: see [`Corpus::search_apart`].
    ///
    /// # Errors
    /// When they are not one a row.
    pub fn with_labels(self, labels: Vec<u32>) -> Result<Self> {
        if labels.len() != self.rows() {
            return Err(Error::Search("there must be one label a row".into()));
        }
        Ok(Self { labels: Some(labels), ..self })
    }

    /// The same where of rows with the same score the first by an order comes first, and not the smaller row.
    pub fn with_tie_order(self, order: Box<TieOrder>) -> Self {
        Self { tie_order: Some(order), ..self }
    }

    /// Nothing found yet.
    pub(super) fn none(&self, options: SearchOptions) -> TopK<'_> {
        TopK::new(options, self.tie_order.as_deref())
    }

    /// The same with the first pass on a device, where one can be used; it makes no difference to results. On their way
    /// there the rows are in memory once more. Errors when a device that is no GPU cannot be opened.
    pub fn on_device(self, device: &Device) -> Result<Self> {
        let directions = || directions(&self.vectors, &self.squares, self.dimension);
        let on_device = device::open(device, &directions, self.dimension)?;
        Ok(Self { on_device, ..self })
    }

    /// Whether a device makes the first pass.
    pub fn is_on_device(&self) -> bool {
        self.on_device.is_some()
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.squares.len()
    }

    /// Whether a row can be anybody's neighbor.
    pub fn has_direction(&self, index: usize) -> bool {
        of_squares(0.0, self.squares[index], self.squares[index]).is_some()
    }

    /// Cosine of a row and a vector, as a search has it; `None` where either has no direction.
    pub fn cosine(&self, index: usize, vector: &[f32]) -> Option<f32> {
        of_squares(dot(vector, self.row(index)), dot(vector, vector), self.squares[index])
    }

    /// Numbers of a row.
    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    /// All rows, as they were given.
    pub(super) fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// The row scaled to length 1; 0 without a direction.
    pub(super) fn direction(&self, index: usize) -> Vec<f32> {
        directions(self.row(index), &self.squares[index..=index], self.dimension)
    }

    /// Offers a row to a query's best, with its exact score, of `query · row` and `|query|²`.
    pub(super) fn offer(&self, best: &mut TopK<'_>, (dot, square): (f64, f64), index: usize, grouped: bool) {
        if let Some(score) = of_squares(dot, square, self.squares[index]) {
            best.offer(index as u32, score, self.group(index).filter(|_| grouped));
        }
    }

    /// The row, as it was given.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.vectors[index * self.dimension..(index + 1) * self.dimension]
    }

    /// Changes with any vector.
    pub fn content_hash(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.dimension as u64).to_le_bytes());
        let mut bytes = Vec::with_capacity(4 * HASHED);
        for some in self.vectors.chunks(HASHED) {
            bytes.clear();
            some.iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
            hasher.update(&bytes);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_be_bytes(first)
    }

    /// The precision of the first pass.
    pub fn first_pass(&self) -> Precision {
        self.precision
    }

    /// The nearest rows of each query, best first; ties go to the smaller row, or as was said. `queries` is row-major, of any length; a
    /// query without a direction has no neighbors. Runs on the calling thread.
    ///
    /// # Errors
    /// When the queries are not of this dimension, or k is 0.
    pub fn search(&self, queries: &[f32], options: SearchOptions) -> Result<Vec<Vec<Neighbor>>> {
        self.run(queries, (None, true), options)
    }

    /// The same among the rows that have another label than the query. Who is [`UNLABELED`] has no neighbors, and is
    /// nobody's.
    ///
    /// # Errors
    /// As [`Corpus::search`], and when the labels are not one a query, or the rows have none.
    pub fn search_apart(&self, queries: &[f32], labels: &[u32], options: SearchOptions) -> Result<Vec<Vec<Neighbor>>> {
        if self.labels.is_none() || labels.len() * self.dimension != queries.len() {
            return Err(Error::Search("queries and rows must have a label each".into()));
        }
        self.run(queries, (Some(labels), true), options)
    }

    /// The same where k counts rows, whatever the groups.
    pub(super) fn search_rows(&self, queries: &[f32], options: SearchOptions) -> Result<Vec<Vec<Neighbor>>> {
        self.run(queries, (None, false), options)
    }

    fn run(
        &self,
        queries: &[f32],
        (labels, grouped): (Option<&[u32]>, bool),
        options: SearchOptions,
    ) -> Result<Vec<Vec<Neighbor>>> {
        options.check()?;
        if !queries.len().is_multiple_of(self.dimension) {
            return Err(Error::Search("the queries have not the stated dimension".into()));
        }
        let n = queries.len() / self.dimension;
        let mut search = Scan::new(self, (queries, labels), grouped, options);
        let is_usable = n >= LEAST_QUERIES && !self.device_failed.load(Relaxed);
        let on_device = self.on_device.as_ref().filter(|_| is_usable);
        match on_device.map(|rows| search.by_device(rows.as_ref())) {
            _ if n < LEAST_QUERIES => search.row_by_row(),
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.device_failed.store(true, Relaxed);
                tracing::warn!(%error, "the device failed; searching on the CPU from now on");
                search = Scan::new(self, (queries, labels), grouped, options);
                search.by_blocks();
            }
            None => search.by_blocks(),
        }
        Ok(search.finish())
    }

    /// Blocks of rows that are packed together.
    pub(super) fn blocks(&self) -> usize {
        self.rows().div_ceil(BLOCK_ROWS)
    }

    /// The rows of a block.
    pub(super) fn block(&self, block: usize) -> Range<usize> {
        block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(self.rows())
    }

    /// A block packed, where it is kept so.
    pub(super) fn kept(&self, block: usize) -> Option<&Rows> {
        self.kept.get(block).map(|kept| kept.get_or_init(|| self.pack(block)))
    }

    /// Packs a block.
    pub(super) fn pack(&self, block: usize) -> Rows {
        let rows = self.block(block);
        let vectors = &self.vectors[rows.start * self.dimension..rows.end * self.dimension];
        let scaled = directions(vectors, &self.squares[rows], self.dimension);
        Rows::pack(Isa::detect(), self.precision, &scaled, self.dimension)
    }

    /// The label of a row, where rows have some.
    pub(super) fn label(&self, index: usize) -> Option<u32> {
        self.labels.as_ref().map(|labels| labels[index])
    }

    /// What k counts a row for.
    pub(super) fn group(&self, index: usize) -> Option<u32> {
        self.groups.as_ref().map(|groups| groups[index])
    }
}

#[cfg(test)]
mod tests {
    use super::super::cosine;
    use super::*;
    use proptest::prelude::*;

    /// Clusters, ties, rows without direction.
    fn vectors(n: usize, dimension: usize, seed: u64) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let centers: Vec<f32> = (0..4 * dimension).map(|_| rng.f32() - 0.5).collect();
        let mut all = Vec::with_capacity(n * dimension);
        for _ in 0..n {
            let center = &centers[rng.usize(..4) * dimension..][..dimension];
            let spread = [0.0, 0.001, 0.3][rng.usize(..3)];
            let scale = [1.0, 1.0, 0.0, 1e-3, 1e4][rng.usize(..5)];
            let broken = rng.u8(..) < 4;
            all.extend(center.iter().map(|c| if broken { f32::NAN } else { scale * (c + spread * (rng.f32() - 0.5)) }));
        }
        all
    }

    fn naive(
        queries: &[f32],
        rows: &[f32],
        dimension: usize,
        groups: Option<&[u32]>,
        options: SearchOptions,
    ) -> Vec<Vec<Neighbor>> {
        let of = |query: &[f32]| {
            let scores = rows.chunks(dimension).enumerate().filter_map(|(i, row)| {
                let score = cosine(query, row).filter(|s| *s >= options.min_score)?;
                Some(Neighbor { index: i as u32, score })
            });
            let mut all: Vec<Neighbor> = scores.collect();
            all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
            let mut seen = std::collections::HashSet::new();
            all.retain(|n| seen.insert(groups.map_or(n.index, |g| g[n.index as usize])));
            if let Some(k) = options.k.filter(|k| *k < all.len()) {
                let last = all[k - 1].score;
                let ties = all[k..].iter().take_while(|n| options.ties && n.score == last).count();
                all.truncate(k + ties);
            }
            all
        };
        queries.chunks(dimension).map(of).collect()
    }

    /// A device that is everywhere.
    fn on_candle(corpus: Corpus) -> Corpus {
        let corpus = corpus.on_device(&Device { choice: crate::DeviceChoice::Candle, ..Device::default() }).unwrap();
        assert!(corpus.is_on_device());
        corpus
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn every_first_pass_gives_what_sorting_everything_gives(
            n in 1usize..40, m in 0usize..300, dimension in 1usize..70, k in prop::option::of(1usize..8),
            seed in any::<u64>(), grouped in any::<bool>(), ties in any::<bool>(), min_score in -1.0f32..1.0
        ) {
            let (queries, rows) = (vectors(n, dimension, seed), vectors(m, dimension, seed ^ 99));
            let groups: Vec<u32> = (0..m as u32).map(|i| i * 7 % 50).collect();
            let groups = grouped.then_some(groups);
            let options = SearchOptions { k, ties, min_score };
            let expected = naive(&queries, &rows, dimension, groups.as_deref(), options);
            for pass in Precision::ALL {
                let corpus = Corpus::new(rows.clone(), dimension, groups.clone(), Some(pass)).unwrap();
                prop_assert_eq!(&corpus.search(&queries, options).unwrap(), &expected, "{:?}", pass);
            }
            let corpus = on_candle(Corpus::new(rows, dimension, groups, None).unwrap());
            prop_assert_eq!(&corpus.search(&queries, options).unwrap(), &expected, "on a device");
        }
    }

    #[test]
    fn labels_keep_apart() {
        for n in [3, 40] {
            let (queries, rows) = (vectors(n, 5, 1), vectors(200, 5, 2));
            let label = |i: usize| if i.is_multiple_of(9) { UNLABELED } else { i as u32 % 4 };
            let labels: Vec<u32> = (0..200).map(label).collect();
            let corpus = Corpus::new(rows.clone(), 5, None, None).unwrap();
            assert!(
                corpus
                    .search_apart(&queries, &labels[..n], SearchOptions { k: None, ties: false, min_score: 0.0 })
                    .is_err()
            );
            let mut corpus = corpus.with_labels(labels.clone()).unwrap();
            let options = SearchOptions { k: None, ties: false, min_score: -1.0 };
            let mut expected = naive(&queries, &rows, 5, None, options);
            for (query, found) in expected.iter_mut().enumerate() {
                let apart = |row: usize| labels[row] != labels[query] && labels[row] != UNLABELED;
                found.retain(|n| labels[query] != UNLABELED && apart(n.index as usize));
                found.truncate(3);
            }
            let options = SearchOptions { k: Some(3), ..options };
            assert_eq!(corpus.search_apart(&queries, &labels[..n], options).unwrap(), expected);
            corpus = on_candle(corpus);
            assert_eq!(corpus.search_apart(&queries, &labels[..n], options).unwrap(), expected);
            assert!(corpus.search_apart(&queries, &labels[1..n], options).is_err());
        }
        assert!(Corpus::new(vec![1.0], 1, None, None).unwrap().with_labels(vec![]).is_err());
    }

    #[test]
    fn ties_go_to_the_smaller_row_across_blocks() {
        let corpus = Corpus::new(vec![1.0; BLOCK_ROWS + 10], 1, None, None).unwrap();
        for queries in [vec![1.0], vec![2.0; 100]] {
            let found = corpus.search(&queries, SearchOptions { k: Some(3), ties: false, min_score: -1.0 }).unwrap();
            assert_eq!(found[0].iter().map(|n| n.index).collect::<Vec<_>>(), [0, 1, 2]);
        }
    }

    #[test]
    fn many_blocks_and_many_queries() {
        let dimension = 24;
        let (queries, rows) = (vectors(500, dimension, 5), vectors(2 * BLOCK_ROWS + 77, dimension, 6));
        let options = SearchOptions { k: Some(4), ties: false, min_score: 0.2 };
        let expected = naive(&queries, &rows, dimension, None, options);
        let mut corpus = Corpus::new(rows, dimension, None, None).unwrap();
        assert_eq!(corpus.search(&queries, options).unwrap(), expected);
        // As where the rows are too many for what is kept.
        corpus.kept.clear();
        assert_eq!(corpus.search(&queries, options).unwrap(), expected);
        assert_eq!(on_candle(corpus).search(&queries, options).unwrap(), expected);
    }

    #[test]
    fn empty_sides_and_what_is_refused() {
        let options = SearchOptions { k: Some(10), ties: false, min_score: -1.0 };
        let of = |rows: Vec<f32>| Corpus::new(rows, 2, None, None).unwrap();
        assert_eq!(of(vec![0.0, 1.0]).search(&[1.0, 0.0], options).unwrap()[0].len(), 1);
        assert_eq!(of(vec![]).search(&[1.0, 0.0], options).unwrap(), vec![vec![]]);
        assert_eq!(of(vec![]).search(&[1.0; 40], options).unwrap(), vec![vec![]; 20]);
        assert!(of(vec![1.0, 0.0]).search(&[], options).unwrap().is_empty());
        assert!(of(vec![]).search(&[1.0], options).is_err());
        assert!(of(vec![]).search(&[1.0, 1.0], SearchOptions { k: Some(0), ties: false, min_score: 0.0 }).is_err());
        assert!(Corpus::new(vec![1.0, 2.0, 3.0], 2, None, None).is_err());
        assert!(Corpus::new(vec![], 0, None, None).is_err());
        assert!(Corpus::new(vec![1.0], 1, Some(vec![]), None).is_err());
    }
}
