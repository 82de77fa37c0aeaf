//! The three products of a linear layer in training: with the weights, with their transpose, and of gradients with inputs.

use super::format::Precision;
use super::matrix::{Activation, PackedMatrix};
use super::operand::Operand;
use super::{Isa, training};

/// Rows and columns that are transposed together: both sides stay in the first-level cache.
const BLOCK: usize = 16;

/// A linear layer's weights, packed for the way there and, where there is one, the way back.
pub(crate) struct TrainedMatrix {
    there: PackedMatrix,
    back: Option<PackedMatrix>,
    isa: Isa,
    precision: Precision,
    inputs: usize,
    outputs: usize,
}

/// Memory that is used again by every product of a thread.
#[derive(Default)]
pub(crate) struct ProductRoom {
    operand: Operand,
    transposed: Vec<f32>,
    result: Vec<f32>,
}

impl TrainedMatrix {
    /// Packs the weights `[outputs, inputs]`, row-major, and `outputs` biases.
    ///
    /// # Panics
    /// When a slice has another length: a defect of the caller.
    pub(crate) fn new(
        isa: Isa,
        precision: Precision,
        (weights, bias): (&[f32], &[f32]),
        inputs: usize,
        back: bool,
    ) -> Self {
        Self {
            there: PackedMatrix::new(isa, precision, weights, bias, inputs),
            back: back.then(|| PackedMatrix::of_columns(isa, precision, weights, inputs)),
            isa,
            precision,
            inputs,
            outputs: bias.len(),
        }
    }

    /// `x · Wᵀ + b`: `[rows, inputs]` → `[rows, outputs]`.
    pub(crate) fn forward(&self, x: &[f32], room: &mut ProductRoom) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / self.inputs * self.outputs];
        self.there.apply(x, &mut room.operand, Activation::None, &mut y);
        y
    }

    /// `grad · W`: `[rows, outputs]` → `[rows, inputs]`.
    ///
    /// # Panics
    /// When it was not packed for the way back: a defect of the caller.
    pub(crate) fn backward_input(&self, grad: &[f32], room: &mut ProductRoom) -> Vec<f32> {
        let mut out = vec![0.0; grad.len() / self.outputs * self.inputs];
        let Some(back) = &self.back else { panic!("a matrix without a way back") };
        back.apply(grad, &mut room.operand, Activation::None, &mut out);
        out
    }

    /// Adds `gradᵀ · x` to the weights' gradient, and the sum of `grad`'s rows to the bias's.
    pub(crate) fn backward_weights(
        &self,
        x: &[f32],
        grad: &[f32],
        (weights, bias): (&mut [f32], &mut [f32]),
        room: &mut ProductRoom,
    ) {
        let packed = PackedMatrix::of_columns(self.isa, self.precision, x, self.inputs);
        transpose(grad, self.outputs, &mut room.transposed);
        room.result.resize(self.outputs * self.inputs, 0.0);
        packed.apply(&room.transposed, &mut room.operand, Activation::None, &mut room.result);
        training::add(weights, &room.result);
        training::add_sum_of_rows(grad, bias);
    }
}

/// `[rows, columns]` → `[columns, rows]`.
fn transpose(x: &[f32], columns: usize, out: &mut Vec<f32>) {
    let rows = x.len() / columns;
    out.resize(x.len(), 0.0);
    for first_row in (0..rows).step_by(BLOCK) {
        let last_row = (first_row + BLOCK).min(rows);
        for first_column in (0..columns).step_by(BLOCK) {
            for column in first_column..(first_column + BLOCK).min(columns) {
                let out = &mut out[column * rows + first_row..column * rows + last_row];
                for (value, row) in out.iter_mut().zip(first_row..last_row) {
                    *value = x[row * columns + column];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn products_agree_with_f64(rows in 1usize..70, inputs in 1usize..80, outputs in 1usize..80) {
            let mut random = fastrand::Rng::with_seed((rows * 7 + inputs * 3 + outputs) as u64);
            let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| random.f32() - 0.5).collect() };
            let (x, w, b, g) = (values(rows * inputs), values(outputs * inputs), values(outputs), values(rows * outputs));
            let sum = |n: usize, f: &dyn Fn(usize) -> (f32, f32)| -> f64 {
                (0..n).map(|i| { let (a, b) = f(i); f64::from(a) * f64::from(b) }).sum()
            };
            for isa in Isa::all() {
                for (precision, error) in [(Precision::F32, 1e-5), (Precision::Bf16, 2e-2)] {
                    let error = error * (rows.max(inputs).max(outputs) as f64).sqrt();
                    let (matrix, mut room) = (TrainedMatrix::new(isa, precision, (&w, &b), inputs, true), ProductRoom::default());
                    let y = matrix.forward(&x, &mut room);
                    let dx = matrix.backward_input(&g, &mut room);
                    let (mut dw, mut db) = (vec![1f32; w.len()], vec![1f32; outputs]);
                    matrix.backward_weights(&x, &g, (&mut dw, &mut db), &mut room);
                    for r in 0..rows {
                        for o in 0..outputs {
                            let exact = f64::from(b[o]) + sum(inputs, &|i| (x[r * inputs + i], w[o * inputs + i]));
                            prop_assert!((f64::from(y[r * outputs + o]) - exact).abs() < error, "{isa:?} forward");
                        }
                        for i in 0..inputs {
                            let exact = sum(outputs, &|o| (g[r * outputs + o], w[o * inputs + i]));
                            prop_assert!((f64::from(dx[r * inputs + i]) - exact).abs() < error, "{isa:?} input");
                        }
                    }
                    for o in 0..outputs {
                        for i in 0..inputs {
                            let exact = 1.0 + sum(rows, &|r| (g[r * outputs + o], x[r * inputs + i]));
                            prop_assert!((f64::from(dw[o * inputs + i]) - exact).abs() < error, "{isa:?} weights");
                        }
                        let exact = 1.0 + sum(rows, &|r| (g[r * outputs + o], 1.0));
                        prop_assert!((f64::from(db[o]) - exact).abs() < error, "{isa:?} bias");
                    }
                }
            }
        }
    }
}
