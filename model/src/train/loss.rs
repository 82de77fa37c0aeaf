//! The contrastive loss.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::log_softmax;

use crate::snp::unit;

/// Added to the score of a pair that is known to be right, so that it is no negative.
pub(super) const MASKED: f32 = -1e9;
/// The largest factor of cosines: one over the lowest temperature.
pub(super) const MOST_SCALE: f64 = 100.0;

/// Weighted InfoNCE (van den Oord et al. 2018) in both directions, with the other pairs of the batch as negatives.
///
/// `left` and `right`: `[n, d]`, rows of length 1, pair by pair. `weights`: `[n]`, positive. `mask`: `[n, n]`, 0 or
/// [`MASKED`]. `log_scale`: a scalar, the logarithm of one over the temperature. A scalar comes back: the weighted mean of
/// `−log softmax` at the right pairs, over rows and over columns.
///
/// # Errors
/// When shapes do not fit together.
pub(super) fn info_nce(
    left: &Tensor,
    right: &Tensor,
    weights: &Tensor,
    mask: &Tensor,
    log_scale: &Tensor,
) -> Result<Tensor> {
    let scores = left.matmul(&right.t()?)?.broadcast_mul(&log_scale.exp()?)?.add(mask)?;
    let n = scores.dim(0)?;
    let diagonal = Tensor::eye(n, scores.dtype(), scores.device())?;
    let right_of_left = log_softmax(&scores, D::Minus1)?.mul(&diagonal)?.sum(1)?;
    let left_of_right = log_softmax(&scores, 0)?.mul(&diagonal)?.sum(0)?;
    let both = (right_of_left + left_of_right)?.mul(weights)?.sum_all()?;
    both.div(&weights.sum_all()?)?.affine(-0.5, 0.0)
}

/// [`info_nce`] of whole vectors and, as in Matryoshka representation learning (Kusupati et al. 2022), of their first
/// components, scaled to length 1 again: the mean of all.
///
/// # Errors
/// As of [`info_nce`].
pub(super) fn nested(
    (left, right): (&Tensor, &Tensor),
    weights: &Tensor,
    mask: &Tensor,
    log_scale: &Tensor,
    dimensions: &[usize],
) -> Result<Tensor> {
    let mut sum = info_nce(left, right, weights, mask, log_scale)?;
    for d in dimensions {
        let first = |x: &Tensor| unit(&x.narrow(1, 0, *d)?);
        sum = (sum + info_nce(&first(left)?, &first(right)?, weights, mask, log_scale)?)?;
    }
    sum.affine(1.0 / (dimensions.len() + 1) as f64, 0.0)
}

/// Temperature at which [`kept`] compares.
pub(super) const KEPT_TEMPERATURE: f64 = 0.1;

