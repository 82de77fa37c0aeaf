//! The operator on the wire: its calls and the model that they are for.

use std::sync::Arc;

use datafusion::common::{DataFusionError, internal_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalExprNode;
use generel_model::Embedder;
use prost::Message;

use super::{EmbedCall, EmbedExec};

/// The operator on the wire.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EmbedNode {
    #[prost(message, repeated, tag = "1")]
    calls: Vec<CallNode>,
    #[prost(string, tag = "2")]
    pub(crate) model_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct CallNode {
    #[prost(bytes, tag = "1")]
    text: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
}

impl EmbedNode {
    pub(crate) fn encoded(
        embed: &EmbedExec,
        codec: &dyn PhysicalExtensionCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Self> {
        let call = |call: &EmbedCall| {
            let text = converter.physical_expr_to_proto(&call.text, codec)?.encode_to_vec();
            Ok(CallNode { text, name: call.name.clone() })
        };
        let calls = embed.calls().iter().map(call).collect::<Result<_>>()?;
        Ok(Self { calls, model_id: embed.embedder().info().model_id.clone() })
    }

    /// The operator with this process's Embedder, whose model the caller has compared.
    pub(crate) fn decoded(
        self,
        embedder: &Embedder,
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        codec: &dyn PhysicalExtensionCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = inputs else {
            return internal_err!("EmbedExec has one child, not {}", inputs.len());
        };
        let context = PhysicalPlanDecodeContext::new(context, codec);
        let call = |call: CallNode| {
            let text = PhysicalExprNode::decode(call.text.as_slice())
                .map_err(|e| DataFusionError::Execution(format!("not an expression: {e}")))?;
            let text = converter.proto_to_physical_expr(&text, &input.schema(), &context)?;
            Ok(EmbedCall { text, name: call.name })
        };
        let calls = self.calls.into_iter().map(call).collect::<Result<_>>()?;
        Ok(Arc::new(EmbedExec::try_new(embedder.clone(), calls, Arc::clone(input))?))
    }
}
