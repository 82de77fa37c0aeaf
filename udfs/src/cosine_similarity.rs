//! `cosine_similarity(a, b)`: of two typed vectors of one model; anything else is an error at planning.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use generel_schemas::vector::compatible;

use crate::error::plan;
use crate::vectors::cosine;

pub(crate) fn udf() -> ScalarUDF {
    ScalarUDF::new_from_impl(CosineSimilarity { signature: Signature::any(2, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CosineSimilarity {
    signature: Signature,
}

impl ScalarUDFImpl for CosineSimilarity {
    fn name(&self) -> &str {
        "cosine_similarity"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float32)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        compatible(args.arg_fields[0].as_ref(), args.arg_fields[1].as_ref()).map_err(plan)?;
        Ok(Arc::new(Field::new(self.name(), DataType::Float32, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let left = args.args[0].to_array(args.number_rows)?;
        let right = args.args[1].to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(cosine(left.as_fixed_size_list(), right.as_fixed_size_list())?)))
    }
}
