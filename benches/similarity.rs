//! The k nearest of many rows for many queries, exactly, by each first pass, beside what people use for it and the
//! machine's measured peak, in turns, in one run. Every result is compared with the others'.
//!
//! cargo bench --profile dev -p generel-model --bench similarity -- [--queries N] [--rows N] [--k K] [--threads N]
//!     [--rounds N] [--passes f32,bf16,int8] [--devices cuda:0] [--peers a,b|none] [--growth] [--names FILE]
//!     [--recall 0.99]
//!
//! Vectors are random directions, or with --names embeddings of a file's lines (as many as there are). Peers
//! (benches/similarity_peers.py) run in the Python of PEERS_PYTHON, default python3: faiss, faiss-avx512 (the same with
//! OPENBLAS_CORETYPE told), usearch, torch-bf16, hnsw. --growth measures sizes over three decades instead. --recall
//! adds the approximate search: its index and a search by it, with the recall reached. --devices adds searches whose first pass
//! is on a device: a GPU by the library GENEREL_CUDA, `candle` or, in the library, `hosted` on the CPU.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{AsArray, StringArray};
use arrow::datatypes::Float32Type;
use generel_model::search::{Cells, Corpus, Neighbor, SearchOptions};
use generel_model::store::{MINILM, ModelStore};
use generel_model::{Device, DeviceChoice, Embedder, EmbedderOptions, Precision, peak_gops};

use support::{Arguments, models, python, run};

const DIMENSION: usize = 384;
/// Queries that a thread takes at a time.
const PIECE: usize = 2048;
const PEERS: &str = "faiss,usearch";

fn main() {
    let options = Options::parse();
    if options.growth {
        return growth(&options);
    }
    let (queries, rows) = options.vectors();
    let work = 2.0 * (queries.len() / DIMENSION) as f64 * rows.len() as f64 / 1e9;
    let peak = peak_gops(Precision::F32) * options.threads as f64;
    println!(
        "{} queries, {} rows, {DIMENSION} dimensions, top {}, {} threads; f32 peak {peak:.0} GFLOP/s",
        queries.len() / DIMENSION,
        rows.len() / DIMENSION,
        options.k,
        options.threads
    );
    let folder = tempfile::tempdir().expect("a folder");
    let files = [folder.path().join("queries.npy"), folder.path().join("rows.npy"), folder.path().join("found.npy")];
    write_npy(&files[0], "<f4", DIMENSION, queries.iter().flat_map(|v| v.to_le_bytes()));
    write_npy(&files[1], "<f4", DIMENSION, rows.iter().flat_map(|v| v.to_le_bytes()));
    let mut turns: Vec<(String, Vec<f64>, String)> = Vec::new();
    let mut reference: Option<Vec<Vec<Neighbor>>> = None;
    for _ in 0..options.rounds {
        let on_cpu = options.passes.iter().map(|pass| (*pass, DeviceChoice::Cpu));
        for (pass, device) in on_cpu.chain(options.devices.iter().map(|device| (None, *device))) {
            let before = resident();
            let (seconds, found, name) = ours(&queries, rows.clone(), (pass, device), &options);
            // The rows' copy is the input; what else there was at the highest is ours.
            let above = (resident().1 - before.0) as f64 / 1e6 - rows.len() as f64 * 4.0 / 1e6;
            let name = format!("generel {name}");
            let same = reference.get_or_insert_with(|| {
                let indices = found.iter().flat_map(|f| f.iter().map(|n| i64::from(n.index)));
                write_npy(&files[2], "<i8", options.k, indices.flat_map(i64::to_le_bytes));
                found.clone()
            }) == &found;
            let note =
                format!("{}, {above:.0} MB above the inputs at most", if same { "same result" } else { "DIFFERS" });
            turn(&mut turns, name, seconds, note);
        }
        if let (Some(recall), Some(exact)) = (options.recall, &reference) {
            let (built, searched, found, note) = approximate(&queries, rows.clone(), recall, &options);
            let hits = |(a, b): (&Vec<Neighbor>, &Vec<Neighbor>)| a.iter().filter(|n| b.contains(n)).count();
            let reached = exact.iter().zip(&found).map(hits).sum::<usize>() as f64;
            let reached = reached / exact.iter().map(Vec::len).sum::<usize>() as f64;
            let note = format!("recall {reached:.4}; index {built:.2} s, search {searched:.2} s; {note}");
            turn(&mut turns, "generel cells".into(), built + searched, note);
        }
        for peer in &options.peers {
            match run_peer(peer, &files, &options) {
                Ok(json) => {
                    turn(&mut turns, peer.clone(), json["seconds"].as_f64().unwrap_or(f64::NAN), json.to_string())
                }
                Err(problem) => println!("{peer}: missing ({problem})"),
            }
        }
    }
    println!("{:<16}{:>10}{:>12}{:>14}  turns (s)", "", "seconds", "GFLOP/s", "of f32 peak");
    let best = |all: &[f64]| all.iter().copied().fold(f64::MAX, f64::min);
    for (name, all, note) in &turns {
        let rate = work / best(all);
        let all: Vec<String> = all.iter().map(|s| format!("{s:.2}")).collect();
        println!(
            "{name:<16}{:>10.2}{rate:>12.0}{:>12.0} %  {}  {note}",
            work / rate,
            100.0 * rate / peak,
            all.join(" ")
        );
    }
    for (theirs, their_turns, _) in turns.iter().filter(|t| !t.0.starts_with("generel")) {
        for (name, all, _) in turns.iter().filter(|t| t.0.starts_with("generel")) {
            println!("{name} / {theirs}: {:.2} times as fast", best(their_turns) / best(all));
        }
    }
}

