//! The vector operations that kernels are written in.

/// An instruction set: vectors of `LANES` floats (or as many 32-bit words) and what can be done with them.
///
/// A value of the type is the proof that the CPU has the instructions; the methods that touch memory are `unsafe` for
/// the pointers alone.
pub(crate) trait Simd: Copy {
    /// Floats of a vector.
    const LANES: usize;
    /// Rows of a matrix product's tile, two vectors each: as many as fill the registers.
    const TILE_ROWS: usize;
    /// Floats.
    type F: Copy;
    /// 32-bit words, integers where an operation says so.
    type I: Copy;

    /// Asks for a cache line that will be read; any address will do.
    fn prefetch(self, p: *const u32);
    /// The same float in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// The same word in every lane.
    fn splat_word(self, x: u32) -> Self::I;
    /// # Safety
    /// `LANES` floats can be read from `p`.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// The first `n < LANES` lanes; the others are 0.
    /// # Safety
    /// `n` floats can be read from `p`.
    unsafe fn load_part(self, p: *const f32, n: usize) -> Self::F;
    /// # Safety
    /// `LANES` words can be read from `p`.
    unsafe fn load_words(self, p: *const u32) -> Self::I;
    /// # Safety
    /// `LANES` floats can be written to `p`.
    unsafe fn store(self, p: *mut f32, v: Self::F);
    /// The first `n < LANES` lanes.
    /// # Safety
    /// `n` floats can be written to `p`.
    unsafe fn store_part(self, p: *mut f32, n: usize, v: Self::F);
    /// The low byte of each lane.
    /// # Safety
    /// `LANES` bytes can be written to `p`.
    unsafe fn store_bytes(self, p: *mut u8, v: Self::I);
    /// Floats in bfloat16 as such in 32 bits.
    /// # Safety
    /// `LANES` halves can be read from `p`.
    unsafe fn load_bf16(self, p: *const u16) -> Self::F;
    /// A block of `LANES × LANES` floats, rows and columns exchanged; of `rows` the last stands for those behind it.
    /// # Safety
    /// `LANES` floats can be read from `rows` rows at `from`, `stride` apart, and written to `LANES` rows at `to`, `to_stride`
    /// apart; there is at least one row.
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        for row in 0..Self::LANES {
            for column in 0..Self::LANES {
                // SAFETY: the caller's.
                unsafe { *to.add(column * to_stride + row) = *from.add(row.min(rows - 1) * stride + column) };
            }
        }
    }
    /// Which lanes of `a` are greater than those of `b`, the first in the lowest bit.
    fn above(self, a: Self::F, b: Self::F) -> u32;

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`, rounded once where the CPU can.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `|x|` with the sign of `s`.
    fn copysign(self, x: Self::F, s: Self::F) -> Self::F;

    /// The bits of words as floats.
    fn as_floats(self, v: Self::I) -> Self::F;
    /// The bits of floats as words.
    fn as_words(self, v: Self::F) -> Self::I;
    /// Sum of integers, wrapping.
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// Each word shifted left by 23: an integer becomes a float's exponent.
    fn to_exponent(self, v: Self::I) -> Self::I;
    /// Floats as integers, ties to even.
    fn to_ints(self, v: Self::F) -> Self::I;
    /// Rounded to bfloat16, ties to even, and widened again.
    fn round_bf16(self, v: Self::F) -> Self::F;

    fn sum(self, v: Self::F) -> f32;
    fn largest(self, v: Self::F) -> f32;
    fn smallest(self, v: Self::F) -> f32;
}
