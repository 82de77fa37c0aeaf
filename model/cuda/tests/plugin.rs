//! The library as the program uses it: opened at run time, on candle's CPU device, since a GPU is not everywhere; and the
//! way back to the CPU where the device asked for cannot be opened.

use std::path::PathBuf;

use arrow::array::{Array, FixedSizeListArray, StringArray};
use generel_model::store::ModelStore;
use generel_model::{DeviceChoice, Embedder, EmbedderOptions, ModelInfo, Precision};

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
