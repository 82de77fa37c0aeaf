//! Linear layers: weights packed once, at load, and applied to rows of activations, `act(x · Wᵀ + b)`.

use std::ops::Range;

use super::format::Precision;
use super::gemm::{Activate, Epilogue, KernelOf, Multiply, VECTORS};
use super::operand::Operand;
#[cfg(target_arch = "x86_64")]
use super::split;
use super::{Aligned, Isa, rows};

/// Rows of activations that are prepared and multiplied together: what they become stays in the second-level cache.
const BLOCK_ROWS: usize = 252;

/// Rows of an AMX block, and words of its depth at a time.
pub(super) const TILE_ROWS: usize = 32;
pub(super) const TILE_WORDS: usize = 16;

/// Bytes of the largest vector of bytes.
const LARGEST_VECTOR: usize = 16;

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
pub(super) enum Kind {
    Float,
    /// Floats rounded to bfloat16: for CPUs without instructions for them.
    RoundedFloat,
    /// Two bfloat16 a word.
    #[cfg(target_arch = "x86_64")]
    Bf16,
    /// Floats as sums of three bfloat16 ([`split`]), which AMX multiplies as exactly as floats, and sooner than there are
    /// products of floats.
    #[cfg(target_arch = "x86_64")]
    Split,
    /// Four 8-bit integers a word.
    Int8,
}

/// The weights and biases of a linear layer, ready to be multiplied with.
#[derive(Debug)]
pub(crate) struct PackedMatrix {
    pub(super) isa: Isa,
    pub(super) kind: Kind,
    /// Whether AMX multiplies: the depth is a multiple of [`TILE_WORDS`], and so are the rows that operands have room for.
    tiles: bool,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Words along the inner dimension.
    pub(super) depth: usize,
    /// Outputs of a panel.
    pub(super) width: usize,
    /// `[panel][depth][width]`.
    pub(super) words: Aligned,
    pub(super) bias: Vec<f32>,
    /// 8-bit integers only: the value of one unit of a weight, for each output.
    pub(super) scales: Vec<f32>,
    /// 8-bit integers only: the sum of an output's weights, in units.
    pub(super) sums: Vec<f32>,
    /// 8-bit integers only: the weights again in bfloat16, for activations that stand out: a weight's rounding to 8 bits
    /// would be as much larger. Input by input, `[inputs, outputs]` and room for a tile's row behind.
    pub(super) columns: Vec<u16>,
}

impl PackedMatrix {
    /// Whether words hold integers, whose sums are to be scaled.
    pub(super) fn is_integer(&self) -> bool {
        self.kind == Kind::Int8
    }

    /// Whether activations are bfloat16, which keep 8 bits. Integers keep no more, but the least change makes others of some,
    /// and the worst of many vectors is where it matters.
    pub(super) fn is_bf16(&self) -> bool {
        match self.kind {
            Kind::RoundedFloat => true,
            #[cfg(target_arch = "x86_64")]
            Kind::Bf16 => true,
            _ => false,
        }
    }

    /// Packs the weights `[outputs, inputs]`, row-major, and `outputs` biases.
    ///
    /// # Panics
    /// When a slice has another length: a defect of the caller.
    pub(crate) fn new(isa: Isa, precision: Precision, weights: &[f32], bias: &[f32], inputs: usize) -> Self {
        let outputs = bias.len();
        assert_eq!(weights.len(), outputs * inputs, "weights and biases do not fit together");
        let kind = Kind::of(isa, precision);
        let mut packed = Self::empty(isa, kind, outputs, inputs);
        packed.bias = bias.to_vec();
        if kind == Kind::Int8 {
            packed.columns = vec![0; inputs * outputs + VECTORS * LARGEST_VECTOR];
        }
        for (output, row) in weights.chunks_exact(inputs.max(1)).enumerate() {
            if kind == Kind::Int8 {
                let column = packed.columns[output..].iter_mut().step_by(outputs);
                column.zip(row).for_each(|(weight, exact)| *weight = half::bf16::from_f32(*exact).to_bits());
            }
            let units = packed.units(row);
            packed.set(output, &units);
        }
        packed
    }

