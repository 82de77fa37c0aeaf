//! A run's weights as a model's folder, in the Hugging Face layout.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::bf16;

use super::data::{TaskKind, TrainingSet};
use super::parameters::Parameters;
use super::snp::SnpEncoder;
use crate::snp::{EMBEDDING, Table};
use crate::store::{OTHER_FILES, write_index};
use crate::{Error, ModelInfo, Result};

/// What training leaves as it was, and what it changes: the first file is the same for all models of one start.
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// Writes the start's files, its weights with the trained ones in their places, and the SNP encoder. Weights are bfloat16:
/// half the size, and what a vector loses by it is less than what int8 inference does.
///
/// # Errors
/// When the start cannot be read, or the folder cannot be written.
pub(super) fn write(
    info: &ModelInfo,
    set: &TrainingSet,
    snp: &SnpEncoder,
    parameters: &Parameters,
    values: &[f32],
    folder: &Path,
) -> Result<()> {
    let failed = |e: std::io::Error| Error::folder(folder, e);
    std::fs::create_dir_all(folder.join("1_Pooling")).map_err(failed)?;
    for file in OTHER_FILES {
        let from = info.folder.join(file);
        if from.exists() {
            std::fs::copy(&from, folder.join(file)).map_err(failed)?;
        }
    }
    let tensors = crate::encoder::Tensors::read(&info.folder)?;
    let mut shards: [HashMap<String, Tensor>; 2] = Default::default();
    for (name, tensor) in tensors.all() {
        // What stands behind the encoder in BERT's file is for its first task, which nobody asks.
        if name.starts_with("pooler.") {
            continue;
        }
        let (shard, tensor) = match parameters.range(name) {
            Some(range) => (1, Tensor::from_slice(&values[range], tensor.dims(), &Device::Cpu)?),
            None => (0, tensor.clone()),
        };
        let tensor = if tensor.dtype().is_float() { tensor.to_dtype(DType::BF16)? } else { tensor };
        shards[shard].insert(name.to_string(), tensor);
    }
    let (mut weight_map, mut bytes) = (BTreeMap::new(), 0);
    for (shard, file) in shards.iter().zip(SHARDS) {
        let path = folder.join(file);
        // The library's file is its owner's alone: others are to read the model, too.
        let own = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        candle_core::safetensors::save(shard, own.path()).map_err(|e| Error::folder(&path, e))?;
        let saved = std::fs::read(own.path()).map_err(failed)?;
        std::fs::write(&path, saved).map_err(|e| Error::folder(&path, e))?;
        weight_map.extend(shard.keys().map(|name| (name.clone(), file.to_string())));
        bytes += shard.values().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum::<usize>();
    }
    write_index(folder, weight_map, bytes)?;
    let table = table(set, snp, parameters, values);
    if table.rsids.is_empty() { Ok(()) } else { table.write(folder) }
}

/// The SNPs and windows that some pair has trained: what others' rows hold is chance.
fn table(set: &TrainingSet, encoder: &SnpEncoder, parameters: &Parameters, values: &[f32]) -> Table {
    let mut trained: Vec<u32> =
        set.tasks.iter().filter(|t| t.kind == TaskKind::SnpText).flat_map(|t| t.left.iter().copied()).collect();
    trained.sort_unstable();
    trained.dedup();
    let halves = |name: &str| -> Vec<bf16> {
        parameters.range(name).map(|r| values[r].iter().map(|v| bf16::from_f32(*v)).collect()).unwrap_or_default()
    };
    let all = halves("snp.table");
    let mut windows: Vec<u32> =
        trained.iter().flat_map(|snp| &encoder.loci_of[*snp as usize]).map(|(window, _)| *window).collect();
    windows.sort_unstable();
    windows.dedup();
    let of_loci = halves("snp.loci");
    let rows = |all: &[bf16], some: &[u32]| -> Vec<bf16> {
        some.iter().flat_map(|i| &all[*i as usize * EMBEDDING..][..EMBEDDING]).copied().collect()
    };
    let mut table = Table {
        loci: windows.iter().map(|window| encoder.windows[*window as usize]).collect(),
        locus_embeddings: rows(&of_loci, &windows),
        own: rows(&all, &trained),
        gene_embeddings: halves("snp.genes"),
        up: [halves("snp.up.weight"), halves("snp.up.bias")],
        down: [halves("snp.down.weight"), halves("snp.down.bias")],
        genes: set.genes.clone(),
        ..Table::default()
    };
    for snp in trained {
        let snp = &set.snps[snp as usize];
        table.push(&snp.rsid, &snp.numbers(), &snp.genes);
    }
    table
}
