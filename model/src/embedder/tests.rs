//! The Embedder with an encoder that is fast, exact and counts: what a vector is, is the real encoder's own test.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use arrow::array::{AsArray, DictionaryArray, LargeStringArray, StringArray, StringViewArray};
use arrow::datatypes::{Float32Type, Int8Type};

use super::*;
use crate::encoder::{Encoder, Place, Worker};
use crate::pack::PackedBatch;
use crate::{Pooling, Precision};

/// Gives each sequence its token ids' sum and count.
#[derive(Clone)]
struct Counting {
    texts: Arc<AtomicUsize>,
    fail: Arc<AtomicBool>,
}

impl Encoder for Counting {
    fn place(&self) -> Place {
        Place { device: "test".into(), workers: 1, instructions: None }
    }

    fn workers(&self) -> usize {
        2
    }
    fn batch_tokens(&self) -> usize {
        2048
    }
    fn worker(&self) -> Result<Box<dyn Worker>> {
        Ok(Box::new(self.clone()))
    }
    fn peak_gops(&self) -> Result<f64> {
        Ok(1.0)
    }
}

impl Worker for Counting {
    fn encode(&mut self, batch: &PackedBatch, out: &mut Vec<f32>) -> Result<()> {
        if self.fail.load(SeqCst) {
            return Err(Error::Encoder("out of order".into()));
        }
        self.texts.fetch_add(batch.len(), SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(5));
        out.clear();
        out.extend(batch.ranges().flat_map(|r| [batch.ids[r.clone()].iter().sum::<u32>() as f32, r.len() as f32]));
        Ok(())
    }
}

struct Fixture {
    embedder: Embedder,
    encoded: Arc<AtomicUsize>,
    fail: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

/// A word-level tokenizer in a folder of its own: every word of the tests is a token.
fn fixture(options: EmbedderOptions) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary: Vec<String> = (0..200).map(|i| format!("\"w{i}\": {}", i + 1)).collect();
    let tokenizer = format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
            "pre_tokenizer":{{"type":"WhitespaceSplit"}},"post_processor":null,"decoder":null,
            "model":{{"type":"WordLevel","vocab":{{"?":0,{}}},"unk_token":"?"}}}}"#,
        vocabulary.join(",")
    );
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
    let info = ModelInfo {
        name: "counting".into(),
        model_id: "counting".into(),
        fingerprint: "counting".into(),
        dimension: 2,
        width: 2,
        max_tokens: 8,
        pooling: Pooling::Mean,
        prefix: String::new(),
        precision: Precision::F32,
        folder: folder.path().to_path_buf(),
    };
    let (encoded, fail) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let encoder = Counting { texts: encoded.clone(), fail: fail.clone() };
    let embedder = Embedder::with_encoder(info, options, Box::new(move || Ok(Arc::new(encoder))));
    Fixture { embedder, encoded, fail, _folder: folder }
}

fn rows(array: &FixedSizeListArray) -> Vec<Option<Vec<f32>>> {
    array.iter().map(|row| row.map(|r| r.as_primitive::<Float32Type>().values().to_vec())).collect()
}

#[tokio::test]
async fn nulls_blanks_duplicates_and_long_texts() {
    let f = fixture(EmbedderOptions::default());
    let long = "w0 ".repeat(20);
    let column = StringArray::from(vec![Some("w1 w2"), None, Some("  "), Some(" w1\tw2 "), Some("w3"), Some(&long)]);
    let out = rows(&f.embedder.embed(&column).await.unwrap());
    assert_eq!(out[0], Some(vec![5.0, 2.0]));
    assert_eq!((&out[1], &out[2]), (&None, &None));
    assert_eq!(out[3], out[0]);
    assert_eq!(out[5], Some(vec![8.0, 8.0]));
    let stats = f.embedder.stats();
    assert_eq!((stats.strings, stats.distinct, stats.encoded), (6, 3, 3));
    assert_eq!((stats.empty, stats.truncated), (1, 1));
}

