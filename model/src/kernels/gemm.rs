//! The matrix product of a block of activations with packed weights.
//!
//! Weights stand in panels of as many outputs as a tile has columns, word by word along the inner dimension, so that the
//! innermost loop reads them in order. A tile's accumulators fill the registers; the inner dimension is never split, so
//! that a row's result does not depend on the rows beside it, to the bit.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::format::{Float, Format};
use super::matrix::{Activation, Operand, PackedMatrix};
use super::rows::{OUTLIERS, load, store};
use super::simd::Simd;
use super::{Kernel, math};

/// Vectors of a tile's row.
pub(super) const VECTORS: usize = 2;
/// Words of a cache line.
const LINE_WORDS: usize = 16;
/// Floats of the largest tile.
const LARGEST_TILE: usize = 12 * VECTORS * 16;

/// As [`Kernel`], for instruction sets that can multiply words of a format.
pub(super) trait KernelOf<F> {
    /// What it returns.
    type Output;
    /// The arithmetic; `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output
    where
        F: Format<S>;
}

/// What is done with each tile of a product.
pub(super) trait Epilogue {
    /// `tile` holds the sums of products of the block's `rows` rows from `row` on, with the outputs from `column` on: as
    /// floats, `[rows, VECTORS · LANES]`.
    ///
    /// # Safety
    /// It does.
    unsafe fn tile(&mut self, tile: *const f32, row: usize, rows: usize, column: usize);
}

/// The product of one block of rows with some panels of a matrix.
pub(super) struct Multiply<'a, E> {
    pub(super) matrix: &'a PackedMatrix,
    /// `[rows, depth]`: of the operand, or the floats themselves.
    pub(super) words: *const u32,
    pub(super) rows: usize,
    pub(super) panels: Range<usize>,
    pub(super) epilogue: E,
}

impl<E: Epilogue> Kernel for Multiply<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        KernelOf::<Float>::run(self, simd);
    }
}

impl<F, E: Epilogue> KernelOf<F> for Multiply<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S)
    where
        F: Format<S>,
    {
        let m = self.matrix;
        debug_assert_eq!(m.width, VECTORS * S::LANES);
        let weights = m.words.words();
        let words = m.depth * m.width;
        // Weights come from memory: while a panel is multiplied, the next one is fetched, some lines a tile.
        let share = words.div_ceil(self.rows.div_ceil(S::TILE_ROWS));
        for panel in self.panels.clone() {
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
                    self.epilogue.tile(tile.0.as_ptr().cast(), row, rows, panel * m.width);
                    rows
                };
                row += rows;
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl<E: Epilogue> Multiply<'_, E> {
    /// The product by AMX.
    ///
    /// # Safety
    /// The CPU has AMX; the matrix has been packed, and the operand has room, for whole tiles.
    pub(super) unsafe fn by_tiles(mut self) {
        use super::amx::{BLOCK, Step, Tiles, multiply_pairs, multiply_quads};
        #[repr(align(64))]
        struct Block(MaybeUninit<[f32; BLOCK * BLOCK]>);

        let m = self.matrix;
        debug_assert_eq!(m.width, BLOCK);
        let mut block = Block(MaybeUninit::uninit());
        let weights = m.words.words();
        let words = m.depth * m.width;
        let share = words.div_ceil(self.rows.div_ceil(BLOCK));
        // SAFETY: the caller's; a block has 32 rows of 32, `a` as many rows as are left rounded up to whole tiles.
        unsafe {
            let tiles = Tiles::configure();
            for panel in self.panels.clone() {
                let b = weights[panel * words..][..words].as_ptr();
                let mut next = b.wrapping_add(words);
                for row in (0..self.rows).step_by(BLOCK) {
                    for line in (0..share).step_by(LINE_WORDS) {
                        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(
                            next.wrapping_add(line).cast(),
                        );
                    }
                    next = next.wrapping_add(share.next_multiple_of(LINE_WORDS));
                    let rows = BLOCK.min(self.rows - row);
                    let tile = block.0.as_mut_ptr().cast::<f32>();
                    let step = Step { a: self.words.add(row * m.depth), b, depth: m.depth, out: tile };
                    if m.is_integer() {
                        multiply_quads(&tiles, step, rows);
                    } else {
                        multiply_pairs(&tiles, step, rows);
                    }
                    self.epilogue.tile(tile, row, rows, panel * m.width);
                }
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
            unsafe {
                s.store(tile.0.as_mut_ptr().cast::<f32>().add((row * VECTORS + v) * S::LANES), F::floats(s, *sum))
            };
        }
    }
    ROWS
}

/// Scales, adds the bias, activates and writes: what a linear layer does with its tiles.
pub(super) struct Activate<'a> {
    pub(super) matrix: &'a PackedMatrix,
    pub(super) operand: &'a Operand,
    pub(super) activation: Activation,
    /// `[rows, outputs]`, the block's alone.
    pub(super) out: *mut f32,
}

