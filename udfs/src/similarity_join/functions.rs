//! The table functions `similarity_join` and `nearest`.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};

use super::options::{RANK, SCORE, SimilarityJoinOptions};
use super::table::SimilarityTable;
use crate::table_arguments::{Arguments, table, vector_column};

const JOIN_USAGE: &str =
    "('left table', 'right table' [, k = 5 [, min_score = -1 [, 'right column whose values k counts']]])";
const NEAREST_USAGE: &str = "('table', 'query text' [, k = 10 [, min_score = -1]])";

/// `similarity_join(left, right, k, min_score, right_group)`.
#[derive(Debug)]
pub(crate) struct SimilarityJoinFunction;

impl TableFunctionImpl for SimilarityJoinFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let arguments = Arguments::new("similarity_join", JOIN_USAGE, args.exprs(), 2, 5)?;
        let (left_name, right_name) = (arguments.text(0)?, arguments.text(1)?);
        let (left, right) = (table(args.session(), left_name)?, table(args.session(), right_name)?);
        let right_group = match arguments.optional_text(4)? {
            Some(name) => match right.schema().index_of(name) {
                Ok(index) => Some(index),
                Err(_) => return plan_err!("table '{right_name}' has no column '{name}'"),
            },
            None => None,
        };
        let options = SimilarityJoinOptions {
            right_group,
            ..SimilarityJoinOptions::top_k(
                vector_column(left_name, &left.schema())?,
                vector_column(right_name, &right.schema())?,
                arguments.count(2, 5)?,
                arguments.score(3, -1.0)?,
            )
        };
        let (left, right) = (scan(left_name, left)?, scan(right_name, right)?);
        let of_side = |plan: &LogicalPlan, prefix: &str, first: usize, vector: usize| {
            let fields = plan.schema().fields().iter().enumerate().filter(|(i, _)| *i != vector);
            fields.map(|(i, f)| (first + i, format!("{prefix}{}", f.name()))).collect::<Vec<_>>()
        };
        let lefts = left.schema().fields().len();
        let mut columns = of_side(&left, "left_", 0, options.left_vector);
        columns.extend(of_side(&right, "right_", lefts, options.right_vector));
        columns.extend(scores(lefts + right.schema().fields().len()));
        Ok(Arc::new(SimilarityTable::try_new(left, right, options, columns)?))
    }
}

/// `nearest(table, query, k, min_score)`: the table's rows most similar to a text.
#[derive(Debug)]
pub(crate) struct NearestFunction;

impl TableFunctionImpl for NearestFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let arguments = Arguments::new("nearest", NEAREST_USAGE, args.exprs(), 2, 4)?;
        let (name, query) = (arguments.text(0)?, arguments.text(1)?);
        let right = table(args.session(), name)?;
        let Some(embed) = args.session().scalar_functions().get("embed").cloned() else {
            return plan_err!("nearest needs the function embed, which this session has not");
        };
        let query = LogicalPlanBuilder::empty(true)
            .project(vec![lit(query).alias("query"), embed.call(vec![lit(query)]).alias("vector")])?
            .build()?;
        nearest_rows(query, (name, right), arguments.count(2, 10)?, arguments.score(3, -1.0)?)
    }
}

/// The rows of a table nearest to a query's one row, whose second and last column is its vector.
pub(crate) fn nearest_rows(
    query: LogicalPlan,
    (name, right): (&str, Arc<dyn TableProvider>),
    k: usize,
    min_score: f32,
) -> Result<Arc<dyn TableProvider>> {
    let vector = vector_column(name, &right.schema())?;
    let options = SimilarityJoinOptions { hold_left: true, ..SimilarityJoinOptions::top_k(1, vector, k, min_score) };
    let right = scan(name, right)?;
    let fields = right.schema().fields().iter().enumerate();
    let mut columns: Vec<_> = fields.filter(|(i, _)| *i != vector).map(|(i, f)| (2 + i, f.name().clone())).collect();
    columns.extend(scores(2 + right.schema().fields().len()));
    Ok(Arc::new(SimilarityTable::try_new(query, right, options, columns)?))
}

/// The columns behind those of both sides.
fn scores(first: usize) -> [(usize, String); 2] {
    [(first, SCORE.to_string()), (first + 1, RANK.to_string())]
}

fn scan(name: &str, table: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.build()
}
