//! AVX-512 (F, BW, DQ, VL): vectors of sixteen floats.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::Kernel;
use super::format::Format;
use super::gemm::KernelOf;
use super::simd::Simd;

/// The CPU has AVX-512 F, BW, DQ and VL, and the extension `E`.
#[derive(Clone, Copy)]
pub(super) struct Avx512<E>(PhantomData<E>);

/// No extension.
#[derive(Clone, Copy)]
pub(super) struct Base;
/// AVX512-VNNI.
#[derive(Clone, Copy)]
pub(super) struct Vnni;
/// AVX512-BF16.
#[derive(Clone, Copy)]
pub(super) struct Bf16;

/// # Safety
/// The CPU has AVX-512 F, BW, DQ, VL, and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
#[inline(never)]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512::<Base>(PhantomData))
}

/// # Safety
/// The CPU has AVX-512 F, BW, DQ, VL and VNNI, and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
pub(super) unsafe fn run_vnni<F: Format<Avx512<Vnni>>, K: KernelOf<F>>(kernel: K) -> K::Output {
    kernel.run(Avx512(PhantomData))
}

/// # Safety
/// The CPU has AVX-512 F, BW, DQ, VL and BF16, and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn run_bf16<F: Format<Avx512<Bf16>>, K: KernelOf<F>>(kernel: K) -> K::Output {
    kernel.run(Avx512(PhantomData))
}

/// A row as pairs of bfloat16, rounded ties to even, and zeros behind.
///
/// # Safety
/// The CPU has AVX-512 F, BW, DQ, VL and BF16, and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")]
pub(super) unsafe fn to_pairs(x: &[f32], words: &mut [u32]) {
    assert!(words.len() >= x.len().div_ceil(2), "a word holds two numbers");
    for (at, words) in words.chunks_mut(16).enumerate() {
        let x = &x[x.len().min(32 * at)..x.len().min(32 * (at + 1))];
        // SAFETY: the caller's.
        let pairs = unsafe { _mm512_cvtne2ps_pbh(floats_from(x, 16), floats_from(x, 0)) };
        // SAFETY: both are 512 bits; as many words as there are left are written.
        unsafe {
            let pairs = std::mem::transmute::<__m512bh, __m512i>(pairs);
            _mm512_mask_storeu_epi32(words.as_mut_ptr().cast(), lanes(words.len()), pairs);
        }
    }
}

/// Sixteen floats from there on, as many as there are; the others are 0.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
pub(super) unsafe fn floats_from(x: &[f32], from: usize) -> __m512 {
    let n = x.len().saturating_sub(from).min(16);
    // SAFETY: `n` floats are left from there; none are read where `n` is 0.
    unsafe { _mm512_maskz_loadu_ps(lanes(n), x.as_ptr().wrapping_add(from)) }
}

/// Sixteen bfloat16 as floats.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
pub(super) unsafe fn widened(halves: __m256i) -> __m512 {
    // SAFETY: the caller's.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))) }
}

