//! The encoder against the Python reference (see scripts/reference_vectors.py), on the real weights.

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::Float32Type;
use generel_model::store::{MINILM, ModelStore};
use generel_model::{Embedder, EmbedderOptions, Precision};

#[derive(serde::Deserialize)]
struct Reference {
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

/// The user's model store; the model is fetched if it is not there.
fn embedder(options: EmbedderOptions) -> Embedder {
    let root = std::env::var_os("GENEREL_MODELS").map(std::path::PathBuf::from).unwrap_or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from);
        let home = std::env::var_os("HOME").map(std::path::PathBuf::from).unwrap_or_default();
        cache.unwrap_or_else(|| home.join(".cache")).join("generel").join("models")
    });
    let (info, _) = ModelStore::new(root).pull(MINILM).expect("the default model");
    Embedder::new(info.with_precision(Some(Precision::F32)), options)
}

fn reference() -> Reference {
    // Tests run in the package's folder; a path that is compiled in would name the clone that was built first.
    serde_json::from_slice(&std::fs::read("tests/fixtures/minilm_reference.json").expect("fixture")).expect("fixture")
}

async fn vectors(embedder: &Embedder, texts: &[String]) -> Vec<Vec<f32>> {
    let out = embedder.embed(&StringArray::from(texts.to_vec())).await.expect("vectors");
    assert_eq!(out.null_count(), 0);
    (0..out.len()).map(|i| out.value(i).as_primitive::<Float32Type>().values().to_vec()).collect()
}

#[tokio::test]
async fn agrees_with_the_python_reference() {
    let reference = reference();
    let ours = vectors(&embedder(EmbedderOptions::default()), &reference.texts).await;
    let mut worst = (0f32, "");
    for ((text, ours), theirs) in reference.texts.iter().zip(&ours).zip(&reference.vectors) {
        assert_eq!(ours.len(), theirs.len());
        let difference = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        if difference > worst.0 {
            worst = (difference, text);
        }
    }
    println!("largest absolute difference over {} texts: {:e} ({:?})", ours.len(), worst.0, worst.1);
    assert!(worst.0 <= 1e-4, "largest absolute difference {:e} at {:?}", worst.0, worst.1);
}

/// Same text, same bits: alone, in one batch with the others, and in batches of every other size.
#[tokio::test]
async fn a_vector_does_not_depend_on_its_batch() {
    let texts = reference().texts;
    let together = vectors(&embedder(EmbedderOptions::default()), &texts).await;
    for batch_tokens in [1, 700] {
        let options = EmbedderOptions { batch_tokens: Some(batch_tokens), ..Default::default() };
        assert_eq!(together, vectors(&embedder(options), &texts).await, "batches of {batch_tokens} tokens");
    }
    let alone = embedder(EmbedderOptions::default());
    for (text, expected) in texts.iter().zip(&together) {
        let one = alone.embed_one(text).await.expect("vector").expect("not empty");
        assert_eq!(&one, expected, "{text:?} alone");
    }
}
