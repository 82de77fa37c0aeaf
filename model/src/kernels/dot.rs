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
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += f64::from(*a) * f64::from(*b);
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
