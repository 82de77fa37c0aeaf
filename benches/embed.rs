//! Names a second through the Embedder, beside a ceiling of this machine: the encoder's linear layers alone, as bare
//! matrix products of the same shapes (`gemm`, all cores), measured in the same run.
//!
//! cargo bench -p generel-model --bench embed -- NAMES.txt
//!
//! NAMES.txt holds one name a line. The model is the default one; its folder is taken from GENEREL_MODELS.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use arrow::array::StringArray;
use generel_model::store::{DEFAULT_MODEL, ModelStore};
use generel_model::{Embedder, EmbedderOptions};

/// Shapes of the default model's linear layers: (output, input), six layers each.
const LINEAR: [(usize, usize); 4] = [(1152, 384), (384, 384), (1536, 384), (384, 1536)];
const LAYERS: usize = 6;
/// Tokens of a batch, as the Embedder's default.
const TOKENS: usize = 2048;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let (Some(file), Some(models)) = (arguments.first(), std::env::var_os("GENEREL_MODELS")) else {
        println!("usage: GENEREL_MODELS=DIR cargo bench -p generel-model --bench embed -- NAMES.txt");
        return;
    };
    let text = std::fs::read_to_string(file).expect("NAMES.txt");
    let names: Vec<&str> = text.lines().collect();
    let (info, _) = ModelStore::new(PathBuf::from(models)).pull(DEFAULT_MODEL).expect("model");
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("runtime");
    let embedder = Embedder::new(info, EmbedderOptions::default());
    // The first text loads the weights.
    runtime.block_on(embedder.embed_one("warm-up")).expect("vector");
    let before = embedder.stats();
    let started = Instant::now();
    runtime.block_on(embedder.embed(&StringArray::from(names))).expect("vectors");
    let seconds = started.elapsed().as_secs_f64();
    let after = embedder.stats();
    let (encoded, tokens) = (after.encoded - before.encoded, after.tokens - before.tokens);
    let flop = tokens as f64 * LINEAR.iter().map(|(n, k)| 2 * n * k * LAYERS).sum::<usize>() as f64;
    let ours = flop / seconds / 1e9;
    let ceiling = ceiling();
    println!("distinct names {encoded}, tokens {tokens} ({:.1} a name)", tokens as f64 / encoded as f64);
    println!(
        "embed          {:>9.0} names/s {:>9.0} tokens/s {ours:>8.1} GFLOP/s in linear layers",
        encoded as f64 / seconds,
        tokens as f64 / seconds
    );
    println!("gemm alone     {:>9.0} names/s {:>28.1} GFLOP/s", ceiling / flop * 1e9 * encoded as f64, ceiling);
    println!("ratio          {:>9.2}", ours / ceiling);
}

/// GFLOP/s of the linear layers' products.
#[allow(unsafe_code)]
fn ceiling() -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut best = f64::MAX;
    for _ in 0..5 {
        let mut seconds = 0.0;
        for (n, k) in LINEAR {
            let (a, b, mut c) = (vec![0.5f32; TOKENS * k], vec![0.25f32; n * k], vec![0f32; TOKENS * n]);
            let started = Instant::now();
            // SAFETY: the three buffers have the sizes that the dimensions and strides imply.
            unsafe {
                gemm::gemm(
                    TOKENS,
                    n,
                    k,
                    c.as_mut_ptr(),
                    1,
                    n as isize,
                    false,
                    a.as_ptr(),
                    1,
                    k as isize,
                    b.as_ptr(),
                    k as isize,
                    1,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::Rayon(threads),
                );
            }
            black_box(&c);
            seconds += started.elapsed().as_secs_f64();
        }
        best = best.min(seconds);
    }
    let flop: usize = LINEAR.iter().map(|(n, k)| 2 * TOKENS * n * k).sum();
    flop as f64 / best / 1e9
}
