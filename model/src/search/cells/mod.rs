//! Approximate search: the rows in cells, each about a center, of which a query looks at some (an inverted file, Jégou et
//! al. 2011): at those whose center is near enough for the score that a row must reach, and the more spread its rows are,
//! the farther it may be. What is looked at is scored exactly, by the same first pass as in the exact search.

mod build;
mod file;

use std::ops::Range;
use std::sync::OnceLock;

use super::corpus::Corpus;
use super::cosine::directions;
use super::topk::{Neighbor, SearchOptions, TopK};
use crate::kernels::scan::{Hit, QUERIES, Queries, Rows, scan};
use crate::kernels::{Activation, Isa, Operand, PackedMatrix, dot};
use crate::{Error, Result};

/// Queries that are looked for together.
const PIECE: usize = 2048;
/// Cells that every query looks at first: they say which score the others must reach.
const FIRST: usize = 4;
/// How much of the cosine of a query and a row is expected of the query and the row's center. Of 300,000 names, 0.75 to 1
/// led to the same recall with the least work.
const EXPECTED: f32 = 0.85;

/// The rows of a [`Corpus`] in cells.
#[derive(Debug)]
pub struct Cells {
    centers: Vec<f32>,
    packed_centers: PackedMatrix,
    dimension: usize,
    /// The cell of each row.
    of_row: Vec<u32>,
    /// Mean cosine of each cell's rows with its center.
    tightness: Vec<f32>,
    /// The rows, cell by cell, each cell's in order.
    rows: Vec<u32>,
    /// Where each cell begins in `rows`, and the end of the last.
    starts: Vec<usize>,
    packed: Vec<OnceLock<Rows>>,
    /// How much farther than expected a query must look, `[KS, RECALLS]`.
    reaches: Vec<f32>,
}

/// Neighbors and recalls for which it is known how far to look.
const KS: [usize; 6] = [1, 5, 10, 20, 50, 100];
const RECALLS: [f64; 6] = [0.9, 0.95, 0.98, 0.99, 0.995, 0.999];

impl Cells {
    /// Numbers of a row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tightness.len()
    }

    fn cell(&self, cell: usize) -> Range<usize> {
        self.starts[cell]..self.starts[cell + 1]
    }

    fn packed(&self, corpus: &Corpus, cell: usize) -> &Rows {
        self.packed[cell].get_or_init(|| {
            let rows = self.rows[self.cell(cell)].iter();
            let rows: Vec<f32> = rows.flat_map(|row| corpus.direction(*row as usize)).collect();
            Rows::pack(Isa::detect(), corpus.first_pass(), &rows, self.dimension)
        })
    }

    /// What the cosine of a query and a center must be for a row of the cell to have a score, as far as can be expected.
    fn expected(&self, score: f32, cell: usize) -> f32 {
        EXPECTED * score * self.tightness[cell]
    }

    /// Cosines of queries of length 1 with the centers, `[queries, cells]`.
    fn nearness(&self, queries: &[f32]) -> Vec<f32> {
        let mut all = vec![0.0; queries.len() / self.dimension * self.count()];
        self.packed_centers.apply(queries, &mut Operand::default(), Activation::None, &mut all);
        all
    }

    /// How far to look for so many neighbors at a recall, at most 0.999: as the neighbors of the rows themselves say.
    pub fn reach(&self, k: usize, recall: f64) -> f32 {
        let k = KS.iter().position(|known| *known >= k).unwrap_or(KS.len() - 1);
        let recall = RECALLS.iter().position(|known| *known >= recall).unwrap_or(RECALLS.len() - 1);
        self.reaches[k * RECALLS.len() + recall]
    }

    /// How far to look for a recall, as some queries say whose exact neighbors are known; `None` where they have none.
    pub fn reach_of(
        &self,
        queries: &[f32],
        exact: &[Vec<Neighbor>],
        options: SearchOptions,
        recall: f64,
    ) -> Option<f32> {
        let squares: Vec<f64> = queries.chunks_exact(self.dimension).map(|row| dot(row, row)).collect();
        let nearness = self.nearness(&directions(queries, &squares, self.dimension));
        share_of(&self.needed(exact, &nearness, options), recall)
    }

    /// How far queries must look for each of their exact neighbors, sorted. `nearness` is their cosines with the centers.
    fn needed(&self, exact: &[Vec<Neighbor>], nearness: &[f32], options: SearchOptions) -> Vec<f32> {
        let mut needed = Vec::new();
        for (found, near) in exact.iter().zip(nearness.chunks_exact(self.count())) {
            let full = options.k.is_some_and(|k| found.len() >= k);
            let score = found.last().filter(|_| full).map_or(options.min_score, |n| n.score);
            needed.extend(found.iter().map(|n| {
                let cell = self.of_row[n.index as usize] as usize;
                self.expected(score, cell) - near[cell]
            }));
        }
        needed.sort_unstable_by(f32::total_cmp);
        needed
    }

    /// The nearest rows of each query among those of the cells within reach, as [`Corpus::search`] gives them of all rows.
    ///
    /// # Errors
    /// As [`Corpus::search`].
    pub fn search(
        &self,
        corpus: &Corpus,
        queries: &[f32],
        options: SearchOptions,
        reach: f32,
    ) -> Result<Vec<Vec<Neighbor>>> {
        options.check()?;
        if !queries.len().is_multiple_of(self.dimension) {
            return Err(Error::Search("the queries have not the stated dimension".into()));
        }
        let mut all = Vec::with_capacity(queries.len() / self.dimension);
        for queries in queries.chunks(PIECE * self.dimension) {
            let squares: Vec<f64> = queries.chunks_exact(self.dimension).map(|row| dot(row, row)).collect();
            let directions = directions(queries, &squares, self.dimension);
            let nearness = self.nearness(&directions);
            // All cells are packed alike.
            let prepared = Queries::prepare(directions, self.packed(corpus, 0));
            let best = squares.iter().map(|_| corpus.none(options)).collect();
            let mut search = Search { cells: self, corpus, queries, squares, prepared, best };
            search.run(&nearness, reach);
            all.extend(search.best.into_iter().map(TopK::into_sorted));
        }
        Ok(all)
    }
}

