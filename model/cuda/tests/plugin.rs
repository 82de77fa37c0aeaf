//! The library as the program uses it: opened at run time, on candle's CPU device, since a GPU is not everywhere; and the
//! way back to the CPU where the device asked for cannot be opened.

use std::ops::ControlFlow;
use std::path::PathBuf;

use arrow::array::{Array, AsArray, FixedSizeListArray, StringArray};
use arrow::datatypes::Float32Type;
use generel_model::search::{Corpus, SearchOptions};
use generel_model::store::ModelStore;
use generel_model::train::{Task, TaskKind, TaskOptions, TrainOptions, Trainer, TrainingSet};
use generel_model::{Device, DeviceChoice, Embedder, EmbedderOptions, ModelInfo, Precision};

/// Built with this test: beside its binary or one folder up.
fn library() -> PathBuf {
    let name = format!("{}generel_cuda{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let here = std::env::current_exe().expect("a path");
    let mut folders = here.ancestors().skip(1).take(2);
    folders.find_map(|folder| Some(folder.join(&name)).filter(|path| path.exists())).expect("the library")
}

fn info(name: &str) -> ModelInfo {
    let folder = std::path::absolute(PathBuf::from("../tests/fixtures/tiny").join(name)).expect("a path");
    let info = ModelStore::new("no-store").info(folder.to_str().expect("UTF-8")).expect("a model");
    info.with_precision(Some(Precision::F32))
}

fn embedder(name: &str, device: DeviceChoice, gpu_libraries: Vec<PathBuf>) -> Embedder {
    Embedder::new(info(name), EmbedderOptions { device, gpu_libraries, ..EmbedderOptions::default() })
}

async fn embed(embedder: Embedder) -> FixedSizeListArray {
    let texts = StringArray::from(vec![Some("heart attack"), None, Some("chronic kidney disease"), Some("a")]);
    embedder.embed(&texts).await.expect("vectors")
}

#[tokio::test]
async fn the_library_gives_what_candle_gives() {
    for name in ["mpnet-mean", "bge-like"] {
        let direct = embed(embedder(name, DeviceChoice::Candle, Vec::new())).await;
        let hosted = embed(embedder(name, DeviceChoice::Hosted, vec!["not-there".into(), library()])).await;
        assert_eq!(direct, hosted, "{name}");
    }
}

#[test]
fn a_search_behind_the_library_finds_what_one_here_finds() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut vectors = |n: usize| (0..n * 24).map(|_| rng.f32() - 0.5).collect::<Vec<f32>>();
    let (rows, queries) = (vectors(70_000), vectors(50));
    let corpus = || Corpus::new(rows.clone(), 24, None, None).expect("rows");
    let options = SearchOptions { k: Some(5), ties: false, min_score: -1.0 };
    let expected = corpus().search(&queries, options).expect("neighbors");
    let gpu = std::env::var_os("GENEREL_CUDA").map(|library| (DeviceChoice::Cuda(0), library.into(), true));
    // Without CUDA, or without so many GPUs, the CPU searches.
    let here = [(DeviceChoice::Hosted, library(), true), (DeviceChoice::Cuda(9), library(), false)];
    for (choice, library, is_on_device) in here.into_iter().chain(gpu) {
        let corpus = corpus().on_device(&Device { choice, gpu_libraries: vec![library] }).expect("a device");
        assert_eq!(corpus.is_on_device(), is_on_device, "{choice}");
        assert_eq!(corpus.search(&queries, options).expect("neighbors"), expected, "{choice}");
    }
    let broken = corpus().on_device(&Device { choice: DeviceChoice::Hosted, gpu_libraries: Vec::new() });
    assert!(broken.expect_err("no library").to_string().contains("no GPU library"));
}

/// Losses of sixty steps on forty pairs of names.
fn losses(choice: DeviceChoice, library: PathBuf, precision: Precision) -> (String, Vec<f32>) {
    let n = 40u32;
    let name = |i: u32, of: &str| format!("{of} no. {i} of the {}", ["heart", "kidney", "left arm"][i as usize % 3]);
    let set = TrainingSet {
        texts: (0..n).map(|i| name(i, "disease")).chain((0..n).map(|i| name(i, "rare disorder"))).collect(),
        entities: (0..n).chain(0..n).collect(),
        tasks: vec![Task {
            name: "synonym".into(),
            kind: TaskKind::Synonyms,
            left: (0..n).collect(),
            right: (n..2 * n).collect(),
            weights: vec![1.0; n as usize],
        }],
        ..TrainingSet::default()
    };
    let options = TrainOptions {
        seed: 1,
        steps: 60,
        snp_steps: 0,
        warm_up: 5,
        tasks: vec![TaskOptions { name: "synonym".into(), batch: 16, weight: 1.0, temperature: 0.1 }],
        learning_rate: 1e-3,
        snp_learning_rate: 1e-3,
        weight_decay: 0.01,
        precision,
        max_tokens: 32,
        nested_dimensions: Vec::new(),
        average: 0.9,
        keep: 0.5,
        // They follow from vectors: a last digit, and batches are others.
        hard_negatives: false,
        gradient_cache: false,
        checkpoint_every: 100,
        report_every: 1,
    };
    let (device, folder) = (Device { choice, gpu_libraries: vec![library] }, tempfile::tempdir().expect("a folder"));
    let mut trainer = Trainer::new(&info("roberta-mean"), set, options, folder.path(), &device).expect("a run");
    let mut losses = Vec::new();
    trainer
        .run(&mut |report| {
            losses.extend(report.tasks.iter().map(|(_, loss, _)| *loss));
            ControlFlow::Continue(())
        })
        .expect("steps");
    (trainer.device().to_string(), losses)
}

