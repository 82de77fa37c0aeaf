//! The matrix product of a block of activations with packed weights.
//!
//! Weights stand in panels of as many outputs as a tile has columns, word by word along the inner dimension, so that the
//! innermost loop reads them in order. A tile's accumulators fill the registers; the inner dimension is never split, so
//! that a row's result does not depend on the rows beside it, to the bit.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::format::{Float, Format};
use super::matrix::{Activation, PackedMatrix};
use super::operand::Operand;
use super::rows::{OUTLIERS, WIDE, load, store};
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

/// Sums of products of the block's `rows` rows from `row` on with the outputs from `column` on.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Floats, `[rows, VECTORS · LANES]`.
    pub(super) sums: *const f32,
    pub(super) row: usize,
    pub(super) rows: usize,
    pub(super) column: usize,
}

/// What is done with each tile of a product.
pub(super) trait Epilogue {
    /// # Safety
    /// The tile holds what it says.
    unsafe fn tile(&mut self, tile: Tile);
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
        for panel in self.panels.clone() {
            let b = weights[panel * words..][..words].as_ptr();
            let mut ahead = Ahead::new(b.wrapping_add(words), words, self.rows.div_ceil(S::TILE_ROWS));
            let mut row = 0;
            while row < self.rows {
                let left = self.rows - row;
                ahead.fetch(|line| s.prefetch(line));
                // SAFETY: `words` has `rows · depth` words, of which the tile's rows are left from `row`; `b` has a
                // panel's words.
                let rows = unsafe {
                    let a = self.words.add(row * m.depth);
                    let mut tile = Sums(MaybeUninit::uninit());
                    let rows = match S::TILE_ROWS.min(left) {
                        12.. => product::<S, F, 12>(s, a, b, m.depth, &mut tile),
                        8..12 => product::<S, F, 8>(s, a, b, m.depth, &mut tile),
                        6 | 7 => product::<S, F, 6>(s, a, b, m.depth, &mut tile),
                        4 | 5 => product::<S, F, 4>(s, a, b, m.depth, &mut tile),
                        2 | 3 => product::<S, F, 2>(s, a, b, m.depth, &mut tile),
                        _ => product::<S, F, 1>(s, a, b, m.depth, &mut tile),
                    };
                    self.epilogue.tile(Tile { sums: tile.0.as_ptr().cast(), row, rows, column: panel * m.width });
                    rows
                };
                row += rows;
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl<E: Epilogue> Multiply<'_, E> {
    /// The product by AMX. `room` is used again from call to call.
    ///
    /// # Safety
    /// The CPU has AMX; the matrix has been packed, and the operand has room, for whole tiles.
    pub(super) unsafe fn by_tiles(mut self, room: &mut super::Aligned) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

        use super::amx::{BLOCK, SIDE, Step, Tiles, multiply_pairs, multiply_quads, multiply_split};
        use super::matrix::Kind;
        use super::split;

        #[repr(align(64))]
        struct Block(MaybeUninit<[f32; BLOCK * BLOCK]>);

        let m = self.matrix;
        debug_assert_eq!(m.width, BLOCK);
        let weights = m.words.words();
        let words = m.depth * m.width;
        let blocks = self.rows.div_ceil(BLOCK);
        let slice = if m.kind == Kind::Split { split::SLICE } else { m.depth };
        let sliced = slice < m.depth;
        let mut block = Block(MaybeUninit::uninit());
        let all = if sliced {
            // Sums that are not complete wait for the next slice.
            room.reserve(BLOCK * BLOCK * self.panels.len() * blocks);
            room.floats_mut().as_mut_ptr()
        } else {
            block.0.as_mut_ptr().cast()
        };
        // SAFETY: the caller's; a block has 32 rows of 32, `a` as many rows as are left rounded up to whole tiles.
        unsafe {
            let tiles = Tiles::configure();
            for from in (0..m.depth).step_by(slice) {
                let depth = slice.min(m.depth - from);
                let last = from + depth == m.depth;
                let mut sums = all;
                for panel in self.panels.clone() {
                    let b = weights[panel * words + from * m.width..][..depth * m.width].as_ptr();
                    let mut ahead = Ahead::new(b.wrapping_add(words), depth * m.width, blocks);
                    for row in (0..self.rows).step_by(BLOCK) {
                        ahead.fetch(|line| _mm_prefetch::<_MM_HINT_T1>(line.cast()));
                        let rows = BLOCK.min(self.rows - row);
                        let step = Step { a: self.words.add(row * m.depth + from * SIDE), b, depth, out: sums };
                        match m.kind {
                            Kind::Int8 => multiply_quads(&tiles, step, rows),
                            Kind::Split => multiply_split(&tiles, step, m.depth, from > 0, rows),
                            _ => multiply_pairs(&tiles, step, rows),
                        }
                        if last {
                            self.epilogue.tile(Tile { sums, row, rows, column: panel * m.width });
                        }
                        if sliced {
                            sums = sums.add(BLOCK * BLOCK);
                        }
                    }
                }
            }
        }
    }
}

#[repr(align(64))]
struct Sums(MaybeUninit<[f32; LARGEST_TILE]>);

/// Weights come from memory: while a panel is multiplied, the next one is fetched, some lines a tile.
struct Ahead {
    next: *const u32,
    /// Words a tile.
    share: usize,
}

impl Ahead {
    /// So many words, while so many tiles are multiplied.
    #[inline(always)]
    fn new(next: *const u32, words: usize, tiles: usize) -> Self {
        Self { next, share: words.div_ceil(tiles) }
    }

