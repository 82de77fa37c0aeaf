//! How cells are made: their centers, which rows are in which, and how far queries must look.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::{Cells, KS, PIECE, RECALLS, share_of};
use crate::kernels::{Isa, PackedMatrix, Precision, dot};
use crate::search::corpus::Corpus;
use crate::search::topk::SearchOptions;
use crate::{Error, Result};

/// Centers a square root of rows.
const CENTERS: f64 = 4.0;
/// Rows a center that the centers are found from, and how often they are moved.
const SAMPLED_ROWS: usize = 48;
const MOVES: usize = 5;
/// Rows whose neighbors say how far to look.
const SAMPLED_QUERIES: usize = 512;
/// Rows that say whether earlier centers are still good.
const COMPARED_ROWS: usize = 4096;
/// How much less tight than when they were found they may be, and by how much fewer or more than new ones they may be.
const LOOSENED: f32 = 0.01;
const FEWER: f64 = 1.4;

/// What cells are restored from.
pub(super) struct Parts {
    pub(super) centers: Vec<f32>,
    pub(super) of_row: Vec<u32>,
    pub(super) tightness: Vec<f32>,
    pub(super) reaches: Vec<f32>,
}

impl Cells {
    /// Puts the rows of a corpus into cells about new centers, with all threads.
    ///
    /// # Errors
    /// When no row has a direction.
    pub fn new(corpus: &Corpus) -> Result<Self> {
        Self::about(corpus, centers(corpus)?)
    }

    /// Puts the rows of a corpus into cells about the centers of an earlier one, if these are about as many as new ones
    /// would be, and the rows are about as near to them as the earlier ones were.
    ///
    /// # Errors
    /// As [`Cells::new`].
    pub(super) fn anew(corpus: &Corpus, earlier: &[f32], tightness: f32) -> Result<Option<Self>> {
        let wanted = count(corpus) as f64 * corpus.dimension() as f64;
        if !(wanted / FEWER..=wanted * FEWER).contains(&(earlier.len() as f64)) {
            return Ok(None);
        }
        let sample = evenly(corpus, COMPARED_ROWS);
        let near = nearest_centers(&Corpus::new(earlier.to_vec(), corpus.dimension(), None, None)?, &sample)?;
        let mean = near.iter().map(|(_, cosine)| cosine).sum::<f32>() / near.len().max(1) as f32;
        if mean < tightness - LOOSENED { Ok(None) } else { Self::about(corpus, earlier.to_vec()).map(Some) }
    }

    fn about(corpus: &Corpus, centers: Vec<f32>) -> Result<Self> {
        let of_centers = Corpus::new(centers.clone(), corpus.dimension(), None, None)?;
        let (mut sums, mut of_row) = (vec![(0f64, 0u32); of_centers.rows()], Vec::with_capacity(corpus.rows()));
        for (cell, cosine) in nearest_centers(&of_centers, corpus.vectors())? {
            of_row.push(cell);
            if let Some((sum, rows)) = sums.get_mut(cell as usize) {
                (*sum, *rows) = (*sum + f64::from(cosine), *rows + 1);
            }
        }
        let tightness = sums.iter().map(|(sum, rows)| (sum / f64::from((*rows).max(1))) as f32).collect();
        let reaches = vec![0.0; KS.len() * RECALLS.len()];
        let mut cells = Self::restore(corpus, Parts { centers, of_row, tightness, reaches })?;
        cells.learn_reaches(corpus)?;
        Ok(cells)
    }

    /// # Errors
    /// When the parts do not fit together, or are those of other rows.
    pub(super) fn restore(corpus: &Corpus, parts: Parts) -> Result<Self> {
        let Parts { centers, of_row, tightness, reaches } = parts;
        let (dimension, count) = (corpus.dimension(), tightness.len());
        let fits = count > 0 && centers.len() == count * dimension && of_row.len() == corpus.rows();
        let known = reaches.len() == KS.len() * RECALLS.len();
        if !fits || !known || of_row.iter().any(|cell| *cell as usize >= count) {
            return Err(Error::Search("the cells are those of other rows".into()));
        }
        let mut starts = vec![0; count + 1];
        of_row.iter().for_each(|cell| starts[*cell as usize + 1] += 1);
        (1..starts.len()).for_each(|i| starts[i] += starts[i - 1]);
        let (mut rows, mut next) = (vec![0; of_row.len()], starts.clone());
        for (row, cell) in of_row.iter().enumerate() {
            rows[next[*cell as usize]] = row as u32;
            next[*cell as usize] += 1;
        }
        let packed_centers = PackedMatrix::new(Isa::detect(), Precision::F32, &centers, &vec![0.0; count], dimension);
        let packed = (0..count).map(|_| OnceLock::new()).collect();
        Ok(Self { centers, packed_centers, dimension, of_row, tightness, rows, starts, packed, reaches })
    }