fn turn(turns: &mut Vec<(String, Vec<f64>, String)>, name: String, seconds: f64, note: String) {
    match turns.iter_mut().find(|t| t.0 == name) {
        Some(turn) => turn.1.push(seconds),
        None => turns.push((name, vec![seconds], note)),
    }
}

/// Time against the product of the sizes.
fn growth(options: &Options) {
    println!("{:>10} x {:>8}{:>12}{:>18}", "queries", "rows", "seconds", "10⁹ pairs/s");
    for (n, m) in [(1_000, 10_000), (3_000, 30_000), (10_000, 100_000), (30_000, 300_000)] {
        let (queries, rows) = (random(n, 1), random(m, 2));
        let pass = options.passes.last().copied().unwrap_or_default();
        let best = (0..options.rounds)
            .map(|_| ours(&queries, rows.clone(), (pass, DeviceChoice::Cpu), options).0)
            .fold(f64::MAX, f64::min);
        println!("{n:>10} x {m:>8}{best:>12.3}{:>18.2}", n as f64 * m as f64 / best / 1e9);
    }
}

struct Options {
    queries: usize,
    rows: usize,
    k: usize,
    threads: usize,
    rounds: usize,
    passes: Vec<Option<Precision>>,
    devices: Vec<DeviceChoice>,
    peers: Vec<String>,
    growth: bool,
    names: Option<PathBuf>,
    recall: Option<f64>,
}

impl Options {
    fn parse() -> Self {
        let arguments = Arguments::read();
        let passes = arguments.list("--passes", "f32,int8");
        Self {
            queries: arguments.number("--queries", 20_000),
            rows: arguments.number("--rows", 100_000),
            k: arguments.number("--k", 5),
            threads: arguments.number("--threads", 2),
            rounds: arguments.number("--rounds", 2),
            passes: passes.iter().map(|p| (p != "auto").then(|| p.parse().expect("a precision"))).collect(),
            devices: arguments.list("--devices", "none").iter().map(|d| d.parse().expect("a device")).collect(),
            peers: arguments.list("--peers", PEERS),
            growth: arguments.has("--growth"),
            names: arguments.value("--names").map(PathBuf::from),
            recall: arguments.value("--recall").map(|r| r.parse().expect("a recall")),
        }
    }

    fn search(&self) -> SearchOptions {
        SearchOptions { k: Some(self.k), ties: false, min_score: -1.0 }
    }

    /// Queries and rows.
    fn vectors(&self) -> (Vec<f32>, Vec<f32>) {
        let Some(path) = &self.names else { return (random(self.queries, 1), random(self.rows, 2)) };
        let text = std::fs::read_to_string(path).expect("names");
        let info = ModelStore::new(models()).pull(MINILM).expect("the model").0.with_precision(Some(Precision::Int8));
        let embedder = Embedder::new(info, EmbedderOptions::default());
        let names: Vec<&str> = text.lines().take(self.queries + self.rows).collect();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let embedded = runtime.block_on(embedder.embed(&StringArray::from(names.clone()))).expect("vectors");
        let all = embedded.values().as_primitive::<Float32Type>().values();
        let queries = self.queries.min(names.len() / 2) * DIMENSION;
        (all[..queries].to_vec(), all[queries..].to_vec())
    }
}

