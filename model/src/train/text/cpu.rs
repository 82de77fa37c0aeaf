//! The encoder's forward and backward pass on the CPU.

use std::ops::Range;

use rayon::prelude::*;

use super::attention::Heads;
use super::layer::{Layer, LayerMatrices, LayerTape, Linear, Norm, Run};
use crate::config::{Config, Family};
use crate::encoder::{Embeddings, Names, Tensors};
use crate::info::Pooling;
use crate::kernels::training::{add, add_sum_of_rows};
use crate::kernels::{Activation, Isa, ProductRoom, layer_norm};
use crate::pack::{PackedBatch, cut};
use crate::train::optimizer::PIECE;
use crate::train::parameters::Parameters;
use crate::{Error, ModelInfo, Precision, Result};

/// Tokens that one thread takes at a time: their activations stay in its caches, and threads have enough to share.
const MICRO_BATCH_TOKENS: usize = 1024;

/// A BERT-like encoder whose layers are trained; its token and position embeddings stay as they are.
pub(crate) struct TextEncoder {
    config: Config,
    pooling: Pooling,
    /// `[vocabulary, hidden]`.
    words: Vec<f32>,
    /// `[max_tokens, hidden]`, with the token type added.
    positions: Vec<f32>,
    norm: crate::kernels::Norm,
    layers: Vec<Layer>,
    isa: Isa,
    precision: Precision,
}

/// The layers' matrices, packed for weights as they are.
pub(crate) struct Packed(Vec<LayerMatrices>);

/// A batch on its way back.
pub(crate) struct Tape {
    packed: Packed,
    /// The sequences by length.
    order: Vec<usize>,
    pieces: Vec<Piece>,
}

struct Piece {
    /// Its sequences, among all by length.
    sequences: Range<usize>,
    batch: PackedBatch,
    layers: Vec<LayerTape>,
    /// Vectors, and the lengths that they had before they were scaled to 1.
    vectors: Vec<f32>,
    lengths: Vec<f32>,
}

impl TextEncoder {
    /// Reads a model's weights: those of the layers go to the parameters, under the names that they have in the file.
    ///
    /// # Errors
    /// When the model is not of the BERT family with GELU, or its weights cannot be read.
    pub(crate) fn load(info: &ModelInfo, precision: Precision, parameters: &mut Parameters) -> Result<Self> {
        let config = Config::read(&info.folder)?;
        if !matches!(config.family, Family::Bert | Family::Roberta) || config.activation != Activation::Gelu {
            let path = info.folder.join("config.json");
            return Err(Error::folder(&path, "training takes encoders of the BERT and RoBERTa families with GELU"));
        }
        crate::store::check_files(&info.folder)?;
        let tensors = Tensors::read(&info.folder)?;
        let layers = (0..config.layers).map(|i| layer(&tensors, i, &config, parameters)).collect::<Result<_>>()?;
        let Embeddings { words, mut positions, token_type, norm } = tensors.embeddings(&config)?;
        for row in positions.chunks_exact_mut(config.hidden) {
            add(row, &token_type);
        }
        let isa = Isa::detect();
        Ok(Self { pooling: info.pooling, words, positions, norm, layers, isa, precision, config })
    }

    /// Components of a vector.
    pub(crate) fn dimension(&self) -> usize {
        self.config.hidden
    }

    fn heads(&self) -> Heads {
        Heads { heads: self.config.heads, hidden: self.config.hidden }
    }

    /// Vectors of length 1 of sequences, `[sequences, dimension]`, and what the way back needs: with all activations, or
    /// with none, so that the way back computes them again.
    pub(crate) fn forward(&self, p: &[f32], sequences: &[&[u32]], activations: bool) -> (Vec<f32>, Tape) {
        let packed = self.pack(p, true);
        let (vectors, order, pieces) = self.run(p, &packed, sequences, activations);
        (vectors, Tape { packed, order, pieces })
    }

    /// Weights, ready for [`TextEncoder::encode`].
    pub(crate) fn packed(&self, p: &[f32]) -> Packed {
        self.pack(p, false)
    }

