//! Elementary functions on vectors.

use super::simd::Simd;

/// `exp(x)`, relative error below 1e-6; 0 and infinity are beyond its ends, -87 and 88.
///
/// 2^n · 2^f with a polynomial for 2^f. Rounding is by a magic number: the sum's low bits are n, ready to be added to
/// the exponent.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23
    let y = s.mul(x, s.splat(std::f32::consts::LOG2_E));
    let y = s.min(s.max(y, s.splat(-126.0)), s.splat(126.9));
    let shifted = s.add(y, s.splat(MAGIC));
    let f = s.sub(y, s.sub(shifted, s.splat(MAGIC)));
    let mut p = s.splat(0.000_154_04);
    for c in [0.001_333_36, 0.009_618_13, 0.055_504_11, 0.240_226_5, std::f32::consts::LN_2, 1.0] {
        p = s.fma(p, f, s.splat(c));
    }
    s.as_floats(s.add_int(s.as_words(p), s.to_exponent(s.as_words(shifted))))
}

/// `x · Φ(x)` with the exact (erf) Φ; absolute error below 2e-6.
///
/// `Φ(x) − ½ = x · P(x²)` by a Chebyshev fit of degree 12 for |x| ≤ 5, beyond which Φ is 0 or 1 to 3e-7. No division and
/// no exponential: it runs on every output of a layer's wide half. Several vectors at once load each coefficient once and
/// do not wait for each other.
#[inline(always)]
pub(super) fn gelu<S: Simd, const N: usize>(s: S, x: [S::F; N]) -> [S::F; N] {
    const P: [f32; 13] = [
        0.000_470_802_16,
        -0.001_492_439_3,
        0.002_052_432,
        -0.002_965_035_1,
        0.006_124_160_3,
        -0.010_933_168,
        0.016_512_12,
        -0.023_350_643,
        0.031_424_2,
        -0.040_431_034,
        0.051_521_502,
        -0.070_296_73,
        0.141_363_78,
    ];
    gelu_by(s, x, 5.0, &P)
}

/// The same with an absolute error below 5e-5, by a fit of degree 8 for |x| ≤ 4.5: for outputs that are rounded to bfloat16 next.
#[inline(always)]
pub(super) fn gelu_coarse<S: Simd, const N: usize>(s: S, x: [S::F; N]) -> [S::F; N] {
    const P: [f32; 9] = [
        0.003_171_499_5,
        -0.009_154_081,
        0.012_448_034,
        -0.016_970_406,
        0.027_542_557,
        -0.040_475_822,
        0.054_826_303,
        -0.077_178_55,
        0.156_902_08,
    ];
    gelu_by(s, x, 4.5, &P)
}

/// `factors` are those of the powers of `2 x² / end² − 1`, the highest first.
#[inline(always)]
fn gelu_by<S: Simd, const N: usize>(s: S, mut x: [S::F; N], end: f32, factors: &[f32]) -> [S::F; N] {
    let (mut u, mut p) = (x, [s.splat(factors[0]); N]);
    for (x, u) in x.iter_mut().zip(&mut u) {
        // Far below, x itself would make much of what is left of Φ.
        *x = s.max(*x, s.splat(-end));
        let near = s.min(*x, s.splat(end));
        *u = s.fma(s.mul(near, near), s.splat(2.0 / (end * end)), s.splat(-1.0));
    }
    for c in &factors[1..] {
        let c = s.splat(*c);
        for (p, u) in p.iter_mut().zip(&u) {
            *p = s.fma(*p, *u, c);
        }
    }
    for (x, p) in x.iter_mut().zip(&p) {
        *x = s.mul(*x, s.fma(s.min(*x, s.splat(end)), *p, s.splat(0.5)));
    }
    x
}

