//! Matrix products of activations with packed weights: `act(x · Wᵀ + b)`.
//!
//! Weights are packed once, at load, into panels of as many outputs as a tile has columns, word by word along the inner
//! dimension, so that the innermost loop reads them in order. A tile's accumulators fill the registers; the inner
//! dimension is never split, so that a row's result does not depend on the rows beside it, to the bit.

use std::mem::MaybeUninit;

use super::format::{Float, Format, Precision};
use super::simd::Simd;
use super::{Aligned, Isa, Kernel, math, rows};

/// Rows of activations that are prepared and multiplied together: what they become stays in the second-level cache.
const BLOCK_ROWS: usize = 96;
/// Vectors of a tile's row.
const VECTORS: usize = 2;
/// Words of a cache line.
const LINE_WORDS: usize = 16;
/// Floats of the largest tile.
const LARGEST_TILE: usize = 12 * VECTORS * 16;

/// What is done to each output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// `x · Φ(x)`, exact.
    Gelu,
    /// The tanh approximation of it.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// How the words of a packed matrix are made and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    /// Floats rounded to bfloat16: for CPUs without instructions for them.
    RoundedFloat,
    /// Two bfloat16 a word.
    #[cfg(target_arch = "x86_64")]
    Bf16,
    /// Four 8-bit integers a word.
    Int8,
    /// Two 8-bit integers a word, each in 16 bits: for AVX2, which can multiply no 8-bit integers without loss.
    WideInt8,
}

/// The weights and biases of a linear layer, ready to be multiplied with.
#[derive(Debug)]
pub(crate) struct PackedMatrix {
    isa: Isa,
    kind: Kind,
    outputs: usize,
    inputs: usize,
    /// Words along the inner dimension.
    depth: usize,
    /// Outputs of a panel.
    width: usize,
    /// `[panel][depth][width]`.
    words: Aligned,
    bias: Vec<f32>,
    /// 8-bit integers only: the value of one unit of a weight, for each output.
    scales: Vec<f32>,
    /// 8-bit integers only: the sum of an output's weights, in units.
    sums: Vec<f32>,
}

/// Activations of one block in the form that a matrix wants; memory that is used again for every block.
#[derive(Debug, Default)]
pub(crate) struct Operand {
    words: Aligned,
    /// 8-bit integers only: the value of one unit, and which integer is 0.0, for each row.
    scales: Vec<f32>,
    zeros: Vec<f32>,
}

