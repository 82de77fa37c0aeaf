//! AVX2 and FMA: vectors of eight floats.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::Kernel;
use super::format::Format;
use super::gemm::KernelOf;
use super::simd::Simd;

/// The CPU has AVX2 and FMA. `VNNI`: and AVX-VNNI.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>;

/// # Safety
/// The CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2::<false>)
}

/// # Safety
/// The CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_as<F: Format<Avx2<false>>, K: KernelOf<F>>(kernel: K) -> K::Output {
    kernel.run(Avx2::<false>)
}

/// # Safety
/// The CPU has AVX2, FMA and AVX-VNNI.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) unsafe fn run_vnni<F: Format<Avx2<true>>, K: KernelOf<F>>(kernel: K) -> K::Output {
    kernel.run(Avx2::<true>)
}

/// The first `n` of eight lanes.
#[inline(always)]
unsafe fn lanes(n: usize) -> __m256i {
    static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: n ≤ 8, so that eight lanes are left from there.
    unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - n).cast()) }
}

// SAFETY of what follows: a value of `Avx2` exists only where the CPU has the instructions; pointers are the caller's.
impl<const VNNI: bool> Simd for Avx2<VNNI> {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    type F = __m256;
    type I = __m256i;

    #[inline(always)]
    fn prefetch(self, p: *const u32) {
        // SAFETY: a hint, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn splat_word(self, x: u32) -> __m256i {
        unsafe { _mm256_set1_epi32(x as i32) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, n: usize) -> __m256 {
        unsafe { _mm256_maskload_ps(p, lanes(n)) }
    }
    #[inline(always)]
    unsafe fn load_words(self, p: *const u32) -> __m256i {
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize, v: __m256) {
        unsafe { _mm256_maskstore_ps(p, lanes(n), v) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, v: __m256i) {
        unsafe {
            // The low bytes of each half's four lanes, side by side.
            let low = _mm256_setr_epi8(
                0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1,
                -1, -1, -1, -1, -1,
            );
            let packed = _mm256_shuffle_epi8(v, low);
            p.cast::<i32>().write_unaligned(_mm_cvtsi128_si32(_mm256_castsi256_si128(packed)));
            p.add(4).cast::<i32>().write_unaligned(_mm_cvtsi128_si32(_mm256_extracti128_si256::<1>(packed)));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> __m256 {
        unsafe {
            let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
        }
    }
    #[inline(always)]
    unsafe fn transpose(self, from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        // Within halves of 128 bits, pairs of rows, then pairs of these; at last the halves themselves.
        unsafe {
            let r: [__m256; 8] = std::array::from_fn(|i| _mm256_loadu_ps(from.add(i.min(rows - 1) * stride)));
            let t: [__m256; 8] = std::array::from_fn(|i| match i % 2 {
                0 => _mm256_unpacklo_ps(r[i], r[i + 1]),
                _ => _mm256_unpackhi_ps(r[i - 1], r[i]),
            });
            let pairs = |i: usize| (_mm256_castps_pd(t[i]), _mm256_castps_pd(t[i + 2]));
            let r: [__m256; 8] = std::array::from_fn(|i| {
                let (a, b) = pairs(i / 4 * 4 + i % 4 / 2);
                _mm256_castpd_ps(if i % 2 == 0 { _mm256_unpacklo_pd(a, b) } else { _mm256_unpackhi_pd(a, b) })
            });
            for c in 0..4 {
                let (a, b) = (r[c], r[4 + c]);
                _mm256_storeu_ps(to.add(c * to_stride), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(to.add((4 + c) * to_stride), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
    #[inline(always)]
    fn above(self, a: __m256, b: __m256) -> u32 {
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) as u32 }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn copysign(self, x: __m256, s: __m256) -> __m256 {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, x), _mm256_and_ps(sign, s))
        }
    }

    #[inline(always)]
    fn as_floats(self, v: __m256i) -> __m256 {
        unsafe { _mm256_castsi256_ps(v) }
    }
    #[inline(always)]
    fn as_words(self, v: __m256) -> __m256i {
        unsafe { _mm256_castps_si256(v) }
    }
    #[inline(always)]
    fn add_int(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    fn to_exponent(self, v: __m256i) -> __m256i {
        unsafe { _mm256_slli_epi32::<23>(v) }
    }
    #[inline(always)]
    fn to_ints(self, v: __m256) -> __m256i {
        unsafe { _mm256_cvtps_epi32(v) }
    }
    #[inline(always)]
    fn round_bf16(self, v: __m256) -> __m256 {
        unsafe {
            // Add half a unit of the last place kept, or one less where that place is even; cut the rest off.
            let bits = _mm256_castps_si256(v);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            _mm256_castsi256_ps(_mm256_and_si256(rounded, _mm256_set1_epi32(0xffff_0000_u32 as i32)))
        }
    }

    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    fn largest(self, v: __m256) -> f32 {
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    fn smallest(self, v: __m256) -> f32 {
        unsafe {
            let four = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let two = _mm_min_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_min_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}

/// Four 8-bit integers a word: unsigned activations, signed weights.
pub(super) struct Quads;

impl Format<Avx2<false>> for Quads {
    type Acc = __m256i;
    const NUMBERS: usize = 4;

    #[inline(always)]
    fn zero(_: Avx2<false>) -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    fn step(_: Avx2<false>, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        unsafe {
            // Sums of two products saturate at 32,767; activations are at most 127, so that none comes near.
            let pairs = _mm256_maddubs_epi16(a, b);
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
    #[inline(always)]
    fn floats(_: Avx2<false>, acc: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(acc) }
    }
}

impl Format<Avx2<true>> for Quads {
    type Acc = __m256i;
    const NUMBERS: usize = 4;

    #[inline(always)]
    fn zero(_: Avx2<true>) -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    fn step(_: Avx2<true>, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(acc, a, b) }
    }
    #[inline(always)]
    fn floats(_: Avx2<true>, acc: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(acc) }
    }
}
