//! A search under way: all queries past all rows.
//!
//! The first pass names the pairs whose product is above the query's floor (`kernels::scan`): no matrix of scores is held.
//! What a product can be off by is known, so the k-th best product says what the k-th best score is at least, and that
//! raises the floor; the exact scores are computed of the few pairs that are left when a block of rows has gone by.

use super::corpus::{Corpus, labels_differ};
use super::cosine::directions;
use super::device::{self, Best, DeviceRows};
use super::topk::{Neighbor, SearchOptions, TopK};
use crate::Result;
use crate::kernels::scan::{Hit, QUERIES, Queries, Rows, scan};
use crate::kernels::{dot, dots};

/// Pairs of the first pass when it is time to raise the floors.
const HITS: usize = 4 * QUERIES;
/// Pairs that wait for their exact score, at most.
const WAITING: usize = 64 * QUERIES;
/// Pairs whose exact scores are computed together.
const TOGETHER: usize = 4;
/// Panels that are multiplied between two looks at the pairs.
const PANELS: usize = 8;

/// Queries and what was found for them.
pub(super) struct Scan<'a> {
    corpus: &'a Corpus,
    queries: &'a [f32],
    labels: Option<&'a [u32]>,
    grouped: bool,
    k: Option<usize>,
    squares: Vec<f64>,
    best: Vec<TopK<'a>>,
}

impl<'a> Scan<'a> {
    /// Nothing found yet. `labels` are the queries', where rows must differ from them.
    pub(super) fn new(
        corpus: &'a Corpus,
        (queries, labels): (&'a [f32], Option<&'a [u32]>),
        grouped: bool,
        options: SearchOptions,
    ) -> Self {
        let squares: Vec<f64> = queries.chunks_exact(corpus.dimension()).map(|row| dot(row, row)).collect();
        let best = squares.iter().map(|_| corpus.none(options)).collect();
        Self { corpus, queries, labels, grouped, k: options.k, squares, best }
    }

    /// The neighbors of each query, best first.
    pub(super) fn finish(self) -> Vec<Vec<Neighbor>> {
        self.best.into_iter().map(TopK::into_sorted).collect()
    }

    /// For few queries.
    pub(super) fn row_by_row(&mut self) {
        for index in 0..self.corpus.rows() {
            for query in 0..self.best.len() {
                self.offer(query, index);
            }
        }
    }

    /// With the first pass on the CPU.
    pub(super) fn by_blocks(&mut self) {
        let mut prepared = None;
        let mut bounds = Bounds::new(self.k, &self.best);
        let mut floors = vec![0f32; self.best.len()];
        let (mut hits, mut waiting) = (Vec::with_capacity(2 * HITS), Vec::new());
        for block in 0..self.corpus.blocks() {
            let packed;
            let rows = match self.corpus.kept(block) {
                Some(kept) => kept,
                None => {
                    packed = self.corpus.pack(block);
                    &packed
                }
            };
            let queries = prepared.get_or_insert_with(|| {
                Queries::prepare(directions(self.queries, &self.squares, self.corpus.dimension()), rows)
            });
            let pass = Pass { queries, rows, first_row: self.corpus.block(block).start };
            for first in (0..self.best.len()).step_by(QUERIES) {
                let some = first..self.best.len().min(first + QUERIES);
                let floors = &mut floors[some.clone()];
                for (query, floor) in some.clone().zip(floors.iter_mut()) {
                    *floor = bounds.floor(query, &self.best) - pass.slack(query);
                }
                let mut panel = 0;
                while panel < rows.panels() {
                    // While nothing is known of the queries, every pair is above their floors.
                    let end = rows.panels().min(if block == 0 && panel < PANELS { panel + 1 } else { panel + PANELS });
                    scan(queries, first, floors, rows, panel..end, &mut hits);
                    if hits.len() >= HITS {
                        self.look(&pass, first, &mut bounds, floors, (&mut hits, &mut waiting));
                    }
                    if waiting.len() >= WAITING {
                        self.settle(&mut waiting, &bounds);
                    }
                    panel = end;
                }
                self.look(&pass, first, &mut bounds, floors, (&mut hits, &mut waiting));
                self.settle(&mut waiting, &bounds);
            }
        }
    }

    /// With the first pass on a device.
    pub(super) fn by_device(&mut self, rows: &dyn DeviceRows) -> Result<()> {
        let dimension = self.corpus.dimension();
        let queries = directions(self.queries, &self.squares, dimension);
        device::scan(rows, (self.corpus.rows(), dimension), &queries, self.k, self)
    }

