//! The table functions `similarity_join` and `nearest`.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_err;
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::exec::{SimilarityJoinExec, SimilarityJoinOptions, output_schema, vector_type};
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
            left_vector: vector_column(left_name, &left.schema())?,
            right_vector: vector_column(right_name, &right.schema())?,
            k: arguments.count(2, 5)?,
            min_score: arguments.score(3, -1.0)?,
            right_group,
        };
        vector_type(&left.schema(), &right.schema(), &options)?;
        let schema = output_schema(&left.schema(), &right.schema(), &options);
        Ok(Arc::new(JoinTable { left: Side::Table(left), right, options, schema }))
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
        let options = SimilarityJoinOptions {
            left_vector: 1,
            right_vector: vector_column(name, &right.schema())?,
            k: arguments.count(2, 10)?,
            min_score: arguments.score(3, -1.0)?,
            right_group: None,
        };
        vector_type(query.schema().as_arrow(), &right.schema(), &options)?;
        let joined = output_schema(query.schema().as_arrow(), &right.schema(), &options);
        // The caller knows the query and wants the table's own names.
        let fields = joined.fields().iter().skip(1).map(|f| {
            let name = f.name().strip_prefix("right_").unwrap_or(f.name());
            f.as_ref().clone().with_name(name)
        });
        let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        Ok(Arc::new(JoinTable { left: Side::Query(Box::new(query)), right, options, schema }))
    }
}

#[derive(Debug)]
enum Side {
    Table(Arc<dyn TableProvider>),
    /// One row: the query and its vector.
    Query(Box<datafusion::logical_expr::LogicalPlan>),
}

/// The result of a table function, planned when it is scanned.
#[derive(Debug)]
struct JoinTable {
    left: Side,
    right: Arc<dyn TableProvider>,
    options: SimilarityJoinOptions,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for JoinTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (left, skipped) = match &self.left {
            Side::Table(table) => (table.scan(state, None, &[], None).await?, 0),
            Side::Query(plan) => (state.create_physical_plan(plan).await?, 1),
        };
        let right = self.right.scan(state, None, &[], None).await?;
        let join = SimilarityJoinExec::try_new(left, right, self.options.clone())?;
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let joined = join.schema();
        let columns = wanted
            .iter()
            .map(|i| {
                let name = joined.field(i + skipped).name();
                let column = Arc::new(datafusion::physical_expr::expressions::Column::new(name, i + skipped));
                Ok((column as Arc<dyn datafusion::physical_expr::PhysicalExpr>, self.schema.field(*i).name().clone()))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(ProjectionExec::try_new(columns, Arc::new(join))?))
    }
}
