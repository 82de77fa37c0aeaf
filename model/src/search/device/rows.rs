//! Rows on a candle device, and their products with queries.

use candle_core::{Device, Tensor};

use super::{BLOCK_ROWS, GROUP};
use crate::Result;
use crate::device::open;

/// What a sum in 32-bit floats can be off by, for each component. A GPU's units may cut off where others round: four times
/// the unit roundoff.
const SUM_ROUNDING: f32 = 4.0 / (1u32 << 24) as f32;

/// Rows of length 1 (or 0) on a device, in blocks of `BLOCK_ROWS`.
#[derive(Debug)]
pub struct CandleRows {
    device: Device,
    dimension: usize,
    /// `[dimension, rows]`, a transposed view; rows of zeros make up whole groups.
    blocks: Vec<Tensor>,
}

/// Products of some queries with a block of rows, on the device: `[queries · groups, GROUP]`.
#[derive(Debug)]
pub struct CandleProducts(Tensor);

impl CandleRows {
    /// Copies rows, `[rows, dimension]`, to a device by its name, as 32-bit floats: in 16 bits cuBLAS may round partial
    /// sums, too, and how often it does not say.
    ///
    /// # Errors
    /// When it cannot be opened or has no room.
    pub fn open(device: &str, rows: &[f32], dimension: usize) -> Result<Self> {
        let device = open(device)?;
        let block = |rows: &[f32]| -> candle_core::Result<Tensor> {
            let count = rows.len() / dimension;
            let tensor = Tensor::from_slice(rows, (count, dimension), &device)?;
            tensor.pad_with_zeros(0, 0, count.next_multiple_of(GROUP) - count)?.contiguous()?.t()
        };
        let blocks = rows.chunks(BLOCK_ROWS * dimension).map(block).collect::<candle_core::Result<_>>()?;
        Ok(Self { device, dimension, blocks })
    }

    /// How far a product can be from that of the rows and queries as they were given, of length 1: the sum, and what
    /// scaling them to length 1 has rounded.
    pub fn slack(&self) -> f32 {
        SUM_ROUNDING * (self.dimension + 16) as f32
    }

    /// Multiplies queries, `[queries, dimension]` of length 1 (or 0), with a block: the products, which stay on the device,
    /// and the greatest of each query and group of `GROUP` rows, `[queries, groups]`.
    ///
    /// # Errors
    /// When there is no such block or the device fails.
    pub fn multiply(&self, block: usize, queries: &[f32]) -> Result<(CandleProducts, Vec<f32>)> {
        let Some(rows) = self.blocks.get(block) else {
            return Err(crate::Error::Search(format!("there is no block {block} of rows")));
        };
        let count = queries.len() / self.dimension;
        let queries = Tensor::from_slice(queries, (count, self.dimension), &self.device)?;
        let products = queries.matmul(rows)?.reshape(((), GROUP))?;
        let greatest = products.max(1)?.to_vec1()?;
        Ok((CandleProducts(products), greatest))
    }
}

impl CandleProducts {
    /// All products of some queries and groups, each given as `query · groups + group`: `[given, GROUP]`.
    ///
    /// # Errors
    /// When one is out of range or the device fails.
    pub fn of_groups(&self, some: &[u32]) -> Result<Vec<f32>> {
        // A GPU would stop for good.
        let groups = self.0.dims2()?.0;
        if some.iter().any(|at| *at as usize >= groups) {
            return Err(crate::Error::Search(format!("products have {groups} groups, and others were asked for")));
        }
        let some = Tensor::from_slice(some, some.len(), self.0.device())?;
        Ok(self.0.index_select(&some, 0)?.flatten_all()?.to_vec1()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dot;

    /// Rows of length 1, with components of very different sizes.
    fn rows(n: usize, dimension: usize, seed: u64) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut all = Vec::with_capacity(n * dimension);
        for _ in 0..n {
            let row: Vec<f32> = (0..dimension).map(|_| (rng.f32() - 0.5) * [1.0, 1e-3, 1e-7][rng.usize(..3)]).collect();
            let length = dot(&row, &row).sqrt() as f32;
            all.extend(row.iter().map(|v| v / length));
        }
        all
    }

    #[test]
    fn products_are_as_close_as_the_slack_says() {
        for dimension in [1, 7, 64, 128] {
            let (own, queries) = (rows(GROUP + 3, dimension, 1), rows(20, dimension, 2));
            let on_device = CandleRows::open("cpu", &own, dimension).unwrap();
            let (products, greatest) = on_device.multiply(0, &queries).unwrap();
            assert_eq!(greatest.len(), 20 * 2);
            let all = products.of_groups(&(0..40).collect::<Vec<_>>()).unwrap();
            for (query, vector) in queries.chunks(dimension).enumerate() {
                let products = &all[query * 2 * GROUP..][..2 * GROUP];
                for (row, product) in own.chunks(dimension).zip(products) {
                    let off = (dot(vector, row) - f64::from(*product)).abs();
                    assert!(off <= f64::from(on_device.slack()), "{dimension}: {off}");
                }
                let of_group = |g: usize| products[g * GROUP..][..GROUP].iter().copied().fold(f32::MIN, f32::max);
                assert_eq!(greatest[2 * query..][..2], [of_group(0), of_group(1)]);
            }
        }
        let some = CandleRows::open("cpu", &[1.0], 1).unwrap();
        assert!(some.multiply(1, &[1.0]).is_err());
        assert!(some.multiply(0, &[1.0]).unwrap().0.of_groups(&[1]).is_err());
    }
}
