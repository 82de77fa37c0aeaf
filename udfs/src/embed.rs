//! `embed(text [, model])`: a typed vector.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef};
use async_trait::async_trait;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;
use generel_model::Embedder;

use crate::error::execution;

pub(crate) fn udf(embedder: Embedder) -> ScalarUDF {
    AsyncScalarUDF::new(Arc::new(Embed::new(embedder))).into_scalar_udf()
}

/// Async, so that it never blocks the runtime. Two are equal when their models are.
#[derive(Debug)]
struct Embed {
    embedder: Embedder,
    signature: Signature,
}

impl Embed {
    fn new(embedder: Embedder) -> Self {
        // Not by type: async functions get no coercion, so every string layout is taken as it comes. Not volatile, so
        // that equal calls are computed once.
        let signature = TypeSignature::OneOf(vec![TypeSignature::Any(1), TypeSignature::Any(2)]);
        Self { embedder, signature: Signature::new(signature, Volatility::Stable) }
    }

    fn model_id(&self) -> &str {
        &self.embedder.info().model_id
    }

    fn check_model(&self, argument: Option<&ScalarValue>) -> Result<()> {
        let info = self.embedder.info();
        match argument.and_then(|a| a.try_as_str()).flatten() {
            Some(name) if name == info.name || name == info.model_id => Ok(()),
            Some(name) => plan_err!("model '{name}' is not the session's; it has '{}' ({})", info.name, info.model_id),
            None => plan_err!("the second argument of embed is the name of a model, as a literal"),
        }
    }
}

impl PartialEq for Embed {
    fn eq(&self, other: &Self) -> bool {
        self.model_id() == other.model_id()
    }
}

impl Eq for Embed {}

impl Hash for Embed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.model_id().hash(state);
    }
}

impl ScalarUDFImpl for Embed {
    fn name(&self) -> &str {
        "embed"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.embedder.info().vector_type().data_type())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if !is_text(args.arg_fields[0].data_type()) {
            return plan_err!(
                "embed takes text, not {}; cast it: embed(cast(… as varchar))",
                args.arg_fields[0].data_type()
            );
        }
        if args.arg_fields.len() == 2 {
            self.check_model(args.scalar_arguments[1])?;
        }
        let field: Field = self.embedder.info().vector_type().to_field(self.name(), true);
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        datafusion::common::internal_err!("embed is asynchronous")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Embed {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Array(embed_argument(&self.embedder, &args.args[0], args.number_rows).await?))
    }
}

/// Whether `embed` takes this type.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Embeds an argument. A literal is embedded once and repeated: DataFusion 55 takes a scalar from an async function
/// for an array of one row whatever the batch's length.
pub(crate) async fn embed_argument(embedder: &Embedder, argument: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    match argument {
        ColumnarValue::Array(array) => Ok(Arc::new(embedder.embed(array).await.map_err(execution)?)),
        ColumnarValue::Scalar(scalar) => {
            let one: ArrayRef = Arc::new(embedder.embed(&scalar.to_array_of_size(1)?).await.map_err(execution)?);
            Ok(take(&one, &UInt32Array::from(vec![0; rows]), None)?)
        }
    }
}
