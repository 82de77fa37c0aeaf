//! How the operator and the functions travel to other processes: the operator by its options, functions by name and
//! `model_id`. No path, handle or device is ever written; the receiver has its own Embedder and refuses another model's
//! plan.

use std::sync::Arc;

use datafusion::common::{DataFusionError, exec_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use generel_model::Embedder;
use generel_schemas::vector::VectorType;
use prost::Message;

use super::exec::{SimilarityJoinExec, SimilarityJoinOptions};
use crate::functions;

/// Encodes and decodes GENEREL's operator and functions in DataFusion's protobuf plans.
#[derive(Debug)]
pub struct GenerelPhysicalCodec {
    embedder: Embedder,
}

impl GenerelPhysicalCodec {
    /// A codec of a process with this Embedder.
    pub fn new(embedder: Embedder) -> Self {
        Self { embedder }
    }
}

/// The operator on the wire.
#[derive(Clone, PartialEq, Message)]
struct SimilarityJoinNode {
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

impl PhysicalExtensionCodec for GenerelPhysicalCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let node = SimilarityJoinNode::decode(buf)
            .map_err(|e| DataFusionError::Execution(format!("not a SimilarityJoinExec: {e}")))?;
        let [left, right] = inputs else {
            return internal_err!("SimilarityJoinExec has two children, not {}", inputs.len());
        };
        let options = SimilarityJoinOptions {
            left_vector: node.left_vector as usize,
            right_vector: node.right_vector as usize,
            k: node.k as usize,
            min_score: node.min_score,
            right_group: node.right_group.map(|g| g as usize),
        };
        let vector_type = VectorType { model_id: node.model_id, dimension: node.dimension as usize };
        Ok(Arc::new(SimilarityJoinExec::try_new_typed(left.clone(), right.clone(), options, vector_type)?))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(join) = node.downcast_ref::<SimilarityJoinExec>() else {
            return internal_err!("{} is not an operator of GENEREL", node.name());
        };
        let options = join.options();
        let message = SimilarityJoinNode {
            left_vector: options.left_vector as u32,
            right_vector: options.right_vector as u32,
            k: options.k as u64,
            min_score: options.min_score,
            right_group: options.right_group.map(|g| g as u32),
            model_id: join.vector_type().model_id.clone(),
            dimension: join.vector_type().dimension as u32,
        };
        message.encode(buf).map_err(|e| DataFusionError::Execution(e.to_string()))
    }

    fn try_encode_udf(&self, _: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        buf.extend_from_slice(self.embedder.info().model_id.as_bytes());
        Ok(())
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        let own = &self.embedder.info().model_id;
        if buf != own.as_bytes() {
            return exec_err!(
                "the plan was made with model '{}', this process has '{own}'; give both the same model",
                String::from_utf8_lossy(buf)
            );
        }
        match functions(&self.embedder).into_iter().find(|f| f.name() == name) {
            Some(function) => Ok(Arc::new(function)),
            None => exec_err!("no function '{name}' in this process"),
        }
    }
}