    /// How far the neighbors of evenly spaced rows are, themselves left out.
    fn learn_reaches(&mut self, corpus: &Corpus) -> Result<()> {
        let queries = evenly(corpus, SAMPLED_QUERIES);
        let most = KS[KS.len() - 1] + 1;
        let options = SearchOptions { k: Some(most), ties: false, min_score: -1.0 };
        let pieces: Vec<&[f32]> = queries.chunks(SAMPLED_QUERIES / 16 * self.dimension).collect();
        let exact = pieces.par_iter().map(|piece| corpus.search_rows(piece, options)).collect::<Result<Vec<_>>>()?;
        let mut exact: Vec<_> = exact.into_iter().flatten().collect();
        exact.iter_mut().for_each(|found| drop(found.drain(..found.len().min(1))));
        let nearness = self.nearness(&queries);
        self.reaches.clear();
        for k in KS.into_iter().rev() {
            exact.iter_mut().for_each(|found| found.truncate(k));
            let needed = self.needed(&exact, &nearness, SearchOptions { k: Some(k), ..options });
            // Without a neighbor to go by: everywhere.
            let reaches = RECALLS.map(|recall| share_of(&needed, recall).unwrap_or(2.0));
            self.reaches.splice(0..0, reaches);
        }
        Ok(())
    }
}

fn count(corpus: &Corpus) -> usize {
    (((corpus.rows() as f64).sqrt() * CENTERS) as usize).clamp(1, corpus.rows().max(1))
}

/// Centers of the rows of a corpus, row-major: spherical k-means on evenly spaced rows.
fn centers(corpus: &Corpus) -> Result<Vec<f32>> {
    let dimension = corpus.dimension();
    let count = count(corpus);
    let sample = evenly(corpus, count * SAMPLED_ROWS);
    let mut centers = evenly(corpus, count);
    if centers.is_empty() {
        return Err(Error::Search("no row has a direction".into()));
    }
    for _ in 0..MOVES {
        let cells = nearest_centers(&Corpus::new(centers.clone(), dimension, None, None)?, &sample)?;
        let mut sums = vec![0f32; centers.len()];
        for (row, (cell, _)) in sample.chunks_exact(dimension).zip(cells) {
            let sum = &mut sums[cell as usize * dimension..][..dimension];
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        // A center that no row is nearest to stays where it is.
        for (center, sum) in centers.chunks_exact_mut(dimension).zip(sums.chunks_exact(dimension)) {
            let length = dot(sum, sum).sqrt() as f32;
            if length > 0.0 {
                center.iter_mut().zip(sum).for_each(|(c, s)| *c = s / length);
            }
        }
    }
    Ok(centers)
}

/// Directions of at most so many evenly spaced rows among those that have one.
fn evenly(corpus: &Corpus, count: usize) -> Vec<f32> {
    let rows: Vec<usize> = (0..corpus.rows()).filter(|row| corpus.has_direction(*row)).collect();
    let count = count.min(rows.len());
    let chosen = (0..count).map(|i| rows[(i as u128 * rows.len() as u128 / count as u128) as usize]);
    chosen.flat_map(|row| corpus.direction(row)).collect()
}

/// The nearest center of each row and the cosine; of a row without a direction the first, and 0.
fn nearest_centers(centers: &Corpus, rows: &[f32]) -> Result<Vec<(u32, f32)>> {
    let one = SearchOptions { k: Some(1), ties: false, min_score: -1.0 };
    let pieces = rows.par_chunks(PIECE * centers.dimension()).map(|piece| centers.search(piece, one));
    let found = pieces.collect::<Result<Vec<_>>>()?;
    Ok(found.into_iter().flatten().map(|n| n.first().map_or((0, 0.0), |n| (n.index, n.score))).collect())
}
