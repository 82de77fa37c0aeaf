//! Matrix products of matrices that change with every use: training's. By the `gemm` crate, which candle stands on.

/// A matrix in a slice, row-major, or its transpose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `[rows, columns]`, row-major.
    ///
    /// # Panics
    /// When the slice has another length: a defect of the caller.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix of another size");
        Self { values, rows, columns, transposed: false }
    }

    /// Its transpose.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Distances of neighbours in a row and in a column.
    fn strides(self) -> (isize, isize) {
        if self.transposed { (self.rows as isize, 1) } else { (1, self.columns as isize) }
    }
}

/// `out = a · b`, or `out += a · b` where `add`; `out` is row-major. On the thread that calls.
///
/// # Panics
/// When the sizes do not fit together: a defect of the caller.
pub(crate) fn product(a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], add: bool) {
    assert_eq!(a.columns, b.rows, "matrices that do not fit together");
    assert_eq!(out.len(), a.rows * b.columns, "a result of another size");
    let ((a_next, a_row), (b_next, b_row)) = (a.strides(), b.strides());
    // SAFETY: each slice has as many floats as its rows and columns say, checked above and in `new`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            add,
            a.values.as_ptr(),
            a_next,
            a_row,
            b.values.as_ptr(),
            b_next,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_f64(rows in 1usize..40, inner in 1usize..70, columns in 1usize..40, ta: bool, tb: bool, add: bool) {
            let mut random = fastrand::Rng::with_seed((rows * 7 + inner * 3 + columns) as u64);
            let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| random.f32() - 0.5).collect() };
            let (a, b, mut out) = (values(rows * inner), values(inner * columns), values(rows * columns));
            let before = out.clone();
            let left = if ta { Matrix::new(&a, inner, rows).t() } else { Matrix::new(&a, rows, inner) };
            let right = if tb { Matrix::new(&b, columns, inner).t() } else { Matrix::new(&b, inner, columns) };
            product(left, right, &mut out, add);
            for i in 0..rows {
                for j in 0..columns {
                    let at = |v: &[f32], t: bool, r: usize, c: usize, rs: usize, cs: usize| {
                        f64::from(if t { v[c * rs + r] } else { v[r * cs + c] })
                    };
                    let sum: f64 = (0..inner).map(|k| at(&a, ta, i, k, rows, inner) * at(&b, tb, k, j, inner, columns)).sum();
                    let expected = sum + if add { f64::from(before[i * columns + j]) } else { 0.0 };
                    prop_assert!((f64::from(out[i * columns + j]) - expected).abs() < 1e-4);
                }
            }
        }
    }
}
