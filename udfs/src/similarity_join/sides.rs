//! The two sides in memory: vectors as one matrix, equal keys as numbers.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::RatioMetrics;
use generel_model::search::{Corpus, Neighbor, SearchOptions, UNLABELED, labels_differ};

use super::device::{copied, worthwhile};
use super::index::Index;
use super::options::SimilarityJoinOptions;
use super::row_order::RowOrder;
use crate::error::execution;
use crate::vectors::values;

/// The right side, gathered.
pub(super) struct BuildSide {
    /// All its columns.
    pub(super) rows: RecordBatch,
    /// Its rows by equal keys; one part where there are none.
    pub(super) parts: Vec<Part>,
    keys: Option<Keys>,
    /// What its rows must differ in from left rows.
    apart: Option<Apart>,
    dimension: usize,
    index: Option<Index>,
    reservation: MemoryReservation,
}

/// Rows that have the same keys.
pub(super) struct Part {
    pub(super) corpus: Arc<Corpus>,
    /// Which rows they are; `None` for all.
    rows: Option<Arc<[u32]>>,
    order: RowOrder,
    /// All rows, by their numbers in the corpus, in the order of ties; found when the first left row without a score asks.
    in_order: OnceLock<Vec<u32>>,
    /// Of these, those that have no direction.
    without_direction: OnceLock<Vec<u32>>,
}

impl Part {
    fn new(
        vectors: Vec<f32>,
        dimension: usize,
        groups: Option<Vec<u32>>,
        labels: Option<Vec<u32>>,
        rows: Option<Vec<u32>>,
        order: &RowOrder,
    ) -> Result<Self> {
        let rows: Option<Arc<[u32]>> = rows.map(Arc::from);
        let (of_corpus, of_rows) = (rows.clone(), order.clone());
        let row = move |index: u32| of_corpus.as_ref().map_or(index, |rows| rows[index as usize]) as usize;
        let by_order = move |a, b| of_rows.compare(row(a), row(b));
        let mut corpus = Corpus::new(vectors, dimension, groups, None).map_err(execution)?;
        if let Some(labels) = labels {
            corpus = corpus.with_labels(labels).map_err(execution)?;
        }
        let corpus = Arc::new(corpus.with_tie_order(Box::new(by_order)));
        let (in_order, without_direction) = (OnceLock::new(), OnceLock::new());
        Ok(Self { corpus, rows, order: order.clone(), in_order, without_direction })
    }

    /// All its rows in the order of ties, by their numbers in the corpus.
    pub(super) fn in_order(&self) -> &[u32] {
        self.in_order.get_or_init(|| self.sorted(|_| true))
    }

    /// Those without a direction, in the same order.
    pub(super) fn without_direction(&self) -> &[u32] {
        self.without_direction.get_or_init(|| self.sorted(|row| !self.corpus.has_direction(row)))
    }

    fn sorted(&self, test: impl Fn(usize) -> bool) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..self.corpus.rows()).filter(|row| test(*row)).map(|row| row as u32).collect();
        rows.sort_unstable_by(|a, b| self.order.compare(self.row(*a) as usize, self.row(*b) as usize));
        rows
    }

    /// The row of the build side that a row of the corpus is.
    pub(super) fn row(&self, index: u32) -> u32 {
        self.rows.as_ref().map_or(index, |rows| rows[index as usize])
    }
}

/// Bytes of a key and its labels, about.
const LABEL_BYTES: usize = 200;

/// A part of the build side, and the rows of a probe batch that may match its rows.
type RowsOfPart = (usize, Vec<u32>);

impl BuildSide {
    /// The rows of a batch, ready to be searched.
    ///
    /// # Errors
    /// When the memory pool has no room for the vectors.
    pub(super) fn of(
        rows: RecordBatch,
        options: &SimilarityJoinOptions,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let (vectors, dimension) = matrix(&rows, options.right_vector)?;
        reservation.try_resize(Self::memory(&rows, options))?;
        let groups = options.right_group.map(|g| numbers(rows.column(g))).transpose()?;
        let apart = options.apart.map(|(_, right)| Apart::of(&rows, right)).transpose()?;
        let labels = |of: Option<&[u32]>| apart.as_ref().map(|apart| apart.labels_of(of));
        let order = RowOrder::of(&rows, options.right_vector);
        let columns: Vec<usize> = options.on.iter().map(|(_, right)| *right).collect();
        if columns.is_empty() {
            let parts = vec![Part::new(vectors.into_owned(), dimension, groups, labels(None), None, &order)?];
            return Ok(Self { rows, parts, keys: None, apart, dimension, index: None, reservation });
        }
        let (keys, of_keys) = Keys::of(&rows, &columns)?;
        let parts = of_keys.into_iter().map(|of_key| {
            let at = |i: &u32| *i as usize * dimension;
            let own: Vec<f32> = of_key.iter().flat_map(|i| &vectors[at(i)..at(i) + dimension]).copied().collect();
            let groups = groups.as_ref().map(|g| of_key.iter().map(|i| g[*i as usize]).collect());
            let labels = labels(Some(&of_key));
            Part::new(own, dimension, groups, labels, Some(of_key), &order)
        });
        let parts = parts.collect::<Result<_>>()?;
        Ok(Self { rows, parts, keys: Some(keys), apart, dimension, index: None, reservation })
    }

