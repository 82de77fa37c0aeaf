//! The encoder's forward and backward pass on a device of candle's.
//!
//! The way back is written out (`layer`), not recorded: half the launches, no activation that it does not need, and the
//! same formulas as on the CPU. As in mixed precision elsewhere, matrix products take and give the precision's numbers;
//! sums, normalization, softmax and the weights themselves are of 32-bit floats.

mod gradients;
mod layer;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, DType, Device, Result as CandleResult, Tensor};
use candle_nn::ops::layer_norm_slow;

use self::gradients::Gradients;
use self::layer::{Back, LayerTape, Run};
use super::layout::Layout;
use super::pieces::Pieces;
use super::{Passes, Tape, Weights};
use crate::encoder::{BATCH_TOKENS, Block, Blocks};
use crate::info::Pooling;
use crate::pack::PackedBatch;
use crate::train::parameters::Parameters;
use crate::{Error, ModelInfo, Precision, Result};

/// The encoder by candle.
pub(crate) struct CandleText(Arc<Fixed>);

/// What is not trained, on the device.
struct Fixed {
    layout: Layout,
    device: Device,
    /// Numbers of matrix products, and of all else.
    dtypes: [DType; 2],
    words: Tensor,
    positions: Tensor,
    norm: [Tensor; 2],
    /// Tokens that the device takes at a time.
    piece_tokens: usize,
}

struct CandleWeights {
    fixed: Arc<Fixed>,
    /// All parameters of the texts, as they are and as matrix products take them.
    floats: Tensor,
    products: Tensor,
}

struct CandleTape {
    weights: Arc<CandleWeights>,
    pieces: Pieces,
    done: Vec<Piece>,
}

struct Piece {
    /// Its sequences, among all by length.
    sequences: Range<usize>,
    batch: PackedBatch,
    blocks: Blocks,
    layers: Vec<LayerTape>,
    /// `[sequences, dimension]`, and `[sequences, 1]`: the lengths that they had before they were scaled to 1.
    vectors: Tensor,
    lengths: Tensor,
}

impl CandleText {
    /// Reads a model for `cpu`, `metal`, or (in a build with the feature `cuda`) `cuda:N`; products in its precision. One
    /// short text goes there and back, so that what a device lacks shows here.
    ///
    /// # Errors
    /// When the model cannot be trained, or the device cannot be opened, has no room or not all kernels.
    pub(crate) fn load(info: &ModelInfo, device: &str) -> Result<Self> {
        let device = crate::device::open(device)?;
        let products = match info.precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::Int8 => return Err(Error::Training("precision int8 is none to train in".into())),
        };
        let mut parameters = Parameters::default();
        let own = Self::new(info, device, [products, DType::F32], BATCH_TOKENS, &mut parameters)?;
        let (vectors, tape) = own.at(&parameters.values, true)?.forward(&[&[0, 0, 0]], true)?;
        tape.backward(&vectors, &mut parameters.values)?;
        Ok(own)
    }

    fn new(
        info: &ModelInfo,
        device: Device,
        dtypes: [DType; 2],
        piece_tokens: usize,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let layout = Layout::read(info, parameters)?;
        let hidden = layout.config.hidden;
        let rows =
            |values: &[f32]| Tensor::from_slice(values, (values.len() / hidden, hidden), &device)?.to_dtype(dtypes[1]);
        let (words, positions) = (rows(&layout.words)?, rows(&layout.positions)?);
        let row = |values: &[f32]| Tensor::from_slice(values, hidden, &device)?.to_dtype(dtypes[1]);
        let norm = [row(&layout.norm.weight)?, row(&layout.norm.bias)?];
        // They are on the device now.
        let layout = Layout { words: Vec::new(), positions: Vec::new(), ..layout };
        Ok(Self(Arc::new(Fixed { layout, device, dtypes, words, positions, norm, piece_tokens })))
    }

    /// The encoder on the CPU, products and all else in these numbers, in small pieces: what others are compared with.
    #[cfg(test)]
    pub(super) fn on_cpu(info: &ModelInfo, dtypes: [DType; 2]) -> Result<Self> {
        Self::new(info, Device::Cpu, dtypes, 256, &mut Parameters::default())
    }

    /// Parameters that are of the encoder: the first ones.
    pub(crate) fn parameters(&self) -> usize {
        self.0.layout.parameters
    }
}

