//! Vectors as arrays: what every CPU can do, and the way to test the structure of wider kernels anywhere.

use super::format::Format;
use super::simd::Simd;

/// Vectors of `N` floats.
#[derive(Clone, Copy)]
pub(super) struct Portable<const N: usize>;

#[inline(always)]
fn zip<A: Copy, B: Copy, C: Copy + Default, const N: usize>(a: [A; N], b: [B; N], f: impl Fn(A, B) -> C) -> [C; N] {
    let mut out = [C::default(); N];
    for i in 0..N {
        out[i] = f(a[i], b[i]);
    }
    out
}

impl<const N: usize> Simd for Portable<N> {
    const LANES: usize = N;
    const TILE_ROWS: usize = if N == 16 { 12 } else { 4 };
    type F = [f32; N];
    type I = [u32; N];

    #[inline(always)]
    fn prefetch(self, p: *const u32) {
        let _ = p;
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; N]
    }
    #[inline(always)]
    fn splat_word(self, x: u32) -> Self::I {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        unsafe { p.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, n: usize) -> Self::F {
        let mut out = [0.0; N];
        for (i, lane) in out.iter_mut().enumerate().take(n) {
            *lane = unsafe { *p.add(i) };
        }
        out
    }
    #[inline(always)]
    unsafe fn load_words(self, p: *const u32) -> Self::I {
        unsafe { p.cast::<[u32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: Self::F) {
        unsafe { p.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize, v: Self::F) {
        for (i, lane) in v.iter().enumerate().take(n) {
            unsafe { *p.add(i) = *lane };
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, v: Self::I) {
        for (i, lane) in v.iter().enumerate() {
            unsafe { *p.add(i) = *lane as u8 };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> Self::F {
        let halves = unsafe { p.cast::<[u16; N]>().read_unaligned() };
        halves.map(|half| f32::from_bits(u32::from(half) << 16))
    }
    #[inline(always)]
    fn above(self, a: Self::F, b: Self::F) -> u32 {
        a.iter().zip(&b).rev().fold(0, |mask, (a, b)| mask << 1 | u32::from(a > b))
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        let mut out = c;
        for i in 0..N {
            // Where the target has no such instruction, `mul_add` is a slow library call.
            out[i] = if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
                a[i].mul_add(b[i], c[i])
            } else {
                a[i] * b[i] + c[i]
            };
        }
        out
    }
    #[inline(always)]
    fn copysign(self, x: Self::F, s: Self::F) -> Self::F {
        zip(x, s, f32::copysign)
    }

    #[inline(always)]
    fn as_floats(self, v: Self::I) -> Self::F {
        v.map(f32::from_bits)
    }
    #[inline(always)]
    fn as_words(self, v: Self::F) -> Self::I {
        v.map(f32::to_bits)
    }
    #[inline(always)]
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, u32::wrapping_add)
    }
    #[inline(always)]
    fn to_exponent(self, v: Self::I) -> Self::I {
        v.map(|w| w << 23)
    }
    #[inline(always)]
    fn to_ints(self, v: Self::F) -> Self::I {
        v.map(|x| x.round_ties_even() as i32 as u32)
    }
    #[inline(always)]
    fn round_bf16(self, v: Self::F) -> Self::F {
        v.map(|x| half::bf16::from_f32(x).to_f32())
    }

    #[inline(always)]
    fn sum(self, v: Self::F) -> f32 {
        v.iter().sum()
    }
    #[inline(always)]
    fn largest(self, v: Self::F) -> f32 {
        v.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    fn smallest(self, v: Self::F) -> f32 {
        v.iter().copied().fold(f32::INFINITY, f32::min)
    }
}

/// Four 8-bit integers a word: unsigned activations, signed weights.
pub(super) struct Quads;

impl<const N: usize> Format<Portable<N>> for Quads {
    type Acc = [i32; N];
    const NUMBERS: usize = 4;

    #[inline(always)]
    fn zero(_: Portable<N>) -> [i32; N] {
        [0; N]
    }
    #[inline(always)]
    fn step(_: Portable<N>, acc: [i32; N], a: [u32; N], b: [u32; N]) -> [i32; N] {
        let mut out = acc;
        for i in 0..N {
            let (a, b) = (a[i].to_le_bytes(), b[i].to_le_bytes());
            for j in 0..4 {
                out[i] += i32::from(a[j]) * i32::from(b[j] as i8);
            }
        }
        out
    }
    #[inline(always)]
    fn floats(_: Portable<N>, acc: [i32; N]) -> [f32; N] {
        acc.map(|x| x as f32)
    }
}
