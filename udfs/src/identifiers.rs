//! `normalize_rsid(text)`, `normalize_allele(text)`, `curie(prefix, code)`: NULL where the text is no such identifier.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use generel_schemas::ids::{self, Curie, Rsid};

/// The rsID in its one spelling.
pub(crate) fn normalize_rsid() -> ScalarUDF {
    text_function("normalize_rsid", |text| Some(Rsid::from_str(text.trim()).ok()?.to_string()))
}

/// The allele in capitals.
pub(crate) fn normalize_allele() -> ScalarUDF {
    text_function("normalize_allele", |text| Some(ids::normalize_allele(text.trim()).ok()?.into_owned()))
}

/// `prefix:code` with the preferred prefix.
pub(crate) fn curie() -> ScalarUDF {
    let types = vec![DataType::Utf8, DataType::Utf8];
    create_udf(
        "curie",
        types,
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(|arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let (prefixes, codes) = (utf8(&arrays[0])?, utf8(&arrays[1])?);
            let curies: StringArray = prefixes
                .as_string::<i32>()
                .iter()
                .zip(codes.as_string::<i32>())
                .map(|(prefix, code)| Some(Curie::new(prefix?, code?).ok()?.to_string()))
                .collect();
            Ok(ColumnarValue::Array(Arc::new(curies)))
        }),
    )
}

fn text_function(name: &str, f: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> ScalarUDF {
    create_udf(
        name,
        vec![DataType::Utf8],
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(move |arguments| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let texts = utf8(&arrays[0])?;
            let out: StringArray = texts.as_string::<i32>().iter().map(|text| f(text?)).collect();
            Ok(ColumnarValue::Array(Arc::new(out)))
        }),
    )
}

fn utf8(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(array, &DataType::Utf8)?)
}