    /// Rows to be compared with others, `[rows, inputs]`, in the precision nearest to the one asked for that this CPU
    /// gains from; and the length of what rounding took from them, at most: of any row, `|row − packed row|`.
    pub(crate) fn of_rows(isa: Isa, precision: Precision, rows: &[f32], inputs: usize) -> (Self, f32) {
        let kind = match (precision, isa) {
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, _) if isa.gains_from_bf16() => Kind::Bf16,
            (Precision::F32 | Precision::Bf16, _) => Kind::Float,
            (Precision::Int8, _) => Kind::Int8,
        };
        let mut packed = Self::empty(isa, kind, rows.len() / inputs, inputs);
        let mut lost = 0f32;
        for (output, row) in rows.chunks_exact(inputs).enumerate() {
            let units = packed.units(row);
            packed.set(output, &units);
            let of_row = match kind {
                Kind::Int8 => rows::distance(row, &units, packed.scales[output]),
                #[cfg(target_arch = "x86_64")]
                Kind::Bf16 => isa.run(rows::LostInBf16(row)),
                _ => 0.0,
            };
            // A NaN has been lost whole, and is no neighbor of anything.
            lost = lost.max(of_row);
        }
        (packed, lost)
    }

    /// Packs the columns of a matrix `[rows, columns]`, row-major, as if they were rows: what `x · W` and `gradᵀ · x` of
    /// training multiply with. In 32-bit floats or bfloat16.
    ///
    /// # Panics
    /// When the slice has another length, or for 8-bit integers: a defect of the caller.
    pub(crate) fn of_columns(isa: Isa, precision: Precision, values: &[f32], columns: usize) -> Self {
        let rows = values.len() / columns.max(1);
        assert!(precision != Precision::Int8 && values.len() == rows * columns, "no columns of floats");
        let kind = Kind::of(isa, precision);
        let mut packed = Self::empty(isa, kind, columns, rows);
        packed.bias = vec![0.0; columns];
        let (width, depth) = (packed.width, packed.depth);
        for (panel, words) in packed.words.words_mut().chunks_exact_mut(depth * width).enumerate() {
            let first = panel * width;
            let here = width.min(columns - first);
            let row = |i: usize| values.get(i * columns + first..).and_then(|r| r.get(..here)).filter(|_| i < rows);
            for group in 0..rows.div_ceil(kind.numbers()) {
                for part in 0..kind.parts() {
                    let words = &mut words[kind.place(group, part) * width..][..width];
                    match kind {
                        #[cfg(target_arch = "x86_64")]
                        Kind::Bf16 => pair(words, row(2 * group), row(2 * group + 1), bf16_bits),
                        #[cfg(target_arch = "x86_64")]
                        Kind::Split => pair(words, row(2 * group), row(2 * group + 1), |v| split::part(v, part)),
                        _ => {
                            let rounded = |v: &f32| if kind == Kind::Float { v.to_bits() } else { bf16_bits(*v) << 16 };
                            let row = row(group).unwrap_or_default();
                            words.iter_mut().zip(row).for_each(|(word, v)| *word = rounded(v));
                        }
                    }
                }
            }
        }
        packed
    }

    fn empty(isa: Isa, kind: Kind, outputs: usize, inputs: usize) -> Self {
        // 8-bit integers without AVX512-VNNI are multiplied by AVX2.
        let isa = match (kind, isa) {
            (Kind::Int8, Isa::Avx512 { vnni: false, .. }) => Isa::Avx2 { vnni: false },
            _ => isa,
        };
        let width = VECTORS * isa.lanes();
        let numbers = kind.numbers();
        let mut depth = inputs.div_ceil(numbers);
        let tiles = numbers > 1 && matches!(isa, Isa::Avx512 { amx: true, .. });
        if tiles {
            depth = depth.next_multiple_of(TILE_WORDS) * kind.parts();
        }
        Self {
            isa,
            kind,
            tiles,
            outputs,
            inputs,
            depth,
            width,
            words: Aligned::zeroed(outputs.div_ceil(width) * depth * width),
            bias: Vec::new(),
            scales: Vec::new(),
            sums: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// Puts an output's weights into the panels.
    fn set(&mut self, output: usize, units: &[f32]) {
        let (width, numbers) = (self.width, self.kind.numbers());
        let first = output / width * self.depth * width + output % width;
        let words = &mut self.words.words_mut()[first..];
        for (group, numbers) in units.chunks(numbers).enumerate() {
            for part in 0..self.kind.parts() {
                words[self.kind.place(group, part) * width] = self.kind.word(numbers, part);
            }
        }
    }

    /// A row of weights in units of its scale (8-bit integers), else as it is.
    fn units(&mut self, row: &[f32]) -> Vec<f32> {
        if !self.is_integer() {
            return row.to_vec();
        }
        let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
        let scale = if largest > 0.0 { largest / rows::LARGEST_WEIGHT } else { 1.0 };
        let units: Vec<f32> = row.iter().map(|w| rows::round(w / scale)).collect();
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
            let words = operand.words(self, x, 0);
            let mut room = std::mem::take(&mut operand.sums);
            let epilogue = Activate { matrix: self, operand, activation, out: out.as_mut_ptr() };
            self.multiply(words, rows, 0..self.panels(), epilogue, &mut room);
            operand.sums = room;
        }
    }

    /// Floats of a column, with room for a tile's row behind.
    pub(super) fn column_length(&self) -> usize {
        (self.outputs + VECTORS * LARGEST_VECTOR).next_multiple_of(16)
    }

    /// Panels of outputs.
    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(self.width)
    }

    /// Products of rows of words, as this matrix wants them, with some panels. `words` must be `[rows, depth]`, and have
    /// room for whole tiles; `room` is for sums, and used again from call to call.
    pub(super) fn multiply<E: Epilogue>(
        &self,
        words: *const u32,
        rows: usize,
        panels: Range<usize>,
        epilogue: E,
        room: &mut Aligned,
    ) {
        let multiply = Multiply { matrix: self, words, rows, panels, epilogue };
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.tiles {
            // SAFETY: AMX was detected, and this matrix packed for it.
            return unsafe { multiply.by_tiles(room) };
        }
        match (self.kind, self.isa) {
            (Kind::Float | Kind::RoundedFloat, isa) => isa.run(multiply),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the instruction set was detected, and this kind chosen for it.
            (Kind::Bf16, _) => unsafe { super::avx512::run_bf16::<super::avx512::Pairs, _>(multiply) },
            #[cfg(target_arch = "x86_64")]
            (Kind::Split, _) => unreachable!("only chosen for tiles, which have returned"),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            (Kind::Int8, Isa::Avx512 { .. }) => unsafe { super::avx512::run_vnni::<super::avx512::Quads, _>(multiply) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            (Kind::Int8, Isa::Avx2 { vnni: true }) => unsafe {
                super::avx2::run_vnni::<super::avx2::Quads, _>(multiply)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            (Kind::Int8, Isa::Avx2 { vnni: false }) => unsafe {
                super::avx2::run_as::<super::avx2::Quads, _>(multiply)
            },
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

/// Words of two bfloat16, whose bits are given for a float.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn pair(words: &mut [u32], low: Option<&[f32]>, high: Option<&[f32]>, bits: impl Fn(f32) -> u32) {
    words.iter_mut().zip(low.unwrap_or_default()).for_each(|(word, v)| *word = bits(*v));
    words.iter_mut().zip(high.unwrap_or_default()).for_each(|(word, v)| *word |= bits(*v) << 16);
}

/// A float rounded to bfloat16, ties to even, in the low bits; of finite numbers.
#[inline(always)]
pub(super) fn bf16_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    (bits + 0x7fff + ((bits >> 16) & 1)) >> 16
}

impl Kind {
    /// The words of a linear layer's matrix.
    fn of(isa: Isa, precision: Precision) -> Self {
        match (precision, isa) {
            #[cfg(target_arch = "x86_64")]
            (Precision::F32, Isa::Avx512 { amx: true, .. }) => Self::Split,
            (Precision::F32, _) => Self::Float,
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, Isa::Avx512 { bf16: true, .. } | Isa::Avx512 { amx: true, .. }) => Self::Bf16,
            (Precision::Bf16, _) => Self::RoundedFloat,
            (Precision::Int8, _) => Self::Int8,
        }
    }

    /// Words that stand for the same numbers.
    fn parts(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Split => split::PARTS,
            _ => 1,
        }
    }

    /// Numbers of a word.
    fn numbers(self) -> usize {
        match self {
            Self::Float | Self::RoundedFloat => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 | Self::Split => 2,
            Self::Int8 => 4,
        }
    }

    /// The word of a row in which some numbers of it stand, or this part of them.
    fn place(self, group: usize, part: usize) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Split => split::word(group, part),
            _ => group + part,
        }
    }

    /// A word of weights.
    fn word(self, numbers: &[f32], part: usize) -> u32 {
        let number = |i: usize| numbers.get(i).copied().unwrap_or(0.0);
        match self {
            Self::Float => numbers[0].to_bits(),
            Self::RoundedFloat => half::bf16::from_f32(numbers[0]).to_f32().to_bits(),
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => {
                let bits = |i: usize| u32::from(half::bf16::from_f32(number(i)).to_bits());
                bits(0) | bits(1) << 16
            }
            #[cfg(target_arch = "x86_64")]
            Self::Split => split::part(number(0), part) | split::part(number(1), part) << 16,
            Self::Int8 => {
                let byte = |i: usize| number(i) as i8 as u8;
                u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
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
            Precision::Int8 => (range(x) / 127.0, f64::from(w.iter().fold(0f32, |m, w| m.max(w.abs()))) / 127.0),
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
