//! Every family of encoders against `transformers`, on tiny random models saved as users meet them (see
//! scripts/tiny_models.py): both backends, every precision, every kind of tokenizer file.

use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::Float32Type;
use generel_model::store::ModelStore;
use generel_model::{DeviceChoice, Embedder, EmbedderOptions, ModelInfo, Pooling, Precision};

#[derive(serde::Deserialize)]
struct Expected {
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

fn tiny() -> PathBuf {
    PathBuf::from("tests/fixtures/tiny")
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(tiny())
        .expect("fixtures")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 7, "{names:?}");
    names
}

fn info(folder: &Path) -> ModelInfo {
    let folder = std::path::absolute(folder).expect("a path");
    ModelStore::new("no-store").info(folder.to_str().expect("UTF-8")).expect("a model")
}

fn expected(folder: &Path) -> Expected {
    serde_json::from_slice(&std::fs::read(folder.join("expected.json")).expect("expected.json")).expect("JSON")
}

async fn vectors(info: &ModelInfo, precision: Precision, device: DeviceChoice, texts: &[String]) -> Vec<Vec<f32>> {
    let embedder = Embedder::new(
        info.clone().with_precision(Some(precision)),
        EmbedderOptions { device, ..EmbedderOptions::default() },
    );
    let out = embedder.embed(&StringArray::from(texts.to_vec())).await.expect("vectors");
    assert_eq!(out.null_count(), 0);
    (0..out.len()).map(|i| out.value(i).as_primitive::<Float32Type>().values().to_vec()).collect()
}

fn worst_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).flat_map(|(a, b)| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(x, y)| (x - y).abs())
    });
    differences.fold(0.0, f32::max)
}

fn least_cosine(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(x, y)| x * y).sum()).fold(1.0, f32::min)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_backends_agree_with_transformers() {
    for name in names() {
        let (info, expected) = (info(&tiny().join(&name)), expected(&tiny().join(&name)));
        for device in [DeviceChoice::Cpu, DeviceChoice::Candle] {
            let ours = vectors(&info, Precision::F32, device, &expected.texts).await;
            let worst = worst_difference(&ours, &expected.vectors);
            assert!(worst < 2e-5, "{name} on {device}: largest absolute difference {worst:e}");
        }
        let bf16 = vectors(&info, Precision::Bf16, DeviceChoice::Cpu, &expected.texts).await;
        let cosine = least_cosine(&bf16, &expected.vectors);
        assert!(cosine > 0.9995, "{name} in bf16: {cosine}");
        let int8 = vectors(&info, Precision::Int8, DeviceChoice::Cpu, &expected.texts).await;
        let cosine = least_cosine(&int8, &expected.vectors);
        assert!(cosine > 0.995, "{name} in int8: {cosine}");
    }
}

#[test]
fn pooling_prefix_and_length_come_from_the_folder() {
    let bge = info(&tiny().join("bge-like"));
    assert_eq!(bge.pooling, Pooling::Cls);
    assert!(!bge.prefix.is_empty());
    assert_eq!(info(&tiny().join("roberta-mean")).pooling, Pooling::Mean);
    assert_ne!(bge.model_id, info(&tiny().join("bert-cls")).model_id);
    let int8 = bge.clone().with_precision(Some(Precision::Int8));
    assert_eq!(int8.fingerprint, bge.fingerprint);
    assert!(int8.model_id.ends_with("-int8"), "{}", int8.model_id);
}