    /// A tile's share.
    #[inline(always)]
    fn fetch(&mut self, prefetch: impl Fn(*const u32)) {
        for line in (0..self.share).step_by(LINE_WORDS) {
            prefetch(self.next.wrapping_add(line));
        }
        self.next = self.next.wrapping_add(self.share.next_multiple_of(LINE_WORDS));
    }
}

/// A tile's columns: how many there are, and what the integers of words that hold such are worth.
pub(super) struct Columns<S: Simd> {
    /// Lanes of each vector that are outputs.
    pub(super) lanes: [usize; VECTORS],
    pub(super) units: [S::F; VECTORS],
    totals: [S::F; VECTORS],
}

impl<S: Simd> Columns<S> {
    #[inline(always)]
    pub(super) fn of(s: S, m: &PackedMatrix, first: usize) -> Self {
        let nothing = [s.splat(0.0); VECTORS];
        let mut columns = Self { lanes: [0; VECTORS], units: nothing, totals: nothing };
        for v in 0..VECTORS {
            let column = first + v * S::LANES;
            let lanes = S::LANES.min(m.outputs.saturating_sub(column));
            columns.lanes[v] = lanes;
            if m.is_integer() {
                // SAFETY: each has a value an output, so `lanes` from there on.
                unsafe {
                    columns.units[v] = load(s, m.scales.as_ptr().wrapping_add(column), lanes);
                    columns.totals[v] = load(s, m.sums.as_ptr().wrapping_add(column), lanes);
                }
            }
        }
        columns
    }

    /// Sums of integers as what they stand for, but for the units of the columns.
    #[inline(always)]
    pub(super) fn exact(&self, s: S, mut sums: [S::F; VECTORS], operand: &Operand, row: usize) -> [S::F; VECTORS] {
        let (scale, zero) = (s.splat(operand.scales[row]), s.splat(-operand.zeros[row]));
        for (sum, total) in sums.iter_mut().zip(self.totals) {
            *sum = s.mul(s.fma(total, zero, *sum), scale);
        }
        sums
    }
}

impl Tile {
    /// A row's sums.
    ///
    /// # Safety
    /// The tile is of this instruction set and holds so many rows.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(&self, s: S, row: usize) -> [S::F; VECTORS] {
        // SAFETY: the caller's.
        unsafe {
            let first = self.sums.add(row * VECTORS * S::LANES);
            [s.load(first), s.load(first.add(S::LANES))]
        }
    }
}

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
    tile: &mut Sums,
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
    unsafe fn tile(&mut self, tile: Tile) {
        self.matrix.isa.run(ActivateTile { block: self, tile });
    }
}