impl PackedMatrix {
    /// Packs the weights `[outputs, inputs]`, row-major, and `outputs` biases.
    ///
    /// # Panics
    /// When a slice has another length: a defect of the caller.
    pub(crate) fn new(isa: Isa, precision: Precision, weights: &[f32], bias: &[f32], inputs: usize) -> Self {
        let outputs = bias.len();
        assert_eq!(weights.len(), outputs * inputs, "weights and biases do not fit together");
        let kind = match (precision, isa) {
            (Precision::F32, _) => Kind::Float,
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, Isa::Avx512 { bf16: true, .. }) => Kind::Bf16,
            (Precision::Bf16, _) => Kind::RoundedFloat,
            (Precision::Int8, Isa::Avx2 { vnni: false } | Isa::Avx512 { vnni: false, .. }) => Kind::WideInt8,
            (Precision::Int8, _) => Kind::Int8,
        };
        let isa = if kind == Kind::WideInt8 { Isa::Avx2 { vnni: false } } else { isa };
        let width = VECTORS * isa.lanes();
        let numbers = kind.numbers();
        let depth = inputs.div_ceil(numbers);
        let mut packed = Self {
            isa,
            kind,
            outputs,
            inputs,
            depth,
            width,
            words: Aligned::zeroed(outputs.div_ceil(width) * depth * width),
            bias: bias.to_vec(),
            scales: Vec::new(),
            sums: Vec::new(),
        };
        for (output, row) in weights.chunks_exact(inputs.max(1)).enumerate() {
            let units = packed.units(row);
            let first = output / width * depth * width + output % width;
            let words = packed.words.words_mut();
            for (word, numbers) in units.chunks(numbers).enumerate() {
                words[first + word * width] = kind.word(numbers);
            }
        }
        packed
    }

    /// A row of weights in units of its scale (8-bit integers), else as it is.
    fn units(&mut self, row: &[f32]) -> Vec<f32> {
        if !self.kind.is_integer() {
            return row.to_vec();
        }
        let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
        let scale = if largest > 0.0 { largest / rows::LARGEST_WEIGHT } else { 1.0 };
        let units: Vec<f32> = row.iter().map(|w| (w / scale).round_ties_even()).collect();
        self.scales.push(scale);
        self.sums.push(units.iter().sum());
        units
    }

    /// `out = act(x · Wᵀ + b)`: `x` is `[rows, inputs]`, `out` is `[rows, outputs]`, both row-major.
    ///
    /// # Panics
    /// When a slice has another length: a defect of the caller.
    pub(crate) fn apply(&self, x: &[f32], operand: &mut Operand, activation: Activation, out: &mut [f32]) {
        let rows = x.len() / self.inputs;
        assert!(x.len() == rows * self.inputs && out.len() == rows * self.outputs, "slices do not fit together");
        let blocks = x.chunks(BLOCK_ROWS * self.inputs).zip(out.chunks_mut(BLOCK_ROWS * self.outputs));
        for (x, out) in blocks {
            let rows = x.len() / self.inputs;
            operand.prepare(self, x, rows);
            let words = if self.kind == Kind::Float { x.as_ptr().cast() } else { operand.words.words().as_ptr() };
            let multiply = Multiply { matrix: self, words, rows, operand, activation, out: out.as_mut_ptr() };
            match (self.kind, self.isa) {
                (Kind::Float | Kind::RoundedFloat, isa) => isa.run(multiply),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the instruction set was detected, and this kind chosen for it.
                (Kind::Bf16, _) => unsafe { super::avx512::run_bf16::<super::avx512::Pairs, _>(multiply) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                (Kind::Int8, Isa::Avx512 { .. }) => unsafe { super::avx512::run_vnni::<super::avx512::Quads, _>(multiply) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                (Kind::Int8, Isa::Avx2 { vnni: true }) => unsafe { super::avx2::run_vnni::<super::avx2::Quads, _>(multiply) },
                #[cfg(not(target_arch = "x86_64"))]
                (Kind::WideInt8, _) => {}
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                (Kind::WideInt8, _) => unsafe { super::avx2::run_as::<super::avx2::Halves, _>(multiply) },
                #[cfg(test)]
                (Kind::Int8, Isa::Wide) => {
                    KernelOf::<super::portable::Quads>::run(multiply, super::portable::Portable::<16>);
                }
                (Kind::Int8, _) => {
                    KernelOf::<super::portable::Quads>::run(multiply, super::portable::Portable::<8>);
                }
            }
        }
    }
}

impl Kind {
    /// Numbers of a word.
    fn numbers(self) -> usize {
        match self {
            Self::Float | Self::RoundedFloat => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => 2,
            Self::Int8 => 4,
            Self::WideInt8 => 2,
        }
    }

    fn is_integer(self) -> bool {
        matches!(self, Self::Int8 | Self::WideInt8)
    }

    /// A word of weights.
    fn word(self, numbers: &[f32]) -> u32 {
        match self {
            Self::Float => numbers[0].to_bits(),
            Self::RoundedFloat => half::bf16::from_f32(numbers[0]).to_f32().to_bits(),
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => {
                let bits = |i: usize| u32::from(half::bf16::from_f32(numbers.get(i).copied().unwrap_or(0.0)).to_bits());
                bits(0) | bits(1) << 16
            }
            Self::Int8 => {
                let byte = |i: usize| numbers.get(i).map_or(0, |n| *n as i8) as u8;
                u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
            }
            Self::WideInt8 => {
                let half = |i: usize| u32::from(numbers.get(i).map_or(0, |n| *n as i16) as u16);
                half(0) | half(1) << 16
            }
        }
    }
}

impl Operand {
    fn prepare(&mut self, matrix: &PackedMatrix, x: &[f32], rows: usize) {
        if matrix.kind == Kind::Float {
            return;
        }
        self.words.reserve(rows * matrix.depth);
        let words = self.words.words_mut();
        match matrix.kind {
            Kind::Float => {}
            Kind::RoundedFloat => matrix.isa.run(rows::RoundBf16 { x, out: words }),
            #[cfg(target_arch = "x86_64")]
            Kind::Bf16 => {
                for (x, words) in x.chunks_exact(matrix.inputs).zip(words.chunks_exact_mut(matrix.depth)) {
                    // SAFETY: the instruction set was detected, and this kind chosen for it.
                    unsafe { super::avx512::to_pairs(x, words) };
                }
            }
            Kind::Int8 | Kind::WideInt8 => {
                self.scales.resize(rows, 0.0);
                self.zeros.resize(rows, 0.0);
                matrix.isa.run(rows::Quantize {
                    x,
                    inputs: matrix.inputs,
                    depth: matrix.depth,
                    wide: matrix.kind == Kind::WideInt8,
                    words,
                    scales: &mut self.scales,
                    zeros: &mut self.zeros,
                });
            }
        }
    }
}

/// As [`Kernel`], for instruction sets that can multiply words of a format.
pub(super) trait KernelOf<F> {
    /// What it returns.
    type Output;
    /// The arithmetic; `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output
    where
        F: Format<S>;
}

/// The product of one block.
struct Multiply<'a> {
    matrix: &'a PackedMatrix,
    /// `[rows, depth]`: of the operand, or the floats themselves.
    words: *const u32,
    rows: usize,
    operand: &'a Operand,
    activation: Activation,
    /// `[rows, outputs]`, the block's alone.
    out: *mut f32,
}

