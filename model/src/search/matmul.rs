//! The one call into `gemm`, behind a safe function.

use gemm::Parallelism;

/// Dot products of every row of `a` (`n × dim`) with every row of `b` (`m × dim`) into `out` (`n × m`, row-major).
///
/// # Panics
/// When a slice has not the length that `dim` and the others imply: a defect of the caller.
pub(super) fn dot_products(a: &[f32], b: &[f32], dim: usize, out: &mut [f32]) {
    let (n, m) = (a.len() / dim, b.len() / dim);
    assert!(a.len() == n * dim && b.len() == m * dim && out.len() == n * m, "slices do not fit together");
    if n == 0 || m == 0 {
        return;
    }
    #[allow(unsafe_code)]
    // SAFETY: the asserts above make every index that the strides reach lie inside its slice; `out` is exclusive.
    unsafe {
        gemm::gemm(
            n,
            m,
            dim,
            out.as_mut_ptr(),
            1,
            m as isize,
            false,
            a.as_ptr(),
            1,
            dim as isize,
            b.as_ptr(),
            dim as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::dot_products;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_f64(n in 1usize..9, m in 1usize..9, dim in 1usize..40, seed in any::<u32>()) {
            let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / (1 << 24) as f32 - 0.5;
            let a: Vec<f32> = (0..n * dim).map(value).collect();
            let b: Vec<f32> = (0..m * dim).map(|i| value(i + 1000)).collect();
            let mut out = vec![f32::NAN; n * m];
            dot_products(&a, &b, dim, &mut out);
            for i in 0..n {
                for j in 0..m {
                    let exact: f64 = (0..dim).map(|d| f64::from(a[i * dim + d]) * f64::from(b[j * dim + d])).sum();
                    prop_assert!((f64::from(out[i * m + j]) - exact).abs() < 1e-5);
                }
            }
        }
    }
}
