//! The rows of three tables in the making.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, StringBuilder, new_null_array};
use arrow::datatypes::DataType;
use generel_schemas::RejectedRow;
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, KG_EDGES, NameType};

use super::super::{Chunk, batch};
use crate::Result;

/// OBO files state no language; in practice they are English.
const LANGUAGE: &str = "en";

/// Rows gathered since the last chunk.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) read: u64,
    pub(super) concepts: Texts<5>,
    pub(super) obsolete: BooleanBuilder,
    names: Texts<4>,
    pub(super) edges: Texts<6>,
    pub(super) rejected: Vec<RejectedRow>,
    pub(super) nulled: BTreeMap<&'static str, u64>,
}

impl Rows {
    pub(super) fn name(&mut self, code: &str, name: &str, name_type: NameType) {
        self.names.push([Some(code), Some(name), Some(name_type.as_str()), Some(LANGUAGE)]);
    }

    pub(super) fn into_chunk(mut self) -> Result<Chunk> {
        let mut concepts = self.concepts.finish();
        concepts.push(Arc::new(self.obsolete.finish()));
        let mut edges = self.edges.finish();
        let count = edges[0].len();
        // object_category, weight, provenance: OBO says nothing of them.
        edges.extend([DataType::Utf8, DataType::Float64, DataType::Utf8].map(|kind| new_null_array(&kind, count)));
        let mut batches = Vec::new();
        for (table, columns) in [(&CONCEPTS, concepts), (&CONCEPT_NAMES, self.names.finish()), (&KG_EDGES, edges)] {
            let rows = batch(table, columns)?;
            if rows.num_rows() > 0 {
                batches.push((table, rows));
            }
        }
        let rows_taken = batches.iter().map(|(_, batch)| batch.num_rows() as u64).sum();
        Ok(Chunk {
            rows_read: self.read,
            rows_taken,
            batches,
            rejected: self.rejected,
            nulled: self.nulled,
            ..Chunk::default()
        })
    }
}

/// Text columns, filled row by row.
pub(super) struct Texts<const N: usize>([StringBuilder; N]);

impl<const N: usize> Default for Texts<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| StringBuilder::new()))
    }
}

impl<const N: usize> Texts<N> {
    pub(super) fn push(&mut self, row: [Option<&str>; N]) {
        for (column, value) in self.0.iter_mut().zip(row) {
            column.append_option(value);
        }
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.0.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef).collect()
    }
}
