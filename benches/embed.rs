//! Names a second through the Embedder in each precision, beside the programs people use for it with the same weights,
//! in turns, in one run; the share of what this CPU's registers can do; agreement with 32-bit floats; and a column of a
//! million rows that repeats the names, as columns do.
//!
//! cargo bench --bench embed -- [--names FILE] [--count N] [--model NAME] [--threads N] [--rounds N] [--precisions a,b] [--peers a,b,c|none] [--peer-seconds N] [--rows N]
//! cargo bench --bench embed -- --devices cuda:0 --names FILE --count 500000 --precisions bf16,f32 --peers torch-cuda-bf16,torch-cuda-f16
//! GENEREL_CUDA=…/libgenerel_cuda.so cargo bench --bench embed -- --devices candle,hosted --precisions f32 --peers none --rows 0
//!
//! Without a file the names are 20,000 distinct ones of the bundled ontologies. With devices, the names are sent as a
//! query's operator sends them, and GENEREL_CUDA is the library of a GPU, or of `hosted`: candle on the CPU behind the
//! library, beside `candle`, the same in the program. Peers (benches/embed_peers.py) run in the
//! Python of PEERS_PYTHON, default python3, with benches/requirements.txt installed; `candle-stock` is candle's own
//! BertModel (benches/candle-stock). A peer that cannot run is said to be missing.

mod support;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use arrow::array::{Array, AsArray, FixedSizeListArray, StringArray};
use arrow::datatypes::Float32Type;
use futures::StreamExt;
use generel_model::store::{MINILM, ModelStore};
use generel_model::{DeviceChoice, Embedder, EmbedderOptions, ModelInfo, Precision};
use tokio::runtime::Runtime;

use support::{Arguments, models, python, repository, run};

const NAMES: usize = 20_000;
/// A peer starts no further pass when it has had so many seconds, in each turn.
const PEER_SECONDS: usize = 60;
/// Rows of a query's batch, and batches that its operator has in flight.
const BATCH_ROWS: usize = 8192;
const BATCHES_IN_FLIGHT: usize = 4;
/// Texts that go before on a GPU: a batch for every worker.
const GPU_WARM_UP: usize = 30_000;
/// Zipf's exponent of the repeating column.
const EXPONENT: f64 = 1.0;
const PEERS: [&str; 6] =
    ["onnxruntime-f32", "onnxruntime-int8", "openvino-f32", "openvino-bf16", "sentence-transformers", "candle-stock"];

fn main() {
    let options = Options::parse();
    let names = options.names();
    let info = ModelStore::new(models()).pull(&options.model).expect("the model").0;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let bench = Bench { options, names, info, runtime };
    bench.run();
}

struct Options {
    names: Option<PathBuf>,
    model: String,
    count: usize,
    peer_seconds: usize,
    devices: Vec<DeviceChoice>,
    threads: usize,
    rounds: usize,
    rows: usize,
    peers: Vec<String>,
    precisions: Vec<Precision>,
}

impl Options {
    fn parse() -> Self {
        let arguments = Arguments::read();
        let precisions = arguments.list("--precisions", "f32,bf16,int8");
        Self {
            names: arguments.value("--names").map(PathBuf::from),
            model: arguments.value("--model").unwrap_or_else(|| MINILM.to_string()),
            count: arguments.number("--count", NAMES),
            peer_seconds: arguments.number("--peer-seconds", PEER_SECONDS),
            devices: arguments.list("--devices", "cpu").iter().map(|d| d.parse().expect("a device")).collect(),
            threads: arguments.number("--threads", 2),
            rounds: arguments.number("--rounds", 3),
            rows: arguments.number("--rows", 1_000_000),
            peers: arguments.list("--peers", &PEERS.join(",")),
            precisions: precisions.iter().map(|p| p.parse().expect("a precision")).collect(),
        }
    }

