//! Floats as sums of three bfloat16: 24 bits in three times 8.
//!
//! `x = x₁ + x₂ + x₃`, where each part is what the ones before leave, rounded; this is exact but for floats that are nearly
//! the largest or the least. Of the nine products of two such sums the six that are not below 2⁻²⁵ of it are made, in
//! 32-bit floats: what is left out is less than what a product of floats is rounded by. A unit that does sixteen times as
//! many products of bfloat16 as there are of floats is faster this way, at the same accuracy.
//!
//! Source: Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
//! Computations".

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::avx512::{floats_from, widened};
use super::matrix::{TILE_WORDS, bf16_bits};

/// Parts of a float.
pub(super) const PARTS: usize = 3;
/// Products that are made of two floats.
pub(super) const PRODUCTS: usize = 6;

/// Words of a row that are multiplied with all panels before the ones behind them: what is read again and again is then
/// in the second-level cache.
pub(super) const SLICE: usize = 12 * PARTS * TILE_WORDS;

/// The word of a row that is this part of a pair of numbers: [`TILE_WORDS`] words of first parts, then such of the second
/// and of the third.
#[inline(always)]
pub(super) fn word(pair: usize, part: usize) -> usize {
    (pair / TILE_WORDS * PARTS + part) * TILE_WORDS + pair % TILE_WORDS
}

/// A part of a float, as bfloat16 in the low bits.
#[inline(always)]
pub(super) fn part(mut value: f32, part: usize) -> u32 {
    for _ in 0..part {
        value -= f32::from_bits(bf16_bits(value) << 16);
    }
    bf16_bits(value)
}

/// Puts a row among the words of others: 16 rows make tiles of 16 words each, one after another. Zeros go behind.
///
/// # Safety
/// The CPU has AVX-512 F, BW, DQ, VL and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn put_row(x: &[f32], row: usize, depth: usize, words: &mut [u32]) {
    const SIDE: usize = TILE_WORDS;
    let tiles = &mut words[row / SIDE * SIDE * depth..][..SIDE * depth];
    for (at, tiles) in tiles.chunks_exact_mut(PARTS * SIDE * SIDE).enumerate() {
        let x = &x[(2 * SIDE * at).min(x.len())..];
        // SAFETY: the caller's.
        let (mut low, mut high) = unsafe { (floats_from(x, 0), floats_from(x, SIDE)) };
        for tile in tiles.chunks_exact_mut(SIDE * SIDE) {
            let words = &mut tile[row % SIDE * SIDE..][..SIDE];
            // SAFETY: both are 512 bits, and so are sixteen words.
            unsafe {
                let pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(words.as_mut_ptr().cast(), pairs);
                low = _mm512_sub_ps(low, widened(_mm512_castsi512_si256(pairs)));
                high = _mm512_sub_ps(high, widened(_mm512_extracti64x4_epi64::<1>(pairs)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn three_parts_are_the_float(value in prop::num::f32::NORMAL) {
            prop_assume!(value.abs() > 1e-30 && value.abs() < 1e38);
            let sum: f64 = (0..PARTS).map(|i| f64::from(f32::from_bits(part(value, i) << 16))).sum();
            prop_assert_eq!(sum, f64::from(value));
        }
    }
}
