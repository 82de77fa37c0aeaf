//! Activations in the form that a packed matrix multiplies.

use super::matrix::{Kind, PackedMatrix, TILE_ROWS};
use super::simd::Simd;
#[cfg(target_arch = "x86_64")]
use super::split;
use super::{Aligned, Kernel, rows};

/// Columns that are made floats, at most.
const WIDENED: usize = 48;

/// Activations of one block in the form that a matrix wants; memory that is used again for every block.
#[derive(Debug, Default)]
pub(crate) struct Operand {
    words: Aligned,
    /// 8-bit integers only: the value of one unit, and which integer is 0.0, for each row.
    pub(super) scales: Vec<f32>,
    pub(super) zeros: Vec<f32>,
    /// 8-bit integers only: what stands out of each row, [`rows::OUTLIERS`] places a row; none for a matrix without
    /// columns.
    pub(super) outliers: Vec<rows::Outlier>,
    /// The columns of the inputs at which something stands out, as floats; see [`Operand::exact`].
    exact: Aligned,
    /// For each input its place there and 1, or 0; and the input of each place.
    places: Vec<u16>,
    inputs: Vec<u32>,
    /// A row without what stands out of it.
    rest: Vec<f32>,
    /// AMX only: sums of products, a block of rows and a panel after another.
    pub(super) sums: Aligned,
}

impl Operand {
    /// The words that were prepared of rows `x`, from one of them on.
    pub(super) fn words(&self, matrix: &PackedMatrix, x: &[f32], row: usize) -> *const u32 {
        match matrix.kind {
            Kind::Float => x[row * matrix.inputs..].as_ptr().cast(),
            _ => self.words.words()[row * matrix.depth..].as_ptr(),
        }
    }

    /// Some of the rows that were prepared for a matrix without columns, in another order.
    pub(super) fn select(&self, matrix: &PackedMatrix, some: &[u32]) -> Self {
        let mut own = Self::default();
        if matrix.kind == Kind::Float {
            return own;
        }
        own.words.reserve(some.len().next_multiple_of(TILE_ROWS) * matrix.depth);
        let of = |row: &u32| *row as usize * matrix.depth..(*row as usize + 1) * matrix.depth;
        for (row, words) in some.iter().zip(own.words.words_mut().chunks_exact_mut(matrix.depth)) {
            words.copy_from_slice(&self.words.words()[of(row)]);
        }
        if matrix.kind == Kind::Int8 {
            own.scales.extend(some.iter().map(|row| self.scales[*row as usize]));
            own.zeros.extend(some.iter().map(|row| self.zeros[*row as usize]));
        }
        own
    }

    /// Rows in the form that a matrix wants; for [`Kind::Float`] that is the rows themselves.
    pub(super) fn prepare(&mut self, matrix: &PackedMatrix, x: &[f32], rows: usize) {
        if matrix.kind == Kind::Float {
            return;
        }
        // Room for whole tiles; what is in the rows beyond is multiplied and thrown away.
        self.words.reserve(rows.next_multiple_of(TILE_ROWS) * matrix.depth);
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
            #[cfg(target_arch = "x86_64")]
            Kind::Split => {
                for (row, x) in x.chunks_exact(matrix.inputs).enumerate() {
                    // SAFETY: as above; CPUs with AMX have the instructions.
                    unsafe { split::put_row(x, row, matrix.depth, words) };
                }
            }
            Kind::Int8 => {
                self.scales.resize(rows, 0.0);
                self.zeros.resize(rows, 0.0);
                let outliers = if matrix.columns.is_empty() { 0 } else { rows::OUTLIERS };
                self.outliers.resize(rows * outliers, rows::Outlier::default());
                self.rest.resize(matrix.inputs, 0.0);
                matrix.isa.run(rows::Quantize {
                    x,
                    inputs: matrix.inputs,
                    depth: matrix.depth,
                    words,
                    scales: &mut self.scales,
                    zeros: &mut self.zeros,
                    outliers: &mut self.outliers,
                    rest: &mut self.rest,
                });
                if outliers > 0 {
                    self.widen(matrix);
                }
            }
        }
    }

    /// Much the same inputs stand out of all rows: their columns are made floats once. An outlier of these has its place
    /// for an input, with the highest bit set.
    fn widen(&mut self, matrix: &PackedMatrix) {
        self.places.clear();
        self.places.resize(matrix.inputs, 0);
        self.inputs.clear();
        for outlier in self.outliers.iter_mut().filter(|o| o.value != 0.0) {
            let place = &mut self.places[outlier.input as usize];
            if *place == 0 && self.inputs.len() < WIDENED {
                self.inputs.push(outlier.input);
                *place = self.inputs.len() as u16;
            }
            if *place > 0 {
                outlier.input = u32::from(*place - 1) | rows::WIDE;
            }
        }
        let length = matrix.column_length();
        self.exact.reserve(WIDENED * length);
        for (input, floats) in self.inputs.iter().zip(self.exact.floats_mut().chunks_exact_mut(length)) {
            let column = &matrix.columns[*input as usize * matrix.outputs..][..matrix.outputs];
            matrix.isa.run(Widen { column, floats });
        }
    }

    /// The column of a place, as floats, with room for a tile's row behind.
    pub(super) fn exact(&self, matrix: &PackedMatrix, place: u32) -> *const f32 {
        self.exact.floats()[place as usize * matrix.column_length()..].as_ptr()
    }
}

/// bfloat16 as floats.
struct Widen<'a> {
    column: &'a [u16],
    /// At least as long.
    floats: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let whole = self.column.len() / S::LANES * S::LANES;
        assert!(self.floats.len() >= self.column.len(), "no room for a column");
        for at in (0..whole).step_by(S::LANES) {
            // SAFETY: `at + LANES` is at most the column's length.
            unsafe { s.store(self.floats.as_mut_ptr().add(at), s.load_bf16(self.column.as_ptr().add(at))) };
        }
        for (float, half) in self.floats[whole..].iter_mut().zip(&self.column[whole..]) {
            *float = half::bf16::from_bits(*half).to_f32();
        }
    }
}