impl Passes for CandleText {
    fn at(&self, p: &[f32], _back: bool) -> Result<Arc<dyn Weights>> {
        let fixed = self.0.clone();
        let len = fixed.layout.parameters;
        let floats = Tensor::from_slice(&p[..len], len, &fixed.device)?.to_dtype(fixed.dtypes[1])?;
        let products = floats.to_dtype(fixed.dtypes[0])?;
        Ok(Arc::new(CandleWeights { fixed, floats, products }))
    }
}

impl Weights for CandleWeights {
    fn encode(&self, sequences: &[&[u32]]) -> Result<Vec<f32>> {
        let pieces = Pieces::new(sequences, self.fixed.piece_tokens);
        let encode = |range: &Range<usize>| -> Result<Vec<f32>> {
            let vectors = self.forward_piece(range.clone(), pieces.batch(range, sequences), false)?.vectors;
            Ok(values(&vectors)?)
        };
        let done: Vec<Vec<f32>> = pieces.ranges.iter().map(encode).collect::<Result<_>>()?;
        Ok(pieces.rows(done.iter().map(Vec::as_slice), self.fixed.layout.config.hidden))
    }

    fn forward(self: Arc<Self>, sequences: &[&[u32]], activations: bool) -> Result<(Vec<f32>, Box<dyn Tape>)> {
        let pieces = Pieces::new(sequences, self.fixed.piece_tokens);
        let forward =
            |range: &Range<usize>| self.forward_piece(range.clone(), pieces.batch(range, sequences), activations);
        let done: Vec<Piece> = pieces.ranges.iter().map(forward).collect::<CandleResult<_>>()?;
        let vectors = done.iter().map(|piece| values(&piece.vectors)).collect::<CandleResult<Vec<_>>>()?;
        let rows = pieces.rows(vectors.iter().map(Vec::as_slice), self.fixed.layout.config.hidden);
        Ok((rows, Box::new(CandleTape { weights: self, pieces, done })))
    }
}

impl CandleWeights {
    fn run<'a>(&'a self, blocks: &'a Blocks) -> Run<'a> {
        let Self { fixed, floats, products } = self;
        Run { floats, products, blocks, heads: fixed.layout.config.heads, hidden: fixed.layout.config.hidden }
    }

    /// The last layer's tokens, and what each layer's way back needs, where there is one.
    fn forward_layers(
        &self,
        batch: &PackedBatch,
        blocks: &Blocks,
        keep: bool,
    ) -> CandleResult<(Tensor, Vec<LayerTape>)> {
        let Fixed { layout, device, words, positions, norm, .. } = &*self.fixed;
        let ids = Tensor::from_slice(&batch.ids, batch.tokens(), device)?;
        let places = Tensor::from_iter(batch.ranges().flat_map(|r| 0..r.len() as u32), device)?;
        let x = (words.index_select(&ids, 0)? + positions.index_select(&places, 0)?)?;
        let mut x = layer_norm_slow(&x, &norm[0], &norm[1], layout.norm.epsilon)?;
        let (run, mut tapes) = (self.run(blocks), Vec::new());
        for layer in &layout.layers {
            let (y, tape) = layer.forward(&run, x)?;
            if keep {
                tapes.push(tape);
            }
            x = y;
        }
        Ok((x, tapes))
    }

    fn forward_piece(&self, sequences: Range<usize>, batch: PackedBatch, keep: bool) -> CandleResult<Piece> {
        let blocks = Blocks::new(&batch, &self.fixed.device, self.floats.dtype(), batch.tokens(), false)?;
        let (x, layers) = self.forward_layers(&batch, &blocks, keep)?;
        let (vectors, lengths) = blocks.pool(&x, self.fixed.layout.pooling)?;
        Ok(Piece { sequences, batch, blocks, layers, vectors, lengths })
    }