/// A function of its own, so that its constants do not take registers from the product's loop.
struct ActivateTile<'a> {
    block: &'a Activate<'a>,
    tile: Tile,
}

impl Kernel for ActivateTile<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (block, tile) = (self.block, &self.tile);
        let (m, column) = (block.matrix, tile.column);
        let columns = Columns::of(s, m, column);
        let lanes = columns.lanes;
        let mut bias = [s.splat(0.0); VECTORS];
        for (v, bias) in bias.iter_mut().enumerate() {
            // SAFETY: there is a value an output, so `lanes` from there on.
            *bias = unsafe { load(s, m.bias.as_ptr().wrapping_add(column + v * S::LANES), lanes[v]) };
        }
        // Two rows at once, which do not wait for each other; of a last one alone both are the same.
        for r in (0..tile.rows).step_by(2) {
            let other = (r + 1).min(tile.rows - 1);
            let ([a, b], [c, d]) = (self.sums(s, &columns, &bias, r), self.sums(s, &columns, &bias, other));
            let mut y = [a, b, c, d];
            match block.activation {
                Activation::None => {}
                Activation::Gelu if m.is_bf16() => y = math::gelu_coarse(s, y),
                Activation::Gelu => y = math::gelu(s, y),
                Activation::GeluTanh => {
                    for y in &mut y {
                        *y = math::gelu_tanh(s, *y);
                    }
                }
                Activation::Relu => {
                    for y in &mut y {
                        *y = s.max(*y, s.splat(0.0));
                    }
                }
            }
            for (i, y) in y.into_iter().enumerate() {
                let (row, v) = (tile.row + if i < VECTORS { r } else { other }, i % VECTORS);
                let p = block.out.wrapping_add(row * m.outputs + column + v * S::LANES);
                // SAFETY: the block has the row, which has `lanes` outputs from there on.
                unsafe { store(s, p, lanes[v], y) };
            }
        }
    }
}

impl ActivateTile<'_> {
    /// A row's sums as what they stand for, with the bias.
    #[inline(always)]
    fn sums<S: Simd>(&self, s: S, columns: &Columns<S>, bias: &[S::F; VECTORS], r: usize) -> [S::F; VECTORS] {
        let (m, operand, column) = (self.block.matrix, self.block.operand, self.tile.column);
        let tile = &self.tile;
        let row = tile.row + r;
        // SAFETY: the tile holds the row.
        let mut y = unsafe { tile.load(s, r) };
        if m.is_integer() {
            let exact = columns.exact(s, y, operand, row);
            for v in 0..VECTORS {
                y[v] = s.fma(exact[v], columns.units[v], bias[v]);
            }
            for outlier in operand.outliers[row * OUTLIERS..][..OUTLIERS].iter().take_while(|o| o.value != 0.0) {
                let value = s.splat(outlier.value);
                let place = outlier.input & !WIDE;
                if place == outlier.input {
                    for (v, y) in y.iter_mut().enumerate() {
                        let at = place as usize * m.outputs + column + v * S::LANES;
                        // SAFETY: after the last column there is room for a tile's row.
                        *y = s.fma(value, unsafe { s.load_bf16(m.columns.as_ptr().add(at)) }, *y);
                    }
                } else {
                    let exact = operand.exact(m, place).wrapping_add(column);
                    for (v, y) in y.iter_mut().enumerate() {
                        // SAFETY: as above.
                        *y = s.fma(value, unsafe { s.load(exact.add(v * S::LANES)) }, *y);
                    }
                }
            }
        } else {
            for v in 0..VECTORS {
                y[v] = s.add(y[v], bias[v]);
            }
        }
        y
    }
}