    /// Copies the parts that are worth it to the session's device, unless the rows are in cells; how many rows are there.
    ///
    /// # Errors
    /// When the device was named and cannot be used.
    pub(super) async fn on_device(mut self, context: &TaskContext) -> Result<(Self, usize)> {
        let mut rows = 0;
        if self.index.is_some() {
            return Ok((self, rows));
        }
        for part in &mut self.parts {
            // On their way the rows are there once more. Without room for that the CPU searches.
            let scratch = 4 * self.dimension * part.corpus.rows();
            if let Some(device) = worthwhile(context, part.corpus.rows())
                && self.reservation.try_grow(scratch).is_ok()
            {
                let empty = Corpus::new(Vec::new(), self.dimension, None, None).map_err(execution)?;
                let corpus = std::mem::replace(&mut part.corpus, Arc::new(empty));
                part.corpus = copied(corpus, device).await?;
                rows += if part.corpus.is_on_device() { part.corpus.rows() } else { 0 };
                self.reservation.shrink(scratch);
            }
        }
        Ok((self, rows))
    }

    /// Puts the rows of the one part into cells, where that gains; see [`Index::of`].
    ///
    /// # Errors
    /// When that fails.
    pub(super) async fn indexed(
        mut self,
        model_id: &str,
        recall: f64,
        found: RatioMetrics,
        context: &TaskContext,
    ) -> Result<Self> {
        // What finding the centers takes, at most: the rows' directions once more. Without room for it the search is exact.
        let scratch = 4 * self.size();
        if let [part] = self.parts.as_slice()
            && self.reservation.try_grow(scratch).is_ok()
        {
            self.index = Index::of(&part.corpus, model_id, recall, found, context).await?;
            self.reservation.shrink(scratch);
        }
        Ok(self)
    }

    /// The neighbors of left rows in a part; `labels` are theirs, where rows must differ.
    pub(super) fn search(
        &self,
        part: usize,
        queries: &[f32],
        labels: Option<&[u32]>,
        options: SearchOptions,
    ) -> Result<Vec<Vec<Neighbor>>> {
        let corpus = &self.parts[part].corpus;
        match (&self.index, labels) {
            (_, Some(labels)) => corpus.search_apart(queries, labels, options).map_err(execution),
            (Some(index), None) => index.search(corpus, queries, options),
            (None, None) => corpus.search(queries, options).map_err(execution),
        }
    }

    /// The labels of the rows of a probe batch, where rows must differ.
    pub(super) fn labels(&self, probe: &RecordBatch, apart: Option<(usize, usize)>) -> Result<Option<Vec<u32>>> {
        let of_column = |(left, apart): (usize, &Apart)| apart.labels_of_left(probe.column(left));
        apart.map(|(left, _)| left).zip(self.apart.as_ref()).map(of_column).transpose()
    }

    /// Whether a left row of a label and a right row may match, as far as they must differ.
    pub(super) fn may_match(&self, label: Option<u32>, row: u32) -> bool {
        let other = self.apart.as_ref().map(|apart| apart.labels[row as usize]);
        label.zip(other).is_none_or(|(a, b)| labels_differ(a, b))
    }

    /// Numbers in all vectors.
    pub(super) fn size(&self) -> usize {
        self.rows.num_rows() * self.dimension
    }

    /// Bytes that rows take once they are ready: themselves, the matrix, and at most as much again, packed.
    pub(super) fn memory(rows: &RecordBatch, options: &SimilarityJoinOptions) -> usize {
        let labels = if options.apart.is_some() { LABEL_BYTES * rows.num_rows() } else { 0 };
        bytes(rows) + 2 * slice_bytes(rows.column(options.right_vector)) + labels
    }