/// Copies a model without some of its files.
fn without(name: &str, files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(tiny().join(name)).expect("fixture") {
        let path = entry.expect("entry").path();
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            std::fs::create_dir(folder.path().join(&file)).expect("a folder");
            std::fs::copy(path.join("config.json"), folder.path().join(file).join("config.json")).expect("a copy");
        } else if !files.contains(&file.as_str()) {
            std::fs::copy(&path, folder.path().join(file)).expect("a copy");
        }
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn older_folders_without_tokenizer_json_tokenize_alike() {
    for name in ["roberta-mean", "bge-like", "distilbert-mean"] {
        let folder = without(name, &["tokenizer.json"]);
        let expected = expected(folder.path());
        let ours = vectors(&info(folder.path()), Precision::F32, DeviceChoice::Cpu, &expected.texts).await;
        let worst = worst_difference(&ours, &expected.vectors);
        assert!(worst < 2e-5, "{name}: largest absolute difference {worst:e}");
    }
}

/// What is said of a folder, by its name or when it is first used.
async fn complaint(folder: &Path) -> String {
    let folder = std::path::absolute(folder).expect("a path");
    match ModelStore::new("no-store").info(folder.to_str().expect("UTF-8")) {
        Err(error) => error.to_string(),
        Ok(info) => {
            let embedder = Embedder::new(info, EmbedderOptions::default());
            let first = embedder.embed_one("heart attack").await.expect_err("an error").to_string();
            // Every call gets the answer, not just the first.
            assert_eq!(first, embedder.embed_one("another").await.expect_err("an error").to_string());
            first
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_models_are_said_to_be() {
    let folder = without("mpnet-mean", &["model.safetensors"]);
    std::fs::write(folder.path().join("model.safetensors"), b"not weights").expect("a file");
    let said = complaint(folder.path()).await;
    assert!(said.contains("model.safetensors") && said.contains("cannot be read as weights"), "{said}");

    let whole = std::fs::read(tiny().join("mpnet-mean/model.safetensors")).expect("weights");
    std::fs::write(folder.path().join("model.safetensors"), &whole[..whole.len() / 2]).expect("a file");
    let said = complaint(folder.path()).await;
    assert!(said.contains("cannot be read as weights"), "{said}");

    let mut broken = whole.clone();
    let last = broken.len() - 4;
    broken[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(folder.path().join("model.safetensors"), &broken).expect("a file");
    let said = complaint(folder.path()).await;
    assert!(said.contains("not finite"), "{said}");

    let said = complaint(without("mpnet-mean", &["tokenizer.json"]).path()).await;
    assert!(said.contains("tokenizer.json") && said.contains("a model folder needs"), "{said}");
    let said = complaint(without("mpnet-mean", &["model.safetensors"]).path()).await;
    assert!(said.contains("model.safetensors") && said.contains("pytorch_model.bin"), "{said}");

    let folder = without("bert-relu", &["config.json"]);
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "t5"}"#).expect("a file");
    assert!(complaint(folder.path()).await.contains("architecture 't5' is not supported; supported: bert, roberta"));
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "bert", "hidden_size": 7}"#).expect("a file");
    assert!(complaint(folder.path()).await.contains("intermediate_size is missing"));
    let config = std::fs::read_to_string(tiny().join("bert-relu/config.json")).expect("config");
    let other = config.replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2");
    assert_ne!(config, other);
    std::fs::write(folder.path().join("config.json"), other).expect("a file");
    let said = complaint(folder.path()).await;
    assert!(said.contains("layer.1") && said.contains("is missing"), "{said}");

    let folder = without("mpnet-mean", &["modules.json"]);
    std::fs::write(folder.path().join("modules.json"), r#"[{"type": "sentence_transformers.models.Dense"}]"#)
        .expect("a file");
    assert!(complaint(folder.path()).await.contains("module 'Dense' is not supported"));

    let folder = without("mpnet-mean", &[]);
    let both = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": true}"#;
    std::fs::write(folder.path().join("1_Pooling/config.json"), both).expect("a file");
    assert!(complaint(folder.path()).await.contains("neither mean nor cls alone"));
}

/// Alone, among a thousand, and from eight calls at once: the same bits, in every precision.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_text_has_the_same_bits_whatever_is_beside_it() {
    for (name, precision) in
        [("mpnet-mean", Precision::F32), ("bert-cls", Precision::Bf16), ("roberta-mean", Precision::Int8)]
    {
        let info = info(&tiny().join(name)).with_precision(Some(precision));
        let options = EmbedderOptions { device: DeviceChoice::Cpu, ..EmbedderOptions::default() };
        let new = || Embedder::new(info.clone(), options.clone());
        let text = "chronic kidney disease of the heart";
        let alone = new().embed_one(text).await.expect("a vector").expect("not empty");
        let mut many: Vec<String> = (0..1000).map(|i| format!("{} disease {i}", "kidney ".repeat(i % 7))).collect();
        many.insert(500, text.to_string());
        let column = StringArray::from(many);
        let among = new().embed(&column).await.expect("vectors");
        assert_eq!(among.value(500).as_primitive::<Float32Type>().values(), alone.as_slice(), "{name} among others");
        let shared = new();
        let calls = (0..8).map(|i| {
            // Some of one Embedder, which makes the vector once, some with their own.
            let embedder = if i % 2 == 0 { shared.clone() } else { new() };
            let column = column.slice(i * 60, 550 - i * 7);
            tokio::spawn(async move { (500 - i * 60, embedder.embed(&column).await.expect("vectors")) })
        });
        for call in calls.collect::<Vec<_>>() {
            let (at, vectors) = call.await.expect("a call");
            if at < vectors.len() {
                assert_eq!(
                    vectors.value(at).as_primitive::<Float32Type>().values(),
                    alone.as_slice(),
                    "{name} at once"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_texts_have_their_documented_result() {
    let options = EmbedderOptions { device: DeviceChoice::Cpu, ..EmbedderOptions::default() };
    let embedder = Embedder::new(info(&tiny().join("bert-cls")), options);
    let megabyte = "heart attack ".repeat(80_000);
    let column = StringArray::from(vec![
        Some(megabyte.as_str()),
        None,
        Some(""),
        Some("\u{3000}\u{200a} "),
        Some("糖尿病"),
        Some("🫀🫁"),
        Some("\u{0}\u{fffd}"),
    ]);
    let out = embedder.embed(&column).await.expect("vectors");
    let valid: Vec<bool> = (0..out.len()).map(|i| out.is_valid(i)).collect();
    assert_eq!(valid, [true, false, false, false, true, true, true]);
    let stats = embedder.stats();
    assert_eq!((stats.truncated, stats.empty), (1, 2));
    let nulls = embedder.embed(&StringArray::new_null(5)).await.expect("vectors");
    assert_eq!((nulls.len(), nulls.null_count()), (5, 5));
    assert_eq!(embedder.embed(&StringArray::from(Vec::<&str>::new())).await.expect("vectors").len(), 0);
}
