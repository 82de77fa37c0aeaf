//! How operators and functions travel to other processes: operators by their options, functions by name and `model_id`.
//! No path, handle or device is ever written; the receiver has its own Embedder and refuses another model's plan.

use std::sync::Arc;

use datafusion::common::{DataFusionError, exec_err, internal_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use generel_model::Embedder;
use prost::{Message, Oneof};

use crate::embedding::{EmbedExec, EmbedNode};
use crate::functions;
use crate::similarity_join::{SimilarityJoinExec, SimilarityJoinNode};

/// Encodes and decodes GENEREL's operators and functions in DataFusion's protobuf plans.
#[derive(Debug)]
pub struct GenerelPhysicalCodec {
    embedder: Embedder,
}

/// Any of our operators.
#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(oneof = "Operator", tags = "1, 2")]
    operator: Option<Operator>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Operator {
    #[prost(message, tag = "1")]
    SimilarityJoin(SimilarityJoinNode),
    #[prost(message, tag = "2")]
    Embed(EmbedNode),
}

impl GenerelPhysicalCodec {
    /// A codec of a process with this Embedder.
    pub fn new(embedder: Embedder) -> Self {
        Self { embedder }
    }

    fn check_model(&self, model_id: &str) -> Result<()> {
        let own = &self.embedder.info().model_id;
        if model_id == own {
            return Ok(());
        }
        exec_err!("the plan was made with model '{model_id}', this process has '{own}'; give both the same model")
    }
}

impl PhysicalExtensionCodec for GenerelPhysicalCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let node = Node::decode(buf).map_err(|e| DataFusionError::Execution(format!("not a plan of GENEREL: {e}")))?;
        match node.operator {
            Some(Operator::SimilarityJoin(join)) => join.decoded(inputs),
            Some(Operator::Embed(embed)) => {
                self.check_model(&embed.model_id)?;
                embed.decoded(&self.embedder, inputs, context, self, converter)
            }
            None => exec_err!("an operator that this version of GENEREL does not know"),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let operator = if let Some(join) = node.downcast_ref::<SimilarityJoinExec>() {
            Operator::SimilarityJoin(SimilarityJoinNode::encoded(join))
        } else if let Some(embed) = node.downcast_ref::<EmbedExec>() {
            Operator::Embed(EmbedNode::encoded(embed, self, converter)?)
        } else {
            return internal_err!("{} is not an operator of GENEREL", node.name());
        };
        Node { operator: Some(operator) }.encode(buf).map_err(|e| DataFusionError::Execution(e.to_string()))
    }

    fn try_encode_udf(&self, function: &ScalarUDF, buf: &mut Vec<u8>) -> Result<()> {
        // DataFusion's own functions are found by their names alone, where nothing is written.
        if functions(&self.embedder).iter().any(|own| own.name() == function.name()) {
            buf.extend_from_slice(self.embedder.info().model_id.as_bytes());
        }
        Ok(())
    }

    fn try_decode_udf(&self, name: &str, buf: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.check_model(&String::from_utf8_lossy(buf))?;
        match functions(&self.embedder).into_iter().find(|f| f.name() == name) {
            Some(function) => Ok(Arc::new(function)),
            None => exec_err!("no function '{name}' in this process"),
        }
    }
}
