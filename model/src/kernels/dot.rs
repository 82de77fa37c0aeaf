//! Dot products in 64-bit floats.

/// `a·b` of two vectors of one length, in 64-bit floats: eight sums side by side, which are added up in pairs. The order
/// is the same on every CPU, and nothing is fused, so the result is too, to the bit.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe { with_avx2(a, b) };
    }
    sums(a, b)
}

/// The dot products of several pairs of vectors, all of one length, as [`dot`] has them: while one waits for its numbers,
/// the others go on.
pub(crate) fn dots<const N: usize>(pairs: [(&[f32], &[f32]); N]) -> [f64; N] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has AVX-512.
        return unsafe { with_avx512(pairs) };
    }
    pairs.map(|(a, b)| dot(a, b))
}

/// # Safety
/// The CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn with_avx512<const N: usize>(pairs: [(&[f32], &[f32]); N]) -> [f64; N] {
    use std::arch::x86_64::{
        _mm256_loadu_ps, _mm512_add_pd, _mm512_cvtps_pd, _mm512_mul_pd, _mm512_setzero_pd, _mm512_storeu_pd,
    };
    let length = pairs.iter().map(|(a, b)| a.len().min(b.len())).min().unwrap_or(0);
    let mut sums = [_mm512_setzero_pd(); N];
    for i in (0..length - length % 8).step_by(8) {
        for (sum, (a, b)) in sums.iter_mut().zip(&pairs) {
            // SAFETY: eight numbers from `i` on are in both.
            let [a, b] = unsafe { [_mm256_loadu_ps(a.as_ptr().add(i)), _mm256_loadu_ps(b.as_ptr().add(i))] };
            *sum = _mm512_add_pd(*sum, _mm512_mul_pd(_mm512_cvtps_pd(a), _mm512_cvtps_pd(b)));
        }
    }
    let mut dots = [0.0; N];
    for ((dot, sum), (a, b)) in dots.iter_mut().zip(sums).zip(&pairs) {
        let mut sums = [0f64; 8];
        // SAFETY: there is room for eight.
        unsafe { _mm512_storeu_pd(sums.as_mut_ptr(), sum) };
        *dot = added_up(sums, &a[length - length % 8..length], &b[length - length % 8..length]);
    }
    dots
}

/// # Safety
/// The CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn with_avx2(a: &[f32], b: &[f32]) -> f64 {
    sums(a, b)
}

#[inline(always)]
fn sums(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0f64; 8];
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    added_up(sums, a_rest, b_rest)
}

/// The sums, with what is left of the vectors.
#[inline(always)]
fn added_up(mut sums: [f64; 8], a: &[f32], b: &[f32]) -> f64 {
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        *sum += f64::from(*a) * f64::from(*b);
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_at_once_are_as_one_after_the_other() {
        let mut rng = fastrand::Rng::with_seed(3);
        for length in [0, 1, 7, 8, 9, 64, 100, 384] {
            let all: Vec<Vec<f32>> = (0..8).map(|_| (0..length).map(|_| rng.f32() - 0.5).collect()).collect();
            let pairs = std::array::from_fn::<_, 4, _>(|i| (&all[i][..], &all[7 - i][..]));
            let one = pairs.map(|(a, b)| sums(a, b).to_bits());
            assert_eq!(dots(pairs).map(f64::to_bits), one);
            assert_eq!(pairs.map(|(a, b)| dot(a, b).to_bits()), one);
        }
    }
}