/// Seconds of a search with everything that it needs, packing included.
fn ours(
    queries: &[f32],
    rows: Vec<f32>,
    (pass, choice): (Option<Precision>, DeviceChoice),
    options: &Options,
) -> (f64, Vec<Vec<Neighbor>>, String) {
    let gpu_libraries = std::env::var_os("GENEREL_CUDA").map(PathBuf::from).into_iter().collect();
    let started = Instant::now();
    let corpus = Corpus::new(rows, DIMENSION, None, pass).expect("rows");
    let corpus = corpus.on_device(&Device { choice, gpu_libraries }).expect("a device");
    let search = options.search();
    let found = in_pieces(queries, options.threads, |piece| corpus.search(piece, search).expect("neighbors"));
    let name = if corpus.is_on_device() { choice.to_string() } else { corpus.first_pass().to_string() };
    (started.elapsed().as_secs_f64(), found, name)
}

/// Seconds for the index and for the search.
fn approximate(
    queries: &[f32],
    rows: Vec<f32>,
    recall: f64,
    options: &Options,
) -> (f64, f64, Vec<Vec<Neighbor>>, String) {
    let started = Instant::now();
    let corpus = Corpus::new(rows, DIMENSION, None, None).expect("rows");
    let cells = Cells::new(&corpus).expect("cells");
    let built = started.elapsed().as_secs_f64();
    let (search, reach) = (options.search(), cells.reach(options.k, recall));
    let found =
        in_pieces(queries, options.threads, |piece| cells.search(&corpus, piece, search, reach).expect("neighbors"));
    let note = format!("{} cells", cells.count());
    (built, started.elapsed().as_secs_f64() - built, found, note)
}

fn in_pieces(
    queries: &[f32],
    threads: usize,
    search: impl Fn(&[f32]) -> Vec<Vec<Neighbor>> + Sync,
) -> Vec<Vec<Neighbor>> {
    let pieces: Vec<&[f32]> = queries.chunks(PIECE * DIMENSION).collect();
    let next = AtomicUsize::new(0);
    let mut found: Vec<(usize, Vec<Vec<Neighbor>>)> = std::thread::scope(|scope| {
        let work = || {
            let mut own = Vec::new();
            while let Some((at, piece)) =
                Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, pieces.get(i)?)))
            {
                own.push((at, search(piece)));
            }
            own
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a thread")).collect()
    });
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().flat_map(|(_, f)| f).collect()
}

/// Bytes of memory in use, and the most since the process began or the mark was reset.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |key: &str| {
        let line = status.lines().find(|l| l.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    // Writing 5 here resets the mark.
    let both = (1024 * of("VmRSS:").unwrap_or(0), 1024 * of("VmHWM:").unwrap_or(0));
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    both
}

fn random(rows: usize, seed: u64) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut all = Vec::with_capacity(rows * DIMENSION);
    for _ in 0..rows {
        let start = all.len();
        // Sums of uniform numbers: nearly normal, so that directions are uniform.
        all.extend((0..DIMENSION).map(|_| (0..4).map(|_| rng.f32() - 0.5).sum::<f32>()));
        let row = &mut all[start..];
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        row.iter_mut().for_each(|v| *v /= length);
    }
    all
}

/// NumPy's format 1.0.
fn write_npy(path: &Path, kind: &str, columns: usize, bytes: impl Iterator<Item = u8>) {
    let bytes: Vec<u8> = bytes.collect();
    let rows = bytes.len() / columns / kind[2..].parse::<usize>().expect("a type");
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    header.extend(std::iter::repeat_n(' ', 127 - (10 + header.len()) % 64 % 128));
    let mut file = std::fs::File::create(path).expect("a file");
    let length = u16::try_from(header.len() + 1).expect("a short header").to_le_bytes();
    file.write_all(b"\x93NUMPY\x01\x00").and_then(|()| file.write_all(&length)).expect("a file");
    writeln!(file, "{header}").and_then(|()| file.write_all(&bytes)).expect("a file");
}

fn run_peer(peer: &str, files: &[PathBuf; 3], options: &Options) -> Result<serde_json::Value, String> {
    let mut command = python("similarity_peers.py");
    command.arg(peer).args(files).args(["--k", &options.k.to_string(), "--threads", &options.threads.to_string()]);
    if peer == "faiss-avx512" {
        command.env("OPENBLAS_CORETYPE", "SKYLAKEX");
    }
    run(command)
}