    fn names(&self) -> Vec<String> {
        let lines: Vec<String> = match &self.names {
            Some(path) => std::fs::read_to_string(path).expect("names").lines().map(str::to_string).collect(),
            None => bundled(),
        };
        let mut seen = HashSet::new();
        let mut names: Vec<String> = lines
            .iter()
            .map(|line| generel_model::normalize(line).into_owned())
            .filter(|name| !name.is_empty() && seen.insert(name.clone()))
            .collect();
        // The ontologies are in the order of their codes: take names from all of them, the same ones every time.
        fastrand::Rng::with_seed(7).shuffle(&mut names);
        names.truncate(self.count);
        names
    }
}

/// Names and synonyms of the bundled ontologies.
fn bundled() -> Vec<String> {
    let mut names = Vec::new();
    for file in ["doid-2016.obo.gz", "hp-2016-04-01.obo.gz"] {
        let file = std::fs::File::open(repository().join("jobs/sample").join(file)).expect("the sample");
        for line in BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
            let line = line.expect("text");
            if let Some(name) = line.strip_prefix("name: ") {
                names.push(name.to_string());
            } else if let Some(rest) = line.strip_prefix("synonym: \"") {
                names.extend(rest.split_once("\" ").map(|(name, _)| name.to_string()));
            }
        }
    }
    names
}

/// Where, and as what numbers, the Embedder runs.
type Own = (DeviceChoice, Precision);

/// One contestant's best turn.
struct Result {
    name: String,
    own: Option<Own>,
    seconds: f64,
    all: Vec<f64>,
    min_cosine: Option<f64>,
}

struct Bench {
    options: Options,
    names: Vec<String>,
    info: ModelInfo,
    runtime: Runtime,
}

impl Bench {
    fn run(&self) {
        let folder = tempfile::tempdir().expect("a folder");
        let names_file = folder.path().join("names.txt");
        let mut out = std::fs::File::create(&names_file).expect("names.txt");
        self.names.iter().for_each(|name| writeln!(out, "{name}").expect("names.txt"));

        let mut results: Vec<Result> = Vec::new();
        // PyTorch's vectors where it is at hand, else our own in 32-bit floats.
        let reference = self.torch(&names_file, &folder.path().join("torch.npy")).unwrap_or_else(|problem| {
            println!("cosines are to generel f32: no reference of PyTorch ({problem})");
            // A GPU has more names than a CPU gets done; min_cosine compares as many as there are.
            let some = if self.on_cpu() { self.names.len() } else { self.names.len().min(2000) };
            values(&self.embed((DeviceChoice::Cpu, Precision::F32), &self.names[..some]).1)
        });
        let mut tokens = 0;
        for round in 0..self.options.rounds {
            for own in self.own() {
                // Vectors are looked at once: what follows is only timed.
                let first = (round == 0).then(|| {
                    let (seconds, vectors, used) = self.embed(own, &self.names);
                    tokens = used;
                    if !self.on_cpu() {
                        self.alone(own, &vectors);
                    }
                    (seconds, min_cosine(&values(&vectors), &reference, self.info.dimension))
                });
                let cosine = first.map(|(_, cosine)| cosine);
                let seconds = match first {
                    _ if !self.on_cpu() => self.query(own, &(0..self.names.len()).collect::<Vec<_>>()),
                    Some((seconds, _)) => seconds,
                    None => self.embed(own, &self.names).0,
                };
                note(&mut results, &self.name(own), Some(own), seconds, cosine);
            }
            for peer in &self.options.peers {
                match self.peer(peer, &names_file) {
                    Ok((rate, cosine)) => note(&mut results, peer, None, self.names.len() as f64 / rate, cosine),
                    Err(problem) if round == 0 => println!("{peer}: missing ({problem})"),
                    Err(_) => {}
                }
            }
        }
        self.print(&results, tokens);
        if self.options.rows > 0 {
            self.zipf(&results);
        }
        for result in &results {
            let Some((_, precision)) = result.own.filter(|_| self.on_cpu()) else { continue };
            let least = match precision {
                Precision::F32 => 0.99999,
                Precision::Bf16 => 0.9995,
                Precision::Int8 => 0.995,
            };
            let cosine = result.min_cosine.expect("compared in the first round");
            // As what is printed, with five digits.
            assert!(
                (1e5 * cosine).round() / 1e5 >= least,
                "{}: a cosine of {cosine}, and {least} is promised",
                result.name
            );
        }
    }