    /// The same vectors, with no way back.
    pub(crate) fn encode(&self, p: &[f32], packed: &Packed, sequences: &[&[u32]]) -> Vec<f32> {
        self.run(p, packed, sequences, false).0
    }

    fn pack(&self, p: &[f32], back: bool) -> Packed {
        Packed(self.layers.par_iter().map(|l| l.pack(p, self.isa, self.precision, back)).collect())
    }

    fn run(
        &self,
        p: &[f32],
        Packed(matrices): &Packed,
        sequences: &[&[u32]],
        keep: bool,
    ) -> (Vec<f32>, Vec<usize>, Vec<Piece>) {
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|i| sequences[*i].len());
        let lengths: Vec<usize> = order.iter().map(|i| sequences[*i].len()).collect();
        let pieces: Vec<Piece> = cut(lengths.iter().copied(), MICRO_BATCH_TOKENS)
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|run| {
                let batch = PackedBatch::new(order[run.clone()].iter().map(|i| sequences[*i]));
                let mut piece = self.forward_piece(p, matrices, run, batch);
                if !keep {
                    piece.layers.clear();
                }
                piece
            })
            .collect();
        let d = self.dimension();
        let mut vectors = vec![0.0; sequences.len() * d];
        for piece in &pieces {
            for (vector, i) in piece.vectors.chunks_exact(d).zip(&order[piece.sequences.clone()]) {
                vectors[i * d..][..d].copy_from_slice(vector);
            }
        }
        (vectors, order, pieces)
    }

    /// The last layer's tokens, and what each layer's way back needs.
    fn forward_layers(
        &self,
        p: &[f32],
        matrices: &[LayerMatrices],
        batch: &PackedBatch,
        room: &mut ProductRoom,
    ) -> (Vec<f32>, Vec<LayerTape>) {
        let d = self.dimension();
        let mut x = Vec::with_capacity(batch.tokens() * d);
        for range in batch.ranges() {
            for (id, position) in batch.ids[range].iter().zip(self.positions.chunks_exact(d)) {
                let word = &self.words[*id as usize * d..][..d];
                x.extend(word.iter().zip(position).map(|(w, p)| w + p));
            }
        }
        layer_norm(self.isa, &mut x, &[], &self.norm);
        let mut layers = Vec::with_capacity(self.layers.len());
        let run = Run { p, batch, heads: self.heads(), isa: self.isa };
        for (layer, matrices) in self.layers.iter().zip(matrices) {
            let (y, tape) = layer.forward(&run, matrices, x, room);
            layers.push(tape);
            x = y;
        }
        (x, layers)
    }

    fn forward_piece(
        &self,
        p: &[f32],
        matrices: &[LayerMatrices],
        sequences: Range<usize>,
        batch: PackedBatch,
    ) -> Piece {
        let d = self.dimension();
        let (x, layers) = self.forward_layers(p, matrices, &batch, &mut ProductRoom::default());
        let (mut vectors, mut lengths) = (Vec::with_capacity(batch.len() * d), Vec::with_capacity(batch.len()));
        for range in batch.ranges() {
            let tokens = &x[range.start * d..range.end * d];
            let mut vector = match self.pooling {
                Pooling::Cls => tokens[..d].to_vec(),
                Pooling::Mean => {
                    let mut mean = vec![0.0; d];
                    add_sum_of_rows(tokens, &mut mean);
                    mean.iter_mut().for_each(|m| *m /= range.len() as f32);
                    mean
                }
            };
            let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|v| *v /= length);
            vectors.extend(vector);
            lengths.push(length);
        }
        Piece { sequences, batch, layers, vectors, lengths }
    }

    /// Adds the gradients of the parameters to `grads`, from those of the vectors.
    pub(crate) fn backward(&self, p: &[f32], tape: &Tape, grad: &[f32], grads: &mut [f32]) {
        // As many lanes as threads, each with gradients of its own, summed in order: the same bits every time.
        let lanes = rayon::current_num_threads().min(tape.pieces.len()).max(1);
        let mut others: Vec<Vec<f32>> = (1..lanes).into_par_iter().map(|_| vec![0.0; grads.len()]).collect();
        let all: Vec<&mut [f32]> =
            std::iter::once(&mut *grads).chain(others.iter_mut().map(Vec::as_mut_slice)).collect();
        all.into_par_iter().enumerate().for_each(|(lane, sum)| {
            let mut room = ProductRoom::default();
            for piece in tape.pieces.iter().skip(lane).step_by(lanes) {
                self.backward_piece(p, tape, piece, grad, (&mut *sum, &mut room));
            }
        });
        for other in &others {
            grads.par_chunks_mut(PIECE).zip(other.par_chunks(PIECE)).for_each(|(sum, other)| add(sum, other));
        }
    }

    fn backward_piece(
        &self,
        p: &[f32],
        tape: &Tape,
        piece: &Piece,
        grad: &[f32],
        (grads, room): (&mut [f32], &mut ProductRoom),
    ) {
        let d = self.dimension();
        let mut x = vec![0.0; piece.batch.tokens() * d];
        for (i, range) in piece.batch.ranges().enumerate() {
            let (vector, length) = (&piece.vectors[i * d..][..d], piece.lengths[i]);
            let grad = &grad[tape.order[piece.sequences.start + i] * d..][..d];
            let along: f32 = vector.iter().zip(grad).map(|(v, g)| v * g).sum();
            let share = match self.pooling {
                Pooling::Cls => 1.0,
                Pooling::Mean => range.len() as f32,
            };
            let pooled = vector.iter().zip(grad).map(|(v, g)| (g - v * along) / length / share);
            let pooled: Vec<f32> = pooled.collect();
            let tokens = match self.pooling {
                Pooling::Cls => 1,
                Pooling::Mean => range.len(),
            };
            for row in x[range.start * d..].chunks_exact_mut(d).take(tokens) {
                row.copy_from_slice(&pooled);
            }
        }
        let run = Run { p, batch: &piece.batch, heads: self.heads(), isa: self.isa };
        let again = piece.layers.is_empty().then(|| self.forward_layers(p, &tape.packed.0, &piece.batch, room).1);
        let layers = again.as_ref().unwrap_or(&piece.layers);
        for i in (0..self.layers.len()).rev() {
            let below = (&tape.packed.0[i], i == 0);
            x = self.layers[i].backward(&run, below, &layers[i], x, (&mut *grads, &mut *room));
        }
    }
}

