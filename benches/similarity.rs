//! Exact top-k of every query against every row, beside the ceiling: the same matrix product by `gemm` without any
//! selection, measured in the same run on one thread.
//!
//! cargo bench --profile dev -p generel-model --bench similarity -- [QUERIES [ROWS]]

use std::hint::black_box;
use std::time::Instant;

use generel_model::search::{SearchOptions, normalize_rows, top_k};

const DIMENSION: usize = 384;
const K: usize = 5;

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (queries, rows) = (sizes.first().copied().unwrap_or(2_000), sizes.get(1).copied().unwrap_or(20_000));
    let (left, right) = (vectors(queries, 1), vectors(rows, 2));
    let flop = 2.0 * queries as f64 * rows as f64 * DIMENSION as f64;
    let product = seconds(|| {
        black_box(product(&left, &right));
    });
    let search = seconds(|| {
        let options = SearchOptions { k: K, min_score: -1.0 };
        black_box(top_k(&left, &right, DIMENSION, None, options).expect("neighbors"));
    });
    println!("{queries} x {rows}, {DIMENSION} dimensions, top {K}, one thread");
    println!("top_k       {search:>8.3} s {:>8.1} GFLOP/s", flop / search / 1e9);
    println!("gemm alone  {product:>8.3} s {:>8.1} GFLOP/s", flop / product / 1e9);
    println!("ratio       {:>8.2}", product / search);
}

/// The best of three runs.
fn seconds(mut work: impl FnMut()) -> f64 {
    (0..3)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}

fn vectors(rows: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut all: Vec<f32> = (0..rows * DIMENSION)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect();
    normalize_rows(&mut all, DIMENSION);
    all
}

/// The product in blocks of the search's size, each block overwritten.
#[allow(unsafe_code)]
fn product(left: &[f32], right: &[f32]) -> f32 {
    let mut scores = vec![0f32; 128 * 1024];
    for queries in left.chunks(128 * DIMENSION) {
        for rows in right.chunks(1024 * DIMENSION) {
            let (n, m) = (queries.len() / DIMENSION, rows.len() / DIMENSION);
            // SAFETY: the buffers have the sizes that the dimensions and strides imply.
            unsafe {
                gemm::gemm(
                    n,
                    m,
                    DIMENSION,
                    scores.as_mut_ptr(),
                    1,
                    m as isize,
                    false,
                    queries.as_ptr(),
                    1,
                    DIMENSION as isize,
                    rows.as_ptr(),
                    DIMENSION as isize,
                    1,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        }
    }
    scores[0]
}
