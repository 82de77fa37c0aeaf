//! `embed_snp(rsid [, genes [, chromosome, position [, consequence]]])`: a typed vector in the texts' space, and
//! `snp_origin` of the same arguments: where it is from.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, StringArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use async_trait::async_trait;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use generel_model::{Embedder, SnpOrigin, SnpQuery};

use crate::embed::is_text;
use crate::error::execution;

/// What is asked of an SNP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asked {
    Vector,
    Origin,
}

/// `embed_snp`, for one model.
pub(crate) fn udf(embedder: Embedder) -> ScalarUDF {
    of(embedder, Asked::Vector)
}

/// `snp_origin`, for one model.
pub(crate) fn origin(embedder: Embedder) -> ScalarUDF {
    of(embedder, Asked::Origin)
}

fn of(embedder: Embedder, asked: Asked) -> ScalarUDF {
    // Three are told what is missing.
    let counts = [1, 2, 3, 4, 5].map(TypeSignature::Any).to_vec();
    let signature = Signature::new(TypeSignature::OneOf(counts), Volatility::Stable);
    AsyncScalarUDF::new(Arc::new(EmbedSnp { embedder, asked, signature })).into_scalar_udf()
}

/// Async, since the genes' names may have to be embedded. Two are equal when their models are, and what they are asked.
#[derive(Debug)]
struct EmbedSnp {
    embedder: Embedder,
    asked: Asked,
    signature: Signature,
}

impl PartialEq for EmbedSnp {
    fn eq(&self, other: &Self) -> bool {
        self.asked == other.asked && self.embedder.info().model_id == other.embedder.info().model_id
    }
}

impl Eq for EmbedSnp {}

impl Hash for EmbedSnp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.asked, &self.embedder.info().model_id).hash(state);
    }
}

impl ScalarUDFImpl for EmbedSnp {
    fn name(&self) -> &str {
        match self.asked {
            Asked::Vector => "embed_snp",
            Asked::Origin => "snp_origin",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.asked {
            Asked::Vector => self.embedder.info().vector_type().data_type(),
            Asked::Origin => DataType::Utf8,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if args.arg_fields.len() == 3 {
            return plan_err!("{} takes a chromosome and a position, or neither", self.name());
        }
        for (i, what) in [(0, "an rsID"), (1, "gene symbols"), (4, "a consequence")] {
            if let Some(field) = args.arg_fields.get(i)
                && !is_text(field.data_type())
            {
                return plan_err!("argument {} of {} is {what}, a text, not {}", i + 1, self.name(), field.data_type());
            }
        }
        for (i, what) in [(2, "a chromosome (1-25)"), (3, "a position")] {
            if let Some(field) = args.arg_fields.get(i)
                && !field.data_type().is_numeric()
                && *field.data_type() != DataType::Null
            {
                return plan_err!(
                    "argument {} of {} is {what}, a number, not {}",
                    i + 1,
                    self.name(),
                    field.data_type()
                );
            }
        }
        Ok(Arc::new(match self.asked {
            Asked::Vector => self.embedder.info().vector_type().to_field(self.name(), true),
            Asked::Origin => Field::new(self.name(), DataType::Utf8, true),
        }))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        datafusion::common::internal_err!("{} is asynchronous", self.name())
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for EmbedSnp {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (queries, known) = queries(&args)?;
        let (vectors, origins) = self.embedder.embed_snps(&queries).await.map_err(execution)?;
        let is_there = |i: usize| known[i] && origins[i].is_some();
        Ok(ColumnarValue::Array(match self.asked {
            Asked::Origin => Arc::new(StringArray::from_iter((0..queries.len()).map(|i| {
                origins[i].filter(|_| known[i]).map(|origin| match origin {
                    SnpOrigin::Trained => "trained",
                    SnpOrigin::Inductive => "inductive",
                })
            }))),
            Asked::Vector => {
                let nulls = NullBuffer::from_iter((0..queries.len()).map(is_there));
                Arc::new(to_vectors(&self.embedder, vectors, Some(nulls))?)
            }
        }))
    }
}

/// Rows of floats as vectors of the model's type.
pub(super) fn to_vectors(
    embedder: &Embedder,
    values: Vec<f32>,
    nulls: Option<NullBuffer>,
) -> Result<FixedSizeListArray> {
    let dimension = i32::try_from(embedder.info().dimension).unwrap_or(i32::MAX);
    let item = match embedder.info().vector_type().data_type() {
        DataType::FixedSizeList(item, _) => item,
        other => return datafusion::common::internal_err!("a vector type is {other}"),
    };
    Ok(FixedSizeListArray::try_new(item, dimension, Arc::new(Float32Array::from(values)), nulls)?)
}

/// The SNPs of the rows, and whether each has an rsID.
fn queries(args: &ScalarFunctionArgs) -> Result<(Vec<SnpQuery>, Vec<bool>)> {
    let arrays = ColumnarValue::values_to_arrays(&args.args)?;
    // A call whose arguments are all literals has one row, whatever the batch's length.
    let at = |array: &ArrayRef, row: usize| if array.len() == 1 { 0 } else { row };
    let text = |i: usize| arrays.get(i).map(|a| cast(a, &DataType::Utf8)).transpose();
    let number = |i: usize| arrays.get(i).map(|a| cast(a, &DataType::Int64)).transpose();
    let (rsids, genes, consequences) = (text(0)?, text(1)?, text(4)?);
    let (chromosomes, positions) = (number(2)?, number(3)?);
    let (mut queries, mut known) = (Vec::with_capacity(args.number_rows), Vec::with_capacity(args.number_rows));
    let of_text = |array: &Option<ArrayRef>, row: usize| {
        let array = array.as_ref()?;
        let row = at(array, row);
        array.is_valid(row).then(|| array.as_string::<i32>().value(row).to_string())
    };
    let of_number = |array: &Option<ArrayRef>, row: usize| {
        let array = array.as_ref()?;
        let row = at(array, row);
        array.is_valid(row).then(|| array.as_primitive::<Int64Type>().value(row))
    };
    for row in 0..args.number_rows {
        let rsid = of_text(&rsids, row);
        known.push(rsid.is_some());
        let symbols = of_text(&genes, row).unwrap_or_default();
        queries.push(SnpQuery {
            rsid: rsid.unwrap_or_default().trim().to_lowercase(),
            genes: symbols
                .split([',', ';'])
                .flat_map(|g| g.split(" - "))
                .map(str::trim)
                .filter(|g| !g.is_empty())
                .map(str::to_string)
                .collect(),
            chromosome: of_number(&chromosomes, row)
                .and_then(|c| u8::try_from(c).ok())
                .filter(|c| (1..=25).contains(c)),
            position: of_number(&positions, row).and_then(|p| u32::try_from(p).ok()),
            consequence: of_text(&consequences, row),
        });
    }
    Ok((queries, known))
}
