//! Exact top-k by blocked matrix product: a block of scores is made, selected from and overwritten, so memory beyond
//! the inputs stays at one block whatever the sizes.

use super::matmul::dot_products;
use super::topk::TopK;
use crate::{Error, Result};

/// Rows of a query block and of a build block: 512 KiB of scores, which stay in the second-level cache.
const QUERY_BLOCK: usize = 128;
const BUILD_BLOCK: usize = 1024;

/// A neighbor of a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// Row of the build side.
    pub index: u32,
    /// Cosine similarity, in [-1, 1].
    pub score: f32,
}

/// What to search for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchOptions {
    /// Neighbors a query.
    pub k: usize,
    /// Neighbors below this cosine are not neighbors.
    pub min_score: f32,
}

/// The k nearest rows of `build` for each row of `queries`, best first; ties go to the smaller row of `build`.
///
/// Both sides are row-major with `dim` columns and rows of length 1 (see [`normalize_rows`]). A row with a NaN has no
/// neighbors and is nobody's neighbor. With `groups` (one number a build row), k counts groups and each group shows its
/// best row. Runs on the calling thread.
///
/// # Errors
/// When a slice is not a multiple of `dim`, `groups` has another length than `build`, or k or dim is 0.
pub fn top_k(
    queries: &[f32],
    build: &[f32],
    dim: usize,
    groups: Option<&[u32]>,
    options: SearchOptions,
) -> Result<Vec<Vec<Neighbor>>> {
    check(queries, build, dim, groups, options)?;
    let mut scores = vec![0f32; QUERY_BLOCK * BUILD_BLOCK];
    let mut found = Vec::with_capacity(queries.len() / dim);
    for query_block in queries.chunks(QUERY_BLOCK * dim) {
        let rows = query_block.len() / dim;
        let mut best = vec![TopK::new(options.k, options.min_score); rows];
        for (block, build_block) in build.chunks(BUILD_BLOCK * dim).enumerate() {
            let columns = build_block.len() / dim;
            let scores = &mut scores[..rows * columns];
            dot_products(query_block, build_block, dim, scores);
            let first = block * BUILD_BLOCK;
            for (best, row) in best.iter_mut().zip(scores.chunks_exact(columns)) {
                select(best, row, first, groups);
            }
        }
        found.extend(best.into_iter().map(TopK::into_sorted));
    }
    Ok(found)
}

fn select(best: &mut TopK, row: &[f32], first: usize, groups: Option<&[u32]>) {
    for (j, score) in row.iter().enumerate() {
        if *score >= best.floor {
            let index = first + j;
            best.offer(index as u32, score.clamp(-1.0, 1.0), groups.map(|g| g[index]));
        }
    }
}

fn check(queries: &[f32], build: &[f32], dim: usize, groups: Option<&[u32]>, options: SearchOptions) -> Result<()> {
    let problem = if dim == 0 {
        "vectors have no dimensions"
    } else if options.k == 0 {
        "k must be at least 1"
    } else if !queries.len().is_multiple_of(dim) || !build.len().is_multiple_of(dim) {
        "the vectors have not the stated dimension"
    } else if groups.is_some_and(|g| g.len() * dim != build.len()) {
        "there must be one group a row"
    } else if build.len() / dim > u32::MAX as usize {
        "more than 2^32 rows on the build side"
    } else {
        return Ok(());
    };
    Err(Error::Search(problem.to_string()))
}