    /// Raises the floors by what the first pass found, which waits for its exact scores from now on.
    fn look(
        &self,
        pass: &Pass,
        first: usize,
        bounds: &mut Bounds<'a>,
        floors: &mut [f32],
        (hits, waiting): (&mut Vec<Hit>, &mut Vec<Waiting>),
    ) {
        for hit in hits.drain(..) {
            let (query, row) = (first + hit.query as usize, pass.first_row + hit.row as usize);
            let risen = hit.product <= floors[hit.query as usize];
            if !risen && self.corpus.has_direction(row) && self.may_match(query, row) {
                let slack = pass.slack(query);
                let (least, most) = (hit.product - slack, hit.product + slack);
                waiting.push(Waiting { query: query as u32, row: row as u32, least, most });
                if bounds.offer(query, row, least, self.corpus.group(row).filter(|_| self.grouped)) {
                    floors[hit.query as usize] = bounds.floor(query, &self.best) - slack;
                }
            }
        }
    }

    /// Computes the exact scores of the pairs that can still be among the best: first of those that are likely to be, since
    /// then the floor rules out most others.
    fn settle(&mut self, waiting: &mut Vec<Waiting>, bounds: &Bounds<'_>) {
        let likely = |w: &Waiting| bounds.0.get(w.query as usize).is_none_or(|bound| w.least >= bound.floor());
        for first in [true, false] {
            let mut some = [(0, 0); TOGETHER];
            let mut n = 0;
            for w in waiting.iter().filter(|w| likely(w) == first) {
                if w.most >= bounds.floor(w.query as usize, &self.best) {
                    some[n] = (w.query as usize, w.row as usize);
                    n += 1;
                    if n == TOGETHER {
                        n = 0;
                        let exact = dots(some.map(|(query, row)| (self.query(query), self.corpus.row(row))));
                        for ((query, row), exact) in some.into_iter().zip(exact) {
                            let (square, best) = (self.squares[query], &mut self.best[query]);
                            self.corpus.offer(best, (exact, square), row, self.grouped);
                        }
                    }
                }
            }
            some[..n].iter().for_each(|(query, row)| self.offer(*query, *row));
        }
        waiting.clear();
    }

    fn query(&self, query: usize) -> &'a [f32] {
        let dimension = self.corpus.dimension();
        &self.queries[query * dimension..(query + 1) * dimension]
    }

    /// Whether the labels let a row be a query's neighbor.
    fn may_match(&self, query: usize, index: usize) -> bool {
        let labels = self.labels.map(|labels| labels[query]).zip(self.corpus.label(index));
        labels.is_none_or(|(own, other)| labels_differ(own, other))
    }

    fn offer(&mut self, query: usize, index: usize) {
        if !self.may_match(query, index) {
            return;
        }
        let exact = dot(self.query(query), self.corpus.row(index));
        self.corpus.offer(&mut self.best[query], (exact, self.squares[query]), index, self.grouped);
    }
}

impl Best for Scan<'_> {
    fn floor(&self, query: usize) -> f32 {
        self.best[query].floor()
    }

    fn offer(&mut self, query: usize, row: usize) {
        self.offer(query, row);
    }
}

/// The queries against one block of rows.
struct Pass<'a> {
    queries: &'a Queries,
    rows: &'a Rows,
    first_row: usize,
}

impl Pass<'_> {
    /// What a product of the first pass can be off by.
    fn slack(&self, query: usize) -> f32 {
        self.queries.slack(query, self.rows)
    }
}

/// A pair, and what its exact score is at least and at most.
struct Waiting {
    query: u32,
    row: u32,
    least: f32,
    most: f32,
}

/// What the scores of each query's pairs are at least, the best k of them.
struct Bounds<'a>(Vec<TopK<'a>>);

impl Bounds<'_> {
    /// Without a k nothing is ruled out by other pairs.
    fn new(k: Option<usize>, best: &[TopK<'_>]) -> Self {
        let none = |best: &TopK<'_>| TopK::new(SearchOptions { k, ties: false, min_score: best.floor() }, None);
        Self(best.iter().filter(|_| k.is_some()).map(none).collect())
    }

    /// A pair's; whether the floor has changed.
    fn offer(&mut self, query: usize, row: usize, least: f32, group: Option<u32>) -> bool {
        let Some(bounds) = self.0.get_mut(query) else { return false };
        let before = bounds.floor();
        bounds.offer(row as u32, least, group);
        bounds.floor() > before
    }

    /// What a score must reach to be among the best.
    fn floor(&self, query: usize, best: &[TopK<'_>]) -> f32 {
        let known = best[query].floor();
        self.0.get(query).map_or(known, |bounds| bounds.floor().max(known))
    }
}
