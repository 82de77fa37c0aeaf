//! Gradients on a device, until they are fetched together.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use crate::kernels::training::add;
use crate::train::optimizer::PIECE;

/// Sums of gradients, by where their parameters begin.
#[derive(Default)]
pub(super) struct Gradients(BTreeMap<usize, Tensor>);

impl Gradients {
    /// Adds the gradient of a parameter.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn add(&mut self, of: &Range<usize>, grad: &Tensor) -> Result<()> {
        let grad = grad.flatten_all()?;
        let sum = match self.0.get(&of.start) {
            Some(sum) => (sum + grad)?,
            None => grad,
        };
        self.0.insert(of.start, sum);
        Ok(())
    }

    /// Adds all sums to those of the flat parameters, in one transfer.
    ///
    /// # Errors
    /// When the device fails.
    pub(super) fn add_to(self, grads: &mut [f32]) -> Result<()> {
        let sums: Vec<&Tensor> = self.0.values().collect();
        if sums.is_empty() {
            return Ok(());
        }
        let all = Tensor::cat(&sums, 0)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let mut rest = all.as_slice();
        for (start, sum) in &self.0 {
            let (own, others) = rest.split_at(sum.elem_count());
            let sums = grads[*start..start + own.len()].par_chunks_mut(PIECE);
            sums.zip(own.par_chunks(PIECE)).for_each(|(sum, own)| add(sum, own));
            rest = others;
        }
        Ok(())
    }
}