#[tokio::test]
async fn every_layout_gives_the_same_vectors_and_the_cache_answers() {
    let f = fixture(EmbedderOptions::default());
    let texts = vec![Some("w1"), None, Some("w2"), Some("w1")];
    let plain = f.embedder.embed(&StringArray::from(texts.clone())).await.unwrap();
    assert_eq!(plain, f.embedder.embed(&LargeStringArray::from(texts.clone())).await.unwrap());
    assert_eq!(plain, f.embedder.embed(&StringViewArray::from(texts.clone())).await.unwrap());
    let dictionary: DictionaryArray<Int8Type> = texts.into_iter().collect();
    assert_eq!(plain, f.embedder.embed(&dictionary).await.unwrap());
    assert_eq!(f.encoded.load(SeqCst), 2);
    // A filter leaves values that no row has.
    let many: DictionaryArray<Int8Type> =
        (3..9).map(|i| format!("w{i}")).collect::<Vec<_>>().iter().map(|t| Some(t.as_str())).collect();
    assert_eq!(f.embedder.embed(&many.slice(2, 1)).await.unwrap().len(), 1);
    assert_eq!((f.encoded.load(SeqCst), f.embedder.stats().distinct), (3, 9));
    let error = f.embedder.embed(&arrow::array::Int32Array::from(vec![1])).await.unwrap_err();
    assert!(error.to_string().contains("Int32"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_calls_encode_each_text_once() {
    let f = fixture(EmbedderOptions { batch_tokens: Some(16), queue_tokens: 64, ..Default::default() });
    let calls = (0..8).map(|_| {
        let embedder = f.embedder.clone();
        tokio::spawn(async move {
            let texts: Vec<String> = (0..100).map(|i| format!("w{i}")).collect();
            rows(&embedder.embed(&StringArray::from(texts)).await.unwrap())
        })
    });
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.unwrap());
    }
    assert!(results.windows(2).all(|w| w[0] == w[1]));
    assert_eq!(f.encoded.load(SeqCst), 100);
}

#[tokio::test]
async fn an_error_reaches_the_caller_and_is_not_cached() {
    let f = fixture(EmbedderOptions::default());
    f.fail.store(true, SeqCst);
    assert!(f.embedder.embed_one("w5").await.unwrap_err().to_string().contains("out of order"));
    f.fail.store(false, SeqCst);
    assert_eq!(f.embedder.embed_one("w5").await.unwrap(), Some(vec![6.0, 1.0]));
    assert_eq!(f.embedder.embed_one("  ").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_caller_does_not_strand_the_others() {
    let f = fixture(EmbedderOptions { batch_tokens: Some(8), queue_tokens: 8, ..Default::default() });
    let texts: Vec<String> = (0..150).map(|i| format!("w{i}")).collect();
    let column = StringArray::from(texts);
    let dropped = tokio::spawn({
        let (embedder, column) = (f.embedder.clone(), column.clone());
        async move { embedder.embed(&column).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(12)).await;
    let waiting = tokio::spawn({
        let embedder = f.embedder.clone();
        async move { embedder.embed(&column).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(12)).await;
    dropped.abort();
    let out = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(out.len(), 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_any_more_is_not_encoded() {
    let f = fixture(EmbedderOptions { batch_tokens: Some(8), queue_tokens: 64, ..Default::default() });
    let column = StringArray::from((0..150).map(|i| format!("w{i} w{}", i + 1)).collect::<Vec<_>>());
    let dropped = tokio::spawn({
        let embedder = f.embedder.clone();
        async move { embedder.embed(&column).await }
    });
    while f.encoded.load(SeqCst) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    // Behind what was queued.
    assert!(f.embedder.embed_one("w199").await.unwrap().is_some());
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let encoded = f.encoded.load(SeqCst);
    assert!(encoded < 100, "{encoded} of 150");
}

#[tokio::test]
async fn the_cache_forgets_rather_than_grow() {
    let f = fixture(EmbedderOptions { cache_bytes: 20 << 10, ..Default::default() });
    let texts: Vec<String> = (0..199).flat_map(|i| (0..5).map(move |j| format!("w{i} w{j}"))).collect();
    let column = StringArray::from(texts);
    let first = rows(&f.embedder.embed(&column).await.unwrap());
    let (_, again) = f.embedder.embed_counted(&column).await.unwrap();
    assert!(again.cache_hits > 0 && again.encoded > 500, "{again:?}");
    assert_eq!(rows(&f.embedder.embed(&column).await.unwrap()), first);
}
