//! What the registers of this CPU can do: the ceiling that the encoder's speed is told against.

use std::hint::black_box;
use std::time::Instant;

use super::format::{Float, Format, Precision};
use super::gemm::KernelOf;
use super::simd::Simd;
use super::{Isa, Kernel};

/// Accumulators that do not wait for each other: enough to hide the latency of any CPU met so far.
const ROWS: usize = 6;
const COLUMNS: usize = 2;
const STEPS: usize = 20_000;

/// Additions and multiplications a second, in 10⁹, that one core does in registers with numbers of this precision: the
/// best of some tries on the calling thread.
pub(crate) fn peak_gops(isa: Isa, precision: Precision) -> f64 {
    let best = (0..30).map(|_| Steps.timed(isa, precision)).fold(0.0, f64::max);
    best / 1e9
}

/// As [`peak_gops`], of a linear layer: where floats are split to be multiplied, each of them counts as one.
pub(crate) fn layer_peak_gops(isa: Isa, precision: Precision) -> f64 {
    match (precision, isa) {
        #[cfg(target_arch = "x86_64")]
        (Precision::F32, Isa::Avx512 { amx: true, .. }) => {
            peak_gops(isa, Precision::Bf16) / super::split::PRODUCTS as f64
        }
        _ => peak_gops(isa, precision),
    }
}

#[derive(Clone, Copy)]
struct Steps;

impl Steps {
    /// Operations a second.
    fn timed(self, isa: Isa, precision: Precision) -> f64 {
        let started = Instant::now();
        let numbers = match (precision, isa) {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            // SAFETY: AMX was detected.
            (Precision::Bf16 | Precision::Int8, Isa::Avx512 { amx: true, .. }) => unsafe {
                let integers = precision == Precision::Int8;
                let tiles = super::amx::Tiles::configure();
                super::amx::products(&tiles, integers, STEPS);
                let products = 4 * super::amx::SIDE.pow(3) * if integers { 4 } else { 2 };
                return (2 * products * STEPS) as f64 / started.elapsed().as_secs_f64();
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the instruction sets were detected.
            (Precision::Bf16, Isa::Avx512 { bf16: true, .. }) => unsafe {
                super::avx512::run_bf16::<super::avx512::Pairs, _>(self)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            (Precision::Int8, Isa::Avx512 { vnni: true, .. }) => unsafe {
                super::avx512::run_vnni::<super::avx512::Quads, _>(self)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            (Precision::Int8, Isa::Avx2 { vnni: true }) => unsafe {
                super::avx2::run_vnni::<super::avx2::Quads, _>(self)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            (Precision::Int8, Isa::Avx2 { .. } | Isa::Avx512 { .. }) => unsafe {
                super::avx2::run_as::<super::avx2::Quads, _>(self)
            },
            (Precision::Int8, _) => KernelOf::<super::portable::Quads>::run(self, super::portable::Portable::<8>),
            (Precision::F32 | Precision::Bf16, isa) => isa.run(self),
        };
        (2 * numbers * ROWS * COLUMNS * STEPS) as f64 / started.elapsed().as_secs_f64()
    }
}

impl Kernel for Steps {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        KernelOf::<Float>::run(self, s)
    }
}

impl<F> KernelOf<F> for Steps {
    type Output = usize;
    /// Numbers that one step multiplies.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize
    where
        F: Format<S>,
    {
        // Read anew in every step, as a product's tile does: else the compiler multiplies once and adds.
        let a = black_box([s.splat_word(0x3f01_3f01); ROWS]);
        let b = black_box([s.splat_word(0x3e00_3e00); COLUMNS]);
        let mut sums = [[F::zero(s); COLUMNS]; ROWS];
        for _ in 0..STEPS {
            // SAFETY: both are live arrays.
            let b = unsafe { [(&raw const b[0]).read_volatile(), (&raw const b[1]).read_volatile()] };
            for (sums, a) in sums.iter_mut().zip(&a) {
                // SAFETY: as above.
                let a = unsafe { (&raw const *a).read_volatile() };
                sums[0] = F::step(s, sums[0], a, b[0]);
                sums[1] = F::step(s, sums[1], a, b[1]);
            }
        }
        let mut total = s.splat(0.0);
        for sum in sums.into_iter().flatten() {
            total = s.add(total, F::floats(s, sum));
        }
        black_box(s.sum(total));
        S::LANES * F::NUMBERS
    }
}
