//! The join on the wire: its options and the type of its vectors.

use std::sync::Arc;

use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use generel_schemas::vector::VectorType;
use prost::Message;

use super::exec::{SimilarityJoinExec, SimilarityJoinOptions};

/// The operator on the wire.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SimilarityJoinNode {
    #[prost(uint32, tag = "1")]
    left_vector: u32,
    #[prost(uint32, tag = "2")]
    right_vector: u32,
    #[prost(uint64, tag = "3")]
    k: u64,
    #[prost(float, tag = "4")]
    min_score: f32,
    #[prost(uint32, optional, tag = "5")]
    right_group: Option<u32>,
    #[prost(string, tag = "6")]
    model_id: String,
    #[prost(uint32, tag = "7")]
    dimension: u32,
}

impl SimilarityJoinNode {
    pub(crate) fn encoded(join: &SimilarityJoinExec) -> Self {
        let options = join.options();
        Self {
            left_vector: options.left_vector as u32,
            right_vector: options.right_vector as u32,
            k: options.k as u64,
            min_score: options.min_score,
            right_group: options.right_group.map(|g| g as u32),
            model_id: join.vector_type().model_id.clone(),
            dimension: join.vector_type().dimension as u32,
        }
    }

    pub(crate) fn decoded(self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] = inputs else {
            return internal_err!("SimilarityJoinExec has two children, not {}", inputs.len());
        };
        let options = SimilarityJoinOptions {
            left_vector: self.left_vector as usize,
            right_vector: self.right_vector as usize,
            k: self.k as usize,
            min_score: self.min_score,
            right_group: self.right_group.map(|g| g as usize),
        };
        let vector_type = VectorType { model_id: self.model_id, dimension: self.dimension as usize };
        Ok(Arc::new(SimilarityJoinExec::try_new_typed(left.clone(), right.clone(), options, vector_type)?))
    }
}
