//! The typed vector: the whole bridge between "an embedding of model M" and an Arrow field.
//!
//! A vector column is `FixedSizeList<Float32, D>` whose field metadata names the model. The metadata keys live here and
//! nowhere else. Storage that has no fixed-size list (Delta) keeps a plain list and the same metadata; the lake's scan
//! brings the type back. A vector that lost its type is refused with a hint, never guessed from its length.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field};

use crate::{Error, Result};

/// Field metadata key: which model made the vectors.
pub const MODEL_ID: &str = "generel.model_id";
/// Field metadata key: dimension, for storage without fixed-size lists.
pub const DIMENSION: &str = "generel.dimension";

/// What a typed vector column is: a model and a dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VectorType {
    /// Hash over weights, tokenizer, pooling and text normalization.
    pub model_id: String,
    /// Number of components.
    pub dimension: usize,
}

impl VectorType {
    /// The Arrow type, `FixedSizeList<Float32, D>`, whose items are not nullable.
    pub fn data_type(&self) -> DataType {
        DataType::FixedSizeList(item_field(), i32::try_from(self.dimension).unwrap_or(i32::MAX))
    }

    /// The metadata that makes a field a typed vector.
    pub fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([
            (MODEL_ID.to_string(), self.model_id.clone()),
            (DIMENSION.to_string(), self.dimension.to_string()),
        ])
    }

    /// A field of this type.
    pub fn to_field(&self, name: &str, nullable: bool) -> Field {
        Field::new(name, self.data_type(), nullable).with_metadata(self.metadata())
    }

    /// Reads the type off a field.
    ///
    /// # Errors
    /// [`Error::Untyped`] when the field is not a fixed-size list of Float32 with a `model_id`.
    pub fn from_field(field: &Field) -> Result<Self> {
        let untyped =
            |hint: String| Error::Untyped { column: field.name().clone(), found: short_type(field.data_type()), hint };
        let DataType::FixedSizeList(item, dimension) = field.data_type() else {
            return Err(untyped("use a vector made by embed(), or read it through the lake's tables".into()));
        };
        if item.data_type() != &DataType::Float32 {
            return Err(untyped("its items must be Float32".into()));
        }
        let Some(model_id) = field.metadata().get(MODEL_ID) else {
            return Err(untyped("say which model made it: as_vector(column, 'MODEL_ID')".into()));
        };
        Ok(Self { model_id: model_id.clone(), dimension: usize::try_from(*dimension).unwrap_or(0) })
    }
}

/// The list item of every vector column: Float32, not nullable.
pub fn item_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, false))
}

/// Checks that vectors of two fields live in one space and returns that space.
///
/// # Errors
/// [`Error::Untyped`], [`Error::ModelMismatch`] or [`Error::DimensionMismatch`].
pub fn compatible(left: &Field, right: &Field) -> Result<VectorType> {
    let (left, right) = (VectorType::from_field(left)?, VectorType::from_field(right)?);
    if left.model_id != right.model_id {
        return Err(Error::ModelMismatch { left: left.model_id, right: right.model_id });
    }
    if left.dimension != right.dimension {
        return Err(Error::DimensionMismatch { left: left.dimension, right: right.dimension });
    }
    Ok(left)
}

fn short_type(data_type: &DataType) -> String {
    match data_type {
        DataType::FixedSizeList(item, n) => format!("FixedSizeList<{}, {n}>", item.data_type()),
        DataType::List(item) => format!("List<{}>", item.data_type()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(model: &str, dimension: usize) -> Field {
        VectorType { model_id: model.into(), dimension }.to_field("v", true)
    }

    #[test]
    fn round_trips_through_a_field() {
        let field = vector("m1", 384);
        assert_eq!(VectorType::from_field(&field).unwrap(), VectorType { model_id: "m1".into(), dimension: 384 });
    }

    #[test]
    fn two_models_do_not_meet() {
        let err = compatible(&vector("m1", 3), &vector("m2", 3)).unwrap_err();
        assert!(err.to_string().contains("'m1' and 'm2'"), "{err}");
        assert!(matches!(
            compatible(&vector("m1", 3), &vector("m1", 4)),
            Err(Error::DimensionMismatch { left: 3, right: 4 })
        ));
    }

    #[test]
    fn a_list_without_type_is_refused_with_a_hint() {
        let plain = Field::new("v", DataType::FixedSizeList(item_field(), 3), true);
        let err = VectorType::from_field(&plain).unwrap_err().to_string();
        assert!(err.contains("as_vector(column, 'MODEL_ID')"), "{err}");
        let list = Field::new("v", DataType::List(item_field()), true);
        assert!(VectorType::from_field(&list).unwrap_err().to_string().contains("List<Float32>"));
    }
}
