//! The encoder on an NVIDIA GPU: cuBLAS for the linear layers, our kernels for all between them.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::super::{BATCH_TOKENS, DeviceNorm, Linear, Model};
use super::ops::{self, AddActivate, AddNorm, Attend, Distances, Embed, Pool, TILE, Tokens};
use crate::info::Pooling;
use crate::kernels::RelativeBias;
use crate::pack::PackedBatch;

/// What the kernels need beside the model.
pub(in super::super) struct Fused {
    distances: Distances,
}

impl Fused {
    /// `None` where the device is no NVIDIA GPU, or the model has a shape that the kernels have no form for.
    pub(in super::super) fn new(model: &Model, bias: Option<&RelativeBias>) -> Result<Option<Self>> {
        let config = &model.config;
        if !model.device.is_cuda() || !ops::fit(config.hidden, config.intermediate, config.head_size()) {
            return Ok(None);
        }
        let (values, longest) = bias.map_or((&[0.0][..], 0), |bias| (&bias.values, bias.longest));
        let values = Tensor::from_slice(values, values.len(), &model.device)?;
        Ok(Some(Self { distances: Distances { values, longest } }))
    }

    /// `[sequences, hidden]`, each row of length 1, in 32-bit floats.
    pub(in super::super) fn forward(&self, model: &Model, batch: &PackedBatch) -> Result<Tensor> {
        let tokens = &self.upload(model, batch)?;
        let embed = Embed { tokens, positions: &model.positions, token_type: &model.token_type, norm: &model.norm };
        let mut x = model.words.apply_op1_no_bwd(&embed)?;
        for layer in &model.layers {
            let heads = model.config.heads;
            let attend = Attend { tokens, bias: &layer.qkv.bias, heads, distances: &self.distances };
            let context = x.matmul(&layer.qkv.weight)?.apply_op1_no_bwd(&attend)?;
            x = add_norm(&context, &layer.output, &x, &layer.norm)?;
            let wide = x.matmul(&layer.up.weight)?;
            wide.inplace_op1(&AddActivate { bias: &layer.up.bias, activation: model.config.activation })?;
            x = add_norm(&wide, &layer.down, &x, &layer.out_norm)?;
        }
        x.apply_op1_no_bwd(&Pool { tokens, first_only: model.pooling == Pooling::Cls })
    }

    fn upload(&self, model: &Model, batch: &PackedBatch) -> Result<Tokens> {
        // One shape for all batches, so that the library takes one algorithm: what is left is sequences of padding.
        let (used, sequences) = (batch.tokens(), batch.len());
        let rows = used.next_multiple_of(BATCH_TOKENS);
        let padding = TILE.min(model.config.max_tokens());
        let padding = (used..rows).step_by(padding).map(|start| start..rows.min(start + padding));
        let ranges: Vec<Range<usize>> = batch.ranges().chain(padding).collect();
        let tiles = || ranges.iter().flat_map(|range| (0..range.len()).step_by(TILE).map(move |first| (range, first)));
        let count = tiles().count();

        let mut all = Vec::with_capacity(3 * rows + 2 * sequences + 3 * count);
        all.extend_from_slice(&batch.ids);
        all.resize(rows, 0);
        all.extend(ranges.iter().flat_map(|range| std::iter::repeat_n(range.start as u32, range.len())));
        all.extend(ranges.iter().flat_map(|range| std::iter::repeat_n(range.len() as u32, range.len())));
        all.extend(batch.ranges().map(|range| range.start as u32));
        all.extend(batch.ranges().map(|range| range.len() as u32));
        all.extend(tiles().map(|(range, _)| range.start as u32));
        all.extend(tiles().map(|(range, _)| range.len() as u32));
        all.extend(tiles().map(|(_, first)| first as u32));
        let len = all.len();
        Ok(Tokens { all: Tensor::from_vec(all, len, &model.device)?, rows, sequences, tiles: count })
    }
}

/// `LayerNorm(x · W + bias + residual)`.
fn add_norm(x: &Tensor, linear: &Linear, residual: &Tensor, norm: &DeviceNorm) -> Result<Tensor> {
    let sum = x.matmul(&linear.weight)?;
    sum.inplace_op2(residual, &AddNorm { bias: &linear.bias, norm })?;
    Ok(sum)
}
