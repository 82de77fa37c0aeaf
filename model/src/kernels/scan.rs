//! The first pass of a search: products of queries with rows, of which only those above a query's floor are named.
//!
//! Both sides have length 1. What their rounding can change is known: for a query `q` and a row `b`, rounded to `q′` and
//! `b′`, `|q·b − q′·b′| ≤ |q − q′|·|b| + |q′|·|b − b′|` (Cauchy and Schwarz), and the lengths of the differences are
//! measured. A row whose product here is below a floor less that cannot be above the floor.

use super::gemm::{Columns, Epilogue, Tile, VECTORS};
use super::matrix::{Kind, PackedMatrix};
use super::operand::Operand;
use super::rows::{LostInBf16, LostInIntegers};
use super::simd::Simd;
use super::{Aligned, Isa, Kernel, Precision};

/// Queries whose products with a panel are made together: they stay in the second-level cache. Whole tiles of every
/// instruction set.
pub(crate) const QUERIES: usize = 192;

/// What sums and products in 32-bit floats can be off by, for each component: twice 2⁻²³.
const ROUNDING: f32 = 2.4e-7;

/// Lanes of a vector, at most.
const MOST_LANES: usize = 16;

/// Rows to be searched, packed.
#[derive(Debug)]
pub(crate) struct Rows {
    matrix: PackedMatrix,
    /// `|b − b′|` of any row, at most.
    lost: f32,
}

impl Rows {
    /// Packs rows of length 1 (or 0), `[rows, dimension]`.
    pub(crate) fn pack(isa: Isa, precision: Precision, rows: &[f32], dimension: usize) -> Self {
        let (matrix, lost) = PackedMatrix::of_rows(isa, precision, rows, dimension);
        Self { matrix, lost }
    }

    /// Panels that the rows stand in.
    pub(crate) fn panels(&self) -> usize {
        self.matrix.panels()
    }
}

/// Queries as the rows want them.
#[derive(Debug)]
pub(crate) struct Queries {
    floats: Vec<f32>,
    operand: Operand,
    /// `|q − q′|`.
    lost: Vec<f32>,
    dimension: usize,
}

impl Queries {
    /// Prepares queries of length 1 (or 0), `[queries, dimension]`, for rows packed in the same way as these.
    pub(crate) fn prepare(floats: Vec<f32>, like: &Rows) -> Self {
        let m = &like.matrix;
        let mut operand = Operand::default();
        let n = floats.len() / m.inputs;
        operand.prepare(m, &floats, n);
        let lost = floats.chunks_exact(m.inputs).enumerate().map(|(i, x)| match m.kind {
            Kind::Int8 => m.isa.run(LostInIntegers { x, unit: operand.scales[i], zero: operand.zeros[i] }),
            #[cfg(target_arch = "x86_64")]
            Kind::Bf16 => m.isa.run(LostInBf16(x)),
            _ => 0.0,
        });
        let lost = lost.collect();
        Self { floats, operand, lost, dimension: m.inputs }
    }

    /// Some of the queries, for rows packed in the same way.
    pub(crate) fn select(&self, some: &[u32], like: &Rows) -> Self {
        let m = &like.matrix;
        let mut floats = Vec::new();
        if m.kind == Kind::Float {
            floats.reserve(some.len() * m.inputs);
            some.iter().for_each(|row| floats.extend_from_slice(&self.floats[*row as usize * m.inputs..][..m.inputs]));
        }
        let lost = some.iter().map(|row| self.lost[*row as usize]).collect();
        Self { floats, operand: self.operand.select(m, some), lost, dimension: self.dimension }
    }

    /// How far a product of a query with any of some rows can be from the exact one.
    pub(crate) fn slack(&self, query: usize, rows: &Rows) -> f32 {
        let lost = self.lost[query];
        lost + (1.0 + lost) * rows.lost + ROUNDING * (self.dimension + 16) as f32
    }
}

/// A query and a row that may be similar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hit {
    pub(crate) query: u32,
    pub(crate) row: u32,
    /// Their product in the first pass.
    pub(crate) product: f32,
}

/// Adds all pairs of [`QUERIES`] queries at most, from `first` on, and the rows of some panels whose product is above the
/// query's floor; those of a query in the order of the rows.
pub(crate) fn scan(
    queries: &Queries,
    first: usize,
    floors: &[f32],
    rows: &Rows,
    panels: std::ops::Range<usize>,
    hits: &mut Vec<Hit>,
) {
    let m = &rows.matrix;
    assert!(m.inputs == queries.dimension && floors.len() <= QUERIES, "queries that do not fit the rows");
    assert!(first + floors.len() <= queries.lost.len() && panels.end <= m.panels(), "out of range");
    let words = queries.operand.words(m, &queries.floats, first);
    let select = Select { matrix: m, operand: &queries.operand, first, floors, hits };
    m.multiply(words, floors.len(), panels, select, &mut Aligned::default());
}

struct Select<'a> {
    matrix: &'a PackedMatrix,
    operand: &'a Operand,
    first: usize,
    floors: &'a [f32],
    hits: &'a mut Vec<Hit>,
}

impl Epilogue for Select<'_> {
    unsafe fn tile(&mut self, tile: Tile) {
        self.matrix.isa.run(SelectTile { block: self, tile });
    }
}

struct SelectTile<'a, 'b> {
    block: &'a mut Select<'b>,
    tile: Tile,
}

impl Kernel for SelectTile<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { block, tile } = self;
        let (m, column) = (block.matrix, tile.column);
        let columns = Columns::of(s, m, column);
        let valid = u32::MAX >> (32 - (m.outputs - column).min(VECTORS * S::LANES));
        for r in 0..tile.rows {
            let row = tile.row + r;
            // SAFETY: the tile holds the row.
            let mut y = unsafe { tile.load(s, r) };
            if m.is_integer() {
                y = columns.exact(s, y, block.operand, block.first + row);
                for (y, unit) in y.iter_mut().zip(columns.units) {
                    *y = s.mul(*y, unit);
                }
            }
            let floor = s.splat(block.floors[row]);
            let mut above = (s.above(y[0], floor) | s.above(y[1], floor) << S::LANES) & valid;
            if above == 0 {
                continue;
            }
            let mut products = [0f32; VECTORS * MOST_LANES];
            for (lane, y) in y.into_iter().enumerate() {
                // SAFETY: there is room for the lanes of every instruction set.
                unsafe { s.store(products.as_mut_ptr().add(lane * S::LANES), y) };
            }
            while above != 0 {
                let lane = above.trailing_zeros() as usize;
                above &= above - 1;
                block.hits.push(Hit { query: row as u32, row: (column + lane) as u32, product: products[lane] });
            }
        }
    }
}