impl Kernel for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        KernelOf::<Float>::run(self, simd);
    }
}

impl<F> KernelOf<F> for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S)
    where
        F: Format<S>,
    {
        let m = self.matrix;
        debug_assert_eq!(m.width, VECTORS * S::LANES);
        let weights = m.words.words();
        let words = m.depth * m.width;
        // Weights come from memory: while a panel is multiplied, the next one is fetched, some lines a tile.
        let share = words.div_ceil(self.rows.div_ceil(S::TILE_ROWS));
        for panel in 0..m.outputs.div_ceil(m.width) {
            let b = weights[panel * words..][..words].as_ptr();
            let mut next = b.wrapping_add(words);
            let mut row = 0;
            while row < self.rows {
                let left = self.rows - row;
                for line in (0..share).step_by(LINE_WORDS) {
                    s.prefetch(next.wrapping_add(line));
                }
                next = next.wrapping_add(share.next_multiple_of(LINE_WORDS));
                // SAFETY: `words` has `rows · depth` words, of which the tile's rows are left from `row`; `b` has a
                // panel's words.
                let rows = unsafe {
                    let a = self.words.add(row * m.depth);
                    let mut tile = Tile(MaybeUninit::uninit());
                    let rows = match S::TILE_ROWS.min(left) {
                        12.. => product::<S, F, 12>(s, a, b, m.depth, &mut tile),
                        8..12 => product::<S, F, 8>(s, a, b, m.depth, &mut tile),
                        6 | 7 => product::<S, F, 6>(s, a, b, m.depth, &mut tile),
                        4 | 5 => product::<S, F, 4>(s, a, b, m.depth, &mut tile),
                        2 | 3 => product::<S, F, 2>(s, a, b, m.depth, &mut tile),
                        _ => product::<S, F, 1>(s, a, b, m.depth, &mut tile),
                    };
                    self.finish(s, &tile, row, rows, panel * m.width);
                    rows
                };
                row += rows;
            }
        }
    }
}

#[repr(align(64))]
struct Tile(MaybeUninit<[f32; LARGEST_TILE]>);