    fn backward_piece(&self, piece: Piece, grad: Vec<f32>, grads: &mut Gradients) -> CandleResult<()> {
        let Fixed { layout, device, .. } = &*self.fixed;
        let Piece { batch, blocks, layers, vectors, lengths, .. } = piece;
        let grad = Tensor::from_vec(grad, vectors.shape(), device)?.to_dtype(self.floats.dtype())?;
        let along = (&vectors * &grad)?.sum_keepdim(D::Minus1)?;
        let pooled = (grad - vectors.broadcast_mul(&along)?)?.broadcast_div(&lengths)?;
        let mut x = match layout.pooling {
            Pooling::Cls => {
                let rows = Tensor::zeros((batch.tokens(), layout.config.hidden), pooled.dtype(), device)?;
                rows.index_add(&blocks.firsts, &pooled, 0)?
            }
            Pooling::Mean => {
                let (mut spread, mut first) = (Vec::with_capacity(blocks.all.len()), 0);
                for Block { sequences, shares, .. } in &blocks.all {
                    // [sequences, longest, 1] · [sequences, 1, hidden]
                    let shares = shares.t()?.to_dtype(pooled.dtype())?;
                    let block = shares.matmul(&pooled.narrow(0, first, *sequences)?.unsqueeze(1)?)?;
                    spread.push(block.flatten_to(1)?);
                    first += sequences;
                }
                Tensor::cat(&spread, 0)?.index_select(&blocks.gather, 0)?
            }
        };
        let mut tapes = layers;
        if tapes.is_empty() {
            tapes = self.forward_layers(&batch, &blocks, true)?.1;
        }
        let (run, ones) = (self.run(&blocks), Tensor::ones((1, batch.tokens()), x.dtype(), device)?);
        let back = Back { is_token: blocks.is_token(x.dtype())?, ones };
        for (i, layer) in layout.layers.iter().enumerate().rev() {
            // What a layer's way back needs is given up with it.
            let Some(tape) = tapes.pop() else { break };
            x = layer.backward(&run, &back, i == 0, tape, x, grads)?;
        }
        Ok(())
    }
}

fn values(x: &Tensor) -> CandleResult<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

impl Tape for CandleTape {
    fn backward(self: Box<Self>, grad: &[f32], grads: &mut [f32]) -> Result<()> {
        let Self { weights, pieces, done } = *self;
        let mut sums = Gradients::default();
        for piece in done {
            let grad = pieces.rows_of(&piece.sequences, grad, weights.fixed.layout.config.hidden);
            weights.backward_piece(piece, grad, &mut sums)?;
        }
        Ok(sums.add_to(grads)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tiny;
    use super::*;

    /// The slope of a random combination of the vectors along a random direction of each tensor, against differences.
    #[test]
    fn gradients_agree_with_differences_in_f64() {
        for name in ["bert-cls", "roberta-mean"] {
            let (info, parameters, tokens) = tiny(name);
            let Fixed { layout, .. } = &*CandleText::on_cpu(&info, [DType::F64; 2]).unwrap().0;
            let len = layout.parameters;
            let sequences: Vec<&[u32]> = tokens.iter().step_by(9).map(Vec::as_slice).collect();
            let mut random = fastrand::Rng::with_seed(11);
            let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| random.f32() * 2.0 - 1.0).collect() };
            let wanted = values(sequences.len() * layout.config.hidden);
            let p: Vec<f64> = parameters.values[..len].iter().map(|p| f64::from(*p)).collect();
            let at = |p: &[f64]| {
                let floats = Tensor::from_slice(p, len, &Device::Cpu).unwrap();
                let fixed = CandleText::on_cpu(&info, [DType::F64; 2]).unwrap().0;
                Arc::new(CandleWeights { fixed, products: floats.clone(), floats })
            };
            let pieces = Pieces::new(&sequences, BATCH_TOKENS);
            assert_eq!(pieces.ranges.len(), 1);
            let range = pieces.ranges[0].clone();
            let rows = pieces.rows_of(&range, &wanted, layout.config.hidden);
            let loss = |p: &[f64]| -> f64 {
                let batch = pieces.batch(&range, &sequences);
                let vectors = at(p).forward_piece(range.clone(), batch, false).unwrap().vectors;
                let vectors: Vec<f64> = vectors.flatten_all().unwrap().to_vec1().unwrap();
                vectors.iter().zip(&rows).map(|(v, w)| v * f64::from(*w)).sum()
            };
            let (_, tape) = at(&p).forward(&sequences, true).unwrap();
            let mut grads = vec![0.0; len];
            tape.backward(&wanted, &mut grads).unwrap();
            for (tensor, range) in parameters.ranges() {
                let direction = values(range.len());
                let moved = |sign: f64| {
                    let mut p = p.clone();
                    p[range.clone()].iter_mut().zip(&direction).for_each(|(p, d)| *p += sign * 1e-6 * f64::from(*d));
                    loss(&p)
                };
                let difference = (moved(1.0) - moved(-1.0)) / 2e-6;
                let slope: f64 = grads[range].iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
                let error = (slope - difference).abs();
                assert!(error < 1e-5 + 1e-5 * difference.abs(), "{name} {tensor}: {slope} {difference}");
            }
        }
    }
}