/// How far texts' nearness to each other is from what it was, as in SEED (Fang et al. 2021): for each row the
/// Kullback–Leibler divergence of its softmax over the other rows from that of `before`; a scalar, the mean.
///
/// `now` and `before`: `[n, d]`, rows of length 1.
///
/// # Errors
/// When shapes do not fit together.
pub(super) fn kept(now: &Tensor, before: &Tensor) -> Result<Tensor> {
    let itself = Tensor::eye(now.dim(0)?, now.dtype(), now.device())?.affine(f64::from(MASKED), 0.0)?;
    let of =
        |x: &Tensor| log_softmax(&x.matmul(&x.t()?)?.affine(1.0 / KEPT_TEMPERATURE, 0.0)?.add(&itself)?, D::Minus1);
    let (now, before) = (of(now)?, of(before)?);
    // A text's nearness to itself has no share: exp(−1e9) is 0, and so is the product.
    before.exp()?.mul(&(before - now)?)?.sum(1)?.mean_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    /// Gradients in f64 against central differences, through the scaling to length 1.
    #[test]
    fn gradients_agree_with_differences() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut values = |n: usize| -> Vec<f64> { (0..n).map(|_| random.f64() * 2.0 - 1.0).collect() };
        let (n, d, device) = (5, 6, Device::Cpu);
        let weights = Tensor::from_vec(values(n).iter().map(|w| w.abs() + 0.1).collect(), n, &device).unwrap();
        let mut mask = vec![0.0; n * n];
        (mask[1], mask[8]) = (f64::from(MASKED), f64::from(MASKED));
        let mask = Tensor::from_vec(mask, (n, n), &device).unwrap();
        let start = [values(n * d), values(n * d), vec![1.3]];
        let shapes = [vec![n, d], vec![n, d], vec![]];
        let loss = |x: &[Tensor]| {
            let (left, right) = (unit(&x[0]).unwrap(), unit(&x[1]).unwrap());
            nested((&left, &right), &weights, &mask, &x[2], &[3]).unwrap()
        };
        let vars: Vec<Var> = (0..3)
            .map(|i| {
                Var::from_tensor(&Tensor::from_vec(start[i].clone(), shapes[i].clone(), &device).unwrap()).unwrap()
            })
            .collect();
        let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let grads = loss(&tensors).backward().unwrap();
        for (i, var) in vars.iter().enumerate() {
            let grad: Vec<f64> = grads.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for (k, expected) in grad.iter().enumerate() {
                let at = |step: f64| {
                    let mut moved = start[i].clone();
                    moved[k] += step;
                    let mut x = tensors.clone();
                    x[i] = Tensor::from_vec(moved, shapes[i].clone(), &device).unwrap();
                    loss(&x).to_scalar::<f64>().unwrap()
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!(
                    (difference - expected).abs() < 1e-7 * (1.0 + expected.abs()),
                    "{i} {k}: {difference} {expected}"
                );
            }
        }
    }

    #[test]
    fn nearness_that_is_kept_costs_nothing_and_its_gradient_agrees_with_differences() {
        let mut random = fastrand::Rng::with_seed(8);
        let (n, d, device) = (4, 5, Device::Cpu);
        let mut some = || -> Vec<f64> { (0..n * d).map(|_| random.f64() * 2.0 - 1.0).collect() };
        let tensor = |values: Vec<f64>| Tensor::from_vec(values, (n, d), &device).unwrap();
        let (now, before) = (some(), unit(&tensor(some())).unwrap());
        let loss =
            |values: Vec<f64>| kept(&unit(&tensor(values)).unwrap(), &before).unwrap().to_scalar::<f64>().unwrap();
        assert!(kept(&before, &before).unwrap().to_scalar::<f64>().unwrap().abs() < 1e-12);
        let var = Var::from_tensor(&tensor(now.clone())).unwrap();
        let value = kept(&unit(var.as_tensor()).unwrap(), &before).unwrap();
        assert!(value.to_scalar::<f64>().unwrap() > 0.0);
        let grad: Vec<f64> = value.backward().unwrap().get(&var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (k, expected) in grad.iter().enumerate() {
            let at =
                |step: f64| loss(now.iter().enumerate().map(|(i, v)| if i == k { v + step } else { *v }).collect());
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((difference - expected).abs() < 1e-7 * (1.0 + expected.abs()), "{k}: {difference} {expected}");
        }
    }

    #[test]
    fn a_masked_pair_is_no_negative() {
        let device = Device::Cpu;
        let x = Tensor::new(&[[1f32, 0.0], [1.0, 0.0]], &device).unwrap();
        let (weights, scale) = (Tensor::ones(2, DType::F32, &device).unwrap(), Tensor::new(0f32, &device).unwrap());
        let of = |mask: f32| {
            let mask = Tensor::new(&[[0f32, mask], [mask, 0.0]], &device).unwrap();
            info_nce(&x, &x, &weights, &mask, &scale).unwrap().to_scalar::<f32>().unwrap()
        };
        assert!((of(0.0) - 2f32.ln()).abs() < 1e-6, "two equal candidates");
        assert!(of(MASKED).abs() < 1e-6, "no other candidate");
    }
}
