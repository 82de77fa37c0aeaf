//! A step's sequences, by length and cut into pieces that are computed at once.

use std::ops::Range;

use crate::pack::{PackedBatch, cut};

/// Which sequences are of which piece.
#[derive(Debug, Clone)]
pub(super) struct Pieces {
    /// The sequences by length.
    order: Vec<usize>,
    /// Pieces of that order.
    pub(super) ranges: Vec<Range<usize>>,
}

impl Pieces {
    /// Pieces of at most so many tokens, or of one sequence.
    pub(super) fn new(sequences: &[&[u32]], tokens: usize) -> Self {
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|i| sequences[*i].len());
        let ranges = cut(order.iter().map(|i| sequences[*i].len()), tokens).collect();
        Self { order, ranges }
    }

    /// A piece's sequences.
    pub(super) fn batch(&self, range: &Range<usize>, sequences: &[&[u32]]) -> PackedBatch {
        PackedBatch::new(self.order[range.clone()].iter().map(|i| sequences[*i]))
    }

    /// Rows of all sequences in their order, from those of each piece.
    pub(super) fn rows<'a>(&self, pieces: impl Iterator<Item = &'a [f32]>, dimension: usize) -> Vec<f32> {
        let mut rows = vec![0.0; self.order.len() * dimension];
        for (i, row) in self.order.iter().zip(pieces.flat_map(|piece| piece.chunks_exact(dimension))) {
            rows[i * dimension..][..dimension].copy_from_slice(row);
        }
        rows
    }

    /// A piece's rows of those of all sequences.
    pub(super) fn rows_of(&self, range: &Range<usize>, rows: &[f32], dimension: usize) -> Vec<f32> {
        self.order[range.clone()].iter().flat_map(|i| &rows[i * dimension..][..dimension]).copied().collect()
    }
}
