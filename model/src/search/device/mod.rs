//! The first pass of a search on a device: what kernels::scan is on the CPU, for [`super::Corpus`].
//!
//! A device multiplies many queries with many rows at once and keeps the products; back come the greatest of each query
//! and group of rows, and then the products of the groups that can hold a neighbor, the most promising first.

mod plugin;
mod rows;

use std::fmt;

pub use rows::{CandleProducts, CandleRows};

use self::plugin::PluginRows;
use crate::Result;
use crate::device::Device;

/// Rows of a block, and of a group in it.
pub(crate) const BLOCK_ROWS: usize = 1 << 16;
pub(crate) const GROUP: usize = 64;
/// Queries that are multiplied together: their products with a block are 64 MB on the device, for each search under way.
const QUERIES: usize = 256;
/// Groups whose products are asked for at a time.
const ASKED: usize = 1 << 15;

/// Rows on a device, here or behind the library that hosts it.
pub(super) trait DeviceRows: fmt::Debug + Send + Sync {
    /// See [`CandleRows::slack`].
    fn slack(&self) -> f32;
    /// See [`CandleRows::multiply`].
    fn multiply(&self, block: usize, queries: &[f32], groups: usize) -> Result<(Box<dyn Products>, Vec<f32>)>;
}

/// Products on a device.
pub(super) trait Products {
    /// See [`CandleProducts::of_groups`].
    fn of_groups(&self, some: &[u32]) -> Result<Vec<f32>>;
}

impl DeviceRows for CandleRows {
    fn slack(&self) -> f32 {
        self.slack()
    }

    fn multiply(&self, block: usize, queries: &[f32], _: usize) -> Result<(Box<dyn Products>, Vec<f32>)> {
        let (products, greatest) = self.multiply(block, queries)?;
        Ok((Box::new(products), greatest))
    }
}

impl Products for CandleProducts {
    fn of_groups(&self, some: &[u32]) -> Result<Vec<f32>> {
        self.of_groups(some)
    }
}

/// Copies rows of length 1 (or 0) to a device; `None` where our own kernels search. The rows are made once it is known that
/// there is a library for them.
///
/// # Errors
/// When a device that is no GPU cannot be opened.
pub(super) fn open(
    device: &Device,
    rows: &dyn Fn() -> Vec<f32>,
    dimension: usize,
) -> Result<Option<Box<dyn DeviceRows>>> {
    let hosted = |name: &str| -> Result<Box<dyn DeviceRows>> {
        Ok(Box::new(PluginRows::open(&device.gpu_libraries, name, rows, dimension)?))
    };
    let here =
        |name: &str| -> Result<Box<dyn DeviceRows>> { Ok(Box::new(CandleRows::open(name, &rows(), dimension)?)) };
    device.open("searching", hosted, here)
}

/// What a search does with the pairs that are named.
pub(super) trait Best {
    /// What the exact score of a query must reach, for now.
    fn floor(&self, query: usize) -> f32;
    /// Looks at the exact score of a pair.
    fn offer(&mut self, query: usize, row: usize);
}

/// The groups that may hold neighbors of a query, with the greatest product of each.
struct Waiting {
    query: usize,
    groups: Vec<(f32, u32)>,
}

impl Waiting {
    /// The most promising groups, of those above a floor.
    fn next(&mut self, floor: f32, most: usize) -> Vec<(f32, u32)> {
        self.groups.retain(|(greatest, _)| *greatest > floor);
        let down = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let most = most.min(self.groups.len());
        if most < self.groups.len() {
            self.groups.select_nth_unstable_by(most, down);
        }
        let mut next: Vec<_> = self.groups.drain(..most).collect();
        next.sort_unstable_by(down);
        next
    }
}

/// Offers all pairs whose product on the device may be above the query's floor. `queries` have length 1, or 0 for those
/// that have no neighbors; `k` says how many groups are worth a look before the floor is known.
///
/// # Errors
/// When the device fails; some pairs have been offered then.
pub(super) fn scan(
    rows: &dyn DeviceRows,
    (count, dimension): (usize, usize),
    queries: &[f32],
    k: Option<usize>,
    best: &mut dyn Best,
) -> Result<()> {
    let slack = rows.slack();
    for (at, queries) in queries.chunks(QUERIES * dimension).enumerate() {
        for (block, first) in (0..count).step_by(BLOCK_ROWS).enumerate() {
            let in_block = BLOCK_ROWS.min(count - first);
            let groups = in_block.div_ceil(GROUP);
            let (products, greatest) = rows.multiply(block, queries, groups)?;
            let of_query = |(i, query): (usize, &[f32])| {
                let of_groups = greatest[i * groups..][..groups].iter().copied().zip(0..);
                let has_direction = query.iter().any(|v| *v != 0.0);
                has_direction.then(|| Waiting { query: at * QUERIES + i, groups: of_groups.collect() })
            };
            let mut waiting: Vec<Waiting> = queries.chunks(dimension).enumerate().filter_map(of_query).collect();
            let mut most = k.unwrap_or(usize::MAX).max(1);
            while !waiting.is_empty() {
                let mut asked = Vec::new();
                waiting.retain_mut(|waiting| {
                    let next = waiting.next(best.floor(waiting.query) - slack, most);
                    asked.extend(next.iter().map(|(_, group)| (waiting.query, *group)));
                    !next.is_empty()
                });
                for asked in asked.chunks(ASKED) {
                    let of = |(query, group): &(usize, u32)| ((query - at * QUERIES) * groups) as u32 + group;
                    let found = products.of_groups(&asked.iter().map(of).collect::<Vec<_>>())?;
                    for ((query, group), found) in asked.iter().zip(found.chunks(GROUP)) {
                        let first_row = *group as usize * GROUP;
                        // What makes up the last group are no rows.
                        for (row, product) in (first_row..in_block).zip(found) {
                            if *product > best.floor(*query) - slack {
                                best.offer(*query, first + row);
                            }
                        }
                    }
                }
                most = most.saturating_mul(2);
            }
        }
    }
    Ok(())
}