    fn on_cpu(&self) -> bool {
        self.options.devices == [DeviceChoice::Cpu]
    }

    /// Each precision on each device, in the order of turns.
    fn own(&self) -> Vec<Own> {
        let precisions = self.options.precisions.iter();
        precisions.flat_map(|p| self.options.devices.iter().map(move |d| (*d, *p))).collect()
    }

    fn name(&self, (device, precision): Own) -> String {
        if device == self.options.devices[0] {
            format!("generel {precision}")
        } else {
            format!("generel {precision}, {device}")
        }
    }

    /// A new Embedder that is warm.
    fn embedder(&self, (device, precision): Own) -> Embedder {
        let info = self.info.clone().with_precision(Some(precision));
        let threads = self.options.threads;
        let gpu_libraries = std::env::var_os("GENEREL_CUDA").map(PathBuf::from).into_iter().collect();
        let cache_bytes = 1 << 30;
        let options = EmbedderOptions { device, threads, cache_bytes, gpu_libraries, ..EmbedderOptions::default() };
        let embedder = Embedder::new(info, options);
        // The first texts load the weights and warm up the workers.
        let on_cpu = [DeviceChoice::Cpu, DeviceChoice::Candle, DeviceChoice::Hosted].contains(&device);
        let texts = if on_cpu { 64 * threads } else { GPU_WARM_UP };
        let warm: StringArray = (0..texts).map(|i| Some(format!("warm-up {i}"))).collect();
        self.runtime.block_on(embedder.embed(&warm)).expect("vectors");
        embedder
    }

    /// Seconds, vectors and tokens of texts through a new Embedder.
    fn embed(&self, own: Own, texts: &[String]) -> (f64, FixedSizeListArray, u64) {
        let embedder = self.embedder(own);
        let before = embedder.stats();
        let column = StringArray::from_iter_values(texts);
        let started = Instant::now();
        let vectors = self.runtime.block_on(embedder.embed(&column)).expect("vectors");
        (started.elapsed().as_secs_f64(), vectors, embedder.stats().tokens - before.tokens)
    }

    /// Says how many of some texts have the same vector, to the bit, when each is embedded alone.
    fn alone(&self, own: Own, together: &FixedSizeListArray) {
        let embedder = self.embedder(own);
        let some: Vec<usize> = (0..self.names.len()).step_by((self.names.len() / 50).max(1)).collect();
        let same = some.iter().filter(|i| {
            let alone = self.runtime.block_on(embedder.embed_one(&self.names[**i])).expect("a vector");
            let own = together.value(**i);
            alone.is_some_and(|alone| alone == own.as_primitive::<Float32Type>().values()[..])
        });
        println!("{}: {} of {} texts alone have the same vector, to the bit", self.name(own), same.count(), some.len());
    }

