//! The encoder's forward and backward pass on the CPU.

mod attention;
mod layer;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use self::attention::Heads;
use self::layer::{Layer, LayerTape, Run};
use super::layout::Layout;
use super::pieces::Pieces;
use super::{Passes, Tape, Weights};
use crate::info::Pooling;
use crate::kernels::training::{add, add_sum_of_rows};
use crate::kernels::{Isa, ProductRoom, layer_norm};
use crate::pack::PackedBatch;
use crate::train::optimizer::PIECE;
use crate::{Precision, Result};

/// Tokens that one thread takes at a time: their activations stay in its caches, and threads have enough to share.
const MICRO_BATCH_TOKENS: usize = 1024;

/// The encoder by our own kernels.
pub(super) struct CpuText {
    layout: Arc<Layout>,
    isa: Isa,
    precision: Precision,
}

struct CpuWeights {
    layout: Arc<Layout>,
    isa: Isa,
    layers: Vec<Layer>,
}

struct CpuTape {
    weights: Arc<CpuWeights>,
    pieces: Pieces,
    done: Vec<Piece>,
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

impl CpuText {
    pub(super) fn new(layout: Layout, precision: Precision) -> Self {
        Self { layout: Arc::new(layout), isa: Isa::detect(), precision }
    }
}

impl Passes for CpuText {
    fn at(&self, p: &[f32], back: bool) -> Result<Arc<dyn Weights>> {
        let by = (self.isa, self.precision);
        let layers = self.layout.layers.par_iter().map(|at| Layer::new(at, p, by, back)).collect();
        Ok(Arc::new(CpuWeights { layout: self.layout.clone(), isa: self.isa, layers }))
    }
}

impl Weights for CpuWeights {
    fn encode(&self, sequences: &[&[u32]]) -> Result<Vec<f32>> {
        Ok(self.run(sequences, false).0)
    }

    fn forward(self: Arc<Self>, sequences: &[&[u32]], activations: bool) -> Result<(Vec<f32>, Box<dyn Tape>)> {
        let (vectors, pieces, done) = self.run(sequences, activations);
        Ok((vectors, Box::new(CpuTape { weights: self, pieces, done })))
    }
}

impl CpuWeights {
    fn dimension(&self) -> usize {
        self.layout.config.hidden
    }

    fn about<'a>(&self, batch: &'a PackedBatch) -> Run<'a> {
        let heads = Heads { heads: self.layout.config.heads, hidden: self.dimension() };
        Run { batch, heads, isa: self.isa }
    }

    fn run(&self, sequences: &[&[u32]], keep: bool) -> (Vec<f32>, Pieces, Vec<Piece>) {
        let pieces = Pieces::new(sequences, MICRO_BATCH_TOKENS);
        let of_range = |range: &Range<usize>| {
            let mut piece = self.forward_piece(range.clone(), pieces.batch(range, sequences));
            if !keep {
                piece.layers.clear();
            }
            piece
        };
        let done: Vec<Piece> = pieces.ranges.par_iter().map(of_range).collect();
        let vectors = pieces.rows(done.iter().map(|piece| piece.vectors.as_slice()), self.dimension());
        (vectors, pieces, done)
    }

    /// The last layer's tokens, and what each layer's way back needs.
    fn forward_layers(&self, batch: &PackedBatch, room: &mut ProductRoom) -> (Vec<f32>, Vec<LayerTape>) {
        let (d, layout) = (self.dimension(), &self.layout);
        let mut x = Vec::with_capacity(batch.tokens() * d);
        for range in batch.ranges() {
            for (id, position) in batch.ids[range].iter().zip(layout.positions.chunks_exact(d)) {
                let word = &layout.words[*id as usize * d..][..d];
                x.extend(word.iter().zip(position).map(|(w, p)| w + p));
            }
        }
        layer_norm(self.isa, &mut x, &[], &layout.norm);
        let mut tapes = Vec::with_capacity(self.layers.len());
        let run = self.about(batch);
        for layer in &self.layers {
            let (y, tape) = layer.forward(&run, x, room);
            tapes.push(tape);
            x = y;
        }
        (x, tapes)
    }

    fn forward_piece(&self, sequences: Range<usize>, batch: PackedBatch) -> Piece {
        let d = self.dimension();
        let (x, layers) = self.forward_layers(&batch, &mut ProductRoom::default());
        let (mut vectors, mut lengths) = (Vec::with_capacity(batch.len() * d), Vec::with_capacity(batch.len()));
        for range in batch.ranges() {
            let tokens = &x[range.start * d..range.end * d];
            let mut vector = match self.layout.pooling {
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

    fn backward_piece(&self, piece: &Piece, grad: &[f32], (grads, room): (&mut [f32], &mut ProductRoom)) {
        let d = self.dimension();
        let mut x = vec![0.0; piece.batch.tokens() * d];
        for (i, range) in piece.batch.ranges().enumerate() {
            let (vector, length) = (&piece.vectors[i * d..][..d], piece.lengths[i]);
            let grad = &grad[i * d..][..d];
            let along: f32 = vector.iter().zip(grad).map(|(v, g)| v * g).sum();
            let (tokens, share) = match self.layout.pooling {
                Pooling::Cls => (1, 1.0),
                Pooling::Mean => (range.len(), range.len() as f32),
            };
            let pooled = vector.iter().zip(grad).map(|(v, g)| (g - v * along) / length / share);
            let pooled: Vec<f32> = pooled.collect();
            for row in x[range.start * d..].chunks_exact_mut(d).take(tokens) {
                row.copy_from_slice(&pooled);
            }
        }
        let run = self.about(&piece.batch);
        let again = piece.layers.is_empty().then(|| self.forward_layers(&piece.batch, room).1);
        let tapes = again.as_ref().unwrap_or(&piece.layers);
        for (i, (layer, tape)) in self.layers.iter().zip(tapes).enumerate().rev() {
            x = layer.backward(&run, i == 0, tape, x, (&mut *grads, &mut *room));
        }
    }
}

impl Tape for CpuTape {
    fn backward(self: Box<Self>, grad: &[f32], grads: &mut [f32]) -> Result<()> {
        // As many lanes as threads, each with gradients of its own, summed in order: the same bits every time.
        let lanes = rayon::current_num_threads().min(self.done.len()).max(1);
        let mut others: Vec<Vec<f32>> = (1..lanes).into_par_iter().map(|_| vec![0.0; grads.len()]).collect();
        let all: Vec<&mut [f32]> =
            std::iter::once(&mut *grads).chain(others.iter_mut().map(Vec::as_mut_slice)).collect();
        all.into_par_iter().enumerate().for_each(|(lane, sum)| {
            let mut room = ProductRoom::default();
            for piece in self.done.iter().skip(lane).step_by(lanes) {
                let grad = self.pieces.rows_of(&piece.sequences, grad, self.weights.dimension());
                self.weights.backward_piece(piece, &grad, (&mut *sum, &mut room));
            }
        });
        for other in &others {
            grads.par_chunks_mut(PIECE).zip(other.par_chunks(PIECE)).for_each(|(sum, other)| add(sum, other));
        }
        Ok(())
    }
}
