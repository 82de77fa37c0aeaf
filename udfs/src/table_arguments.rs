//! Arguments of table functions: literals, and names of tables in the session.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{TableReference, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use futures::FutureExt;
use generel_schemas::vector::VectorType;

use crate::error::plan;

/// The arguments of one call.
pub(crate) struct Arguments<'a> {
    function: &'static str,
    usage: &'static str,
    exprs: &'a [Expr],
}

impl<'a> Arguments<'a> {
    pub(crate) fn new(
        function: &'static str,
        usage: &'static str,
        exprs: &'a [Expr],
        needed: usize,
        most: usize,
    ) -> Result<Self> {
        if exprs.len() < needed || exprs.len() > most {
            return plan_err!("{function} takes {usage}");
        }
        Ok(Self { function, usage, exprs })
    }

    pub(crate) fn text(&self, index: usize) -> Result<&'a str> {
        match self.literal(index)?.and_then(|v| v.try_as_str().flatten()) {
            Some(text) => Ok(text),
            None => self.wrong(index, "a text"),
        }
    }

    pub(crate) fn optional_text(&self, index: usize) -> Result<Option<&'a str>> {
        if index < self.exprs.len() { self.text(index).map(Some) } else { Ok(None) }
    }

    pub(crate) fn count(&self, index: usize, default: usize) -> Result<usize> {
        match self.literal(index)? {
            None => Ok(default),
            Some(ScalarValue::Int64(Some(n))) if *n > 0 => Ok(*n as usize),
            Some(_) => self.wrong(index, "an integer of at least 1"),
        }
    }

    pub(crate) fn score(&self, index: usize, default: f32) -> Result<f32> {
        match self.literal(index)? {
            None => Ok(default),
            Some(ScalarValue::Float64(Some(v))) if (-1.0..=1.0).contains(v) => Ok(*v as f32),
            Some(ScalarValue::Int64(Some(v))) if (-1..=1).contains(v) => Ok(*v as f32),
            Some(_) => self.wrong(index, "a cosine between -1 and 1"),
        }
    }

    fn literal(&self, index: usize) -> Result<Option<&'a ScalarValue>> {
        match self.exprs.get(index) {
            None => Ok(None),
            Some(Expr::Literal(value, _)) => Ok(Some(value)),
            Some(_) => self.wrong(index, "a literal"),
        }
    }

    fn wrong<T>(&self, index: usize, expected: &str) -> Result<T> {
        plan_err!("argument {} of {} must be {expected}; it takes {}", index + 1, self.function, self.usage)
    }
}

/// A table of the session by name. Table functions are planned synchronously, so the table's schema provider must
/// answer at once, as those in memory do.
pub(crate) fn table(session: &dyn Session, name: &str) -> Result<Arc<dyn TableProvider>> {
    let options = &session.config_options().catalog;
    let resolved = TableReference::from(name).resolve(&options.default_catalog, &options.default_schema);
    let schema = session.catalog_list().catalog(&resolved.catalog).and_then(|c| c.schema(&resolved.schema));
    let found = match schema {
        Some(schema) => match schema.table(&resolved.table).now_or_never() {
            Some(result) => result?,
            None => return plan_err!("table '{name}' needs loading before a table function can use it"),
        },
        None => None,
    };
    match found {
        Some(table) => Ok(table),
        None => plan_err!("no table '{name}'"),
    }
}

/// The one vector column of a table.
pub(crate) fn vector_column(table: &str, schema: &Schema) -> Result<usize> {
    let typed: Vec<usize> =
        (0..schema.fields().len()).filter(|i| VectorType::from_field(schema.field(*i)).is_ok()).collect();
    match typed.as_slice() {
        [one] => Ok(*one),
        [] => match schema.fields().iter().find(|f| f.data_type().is_nested()) {
            Some(field) => Err(plan(VectorType::from_field(field).expect_err("it is not typed"))),
            None => plan_err!("table '{table}' has no vector column; make one with embed()"),
        },
        many => {
            let names: Vec<_> = many.iter().map(|i| schema.field(*i).name().as_str()).collect();
            plan_err!("table '{table}' has several vector columns ({}); select one", names.join(", "))
        }
    }
}
