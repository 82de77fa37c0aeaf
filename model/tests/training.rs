//! A training run from outside: the same twice, the same after it was stopped, and a model at the end that can be used.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use generel_model::store::ModelStore;
use generel_model::train::{Report, SnpFacts, Task, TaskKind, TaskOptions, TrainOptions, Trainer, TrainingSet};
use generel_model::{
    Device, DeviceChoice, Embedder, EmbedderOptions, ModelInfo, Precision, SnpOrigin, SnpQuery, StoreError, Vector,
    VectorStore,
};

fn info(folder: &Path) -> ModelInfo {
    let folder = std::path::absolute(folder).expect("a path");
    ModelStore::new("no-store").info(folder.to_str().expect("UTF-8")).expect("a model")
}

/// Twenty concepts of two names each, twenty SNPs of ten genes, each with a trait.
fn set() -> TrainingSet {
    let (mut texts, mut entities) = (Vec::new(), Vec::new());
    for i in 0..20u32 {
        texts.extend([format!("disease number {i}"), format!("disorder no. {i} of the heart")]);
        entities.extend([i, i]);
    }
    let snp = |i: u32| SnpFacts {
        rsid: format!("rs{i}"),
        chromosome: Some(1 + (i % 22) as u8),
        position: Some(1000 * i),
        genes: vec![i % 10],
        consequence: Some("missense".into()),
    };
    let pairs = |name: &str, kind, left: Vec<u32>, right: Vec<u32>| Task {
        name: name.into(),
        kind,
        weights: vec![1.0; left.len()],
        left,
        right,
    };
    TrainingSet {
        texts,
        entities,
        snps: (0..21).map(snp).collect(),
        genes: (0..10).map(|g| format!("GENE{g}")).collect(),
        tasks: vec![
            pairs(
                "synonym",
                TaskKind::Synonyms,
                (0..20).map(|i| 2 * i).collect(),
                (0..20).map(|i| 2 * i + 1).collect(),
            ),
            pairs(
                "relation",
                TaskKind::Related,
                (0..19).map(|i| 2 * i).collect(),
                (0..19).map(|i| 2 * i + 2).collect(),
            ),
            pairs("snp_trait", TaskKind::SnpText, (0..20).collect(), (0..20).map(|i| 2 * (i % 10)).collect()),
        ],
        also_right: vec![(3, 8)],
    }
}

fn options(steps: u64, precision: Precision) -> TrainOptions {
    let task = |name: &str| TaskOptions { name: name.into(), batch: 8, weight: 1.0, temperature: 0.1 };
    TrainOptions {
        seed: 5,
        steps,
        snp_steps: 30,
        warm_up: 10,
        tasks: ["synonym", "relation", "snp_trait"].map(task).to_vec(),
        learning_rate: 1e-3,
        snp_learning_rate: 5e-3,
        weight_decay: 0.01,
        precision,
        max_tokens: 16,
        nested_dimensions: vec![16],
        average: 0.9,
        keep: 0.5,
        hard_negatives: true,
        gradient_cache: false,
        checkpoint_every: 7,
        report_every: 10,
    }
}

fn start() -> ModelInfo {
    info(Path::new("tests/fixtures/tiny/roberta-mean"))
}

