//! A training step beside PyTorch's: `cargo bench --bench train` (`-- --steps 20 --batch 96 --precision f32`). `--device cuda:0`
//! is a GPU, for both (by the library GENEREL_CUDA); `candle`, or in the library `hosted`, is what runs there, on the CPU.
//!
//! Names and synonyms of the bundled Disease Ontology, all-MiniLM-L6-v2, one task of synonyms: both encode pairs of the same list
//! (in batches of their own), take the same symmetric InfoNCE with a learned temperature, clip the gradient and step AdamW over
//! all layers (embeddings stay).
//! PyTorch (`benches/train_peers.py`; needs `pip install -r benches/requirements.txt`, PEERS_PYTHON names the interpreter) pads each
//! batch to its longest text, computes in f32 or in bfloat16 by autocast. Prints steps and tokens a second, and the mean loss of
//! the first and the last five steps.

#[path = "support.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use generel_model::store::{MINILM, ModelStore};
use generel_model::train::{Task, TaskKind, TaskOptions, TrainOptions, Trainer, TrainingSet};
use generel_model::{Device, DeviceChoice, Precision, normalize};
use support::{Arguments, models, python, repository, run};

fn main() {
    let arguments = Arguments::read();
    let (steps, batch) = (arguments.number("--steps", 20).max(2), arguments.number("--batch", 96));
    let (info, _) = ModelStore::new(models()).pull(MINILM).expect("the model");
    let pairs = pairs();
    println!("{} pairs of synonyms, batches of {batch}, {steps} steps, {} cores", pairs.len(), cores());
    let choice = arguments.value("--device").map_or(DeviceChoice::Cpu, |name| name.parse().expect("a device"));
    let gpu_libraries = std::env::var_os("GENEREL_CUDA").map(PathBuf::from).into_iter().collect();
    let device = Device { choice, gpu_libraries };
    for precision in arguments.list("--precision", "f32,bf16") {
        let place = tempfile::tempdir().expect("a folder");
        let options = options(steps as u64, batch, precision.parse().expect("a precision"));
        let mut trainer = Trainer::new(&info, set(&pairs), options, place.path(), &device).expect("a trainer");
        let (mut tokens, mut losses, mut began, mut seconds) = (0, Vec::new(), Instant::now(), 0.0);
        trainer
            .run(&mut |report| {
                losses.extend(report.tasks.iter().map(|(_, loss, _)| *loss));
                // The first step warms up.
                match report.step {
                    1 => began = Instant::now(),
                    _ => tokens += report.tokens,
                }
                // Before the checkpoint at the end.
                seconds = began.elapsed().as_secs_f64();
                ControlFlow::Continue(())
            })
            .expect("training");
        let ours = ((steps - 1) as f64 / seconds, tokens as f64 / seconds);
        line(&format!("generel {} {precision}", trainer.device()), ours, None, &losses);
        let file = place.path().join("pairs.tsv");
        let text: String = pairs.iter().map(|(a, b)| format!("{a}\t{b}\n")).collect();
        std::fs::write(&file, text).expect("a file");
        let mut peer = python("train_peers.py");
        let on = if trainer.device().starts_with("cuda") { trainer.device() } else { "cpu" };
        peer.arg(&info.folder).arg(&file).args([
            &steps.to_string(),
            &batch.to_string(),
            &precision,
            &cores().to_string(),
            on,
        ]);
        match run(peer) {
            Ok(found) => {
                let number = |name: &str| found[name].as_f64().unwrap_or(f64::NAN);
                let losses: Vec<f32> =
                    found["losses"].as_array().into_iter().flatten().filter_map(|l| Some(l.as_f64()? as f32)).collect();
                let theirs = (number("steps_s"), number("tokens_s"));
                line(&format!("torch {precision}"), theirs, Some(ours.0 / theirs.0), &losses);
            }
            Err(problem) => println!("torch {precision}: {problem}"),
        }
    }
}

fn line(who: &str, (steps, tokens): (f64, f64), ratio: Option<f64>, losses: &[f32]) {
    let ratio = ratio.map_or_else(String::new, |r| format!("generel is {r:.2} × as fast"));
    let mean = |some: &[f32]| some.iter().sum::<f32>() / some.len() as f32;
    let some = losses.len().min(5);
    let ends = (mean(&losses[..some]), mean(&losses[losses.len() - some..]));
    println!("{who:<20}{steps:>8.3} steps/s {tokens:>9.0} tokens/s  loss {:.3} … {:.3}  {ratio}", ends.0, ends.1);
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Label and exact synonym of each term of the bundled Disease Ontology, in an order that mixes them.
fn pairs() -> Vec<(String, String)> {
    let file = std::fs::File::open(repository().join("jobs/sample/doid-2016.obo.gz")).expect("the sample");
    let (mut pairs, mut label) = (Vec::new(), String::new());
    for line in BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
        let line = line.expect("text");
        if let Some(name) = line.strip_prefix("name: ") {
            label = normalize(name).into_owned();
        }
        let quoted = line.strip_prefix("synonym: \"").and_then(|rest| rest.split_once("\" EXACT"));
        pairs.extend(quoted.map(|(name, _)| (normalize(name).into_owned(), label.clone())));
    }
    fastrand::Rng::with_seed(5).shuffle(&mut pairs);
    pairs
}

fn set(pairs: &[(String, String)]) -> TrainingSet {
    let n = pairs.len() as u32;
    TrainingSet {
        texts: pairs.iter().map(|(a, _)| a).chain(pairs.iter().map(|(_, b)| b)).cloned().collect(),
        // Every pair is a concept of its own, as the peer takes it.
        entities: (0..n).chain(0..n).collect(),
        tasks: vec![Task {
            name: "synonym".into(),
            kind: TaskKind::Synonyms,
            left: (0..n).collect(),
            right: (n..2 * n).collect(),
            weights: vec![1.0; pairs.len()],
        }],
        ..TrainingSet::default()
    }
}

fn options(steps: u64, batch: usize, precision: Precision) -> TrainOptions {
    TrainOptions {
        seed: 1,
        steps,
        snp_steps: 0,
        warm_up: 1,
        tasks: vec![TaskOptions { name: "synonym".into(), batch, weight: 1.0, temperature: 0.05 }],
        learning_rate: 5e-5,
        snp_learning_rate: 1e-3,
        weight_decay: 0.01,
        precision,
        max_tokens: 32,
        nested_dimensions: Vec::new(),
        average: 0.0,
        keep: 0.0,
        hard_negatives: false,
        gradient_cache: false,
        checkpoint_every: u64::MAX,
        report_every: 1,
    }
}