/// Sums of products of `ROWS` rows of activations with a panel: `ROWS × VECTORS` vectors.
///
/// # Safety
/// `a` has `ROWS · depth` words, `b` has `depth · VECTORS` vectors.
#[inline(always)]
unsafe fn product<S: Simd, F: Format<S>, const ROWS: usize>(
    s: S,
    a: *const u32,
    b: *const u32,
    depth: usize,
    tile: &mut Tile,
) -> usize {
    let mut sums = [[F::zero(s); VECTORS]; ROWS];
    for k in 0..depth {
        // SAFETY: k < depth, and the rest is the caller's.
        unsafe {
            let b0 = s.load_words(b.add(k * VECTORS * S::LANES));
            let b1 = s.load_words(b.add((k * VECTORS + 1) * S::LANES));
            for (row, sums) in sums.iter_mut().enumerate() {
                let word = s.splat_word(*a.add(row * depth + k));
                sums[0] = F::step(s, sums[0], word, b0);
                sums[1] = F::step(s, sums[1], word, b1);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: the tile has room for the largest ROWS and LANES.
            unsafe { s.store(tile.0.as_mut_ptr().cast::<f32>().add((row * VECTORS + v) * S::LANES), F::floats(s, *sum)) };
        }
    }
    ROWS
}

impl Multiply<'_> {
    /// Scales, adds the bias, activates and writes a tile.
    ///
    /// # Safety
    /// `row + rows` is at most the number of rows, and the tile holds as many.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, s: S, tile: &Tile, row: usize, rows: usize, column: usize) {
        let m = self.matrix;
        for v in 0..VECTORS {
            let column = column + v * S::LANES;
            if column >= m.outputs {
                break;
            }
            let columns = S::LANES.min(m.outputs - column);
            let part = |all: &[f32]| {
                // SAFETY: `all` has one value an output, so `columns` from `column` on.
                unsafe {
                    let p = all.as_ptr().add(column);
                    if columns == S::LANES { s.load(p) } else { s.load_part(p, columns) }
                }
            };
            let bias = part(&m.bias);
            let (unit, total) = if m.kind.is_integer() { (part(&m.scales), part(&m.sums)) } else { (bias, bias) };
            for r in 0..rows {
                // SAFETY: as the caller promises.
                unsafe {
                    let sum = s.load(tile.0.as_ptr().cast::<f32>().add((r * VECTORS + v) * S::LANES));
                    let y = if m.kind.is_integer() {
                        let (scale, zero) = (self.operand.scales[row + r], self.operand.zeros[row + r]);
                        let exact = s.fma(total, s.splat(-zero), sum);
                        s.fma(exact, s.mul(unit, s.splat(scale)), bias)
                    } else {
                        s.add(sum, bias)
                    };
                    let y = match self.activation {
                        Activation::None => y,
                        Activation::Gelu => math::gelu(s, y),
                        Activation::GeluTanh => math::gelu_tanh(s, y),
                        Activation::Relu => s.max(y, s.splat(0.0)),
                    };
                    let p = self.out.add((row + r) * m.outputs + column);
                    if columns == S::LANES { s.store(p, y) } else { s.store_part(p, columns, y) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(seed);
        // Now and then a large one, as activations have.
        (0..n).map(|_| (rng.f32() - 0.5) * if rng.u8(..) < 8 { 20.0 } else { 2.0 }).collect()
    }

    /// How far a sum of products may be from the exact one: for each product, what rounding both factors can change.
    fn bound(precision: Precision, x: &[f32], w: &[f32]) -> f64 {
        let range = |v: &[f32]| {
            let (least, most) = v.iter().fold((0f32, 0f32), |(l, m), v| (l.min(*v), m.max(*v)));
            f64::from(most - least)
        };
        let (unit_x, unit_w) = match precision {
            // The zero is rounded too, which may cut half a unit off an end.
            Precision::Int8 => (range(x) / 255.0, f64::from(w.iter().fold(0f32, |m, w| m.max(w.abs()))) / 127.0),
            _ => (0.0, 0.0),
        };
        x.iter()
            .zip(w)
            .map(|(x, w)| {
                let (x, w) = (f64::from(x.abs()), f64::from(w.abs()));
                let (dx, dw) = match precision {
                    Precision::F32 => (0.0, 0.0),
                    Precision::Bf16 => (x / 256.0, w / 256.0),
                    Precision::Int8 => (unit_x, unit_w * 0.51),
                };
                dx * w + dw * x + dx * dw + x * w * 1e-5
            })
            .sum::<f64>()
            + 1e-5
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn agrees_with_f64_and_a_row_does_not_depend_on_the_others(
            rows in 1usize..120, inputs in 1usize..70, outputs in 1usize..80, seed in any::<u64>()
        ) {
            let (x, w, bias) = (random(rows * inputs, seed), random(outputs * inputs, seed ^ 1), random(outputs, seed ^ 2));
            for isa in Isa::all() {
                for precision in Precision::ALL {
                    let matrix = PackedMatrix::new(isa, precision, &w, &bias, inputs);
                    let mut operand = Operand::default();
                    let mut out = vec![f32::NAN; rows * outputs];
                    matrix.apply(&x, &mut operand, Activation::None, &mut out);
                    for r in 0..rows {
                        let x = &x[r * inputs..(r + 1) * inputs];
                        let mut alone = vec![f32::NAN; outputs];
                        matrix.apply(x, &mut operand, Activation::None, &mut alone);
                        prop_assert_eq!(&alone, &out[r * outputs..(r + 1) * outputs]);
                        for o in 0..outputs {
                            let w = &w[o * inputs..(o + 1) * inputs];
                            let exact: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>()
                                + f64::from(bias[o]);
                            let difference = (f64::from(alone[o]) - exact).abs();
                            let bound = bound(precision, x, w);
                            prop_assert!(difference <= bound, "{:?} {}: {} > {}", isa, precision, difference, bound);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn activations_are_applied() {
        let matrix = PackedMatrix::new(Isa::detect(), Precision::F32, &[1.0], &[0.5], 1);
        let of = |activation| {
            let mut out = [0.0];
            matrix.apply(&[-1.5], &mut Operand::default(), activation, &mut out);
            out[0]
        };
        assert_eq!(of(Activation::None), -1.0);
        assert_eq!(of(Activation::Relu), 0.0);
        assert!((of(Activation::Gelu) + 0.158_655).abs() < 1e-5);
        assert!((of(Activation::GeluTanh) + 0.158_808).abs() < 1e-5);
    }
}