/// The value that a share of sorted ones is not above.
fn share_of(sorted: &[f32], share: f64) -> Option<f32> {
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.max(1) - 1).or(sorted.last()).copied()
}

/// A search under way.
struct Search<'a> {
    cells: &'a Cells,
    corpus: &'a Corpus,
    queries: &'a [f32],
    squares: Vec<f64>,
    prepared: Queries,
    best: Vec<TopK<'a>>,
}

impl Search<'_> {
    /// `nearness` is the queries' cosines with the centers.
    fn run(&mut self, nearness: &[f32], reach: f32) {
        let count = self.cells.count();
        let first = FIRST.min(count);
        let mut visitors: Vec<Vec<u32>> = vec![Vec::new(); count];
        let mut firsts = Vec::with_capacity(self.best.len() * FIRST);
        let mut order: Vec<u32> = Vec::with_capacity(count);
        for (query, near) in nearness.chunks_exact(count).enumerate() {
            order.clear();
            order.extend(0..count as u32);
            // Equals fall by number, so that the result does not depend on how they are selected.
            order.select_nth_unstable_by(first - 1, |a, b| {
                near[*b as usize].total_cmp(&near[*a as usize]).then(a.cmp(b))
            });
            for cell in &order[..first] {
                visitors[*cell as usize].push(query as u32);
            }
            firsts.extend_from_slice(&order[..first]);
        }
        self.visit_all(&visitors);
        visitors.iter_mut().for_each(Vec::clear);
        for ((query, near), firsts) in nearness.chunks_exact(count).enumerate().zip(firsts.chunks(first)) {
            let score = self.best[query].floor();
            for (cell, near) in near.iter().enumerate() {
                if *near >= self.cells.expected(score, cell) - reach && !firsts.contains(&(cell as u32)) {
                    visitors[cell].push(query as u32);
                }
            }
        }
        self.visit_all(&visitors);
    }

    fn visit_all(&mut self, visitors: &[Vec<u32>]) {
        for (cell, visitors) in visitors.iter().enumerate().filter(|(_, v)| !v.is_empty()) {
            self.visit(cell, visitors);
        }
    }

    /// Some queries with the rows of a cell.
    fn visit(&mut self, cell: usize, visitors: &[u32]) {
        let rows = self.cells.packed(self.corpus, cell);
        let dimension = self.corpus.dimension();
        let queries = self.prepared.select(visitors, rows);
        let mut hits: Vec<Hit> = Vec::new();
        for first in (0..visitors.len()).step_by(QUERIES) {
            let some = &visitors[first..visitors.len().min(first + QUERIES)];
            let floor = |(i, query): (usize, &u32)| self.best[*query as usize].floor() - queries.slack(first + i, rows);
            let floors: Vec<f32> = some.iter().enumerate().map(floor).collect();
            scan(&queries, first, &floors, rows, 0..rows.panels(), &mut hits);
            for hit in hits.drain(..) {
                let query = some[hit.query as usize] as usize;
                let row = self.cells.rows[self.cells.starts[cell] + hit.row as usize] as usize;
                let vector = &self.queries[query * dimension..][..dimension];
                let exact = dot(vector, self.corpus.row(row));
                self.corpus.offer(&mut self.best[query], (exact, self.squares[query]), row, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMENSION: usize = 24;

    /// Clusters of clusters, some rows without a direction.
    fn vectors(n: usize, seed: u64) -> Vec<f32> {
        let mut centers = fastrand::Rng::with_seed(7);
        let centers: Vec<f32> = (0..60 * DIMENSION).map(|_| centers.f32() - 0.5).collect();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut all = Vec::with_capacity(n * DIMENSION);
        for row in 0..n {
            let center = &centers[rng.usize(..60) * DIMENSION..][..DIMENSION];
            let length = if row % 97 == 5 { 0.0 } else { 0.5 + rng.f32() };
            all.extend(center.iter().map(|c| length * (c + 0.4 * (rng.f32() - 0.5))));
        }
        all
    }

    fn found(exact: &[Vec<Neighbor>], found: &[Vec<Neighbor>]) -> f64 {
        let hits = exact.iter().zip(found).map(|(a, b)| a.iter().filter(|n| b.contains(n)).count());
        hits.sum::<usize>() as f64 / exact.iter().map(Vec::len).sum::<usize>() as f64
    }

    #[test]
    fn the_recall_is_about_what_was_asked_for_and_what_is_found_has_its_exact_score() {
        let (rows, queries) = (vectors(9000, 1), vectors(700, 2));
        let groups: Vec<u32> = (0..9000).map(|i| i / 2).collect();
        for groups in [None, Some(groups)] {
            let corpus = Corpus::new(rows.clone(), DIMENSION, groups, None).unwrap();
            let cells = Cells::new(&corpus).unwrap();
            for (k, recall, at_least) in [(1, 0.9, 0.87), (5, 0.99, 0.98), (15, 0.999, 0.995)] {
                let options = SearchOptions { k: Some(k), ties: false, min_score: 0.1 };
                let exact = corpus.search(&queries, options).unwrap();
                let of_queries = cells.reach_of(&queries, &exact, options, recall).unwrap();
                for reach in [cells.reach(k, recall), of_queries] {
                    let near = cells.search(&corpus, &queries, options, reach).unwrap();
                    assert!(found(&exact, &near) >= at_least, "{k} {recall}: {}", found(&exact, &near));
                    // Each query alone gives the same.
                    let mut alone =
                        queries.chunks(DIMENSION).map(|q| cells.search(&corpus, q, options, reach).unwrap());
                    assert!(near.iter().all(|near| alone.next().unwrap()[0] == *near));
                }
            }
        }
    }

    #[test]
    fn within_reach_of_everything_the_search_is_exact() {
        let corpus = Corpus::new(vectors(2000, 3), DIMENSION, None, None).unwrap();
        let cells = Cells::new(&corpus).unwrap();
        for ties in [false, true] {
            let options = SearchOptions { k: Some(7), ties, min_score: -1.0 };
            let queries = vectors(300, 4);
            assert_eq!(
                cells.search(&corpus, &queries, options, 3.0).unwrap(),
                corpus.search(&queries, options).unwrap()
            );
        }
    }

    #[test]
    fn files_give_the_same_cells_and_centers_for_what_was_added() {
        let mut rows = vectors(3000, 5);
        let corpus = Corpus::new(rows.clone(), DIMENSION, None, None).unwrap();
        let cells = Cells::new(&corpus).unwrap();
        let file = cells.to_bytes().unwrap();
        let again = Cells::from_bytes(&corpus, &file).unwrap();
        let options = SearchOptions { k: Some(3), ties: false, min_score: -1.0 };
        let queries = vectors(50, 6);
        assert_eq!(
            again.search(&corpus, &queries, options, 0.1).unwrap(),
            cells.search(&corpus, &queries, options, 0.1).unwrap()
        );
        rows.extend(vectors(100, 7));
        let more = Corpus::new(rows, DIMENSION, None, None).unwrap();
        assert!(Cells::from_bytes(&more, &file).is_err());
        assert_eq!(Cells::from_earlier(&more, &file).unwrap().unwrap().centers, cells.centers);
        // Far fewer rows, or others, want centers of their own.
        let few = Corpus::new(vectors(100, 8), DIMENSION, None, None).unwrap();
        assert!(Cells::from_earlier(&few, &file).unwrap().is_none());
        let mut rng = fastrand::Rng::with_seed(9);
        let others = (0..3000 * DIMENSION).map(|_| rng.f32() - 0.5).collect();
        let others = Corpus::new(others, DIMENSION, None, None).unwrap();
        assert!(Cells::from_earlier(&others, &file).unwrap().is_none());
        assert!(Cells::from_bytes(&corpus, &file[..100]).is_err());
        assert!(Cells::from_bytes(&corpus, b"{}").is_err());
    }

    #[test]
    fn few_rows_and_none() {
        let options = SearchOptions { k: Some(3), ties: false, min_score: -1.0 };
        let one = Corpus::new(vec![0.0, 2.0], 2, None, None).unwrap();
        let cells = Cells::new(&one).unwrap();
        assert_eq!(cells.search(&one, &[1.0, 1.0, 0.0, 0.0], options, 0.1).unwrap().concat().len(), 1);
        assert!(cells.search(&one, &[1.0], options, 0.1).is_err());
        assert!(cells.search(&one, &[1.0, 1.0], SearchOptions { k: Some(0), ..options }, 0.1).is_err());
        // A single direction among many rows is found.
        let mut rows = vec![0.0; 2 * 5000];
        rows[2 * 1234] = 3.0;
        let one = Corpus::new(rows, 2, None, None).unwrap();
        let cells = Cells::new(&one).unwrap();
        assert_eq!(cells.search(&one, &[1.0, 1.0], options, 0.1).unwrap()[0][0].index, 1234);
        for rows in [vec![], vec![0.0, 0.0]] {
            assert!(Cells::new(&Corpus::new(rows, 2, None, None).unwrap()).is_err());
        }
    }
}
