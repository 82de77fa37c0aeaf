//! `concept_similarity(text, text)`: cosine similarity of the two texts' embeddings.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use generel_model::Embedder;

use crate::embed::{embed_argument, is_text};
use crate::vectors::cosine;

pub(crate) fn udf(embedder: Embedder) -> ScalarUDF {
    let signature = Signature::any(2, Volatility::Stable);
    AsyncScalarUDF::new(Arc::new(ConceptSimilarity { embedder, signature })).into_scalar_udf()
}

#[derive(Debug)]
struct ConceptSimilarity {
    embedder: Embedder,
    signature: Signature,
}

impl PartialEq for ConceptSimilarity {
    fn eq(&self, other: &Self) -> bool {
        self.embedder.info().model_id == other.embedder.info().model_id
    }
}

impl Eq for ConceptSimilarity {}

impl Hash for ConceptSimilarity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.embedder.info().model_id.hash(state);
    }
}

impl ScalarUDFImpl for ConceptSimilarity {
    fn name(&self) -> &str {
        "concept_similarity"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.iter().find(|t| !is_text(t)) {
            Some(other) => {
                plan_err!("concept_similarity takes two texts, not {other}; for vectors use cosine_similarity")
            }
            None => Ok(DataType::Float32),
        }
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        datafusion::common::internal_err!("concept_similarity is asynchronous")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for ConceptSimilarity {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (left, right) = futures::try_join!(
            embed_argument(&self.embedder, &args.args[0], args.number_rows),
            embed_argument(&self.embedder, &args.args[1], args.number_rows)
        )?;
        Ok(ColumnarValue::Array(Arc::new(cosine(left.as_fixed_size_list(), right.as_fixed_size_list())?)))
    }
}