    /// Seconds of rows through a new Embedder as a query's operator sends them: batches, some at a time, whose vectors go
    /// on to the next operator.
    fn query(&self, own: Own, rows: &[usize]) -> f64 {
        let embedder = self.embedder(own);
        let batches: Vec<StringArray> = rows
            .chunks(BATCH_ROWS)
            .map(|rows| StringArray::from_iter_values(rows.iter().map(|i| &self.names[*i])))
            .collect();
        let before = embedder.stats();
        let started = Instant::now();
        let embedded = self.runtime.block_on(async {
            let calls = futures::stream::iter(batches).map(|batch| {
                let embedder = embedder.clone();
                self.runtime.spawn(async move { embedder.embed(&batch).await.expect("vectors").len() })
            });
            let done = calls.buffered(BATCHES_IN_FLIGHT.max(self.options.threads));
            done.map(|rows| rows.expect("a task")).fold(0, |sum, rows| async move { sum + rows }).await
        });
        assert_eq!(embedded, rows.len());
        let seconds = started.elapsed().as_secs_f64();
        if let (Some(place), DeviceChoice::Cuda(_)) = (embedder.place(), own.0) {
            let stats = embedder.stats();
            let busy = (stats.busy_us - before.busy_us) as f64 / 1e6 / seconds / place.workers as f64;
            let batches = stats.batches - before.batches;
            println!("{place}, {}: {batches} batches, busy {:.0} % of the time", own.1, 100.0 * busy);
        }
        seconds
    }