/// The first `n` of sixteen lanes.
#[inline(always)]
fn lanes(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

// SAFETY of what follows: a value of `Avx512` exists only where the CPU has the instructions; pointers are the caller's.
impl<E: Copy> Simd for Avx512<E> {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 12;
    type F = __m512;
    type I = __m512i;

    #[inline(always)]
    fn prefetch(self, p: *const u32) {
        // SAFETY: a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn splat_word(self, x: u32) -> __m512i {
        unsafe { _mm512_set1_epi32(x as i32) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(lanes(n), p) }
    }
    #[inline(always)]
    unsafe fn load_words(self, p: *const u32) -> __m512i {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize, v: __m512) {
        unsafe { _mm512_mask_storeu_ps(p, lanes(n), v) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, v: __m512i) {
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(v)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m512 {
        unsafe { widened(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        // Within quarters of 128 bits, pairs of rows, then pairs of these; at last the quarters themselves.
        unsafe {
            let r: [__m512; 16] = std::array::from_fn(|i| _mm512_loadu_ps(from.add(i.min(rows - 1) * stride)));
            let t: [__m512; 16] = std::array::from_fn(|i| match i % 2 {
                0 => _mm512_unpacklo_ps(r[i], r[i + 1]),
                _ => _mm512_unpackhi_ps(r[i - 1], r[i]),
            });
            let pairs = |i: usize| (_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2]));
            let r: [__m512; 16] = std::array::from_fn(|i| {
                let (a, b) = pairs(i / 4 * 4 + i % 4 / 2);
                _mm512_castpd_ps(if i % 2 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) })
            });
            for c in 0..4 {
                let even = |i: usize| _mm512_shuffle_f32x4::<0x88>(r[i + c], r[i + 4 + c]);
                let odd = |i: usize| _mm512_shuffle_f32x4::<0xdd>(r[i + c], r[i + 4 + c]);
                let (a, b, d, e) = (even(0), odd(0), even(8), odd(8));
                _mm512_storeu_ps(to.add(c * to_stride), _mm512_shuffle_f32x4::<0x88>(a, d));
                _mm512_storeu_ps(to.add((4 + c) * to_stride), _mm512_shuffle_f32x4::<0x88>(b, e));
                _mm512_storeu_ps(to.add((8 + c) * to_stride), _mm512_shuffle_f32x4::<0xdd>(a, d));
                _mm512_storeu_ps(to.add((12 + c) * to_stride), _mm512_shuffle_f32x4::<0xdd>(b, e));
            }
        }
    }
    #[inline(always)]
    fn above(self, a: __m512, b: __m512) -> u32 {
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b)) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn copysign(self, x: __m512, s: __m512) -> __m512 {
        unsafe {
            let sign = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(sign, x), _mm512_and_ps(sign, s))
        }
    }

    #[inline(always)]
    fn as_floats(self, v: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(v) }
    }
    #[inline(always)]
    fn as_words(self, v: __m512) -> __m512i {
        unsafe { _mm512_castps_si512(v) }
    }
    #[inline(always)]
    fn add_int(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn to_exponent(self, v: __m512i) -> __m512i {
        unsafe { _mm512_slli_epi32::<23>(v) }
    }
    #[inline(always)]
    fn to_ints(self, v: __m512) -> __m512i {
        unsafe { _mm512_cvtps_epi32(v) }
    }
    #[inline(always)]
    fn round_bf16(self, v: __m512) -> __m512 {
        unsafe {
            // As in AVX2: half a unit of the last place kept, ties to even.
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            _mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(0xffff_0000_u32 as i32)))
        }
    }

    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }
    #[inline(always)]
    fn largest(self, v: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(v) }
    }
    #[inline(always)]
    fn smallest(self, v: __m512) -> f32 {
        unsafe { _mm512_reduce_min_ps(v) }
    }
}

/// Two bfloat16 a word.
pub(super) struct Pairs;

impl Format<Avx512<Bf16>> for Pairs {
    type Acc = __m512;
    const NUMBERS: usize = 2;

    #[inline(always)]
    fn zero(_: Avx512<Bf16>) -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    fn step(_: Avx512<Bf16>, acc: __m512, a: __m512i, b: __m512i) -> __m512 {
        unsafe {
            let pairs = |v| std::mem::transmute::<__m512i, __m512bh>(v);
            _mm512_dpbf16_ps(acc, pairs(a), pairs(b))
        }
    }
    #[inline(always)]
    fn floats(_: Avx512<Bf16>, acc: __m512) -> __m512 {
        acc
    }
}

/// Four 8-bit integers a word: unsigned activations, signed weights.
pub(super) struct Quads;

impl Format<Avx512<Vnni>> for Quads {
    type Acc = __m512i;
    const NUMBERS: usize = 4;

    #[inline(always)]
    fn zero(_: Avx512<Vnni>) -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    fn step(_: Avx512<Vnni>, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(acc, a, b) }
    }
    #[inline(always)]
    fn floats(_: Avx512<Vnni>, acc: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(acc) }
    }
}