/// Φ(x), the normal distribution's cumulative function; absolute error below 2e-6.
///
/// By Abramowitz and Stegun 7.1.26 for erf, which is exact enough for a gradient.
#[inline(always)]
pub(super) fn normal_cdf<S: Simd>(s: S, x: S::F) -> S::F {
    let z = s.mul(s.copysign(x, s.splat(1.0)), s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = s.div(s.splat(1.0), s.fma(z, s.splat(0.327_591_1), s.splat(1.0)));
    let mut p = s.splat(1.061_405_4);
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = s.fma(p, t, s.splat(c));
    }
    let tail = s.mul(s.mul(p, t), exp(s, s.mul(s.mul(z, z), s.splat(-1.0))));
    let half_erf = s.mul(s.sub(s.splat(1.0), tail), s.splat(0.5));
    s.add(s.copysign(half_erf, x), s.splat(0.5))
}

/// GELU by the tanh approximation: `x · σ(2 · √(2/π) · (x + 0.044715 x³))`.
#[inline(always)]
pub(super) fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let cubic = s.fma(s.mul(x, x), s.splat(0.044_715), s.splat(1.0));
    let u = s.mul(s.mul(x, cubic), s.splat(-2.0 * 0.797_884_6));
    s.div(x, s.add(exp(s, u), s.splat(1.0)))
}

#[cfg(test)]
mod tests {
    use super::super::{Isa, Kernel};
    use super::*;

    enum Function {
        Exp,
        Gelu,
        GeluCoarse,
        GeluTanh,
        NormalCdf,
    }

    struct Apply<'a>(&'a Function, &'a mut [f32]);

    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for chunk in self.1.chunks_exact_mut(S::LANES) {
                // SAFETY: a chunk has as many floats as a vector.
                unsafe {
                    let x = s.load(chunk.as_ptr());
                    let y = match self.0 {
                        Function::Exp => exp(s, x),
                        Function::Gelu => gelu(s, [x])[0],
                        Function::GeluCoarse => gelu_coarse(s, [x])[0],
                        Function::GeluTanh => gelu_tanh(s, x),
                        Function::NormalCdf => normal_cdf(s, x),
                    };
                    s.store(chunk.as_mut_ptr(), y);
                }
            }
        }
    }

    /// erf in f64 by its Taylor series, exact to 1e-12 for |x| ≤ 4.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    fn worst(function: Function, reference: impl Fn(f64) -> f64, error: impl Fn(f64, f64) -> f64) {
        let inputs: Vec<f32> = (0..8000).map(|i| (i - 4000) as f32 / 720.0).collect();
        for isa in Isa::all() {
            let mut values = inputs.clone();
            isa.run(Apply(&function, &mut values));
            let worst = inputs.iter().zip(&values).map(|(x, y)| error(f64::from(*y), reference(f64::from(*x))));
            let worst = worst.fold(0.0, f64::max);
            assert!(worst < 2e-6, "{isa:?}: {worst:e}");
        }
    }

    #[test]
    fn exp_agrees_with_f64() {
        worst(Function::Exp, f64::exp, |y, e| (y - e).abs() / e);
    }

    #[test]
    fn gelu_agrees_with_f64() {
        let gelu = |x: f64| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()));
        worst(Function::GeluCoarse, gelu, |y, e| (y - e).abs() / 25.0);
        worst(Function::Gelu, gelu, |y, e| (y - e).abs());
        let tanh =
            |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh());
        worst(Function::GeluTanh, tanh, |y, e| (y - e).abs());
        worst(Function::NormalCdf, |x| 0.5 * (1.0 + erf(x / 2f64.sqrt())), |y, e| (y - e).abs());
    }

    #[test]
    fn the_ends_are_finite() {
        for isa in Isa::all() {
            let mut x = [-1e30f32; 16];
            isa.run(Apply(&Function::Gelu, &mut x));
            assert!(x.iter().all(|x| x.abs() < 2e-6), "{isa:?}: {x:?}");
            let mut x = [-1e9f32; 16];
            isa.run(Apply(&Function::Exp, &mut x));
            assert!(x.iter().all(|x| (0.0..1e-37).contains(x)), "{isa:?}: {x:?}");
        }
    }
}
