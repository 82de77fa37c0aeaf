//! The join on the wire: its options and the type of its vectors.

use std::sync::Arc;

use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use generel_schemas::vector::VectorType;
use prost::Message;

use super::exec::SimilarityJoinExec;
use super::options::SimilarityJoinOptions;

/// The operator on the wire.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SimilarityJoinNode {
    #[prost(uint32, tag = "1")]
    left_vector: u32,
    #[prost(uint32, tag = "2")]
    right_vector: u32,
    #[prost(uint64, optional, tag = "3")]
    k: Option<u64>,
    #[prost(float, tag = "4")]
    min_score: f32,
    #[prost(uint32, optional, tag = "5")]
    right_group: Option<u32>,
    #[prost(string, tag = "6")]
    model_id: String,
    #[prost(uint32, tag = "7")]
    dimension: u32,
    #[prost(string, tag = "8")]
    join_type: String,
    #[prost(uint32, repeated, tag = "9")]
    on_left: Vec<u32>,
    #[prost(uint32, repeated, tag = "10")]
    on_right: Vec<u32>,
    #[prost(uint64, optional, tag = "11")]
    candidates: Option<u64>,
    #[prost(bool, tag = "12")]
    hold_left: bool,
    /// Nothing for all columns.
    #[prost(message, optional, tag = "13")]
    projection: Option<Columns>,
    #[prost(double, optional, tag = "14")]
    recall: Option<f64>,
    /// Nothing, or a left and a right column.
    #[prost(uint32, repeated, tag = "15")]
    apart: Vec<u32>,
    #[prost(bool, tag = "16")]
    ties: bool,
    #[prost(bool, tag = "17")]
    unscored_first: bool,
}

/// Columns by their indices.
#[derive(Clone, PartialEq, Message)]
struct Columns {
    #[prost(uint32, repeated, tag = "1")]
    indices: Vec<u32>,
    #[prost(string, repeated, tag = "2")]
    names: Vec<String>,
}

impl SimilarityJoinNode {
    pub(crate) fn encoded(join: &SimilarityJoinExec) -> Self {
        let options = join.options();
        Self {
            left_vector: options.left_vector as u32,
            right_vector: options.right_vector as u32,
            k: options.k.map(|k| k as u64),
            min_score: options.min_score,
            right_group: options.right_group.map(|g| g as u32),
            model_id: join.vector_type().model_id.clone(),
            dimension: join.vector_type().dimension as u32,
            join_type: options.join_type.to_string(),
            on_left: options.on.iter().map(|(l, _)| *l as u32).collect(),
            on_right: options.on.iter().map(|(_, r)| *r as u32).collect(),
            ties: options.ties,
            unscored_first: options.unscored_first,
            candidates: options.candidates.map(|c| c as u64),
            hold_left: options.hold_left,
            recall: options.recall,
            apart: options.apart.iter().flat_map(|(l, r)| [*l as u32, *r as u32]).collect(),
            projection: options.projection.as_ref().map(|columns| Columns {
                indices: columns.iter().map(|(i, _)| *i as u32).collect(),
                names: columns.iter().map(|(_, name)| name.clone()).collect(),
            }),
        }
    }

    pub(crate) fn decoded(self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] = inputs else {
            return internal_err!("SimilarityJoinExec has two children, not {}", inputs.len());
        };
        let options = SimilarityJoinOptions {
            left_vector: self.left_vector as usize,
            right_vector: self.right_vector as usize,
            k: self.k.map(|k| k as usize),
            min_score: self.min_score,
            right_group: self.right_group.map(|g| g as usize),
            join_type: self.join_type.parse()?,
            on: self.on_left.iter().zip(&self.on_right).map(|(l, r)| (*l as usize, *r as usize)).collect(),
            ties: self.ties,
            unscored_first: self.unscored_first,
            candidates: self.candidates.map(|c| c as usize),
            hold_left: self.hold_left,
            recall: self.recall,
            apart: match self.apart.as_slice() {
                [l, r] => Some((*l as usize, *r as usize)),
                _ => None,
            },
            projection: self.projection.map(|c| c.indices.into_iter().map(|i| i as usize).zip(c.names).collect()),
        };
        let vector_type = VectorType { model_id: self.model_id, dimension: self.dimension as usize };
        Ok(Arc::new(SimilarityJoinExec::try_new_typed(left.clone(), right.clone(), options, vector_type)?))
    }
}