/// Scales each row to length 1. A row without a direction (all zero, or not finite) becomes NaN, which no search finds.
pub fn normalize_rows(vectors: &mut [f32], dim: usize) {
    for row in vectors.chunks_exact_mut(dim.max(1)) {
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        if length > 0.0 && length.is_finite() {
            // Rows that an encoder made have length 1 already: leave their bits alone.
            if (length - 1.0).abs() > 1e-6 {
                row.iter_mut().for_each(|v| *v /= length);
            }
        } else {
            row.fill(f32::NAN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vectors(n: usize, dim: usize, seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        // Few distinct values, so that ties occur.
        let mut all: Vec<f32> = (0..n * dim)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % 3) as f32 - 1.0
            })
            .collect();
        normalize_rows(&mut all, dim);
        all
    }

    fn naive(
        queries: &[f32],
        build: &[f32],
        dim: usize,
        groups: Option<&[u32]>,
        options: SearchOptions,
    ) -> Vec<Vec<u32>> {
        queries
            .chunks(dim)
            .map(|q| {
                let mut one = vec![0.0; build.len() / dim];
                dot_products(q, build, dim, &mut one);
                let mut order: Vec<u32> =
                    (0..one.len() as u32).filter(|i| one[*i as usize] >= options.min_score).collect();
                order.sort_by(|a, b| {
                    one[*b as usize].clamp(-1.0, 1.0).total_cmp(&one[*a as usize].clamp(-1.0, 1.0)).then(a.cmp(b))
                });
                let mut seen = std::collections::HashSet::new();
                order.retain(|i| seen.insert(groups.map_or(*i, |g| g[*i as usize])));
                order.truncate(options.k);
                order
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn agrees_with_sorting_everything(
            n in 1usize..5, m in 1usize..60, dim in 2usize..6, k in 1usize..8, seed in any::<u64>(), grouped in any::<bool>(), min in -1.0f32..0.9
        ) {
            let (queries, build) = (vectors(n, dim, seed), vectors(m, dim, seed ^ 99));
            let groups: Vec<u32> = (0..m as u32).map(|i| i / 3).collect();
            let groups = grouped.then_some(groups.as_slice());
            let options = SearchOptions { k, min_score: min };
            let got: Vec<Vec<u32>> = top_k(&queries, &build, dim, groups, options).unwrap()
                .into_iter().map(|n| n.into_iter().map(|n| n.index).collect()).collect();
            // Blocks of another shape may round differently; compare scores where indices differ.
            for (q, (got, want)) in got.iter().zip(naive(&queries, &build, dim, groups, options)).enumerate() {
                let score = |i: &u32| -> f64 { (0..dim).map(|d| f64::from(queries[q * dim + d]) * f64::from(build[*i as usize * dim + d])).sum() };
                let gs: Vec<_> = got.iter().map(|i| (score(i) * 1e5).round()).collect();
                let ws: Vec<_> = want.iter().map(|i| (score(i) * 1e5).round()).collect();
                prop_assert_eq!(gs, ws);
            }
        }
    }

    #[test]
    fn ties_go_to_the_smaller_row_across_blocks() {
        let build = vec![1.0f32; BUILD_BLOCK + 10];
        let found = top_k(&[1.0], &build, 1, None, SearchOptions { k: 3, min_score: -1.0 }).unwrap();
        assert_eq!(found[0].iter().map(|n| n.index).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn k_beyond_the_rows_and_empty_sides() {
        let options = SearchOptions { k: 10, min_score: -1.0 };
        assert_eq!(top_k(&[1.0, 0.0], &[0.0, 1.0], 2, None, options).unwrap()[0].len(), 1);
        assert_eq!(top_k(&[1.0, 0.0], &[], 2, None, options).unwrap(), vec![vec![]]);
        assert!(top_k(&[], &[1.0, 0.0], 2, None, options).unwrap().is_empty());
        assert!(top_k(&[1.0], &[1.0], 1, None, SearchOptions { k: 0, min_score: 0.0 }).is_err());
        assert!(top_k(&[1.0], &[1.0, 2.0, 3.0], 2, None, options).is_err());
    }

    #[test]
    fn rows_without_direction_are_never_found() {
        let mut build = vec![0.0, 0.0, f32::NAN, 1.0, 1.0, 0.0];
        normalize_rows(&mut build, 2);
        let found = top_k(&[1.0, 0.0], &build, 2, None, SearchOptions { k: 5, min_score: -1.0 }).unwrap();
        assert_eq!(found[0].iter().map(|n| n.index).collect::<Vec<_>>(), [2]);
    }
}