/// Moves a layer's weights to the parameters, in an order in which query, key and value are one matrix.
fn layer(tensors: &Tensors, index: usize, config: &Config, parameters: &mut Parameters) -> Result<Layer> {
    let (hidden, wide) = (config.hidden, config.intermediate);
    let names = Names::of(config.family);
    let name = |part: &str| format!("{}.{index}.{part}", names.layer);
    let mut push = |name: String, shape: &[usize]| -> Result<Range<usize>> {
        Ok(parameters.push(&name, shape, &tensors.floats(&name, shape)?))
    };
    let mut ranges = Vec::new();
    for (kind, shape) in [("weight", &[hidden, hidden][..]), ("bias", &[hidden][..])] {
        for part in names.qkv {
            ranges.push(push(format!("{}.{kind}", name(part)), shape)?);
        }
    }
    let qkv = Linear { weights: ranges[0].start..ranges[2].end, bias: ranges[3].start..ranges[5].end, inputs: hidden };
    let mut linear = |part: &str, outputs: usize, inputs: usize| -> Result<Linear> {
        Ok(Linear {
            weights: push(format!("{}.weight", name(part)), &[outputs, inputs])?,
            bias: push(format!("{}.bias", name(part)), &[outputs])?,
            inputs,
        })
    };
    let output = linear(names.output, hidden, hidden)?;
    let up = linear(names.up, wide, hidden)?;
    let down = linear(names.down, hidden, wide)?;
    let mut norm = |part: &str| -> Result<Norm> {
        let read = tensors.norm(&name(part), config)?;
        Ok(Norm {
            weight: parameters.push(&format!("{}.weight", name(part)), &[hidden], &read.weight),
            bias: parameters.push(&format!("{}.bias", name(part)), &[hidden], &read.bias),
            epsilon: config.epsilon,
        })
    };
    let (norm, out_norm) = (norm(names.norm)?, norm(names.out_norm)?);
    Ok(Layer { qkv, output, norm, up, down, out_norm })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ModelStore;
    use crate::tokenize::TextTokenizer;

    const TEXTS: [&str; 5] = [
        "heart attack",
        "myocardial infarction of the heart",
        "asthma",
        "type 2 diabetes mellitus",
        "pain in the chest and arm",
    ];

    fn tiny(name: &str, precision: Precision) -> (TextEncoder, Parameters, Vec<Vec<u32>>, ModelInfo) {
        let folder = std::path::absolute(format!("tests/fixtures/tiny/{name}")).unwrap();
        let info = ModelStore::new("no-store").info(folder.to_str().unwrap()).unwrap();
        let mut parameters = Parameters::default();
        let encoder = TextEncoder::load(&info, precision, &mut parameters).unwrap();
        let tokens = TextTokenizer::load(&info).unwrap().tokenize(&TEXTS).unwrap();
        (encoder, parameters, tokens.into_iter().map(|t| t.ids).collect(), info)
    }

    /// The slope of a random combination of the vectors along a random direction of each tensor, against differences.
    #[test]
    fn gradients_agree_with_differences() {
        for name in ["bert-cls", "roberta-mean"] {
            let (encoder, parameters, tokens, _) = tiny(name, Precision::F32);
            let sequences: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
            let mut random = fastrand::Rng::with_seed(11);
            let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| random.f32() * 2.0 - 1.0).collect() };
            let wanted = values(sequences.len() * encoder.dimension());
            let loss = |p: &[f32]| -> f64 {
                let vectors = encoder.encode(p, &encoder.packed(p), &sequences);
                vectors.iter().zip(&wanted).map(|(v, w)| f64::from(*v) * f64::from(*w)).sum()
            };
            let p = &parameters.values;
            let gradients = |activations: bool| {
                let (_, tape) = encoder.forward(p, &sequences, activations);
                let mut grads = vec![0.0; p.len()];
                encoder.backward(p, &tape, &wanted, &mut grads);
                grads
            };
            let grads = gradients(true);
            assert!(grads == gradients(false), "{name}: activations computed again are others");
            for (tensor, range) in parameters.ranges() {
                let direction = values(range.len());
                let step = 2e-2 / (range.len() as f32).sqrt();
                let at = |sign: f32| {
                    let mut moved = p.clone();
                    moved[range.clone()].iter_mut().zip(&direction).for_each(|(p, d)| *p += sign * step * d);
                    loss(&moved)
                };
                let difference = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
                let slope: f64 = grads[range].iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
                let error = (slope - difference).abs();
                assert!(error < 2e-3 + 1e-2 * difference.abs(), "{name} {tensor}: {slope} {difference}");
            }
        }
    }

    #[tokio::test]
    async fn the_way_there_is_the_encoders() {
        use arrow::array::{AsArray, StringArray};
        use arrow::datatypes::Float32Type;
        for (precision, least) in [(Precision::F32, 0.999_999), (Precision::Bf16, 0.999)] {
            let (encoder, parameters, tokens, info) = tiny("roberta-mean", precision);
            let sequences: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
            let packed = encoder.packed(&parameters.values);
            let vectors = encoder.encode(&parameters.values, &packed, &sequences);
            let embedder =
                crate::Embedder::new(info.with_precision(Some(Precision::F32)), crate::EmbedderOptions::default());
            let expected = embedder.embed(&StringArray::from(TEXTS.to_vec())).await.unwrap();
            for (i, vector) in vectors.chunks_exact(encoder.dimension()).enumerate() {
                let expected = expected.value(i);
                let cosine = crate::search::cosine(vector, expected.as_primitive::<Float32Type>().values()).unwrap();
                assert!(cosine > least, "{precision:?} {i}: {cosine}");
            }
        }
    }
}