impl Epilogue for Activate<'_> {
    unsafe fn tile(&mut self, tile: *const f32, row: usize, rows: usize, column: usize) {
        self.matrix.isa.run(ActivateTile { block: self, tile, row, rows, column });
    }
}

/// A function of its own, so that its constants do not take registers from the product's loop.
struct ActivateTile<'a> {
    block: &'a Activate<'a>,
    tile: *const f32,
    row: usize,
    rows: usize,
    column: usize,
}

impl Kernel for ActivateTile<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { block, tile, row: first, rows, column } = self;
        let (m, operand) = (block.matrix, block.operand);
        // Lanes of each vector that are outputs.
        let mut lanes = [0; VECTORS];
        let mut bias = [s.splat(0.0); VECTORS];
        let (mut units, mut totals) = (bias, bias);
        for v in 0..VECTORS {
            let column = column + v * S::LANES;
            lanes[v] = S::LANES.min(m.outputs.saturating_sub(column));
            // SAFETY: each has a value an output, so `lanes` from there on.
            unsafe {
                bias[v] = load(s, m.bias.as_ptr().wrapping_add(column), lanes[v]);
                if m.is_integer() {
                    units[v] = load(s, m.scales.as_ptr().wrapping_add(column), lanes[v]);
                    totals[v] = load(s, m.sums.as_ptr().wrapping_add(column), lanes[v]);
                }
            }
        }
        for r in 0..rows {
            let row = first + r;
            let mut y = bias;
            for (v, y) in y.iter_mut().enumerate() {
                // SAFETY: the tile holds the row.
                *y = unsafe { s.load(tile.add((r * VECTORS + v) * S::LANES)) };
            }
            if m.is_integer() {
                let (scale, zero) = (s.splat(operand.scales[row]), s.splat(-operand.zeros[row]));
                for v in 0..VECTORS {
                    let exact = s.mul(s.fma(totals[v], zero, y[v]), scale);
                    y[v] = s.fma(exact, units[v], bias[v]);
                }
                for outlier in operand.outliers[row * OUTLIERS..][..OUTLIERS].iter().take_while(|o| o.value != 0.0) {
                    let value = s.splat(outlier.value);
                    for (v, y) in y.iter_mut().enumerate() {
                        let at = outlier.input as usize * m.outputs + column + v * S::LANES;
                        // SAFETY: after the last column there is room for a tile's row.
                        *y = s.fma(value, unsafe { s.load_bf16(m.columns.as_ptr().add(at)) }, *y);
                    }
                }
            } else {
                for v in 0..VECTORS {
                    y[v] = s.add(y[v], bias[v]);
                }
            }
            if matches!(block.activation, Activation::Gelu) {
                y = math::gelu(s, y);
            }
            for (v, y) in y.into_iter().enumerate() {
                let y = match block.activation {
                    Activation::None | Activation::Gelu => y,
                    Activation::GeluTanh => math::gelu_tanh(s, y),
                    Activation::Relu => s.max(y, s.splat(0.0)),
                };
                let p = block.out.wrapping_add(row * m.outputs + column + v * S::LANES);
                // SAFETY: the block has the row, which has `lanes` outputs from there on.
                unsafe { store(s, p, lanes[v], y) };
            }
        }
    }
}
