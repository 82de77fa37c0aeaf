//! Errors of other crates as DataFusion's, so that it is clear whose fault they are.

use datafusion::error::DataFusionError;

/// A type that does not fit: the query's fault, found at planning.
pub(crate) fn plan(error: generel_schemas::Error) -> DataFusionError {
    DataFusionError::Plan(error.to_string())
}

/// The model's fault, found at execution.
pub(crate) fn execution(error: generel_model::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
