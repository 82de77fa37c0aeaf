//! Names a second by candle's own BertModel with padded batches, as candle's example of it does: names sorted by length,
//! batches of the fastest of three sizes, mean pooling, vectors of length 1.
//!
//! candle-stock MODEL_DIR NAMES.txt; prints a line of JSON. RAYON_NUM_THREADS says how many threads.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

/// Names measured, evenly spread over the file: it is slow.
const NAMES: usize = 2000;
const SIZES: [usize; 3] = [32, 64, 128];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, names] = arguments.as_slice() else { return Err("candle-stock MODEL_DIR NAMES.txt".into()) };
    let model = Stock::load(Path::new(folder))?;
    let text = std::fs::read_to_string(names)?;
    let all: Vec<&str> = text.lines().collect();
    let names: Vec<&str> = all.iter().step_by(all.len().div_ceil(NAMES).max(1)).copied().collect();
    let sample: Vec<&str> = names.iter().step_by(8).copied().collect();
    model.embed(&sample, SIZES[0])?;
    let mut fastest = (f64::INFINITY, SIZES[0]);
    for size in SIZES {
        let started = Instant::now();
        model.embed(&sample, size)?;
        let seconds = started.elapsed().as_secs_f64();
        if seconds < fastest.0 {
            fastest = (seconds, size);
        }
    }
    let started = Instant::now();
    model.embed(&names, fastest.1)?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = names.len() as f64 / seconds;
    println!(
        "{}",
        serde_json::json!({ "peer": "candle-stock", "batch": fastest.1, "strings": names.len(), "strings_per_s": rate })
    );
    Ok(())
}

struct Stock {
    model: BertModel,
    tokenizer: Tokenizer,
}

impl Stock {
    fn load(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
        let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).map_err(|e| e.to_string())?;
        tokenizer.with_padding(Some(PaddingParams::default()));
        tokenizer
            .with_truncation(Some(TruncationParams { max_length: 256, ..TruncationParams::default() }))
            .map_err(|e| e.to_string())?;
        let weights = std::fs::read(folder.join("model.safetensors"))?;
        let builder = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        Ok(Self { model: BertModel::load(builder, &config)?, tokenizer })
    }

    fn embed(&self, names: &[&str], size: usize) -> Result<(), Box<dyn Error>> {
        let mut sorted = names.to_vec();
        sorted.sort_by_key(|name| name.len());
        for some in sorted.chunks(size) {
            let encoded = self.tokenizer.encode_batch(some.to_vec(), true).map_err(|e| e.to_string())?;
            let rows = |of: fn(&tokenizers::Encoding) -> &[u32]| -> candle_core::Result<Tensor> {
                let rows: Vec<Vec<u32>> = encoded.iter().map(|e| of(e).to_vec()).collect();
                Tensor::new(rows, &Device::Cpu)
            };
            let (ids, mask) = (rows(|e| e.get_ids())?, rows(|e| e.get_attention_mask())?);
            let hidden = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
            let weights = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
            let mean = hidden.broadcast_mul(&weights)?.sum(1)?.broadcast_div(&weights.sum(1)?)?;
            let vectors = mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)?;
            vectors.to_vec2::<f32>()?;
        }
        Ok(())
    }
}
