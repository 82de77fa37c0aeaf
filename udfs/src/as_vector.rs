//! `as_vector(list, model_id [, dimension])`: restores the type of a vector that lost it.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::scalar::ScalarValue;
use generel_schemas::vector::VectorType;

use crate::vectors::to_fixed_size;

/// `known` is the session's model, whose dimension needs no third argument.
pub(crate) fn udf(known: VectorType) -> ScalarUDF {
    let signature = TypeSignature::OneOf(vec![TypeSignature::Any(2), TypeSignature::Any(3)]);
    ScalarUDF::new_from_impl(AsVector { known, signature: Signature::new(signature, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsVector {
    known: VectorType,
    signature: Signature,
}

impl ScalarUDFImpl for AsVector {
    fn name(&self) -> &str {
        "as_vector"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        datafusion::common::internal_err!("as_vector's type depends on its arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let Some(model_id) = args.scalar_arguments[1].and_then(|a| a.try_as_str()).flatten() else {
            return plan_err!("the second argument of as_vector is a model_id, as a literal");
        };
        let dimension = match args.scalar_arguments.get(2) {
            Some(Some(ScalarValue::Int64(Some(n)))) if *n > 0 => *n as usize,
            Some(_) => return plan_err!("the third argument of as_vector is a dimension, as a literal"),
            None if model_id == self.known.model_id => self.known.dimension,
            None => {
                return plan_err!(
                    "'{model_id}' is not the session's model ('{}'); give the dimension: as_vector(list, '{model_id}', 384)",
                    self.known.model_id
                );
            }
        };
        match args.arg_fields[0].data_type() {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
                if item.data_type() == &DataType::Float32 => {}
            other => return plan_err!("as_vector takes a list of Float32, not {other}"),
        }
        Ok(Arc::new(VectorType { model_id: model_id.to_string(), dimension }.to_field(self.name(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::FixedSizeList(_, dimension) = args.return_field.data_type() else {
            return datafusion::common::internal_err!("as_vector returns a fixed-size list");
        };
        let lists = args.args[0].to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(to_fixed_size(&lists, *dimension as usize)?)))
    }
}