    /// The rows of a probe batch that each part may match, as ranges of the list returned; `None` for all rows and the
    /// one part.
    pub(super) fn parts_of(&self, probe: &RecordBatch, on: &[(usize, usize)]) -> Result<Option<Vec<RowsOfPart>>> {
        let Some(keys) = &self.keys else { return Ok(None) };
        let columns: Vec<ArrayRef> = on.iter().map(|(left, _)| probe.column(*left).clone()).collect();
        let mut of_parts: HashMap<usize, Vec<u32>> = HashMap::new();
        for (row, part) in keys.look_up(&columns)?.into_iter().enumerate() {
            if let Some(part) = part {
                of_parts.entry(part).or_default().push(row as u32);
            }
        }
        let mut of_parts: Vec<_> = of_parts.into_iter().collect();
        of_parts.sort_unstable_by_key(|(part, _)| *part);
        Ok(Some(of_parts))
    }
}

/// Bytes of a batch's rows, whatever they are a slice of.
pub(super) fn bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(slice_bytes).sum()
}

fn slice_bytes(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}

/// The vectors of a batch, row-major, and their dimension; NULL becomes zeros, which have no direction.
pub(super) fn matrix(batch: &RecordBatch, vector: usize) -> Result<(std::borrow::Cow<'_, [f32]>, usize)> {
    let Some(array) = batch.column(vector).as_fixed_size_list_opt() else {
        return exec_err!("a column of vectors is {}", batch.column(vector).data_type());
    };
    let dimension = array.value_length() as usize;
    let all = values(array)?;
    if array.null_count() == 0 {
        return Ok((all.into(), dimension));
    }
    let mut own = all.to_vec();
    for (row, vector) in own.chunks_exact_mut(dimension.max(1)).enumerate() {
        if array.is_null(row) {
            vector.fill(0.0);
        }
    }
    Ok((own.into(), dimension))
}

/// A column whose values left rows must not have, as labels.
struct Apart {
    keys: Keys,
    /// Of all rows; NULL is unlabeled.
    labels: Vec<u32>,
}

impl Apart {
    fn of(rows: &RecordBatch, column: usize) -> Result<Self> {
        let (keys, of_keys) = Keys::of(rows, &[column])?;
        let mut labels = vec![UNLABELED; rows.num_rows()];
        for (label, rows) in of_keys.into_iter().enumerate() {
            rows.into_iter().for_each(|row| labels[row as usize] = label as u32);
        }
        Ok(Self { keys, labels })
    }

    fn labels_of(&self, rows: Option<&[u32]>) -> Vec<u32> {
        match rows {
            Some(rows) => rows.iter().map(|row| self.labels[*row as usize]).collect(),
            None => self.labels.clone(),
        }
    }

    /// A value that no row has differs from all of them.
    fn labels_of_left(&self, column: &ArrayRef) -> Result<Vec<u32>> {
        let found = self.keys.look_up(std::slice::from_ref(column))?;
        let label = |(row, found): (usize, Option<usize>)| match found {
            _ if column.is_null(row) => UNLABELED,
            Some(label) => label as u32,
            None => UNLABELED - 1,
        };
        Ok(found.into_iter().enumerate().map(label).collect())
    }
}

/// Values of key columns and their numbers.
struct Keys {
    converter: RowConverter,
    numbers: HashMap<OwnedRow, usize>,
}

impl Keys {
    /// Numbers the keys of a batch, and lists the rows of each; rows with a NULL have none.
    fn of(batch: &RecordBatch, columns: &[usize]) -> Result<(Self, Vec<Vec<u32>>)> {
        let arrays: Vec<ArrayRef> = columns.iter().map(|c| batch.column(*c).clone()).collect();
        let fields = arrays.iter().map(|a| SortField::new(a.data_type().clone())).collect();
        let converter = RowConverter::new(fields)?;
        let (mut numbers, mut rows_of) = (HashMap::new(), Vec::new());
        for (row, key) in converter.convert_columns(&arrays)?.iter().enumerate() {
            if arrays.iter().any(|a| a.is_null(row)) {
                continue;
            }
            let number = *numbers.entry(key.owned()).or_insert_with(|| {
                rows_of.push(Vec::new());
                rows_of.len() - 1
            });
            rows_of[number].push(row as u32);
        }
        Ok((Self { converter, numbers }, rows_of))
    }

    /// The number of each row's key, if there is one.
    fn look_up(&self, columns: &[ArrayRef]) -> Result<Vec<Option<usize>>> {
        let rows = self.converter.convert_columns(columns)?;
        Ok(rows.iter().map(|row| self.numbers.get(&row.owned()).copied()).collect())
    }
}

/// Numbers the distinct values of a column.
pub(super) fn numbers(array: &ArrayRef) -> Result<Vec<u32>> {
    let converter = RowConverter::new(vec![SortField::new(array.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(array))?;
    let mut numbers = HashMap::with_capacity(rows.num_rows());
    Ok(rows
        .iter()
        .map(|row| {
            let next = numbers.len() as u32;
            *numbers.entry(row).or_insert(next)
        })
        .collect())
}
