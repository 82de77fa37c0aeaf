//! Vector arrays: values out, lists in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float32Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use generel_schemas::vector::item_field;

/// The values of a vector array, row-major, `len × dimension`; rows that are NULL hold anything.
pub(crate) fn values(vectors: &FixedSizeListArray) -> Result<&[f32]> {
    let Some(values) = vectors.values().as_primitive_opt::<Float32Type>() else {
        return exec_err!("a vector's items must be Float32, not {}", vectors.values().data_type());
    };
    let dimension = vectors.value_length() as usize;
    let first = vectors.value_offset(0) as usize;
    Ok(&values.values()[first..first + vectors.len() * dimension])
}

/// A list of Float32 as vectors of a dimension: what storage without fixed-size lists gives back.
///
/// # Errors
/// When a list has another length than `dimension`, or an item is NULL.
pub fn to_fixed_size(lists: &dyn Array, dimension: usize) -> Result<FixedSizeListArray> {
    let (offsets, values): (Vec<(usize, usize)>, ArrayRef) = match lists.data_type() {
        DataType::List(_) => {
            let lists = lists.as_list::<i32>();
            let ends = lists.value_offsets().windows(2).map(|w| (w[0] as usize, w[1] as usize)).collect();
            (ends, lists.values().clone())
        }
        DataType::LargeList(_) => {
            let lists = lists.as_list::<i64>();
            let ends = lists.value_offsets().windows(2).map(|w| (w[0] as usize, w[1] as usize)).collect();
            (ends, lists.values().clone())
        }
        DataType::FixedSizeList(_, n) if *n as usize == dimension => {
            let lists = lists.as_fixed_size_list();
            let (n, first) = (dimension, lists.value_offset(0) as usize);
            ((0..lists.len()).map(|i| (first + i * n, first + (i + 1) * n)).collect(), lists.values().clone())
        }
        other => return plan_err!("a list of {dimension} Float32 values is needed, not {other}"),
    };
    let Some(floats) = values.as_primitive_opt::<Float32Type>() else {
        return exec_err!("a vector's items must be Float32, not {}", values.data_type());
    };
    let mut out = Vec::with_capacity(lists.len() * dimension);
    for (row, (start, end)) in offsets.into_iter().enumerate() {
        if lists.is_null(row) {
            out.resize(out.len() + dimension, 0.0);
        } else if end - start != dimension {
            return exec_err!("a vector of {} values stands in a column of {dimension} dimensions", end - start);
        } else if floats.nulls().is_some_and(|n| n.slice(start, dimension).null_count() > 0) {
            return exec_err!("a vector has a NULL among its values");
        } else {
            out.extend_from_slice(&floats.values()[start..end]);
        }
    }
    let nulls: Option<NullBuffer> = lists.logical_nulls();
    Ok(FixedSizeListArray::new(item_field(), dimension as i32, Arc::new(Float32Array::from(out)), nulls))
}

/// Cosine similarity row by row; NULL where a side is NULL or has no direction (length 0 or not finite).
pub(crate) fn cosine(left: &FixedSizeListArray, right: &FixedSizeListArray) -> Result<Float32Array> {
    if left.value_length() != right.value_length() || left.len() != right.len() {
        return exec_err!("vectors of {} and {} dimensions", left.value_length(), right.value_length());
    }
    let dimension = (left.value_length() as usize).max(1);
    let (a, b) = (values(left)?, values(right)?);
    let rows = a.chunks_exact(dimension).zip(b.chunks_exact(dimension)).enumerate();
    Ok(rows
        .map(|(i, (a, b))| if left.is_null(i) || right.is_null(i) { None } else { generel_model::search::cosine(a, b) })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::ListArray;

    fn vectors(rows: Vec<Option<Vec<f32>>>) -> FixedSizeListArray {
        let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(
            rows.into_iter().map(|r| r.map(|r| r.into_iter().map(Some).collect::<Vec<_>>())),
        );
        to_fixed_size(&lists, 2).unwrap()
    }

    #[test]
    fn nulls_and_vectors_without_direction() {
        let a = vectors(vec![
            Some(vec![1.0, 0.0]),
            None,
            Some(vec![0.0, 0.0]),
            Some(vec![3.0, 4.0]),
            Some(vec![f32::NAN, 1.0]),
        ]);
        let b = vectors(vec![
            Some(vec![0.0, 2.0]),
            Some(vec![1.0, 1.0]),
            Some(vec![1.0, 1.0]),
            Some(vec![6.0, 8.0]),
            Some(vec![1.0, 1.0]),
        ]);
        let c = cosine(&a, &b).unwrap();
        assert_eq!(c.iter().collect::<Vec<_>>(), [Some(0.0), None, None, Some(1.0), None]);
        assert_eq!(cosine(&a.slice(3, 1), &b.slice(3, 1)).unwrap().value(0), 1.0);
    }

    #[test]
    fn a_list_of_another_length_is_refused() {
        let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(vec![Some(vec![Some(1.0)])]);
        assert!(to_fixed_size(&lists, 2).unwrap_err().to_string().contains("1 values"));
        let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(vec![Some(vec![Some(1.0), None])]);
        assert!(to_fixed_size(&lists, 2).unwrap_err().to_string().contains("NULL"));
    }
}