#[test]
fn training_behind_the_library_is_candles() {
    let here = losses(DeviceChoice::Candle, "not-there".into(), Precision::F32).1;
    assert!(here.last() < here.first(), "nothing was learned: {here:?}");
    let (device, hosted) = losses(DeviceChoice::Hosted, library(), Precision::F32);
    assert_eq!((device.as_str(), hosted), ("hosted", here.clone()));
    // Without CUDA, or without so many GPUs, our kernels train.
    assert_eq!(losses(DeviceChoice::Cuda(9), library(), Precision::F32).0, "cpu");
    let Some(library) = std::env::var_os("GENEREL_CUDA").map(PathBuf::from) else {
        println!("on a GPU: not run, GENEREL_CUDA names no library built with CUDA");
        return;
    };
    for (precision, most) in [(Precision::F32, 0.02), (Precision::Bf16, 0.2)] {
        let (device, gpu) = losses(DeviceChoice::Cuda(0), library.clone(), precision);
        assert_eq!(device, "cuda:0");
        for (step, (gpu, here)) in gpu.iter().zip(&here).enumerate() {
            assert!((gpu - here).abs() < most * (1.0 + here), "{precision} {step}: {gpu} {here}");
        }
    }
}

#[tokio::test]
async fn a_gpu_that_cannot_be_used_is_no_error() {
    let cpu = embed(embedder("bert-relu", DeviceChoice::Cpu, Vec::new())).await;
    // No library; a library built without CUDA, or a machine without a device; a file that is no library.
    let text = tempfile::NamedTempFile::new().expect("a file");
    for libraries in [Vec::new(), vec![library()], vec![text.path().to_path_buf()]] {
        for device in [DeviceChoice::Cuda(9), DeviceChoice::Auto] {
            if device == DeviceChoice::Auto && libraries == [library()] {
                // Where there is a GPU, it is used.
                continue;
            }
            assert_eq!(embed(embedder("bert-relu", device, libraries.clone())).await, cpu);
        }
    }
}

#[tokio::test]
async fn an_error_behind_the_library_is_told() {
    let broken = ModelInfo { folder: "nowhere".into(), ..info("bert-relu") };
    let options =
        EmbedderOptions { device: DeviceChoice::Hosted, gpu_libraries: vec![library()], ..EmbedderOptions::default() };
    let texts = StringArray::from(vec!["heart"]);
    let error = Embedder::new(broken, options).embed(&texts).await.expect_err("no weights").to_string();
    assert!(error.contains("nowhere"), "{error}");
    assert_eq!(texts.len(), 1);
}

fn rows(vectors: &FixedSizeListArray) -> impl Iterator<Item = &[f32]> {
    let dimension = vectors.value_length() as usize;
    vectors.values().as_primitive::<Float32Type>().values().chunks_exact(dimension)
}

/// On a machine with a GPU, and with the library that `scripts/cuda-build` makes in `GENEREL_CUDA`.
#[tokio::test]
async fn a_gpu_gives_what_the_cpu_gives() {
    let Some(library) = std::env::var_os("GENEREL_CUDA").map(PathBuf::from) else {
        println!("not run: GENEREL_CUDA names no library built with CUDA");
        return;
    };
    // From two tokens to as many as the models take, more than one batch of them, in no order of length.
    let words = ["heart", "kidney", "chronic", "disease", "attack", "of", "the", "a", "acute", "failure"];
    let text = |i: usize| (0..1 + i * i % 90).map(|j| words[(i + j * j) % words.len()]).collect::<Vec<_>>().join(" ");
    let texts: Vec<String> = (0..1500).map(|i| format!("{} {i}", text(i))).collect();
    let column = StringArray::from(texts.clone());
    let mut models: Vec<String> = std::fs::read_dir("../tests/fixtures/tiny")
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    models.sort();
    for name in models {
        let expected = embedder(&name, DeviceChoice::Cpu, Vec::new()).embed(&column).await.expect("vectors");
        for (precision, least) in [(Precision::F32, 0.9999), (Precision::Bf16, 0.99)] {
            let info = info(&name).with_precision(Some(precision));
            let options = || EmbedderOptions {
                device: DeviceChoice::Cuda(0),
                gpu_libraries: vec![library.clone()],
                ..EmbedderOptions::default()
            };
            let gpu = Embedder::new(info.clone(), options());
            let vectors = gpu.embed(&column).await.expect("vectors");
            assert_eq!(gpu.place().expect("a place").device, "cuda:0");
            let cosines = rows(&vectors).zip(rows(&expected)).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum());
            let worst = cosines.fold(1.0, f32::min);
            println!("{name} {precision}: least cosine {worst}");
            assert!(worst > least, "{name} {precision}: {worst}");
            let alone = Embedder::new(info, options());
            for i in (0..texts.len()).step_by(97) {
                let vector = alone.embed_one(&texts[i]).await.expect("a vector").expect("not NULL");
                assert!(
                    rows(&vectors).nth(i).is_some_and(|row| row == &vector[..]),
                    "{name} {precision}: '{}'",
                    texts[i]
                );
            }
        }
    }
}