/// A run by candle, as on a GPU, begins as one by our kernels does and learns the same; a run may go on on another device.
#[test]
fn candle_learns_what_our_kernels_learn() {
    let losses = |choices: [DeviceChoice; 2]| {
        let (folder, mut losses) = (tempfile::tempdir().expect("a folder"), Vec::new());
        let options = TrainOptions { report_every: 1, ..options(60, Precision::F32) };
        for (choice, stop) in choices.into_iter().zip([20, u64::MAX]) {
            let device = Device { choice, gpu_libraries: Vec::new() };
            let mut trainer = Trainer::new(&start(), set(), options.clone(), folder.path(), &device).expect("a run");
            assert_eq!(trainer.device(), choice.to_string());
            let mut report = |report: &Report| {
                losses.push(report.tasks.iter().map(|(_, loss, _)| loss).sum::<f32>());
                if report.step >= stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            trainer.run(&mut report).expect("steps");
        }
        losses
    };
    let (cpu, candle) = (DeviceChoice::Cpu, DeviceChoice::Candle);
    let expected = losses([cpu, cpu]);
    assert_eq!(expected.len(), 90);
    for choices in [[candle, candle], [candle, cpu]] {
        for (step, (loss, expected)) in losses(choices).into_iter().zip(&expected).enumerate() {
            assert!((loss - expected).abs() < 2e-3 * (1.0 + expected), "{choices:?} {step}: {loss} {expected}");
        }
    }
}

/// Runs to the end, stopped and begun again after the steps given; losses and the model's files.
fn train(folder: &Path, options: &TrainOptions, stops: &[u64]) -> (Vec<f32>, Vec<Vec<u8>>) {
    let mut losses = Vec::new();
    for stop in stops.iter().copied().chain([u64::MAX]) {
        let mut trainer = Trainer::new(&start(), set(), options.clone(), folder, &Device::default()).expect("a run");
        trainer
            .run(&mut |report| {
                losses.push(report.tasks[0].1);
                if report.step >= stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .expect("steps");
        if stop == u64::MAX {
            trainer.export(&folder.join("model")).expect("a model");
        }
    }
    let files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "snps.safetensors"];
    (losses, files.map(|f| std::fs::read(folder.join("model").join(f)).expect(f)).to_vec())
}

#[test]
fn two_hundred_steps_twice_and_stopped_between_end_in_the_same_weights() {
    for precision in [Precision::F32, Precision::Bf16] {
        let options = options(200, precision);
        let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
        let (losses, files) = train(folders[0].path(), &options, &[]);
        let cached = TrainOptions { gradient_cache: true, ..options.clone() };
        let (again, same) = train(folders[1].path(), &cached, &[]);
        assert!(files == same && losses == again, "{precision:?}: two runs differ");
        let (_, stopped) = train(folders[2].path(), &options, &[40, 130, 210]);
        assert!(files == stopped, "{precision:?}: a run that was stopped ends elsewhere");
        assert!(losses[15] < 0.5 * losses[0], "{precision:?}: nothing was learned: {losses:?}");
    }
}

/// Remembers what it is given.
#[derive(Debug, Default)]
struct Texts(Mutex<Vec<String>>);

#[async_trait::async_trait]
impl VectorStore for Texts {
    async fn get_many(&self, texts: &[Arc<str>]) -> Result<Vec<Option<Vector>>, StoreError> {
        Ok(vec![None; texts.len()])
    }

    fn put_many(&self, vectors: &[(Arc<str>, Vector)]) {
        self.0.lock().expect("texts").extend(vectors.iter().map(|(text, _)| text.to_string()));
    }
}

#[tokio::test]
async fn the_model_embeds_texts_and_snps() {
    let folder = tempfile::tempdir().expect("a folder");
    train(folder.path(), &options(60, Precision::F32), &[]);
    let model = folder.path().join("model");
    let embedder = Embedder::new(info(&model), EmbedderOptions::default());
    let query = |rsid: &str, genes: &[&str]| SnpQuery {
        rsid: rsid.into(),
        genes: genes.iter().map(|g| (*g).to_string()).collect(),
        ..SnpQuery::default()
    };
    // rs20 has no pair: the run knows of it, but has not trained it.
    let queries =
        [query("rs3", &[]), query("rs20", &["GENE3"]), query("rs20", &[]), query("rs999", &["GENE3", "NEW1"])];
    let (vectors, origins) = embedder.embed_snps(&queries).await.expect("vectors");
    let expected = [Some(SnpOrigin::Trained), Some(SnpOrigin::Inductive), None, Some(SnpOrigin::Inductive)];
    assert_eq!(origins, expected);
    for (vector, origin) in vectors.chunks_exact(embedder.info().dimension).zip(origins) {
        let length: f32 = vector.iter().map(|v| v * v).sum();
        assert!((length - if origin.is_some() { 1.0 } else { 0.0 }).abs() < 1e-4);
    }
    // What was asked for is stored, genes' texts are not.
    let store = Arc::new(Texts::default());
    let stored = Embedder::new(info(&model), EmbedderOptions::default());
    assert!(stored.set_store(store.clone()));
    assert_eq!(stored.embed_snps(&queries).await.expect("vectors").0, vectors);
    stored.embed_one("disease number 3").await.expect("a vector");
    assert_eq!(*store.0.lock().expect("texts"), ["disease number 3"]);
    let of_trait = embedder.embed_one("disease number 3").await.expect("a vector").expect("a text");
    let other = embedder.embed_one("disease number 7").await.expect("a vector").expect("a text");
    let cosine = |v: &[f32]| generel_model::search::cosine(&vectors[..v.len()], v).expect("a direction");
    assert!(cosine(&of_trait) > cosine(&other) + 0.1, "{} {}", cosine(&of_trait), cosine(&other));
    // The first components alone: those of the whole vectors, at length 1.
    let short = ModelStore::new("no-store").info(&format!("{}@16", model.display())).expect("a model");
    assert_eq!((short.dimension, &short.fingerprint), (16, &embedder.info().fingerprint));
    assert_eq!(short.model_id, format!("{}-16", embedder.info().model_id));
    let short = Embedder::new(short, EmbedderOptions::default());
    let (of_snps, same) = short.embed_snps(&queries).await.expect("vectors");
    assert_eq!(same, expected);
    let of_text = short.embed_one("disease number 3").await.expect("a vector").expect("a text");
    let shorts = of_snps.chunks_exact(16).chain([&*of_text]);
    for (short, whole) in shorts.zip(vectors.chunks_exact(32).chain([&*of_trait])) {
        let length = whole[..16].iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        assert!(short.iter().zip(whole).all(|(s, w)| (s - w / length).abs() < 1e-6), "{short:?} {whole:?}");
    }
    let error = ModelStore::new("no-store").info(&format!("{}@33", model.display())).expect_err("32 components");
    assert!(error.to_string().contains("no 33 components to keep: its vectors have 32"), "{error}");

    let none = Embedder::new(start(), EmbedderOptions::default());
    assert!(none.embed_snps(&queries).await.expect_err("no SNPs").to_string().contains("no SNP encoder"));
}

#[test]
fn another_runs_checkpoint_and_a_missing_task_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Device::default();
    train(folder.path(), &options(10, Precision::F32), &[]);
    let Err(error) = Trainer::new(&start(), set(), options(11, Precision::F32), folder.path(), &device) else {
        panic!("another run")
    };
    assert!(error.to_string().contains("of a run with other steps;"), "{error}");
    let mut wide = options(10, Precision::F32);
    wide.nested_dimensions = vec![32];
    let Err(error) = Trainer::new(&start(), set(), wide, folder.path(), &device) else {
        panic!("not below the dimension")
    };
    assert!(error.to_string().contains("32 is not below the 32"), "{error}");
    for (change, problem) in [
        ((|o| o.learning_rate = -0.1) as fn(&mut TrainOptions), "learning_rate must be above 0"),
        (|o| o.snp_learning_rate = f32::NAN, "snp_learning_rate must be above 0"),
        (|o| o.average = 2.0, "average must be 0 or more"),
        (|o| o.weight_decay = -5.0, "weight_decay must be from 0 to 1"),
        (|o| o.max_tokens = 0, "max_tokens must be 3 or more"),
        (|o| o.tasks[1].weight = -0.2, "the weight of 'relation' must be 0 or more"),
        (|o| o.tasks[1].temperature = 0.0, "the temperature of 'relation' must be from"),
    ] {
        let mut options = options(10, Precision::F32);
        change(&mut options);
        let Err(error) = Trainer::new(&start(), set(), options, folder.path(), &device) else { panic!("{problem}") };
        assert!(error.to_string().contains(problem), "{error}");
    }
    let mut wrong = options(10, Precision::F32);
    wrong.tasks[0].name = "synonyms".into();
    let Err(error) = Trainer::new(&start(), set(), wrong, folder.path(), &device) else { panic!("no such task") };
    assert!(error.to_string().contains("'synonyms'") && error.to_string().contains("snp_trait"), "{error}");
}
