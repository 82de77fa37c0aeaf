//! The order of rows that decides ties: by what they hold, so that it is the same however they arrive.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{DynComparator, RecordBatch, make_comparator};
use arrow::compute::SortOptions;

/// Compares the rows of a batch by all columns, one after the other, ascending and NULL first; vectors come last.
#[derive(Clone)]
pub(super) struct RowOrder(Arc<Vec<DynComparator>>);

impl RowOrder {
    /// `vector` is the column of the vectors. Columns whose values have no order are not looked at.
    pub(super) fn of(rows: &RecordBatch, vector: usize) -> Self {
        let columns = rows.columns().iter().enumerate().filter(|(i, _)| *i != vector).map(|(_, column)| column);
        let columns = columns.chain(rows.columns().get(vector));
        Self(Arc::new(columns.filter_map(|c| make_comparator(c, c, SortOptions::default()).ok()).collect()))
    }

    pub(super) fn compare(&self, a: usize, b: usize) -> Ordering {
        let mut by_columns = self.0.iter().map(|compare| compare(a, b));
        by_columns.find(|order| order.is_ne()).unwrap_or(Ordering::Equal).then(a.cmp(&b))
    }
}
