//! A run's weights as a model's folder, in the Hugging Face layout.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::bf16;

use super::data::TrainingSet;
use super::parameters::Parameters;
use crate::snp::{Facts, Table};
use crate::store::{OTHER_FILES, WEIGHTS};
use crate::{Error, ModelInfo, Result};

/// Writes the start's files, its weights with the trained ones in their places, and the SNP encoder. Weights are bfloat16:
/// half the size, and what a vector loses by it is less than what int8 inference does.
///
/// # Errors
/// When the start cannot be read, or the folder cannot be written.
pub(super) fn write(info: &ModelInfo, set: &TrainingSet, parameters: &Parameters, values: &[f32], folder: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::folder(folder, e);
    std::fs::create_dir_all(folder.join("1_Pooling")).map_err(failed)?;
    for file in OTHER_FILES {
        let from = info.folder.join(file);
        if from.exists() {
            std::fs::copy(&from, folder.join(file)).map_err(failed)?;
        }
    }
    let tensors = crate::encoder::Tensors::read(&info.folder)?;
    let mut out: HashMap<String, Tensor> = HashMap::new();
    for (name, tensor) in tensors.all() {
        // What stands behind the encoder in BERT's file is for its first task, which nobody asks.
        if name.starts_with("pooler.") {
            continue;
        }
        let tensor = match parameters.range(name) {
            Some(range) => Tensor::from_slice(&values[range], tensor.dims(), &Device::Cpu)?,
            None => tensor.clone(),
        };
        let tensor = if tensor.dtype().is_float() { tensor.to_dtype(DType::BF16)? } else { tensor };
        out.insert(name.to_string(), tensor);
    }
    let path = folder.join(WEIGHTS[0]);
    candle_core::safetensors::save(&out, &path).map_err(|e| Error::folder(&path, e))?;
    let table = table(set, parameters, values);
    if table.rsids.is_empty() { Ok(()) } else { table.write(folder) }
}

fn table(set: &TrainingSet, parameters: &Parameters, values: &[f32]) -> Table {
    let halves = |name: &str| -> Vec<bf16> {
        parameters.range(name).map(|r| values[r].iter().map(|v| bf16::from_f32(*v)).collect()).unwrap_or_default()
    };
    let mut table = Table {
        own: halves("snp.table"),
        gene_embeddings: halves("snp.genes"),
        up: [halves("snp.up.weight"), halves("snp.up.bias")],
        down: [halves("snp.down.weight"), halves("snp.down.bias")],
        genes: set.genes.clone(),
        ..Table::default()
    };
    for snp in &set.snps {
        let facts: Facts = snp.numbers();
        table.push(&snp.rsid, &facts, &snp.genes);
    }
    table
}