    /// The vectors of sentence-transformers.
    fn torch(&self, names: &Path, out: &Path) -> std::result::Result<Vec<f32>, String> {
        if !self.options.peers.iter().any(|p| p == "sentence-transformers") {
            return Err("sentence-transformers is not among the peers".into());
        }
        let mut command = self.python("sentence-transformers", names);
        command.arg("--vectors").arg(out);
        run(command)?;
        // NumPy's format 1.0: magic, version, length of the header, header, values in little endian.
        let bytes = std::fs::read(out).map_err(|e| e.to_string())?;
        let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        Ok(bytes[10 + header..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    fn python(&self, peer: &str, names: &Path) -> Command {
        let mut command = python("embed_peers.py");
        command.arg(peer).arg(&self.info.folder).arg(names);
        command.args([
            "--threads",
            &self.options.threads.to_string(),
            "--seconds-budget",
            &self.options.peer_seconds.to_string(),
        ]);
        command
    }

    /// Names a second, and the smallest cosine to the reference if it is told.
    fn peer(&self, peer: &str, names: &Path) -> std::result::Result<(f64, Option<f64>), String> {
        let threads = self.options.threads.to_string();
        let json = run(if peer == "candle-stock" {
            let mut command = Command::new("cargo");
            let manifest = repository().join("benches/candle-stock/Cargo.toml");
            command.args(["run", "--quiet", "--release", "--manifest-path"]).arg(manifest).arg("--");
            command.arg(&self.info.folder).arg(names).env("RAYON_NUM_THREADS", &threads);
            command
        } else {
            let mut command = self.python(peer, names);
            let reference = names.with_file_name("torch.npy");
            if reference.exists() {
                command.arg("--reference").arg(reference);
            }
            command
        })?;
        let rate = json["strings_per_s"].as_f64().ok_or_else(|| json.to_string())?;
        Ok((rate, json["min_cosine"].as_f64()))
    }

    fn print(&self, results: &[Result], tokens: u64) {
        let names = self.names.len() as f64;
        let work = self.info.linear_operations(tokens).expect("a configuration");
        println!(
            "\n{} distinct names, {tokens} tokens ({:.1} a name), {} threads, best of {} turns",
            self.names.len(),
            tokens as f64 / names,
            self.options.threads,
            self.options.rounds
        );
        println!("{:<24}{:>10}{:>12}{:>11}{:>9}  turns (names/s)", "", "names/s", "tokens/s", "of peak", "cosine");
        for result in results {
            let peak = result
                .own
                .and_then(|own| self.embedder(own).peak_gops().expect("the device's peak"))
                .map(|gops| work / result.seconds / (gops * 1e9));
            println!(
                "{:<24}{:>10.0}{:>12.0}{:>11}{:>9}  {}",
                result.name,
                names / result.seconds,
                tokens as f64 / result.seconds,
                peak.map_or(String::new(), |p| format!("{:.0} %", 100.0 * p)),
                result.min_cosine.map_or(String::new(), |c| format!("{c:.5}")),
                result.all.iter().map(|s| format!("{:.0}", names / s)).collect::<Vec<_>>().join(" ")
            );
        }
        println!();
        if let [first, others @ ..] = self.options.devices.as_slice() {
            let pair = |(device, precision)| (self.name((device, precision)), self.name((*first, precision)));
            let of =
                |device: &DeviceChoice| self.options.precisions.iter().map(|p| pair((*device, *p))).collect::<Vec<_>>();
            others.iter().flat_map(of).for_each(|(a, b)| ratio(results, &a, &b));
        }
        for (ours, theirs) in [
            ("generel f32", "onnxruntime-f32"),
            ("generel f32", "openvino-f32"),
            ("generel f32", "sentence-transformers"),
            ("generel f32", "candle-stock"),
            ("generel bf16", "openvino-bf16"),
            ("generel int8", "onnxruntime-int8"),
            ("generel bf16", "torch-cuda-bf16"),
            ("generel bf16", "torch-cuda-f16"),
            ("generel f32", "torch-cuda-f32"),
        ] {
            ratio(results, ours, theirs);
        }
    }

    /// A column of many rows that repeats the names by Zipf's law, in the batches of a query, beside its distinct names.
    fn zipf(&self, results: &[Result]) {
        let mut rng = fastrand::Rng::with_seed(11);
        let weights: Vec<f64> = (1..=self.names.len()).map(|rank| (rank as f64).powf(-EXPONENT)).collect();
        let mut sums = Vec::with_capacity(weights.len());
        weights.iter().fold(0.0, |sum, w| {
            sums.push(sum + w);
            sum + w
        });
        let total = sums[sums.len() - 1];
        let mut rows: Vec<usize> = (0..self.options.rows.saturating_sub(self.names.len()))
            .map(|_| sums.partition_point(|s| *s < rng.f64() * total).min(self.names.len() - 1))
            .collect();
        // Each name at least once.
        rows.extend(0..self.names.len());
        rng.shuffle(&mut rows);
        println!("\n{} rows of the same names (Zipf, exponent {EXPONENT})", rows.len());
        for &precision in &self.options.precisions {
            let own = (self.options.devices[0], precision);
            let seconds = self.query(own, &rows);
            let name = self.name(own);
            let distinct = results.iter().find(|r| r.name == name).expect("measured");
            println!(
                "{name:<24}{:>10.0} rows/s, {:.2} × the time of the names",
                rows.len() as f64 / seconds,
                seconds / distinct.seconds
            );
        }
    }
}

/// Says how many times the names a second of the second the first did, if both ran.
fn ratio(results: &[Result], ours: &str, theirs: &str) {
    let find = |name: &str| results.iter().find(|r| r.name == name);
    if let (Some(a), Some(b)) = (find(ours), find(theirs)) {
        let mut ratios: Vec<f64> = a.all.iter().zip(&b.all).map(|(a, b)| b / a).collect();
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        println!("{ours} / {theirs}: {:.3} (median of turns {median:.3})", b.seconds / a.seconds);
    }
}

fn note(results: &mut Vec<Result>, name: &str, own: Option<Own>, seconds: f64, cosine: Option<f64>) {
    match results.iter_mut().find(|r| r.name == name) {
        Some(result) => {
            result.seconds = result.seconds.min(seconds);
            result.all.push(seconds);
        }
        None => results.push(Result { name: name.to_string(), own, seconds, all: vec![seconds], min_cosine: cosine }),
    }
}

fn values(vectors: &FixedSizeListArray) -> Vec<f32> {
    vectors.values().as_primitive::<Float32Type>().values().to_vec()
}

fn min_cosine(a: &[f32], b: &[f32], width: usize) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = |(a, b): (&[f32], &[f32])| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    a.chunks_exact(width).zip(b.chunks_exact(width)).map(cosine).fold(1.0, f64::min)
}
