//! Packed sequences as padded blocks, for attention, and back.

use std::ops::Range;

use candle_core::{D, DType, Device, Tensor};

use super::BATCH_TOKENS;
use crate::info::Pooling;
use crate::pack::PackedBatch;

/// The way from packed tokens to blocks of sequences of one length, for attention, and back.
pub(crate) struct Blocks {
    pub(crate) all: Vec<Block>,
    /// For each place of the blocks, the token: the sequence's first where it has no more.
    pub(crate) spread: Tensor,
    /// For each row of activations, its place in the blocks; rows of padding behind the tokens have the first one.
    pub(crate) gather: Tensor,
    /// For each sequence, its first token.
    pub(crate) firsts: Tensor,
    /// For each sequence, its place among those of all blocks.
    of_sequences: Tensor,
}

/// Sequences of about one length, one after the other.
pub(crate) struct Block {
    /// Its first place among those of all blocks.
    pub(crate) first: usize,
    pub(crate) sequences: usize,
    pub(crate) longest: usize,
    /// `[sequences, 1, 1, longest]`: what is added to scores, so that padding has no weight.
    pub(crate) mask: Tensor,
    /// `[sequences, 1, longest]`: each token's share of the mean.
    pub(crate) shares: Tensor,
}

impl Blocks {
    /// For activations of so many rows, as many as tokens or more; all blocks of a length with as many sequences if `full`.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn new(
        batch: &PackedBatch,
        device: &Device,
        dtype: DType,
        rows: usize,
        full: bool,
    ) -> candle_core::Result<Self> {
        let lengths: Vec<usize> = batch.ranges().map(|r| r.len()).collect();
        let (mut spread, mut gather) = (Vec::new(), Vec::with_capacity(batch.tokens()));
        let (mut all, mut of_sequences, mut places_of_sequences) = (Vec::new(), Vec::with_capacity(batch.len()), 0);
        let mut ranges = batch.ranges();
        for run in runs(&lengths) {
            let (first, longest) = (spread.len(), block_length(lengths[run.start]));
            let sequences = if full { most_sequences(longest) } else { run.len() };
            let (mut mask, mut shares) = (vec![0f32; sequences * longest], vec![0f32; sequences * longest]);
            for (i, range) in ranges.by_ref().take(run.len()).enumerate() {
                for place in 0..longest {
                    let at = i * longest + place;
                    if place < range.len() {
                        spread.push((range.start + place) as u32);
                        gather.push((first + at) as u32);
                        shares[at] = 1.0 / range.len() as f32;
                    } else {
                        spread.push(range.start as u32);
                        // Far below any score, and within the range of 16-bit floats.
                        mask[at] = -3e4;
                    }
                }
            }
            spread.resize(first + sequences * longest, 0);
            of_sequences.extend((places_of_sequences..places_of_sequences + run.len()).map(|i| i as u32));
            places_of_sequences += sequences;
            let mask = Tensor::from_vec(mask, (sequences, 1, 1, longest), device)?.to_dtype(dtype)?;
            let shares = Tensor::from_vec(shares, (sequences, 1, longest), device)?;
            all.push(Block { first, sequences, longest, mask, shares });
        }
        gather.resize(rows, 0);
        let firsts: Vec<u32> = batch.ranges().map(|r| r.start as u32).collect();
        let places = spread.len();
        Ok(Self {
            all,
            spread: Tensor::from_vec(spread, places, device)?,
            gather: Tensor::from_vec(gather, rows, device)?,
            firsts: Tensor::from_vec(firsts, batch.len(), device)?,
            of_sequences: Tensor::from_vec(of_sequences, batch.len(), device)?,
        })
    }

    /// One vector a sequence, `[sequences, hidden]` from `[rows, hidden]`: at length 1, and the lengths before,
    /// `[sequences, 1]`.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn pool(&self, x: &Tensor, pooling: Pooling) -> candle_core::Result<(Tensor, Tensor)> {
        let pooled = match pooling {
            Pooling::Cls => x.index_select(&self.firsts, 0)?,
            Pooling::Mean => {
                let (spread, hidden) = (x.index_select(&self.spread, 0)?, x.dim(1)?);
                let mut means = Vec::with_capacity(self.all.len());
                for &Block { first, sequences, longest, ref shares, .. } in &self.all {
                    let block = spread.narrow(0, first, sequences * longest)?.reshape((sequences, longest, hidden))?;
                    means.push(shares.to_dtype(x.dtype())?.matmul(&block)?.squeeze(1)?);
                }
                Tensor::cat(&means, 0)?.index_select(&self.of_sequences, 0)?
            }
        };
        let lengths = pooled.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12f32)?;
        Ok((pooled.broadcast_div(&lengths)?, lengths))
    }

    /// For each block `[sequences, 1, longest, 1]`: 1 where there is a token, 0 for padding.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn is_token(&self, dtype: DType) -> candle_core::Result<Vec<Tensor>> {
        self.all.iter().map(|block| block.shares.gt(0f32)?.to_dtype(dtype)?.unsqueeze(D::Minus1)).collect()
    }
}

impl Block {
    /// The block's places of `[places, parts · hidden]`, as `[parts, sequences, heads, longest, size]`.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn heads_of(&self, spread: &Tensor, parts: usize, heads: usize) -> candle_core::Result<Tensor> {
        let &Self { first, sequences, longest, .. } = self;
        let size = spread.dim(1)? / parts / heads;
        spread
            .narrow(0, first, sequences * longest)?
            .reshape((sequences, longest, parts, heads, size))?
            .permute((2, 0, 3, 1, 4))?
            .contiguous()
    }
}

/// Places that a sequence of this length takes in a block: by its own length alone, so that its scores are computed in
/// one way whatever is beside it; and at most half as many again, so that little is computed in vain.
pub(super) fn block_length(tokens: usize) -> usize {
    let whole = tokens.next_power_of_two().max(8);
    if tokens <= whole / 4 * 3 && whole > 8 { whole / 4 * 3 } else { whole }
}

/// Sequences of a block, at most: as many as have a batch's places.
fn most_sequences(longest: usize) -> usize {
    (BATCH_TOKENS / longest).max(1)
}

/// Runs of sequences that make up a block each. They come sorted by length, so there are few.
fn runs(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, length) in lengths.iter().enumerate() {
        let longest = block_length(*length);
        match runs.last_mut() {
            Some(run) if block_length(lengths[run.start]) == longest && run.len() < most_sequences(longest) => {
                run.end = i + 1;
            }
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_at_most_half_as_long_again() {
        for tokens in 1..=512 {
            let block = block_length(tokens);
            assert!(block >= tokens && (block <= 8 || 2 * block < 3 * tokens + 2), "{tokens} tokens in {block} places");
        }
    }

    #[test]
    fn runs_hold_sequences_of_one_block_length() {
        let lengths = [1, 8, 9, 12, 13, 16, 16, 200];
        assert_eq!(runs(&lengths), [0..2, 2..4, 4..7, 7..8]);
        assert!(runs(&[512; 300]).iter().all(|r| r.len() * 512 <= BATCH_TOKENS));
    }
}
