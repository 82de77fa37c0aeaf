//! A similarity join as a table: two queries, planned when it is scanned.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, JoinType};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use generel_schemas::vector::VectorType;

use super::exec::SimilarityJoinExec;
use super::index::recall;
use super::options::{SimilarityJoinOptions, joined_schema, vector_type};

/// The left side is held where it has at most so many rows, and the right side so many times more.
const HELD_ROWS: usize = 4096;
const HELD_SHARE: usize = 16;

/// The join of two queries.
#[derive(Debug, Clone)]
pub(super) struct SimilarityTable {
    left: LogicalPlan,
    right: LogicalPlan,
    options: SimilarityJoinOptions,
    vector_type: VectorType,
    /// Columns of [`joined_schema`] that the table has.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl SimilarityTable {
    /// The join with some columns of [`joined_schema`], each under a name. `options` has no projection.
    ///
    /// # Errors
    /// When the vector columns are not typed, or of two models.
    pub(super) fn try_new(
        left: LogicalPlan,
        right: LogicalPlan,
        options: SimilarityJoinOptions,
        columns: Vec<(usize, String)>,
    ) -> Result<Self> {
        let (of_left, of_right) = (left.schema().as_arrow(), right.schema().as_arrow());
        let vector_type = vector_type(of_left.field(options.left_vector), of_right.field(options.right_vector))?;
        let joined = joined_schema(of_left, of_right, &options);
        let fields = columns.iter().map(|(i, name)| joined.field(*i).clone().with_name(name));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        let columns = columns.into_iter().map(|(i, _)| i).collect();
        Ok(Self { left, right, options, vector_type, columns, schema })
    }

    /// Whether the join's score is the cosine of two expressions: of the table's columns by their indices, or of the one
    /// row that the left side makes.
    pub(super) fn compares(&self, a: &Expr, column_a: Option<usize>, b: &Expr, column_b: Option<usize>) -> bool {
        let lefts = self.left.schema().fields().len();
        let joined = |column: Option<usize>| column.and_then(|i| self.columns.get(i)).copied();
        let is_left = |expr: &Expr, column: Option<usize>| {
            let made = match &self.left {
                LogicalPlan::Projection(p) if expr.column_refs().is_empty() => p.expr.get(self.options.left_vector),
                _ => None,
            };
            joined(column) == Some(self.options.left_vector) || made.is_some_and(|m| m.clone().unalias() == *expr)
        };
        let is_right = |column| joined(column) == Some(lefts + self.options.right_vector);
        let scores = matches!(self.options.join_type, JoinType::Inner | JoinType::Left);
        scores && (is_left(a, column_a) && is_right(column_b) || is_left(b, column_b) && is_right(column_a))
    }

    /// The same join with its score among the columns, and which one that is.
    pub(super) fn with_score(&self) -> (Self, usize) {
        let joined = joined_schema(self.left.schema().as_arrow(), self.right.schema().as_arrow(), &self.options);
        let score = joined.fields().len() - 2;
        if let Some(at) = self.columns.iter().position(|i| *i == score) {
            return (self.clone(), at);
        }
        let mut fields = self.schema.fields().to_vec();
        fields.push(Arc::new(joined.field(score).clone()));
        let mut columns = self.columns.clone();
        columns.push(score);
        let at = self.columns.len();
        (Self { schema: Arc::new(Schema::new(fields)), columns, ..self.clone() }, at)
    }
}

#[async_trait]
impl TableProvider for SimilarityTable {
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
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let of_table = projection.unwrap_or(&all);
        let wanted: Vec<usize> = of_table.iter().map(|i| self.columns[*i]).collect();
        let names = of_table.iter().map(|i| self.schema.field(*i).name().clone());
        let options = &self.options;
        let lefts = self.left.schema().fields().len();
        let rights = self.right.schema().fields().len();
        let of_left = wanted.iter().copied().filter(|i| *i < lefts);
        let keys = options.on.iter().chain(&options.apart).map(|(l, _)| *l);
        let left_needed = needed(of_left.chain([options.left_vector]).chain(keys));
        let of_right = wanted.iter().filter(|i| (lefts..lefts + rights).contains(*i)).map(|i| i - lefts);
        let keys = options.on.iter().chain(&options.apart).map(|(_, r)| *r).chain(options.right_group);
        let right_needed = needed(of_right.chain([options.right_vector]).chain(keys));
        let left = state.create_physical_plan(&some_columns(&self.left, &left_needed)?).await?;
        let right = state.create_physical_plan(&some_columns(&self.right, &right_needed)?).await?;
        let at_left = |i: usize| left_needed.partition_point(|n| *n < i);
        let at_right = |i: usize| right_needed.partition_point(|n| *n < i);
        let projection = wanted.iter().map(|i| match *i {
            i if i < lefts => at_left(i),
            i if i < lefts + rights => left_needed.len() + at_right(i - lefts),
            i => i - lefts - rights + left_needed.len() + right_needed.len(),
        });
        let own = SimilarityJoinOptions {
            left_vector: at_left(options.left_vector),
            right_vector: at_right(options.right_vector),
            on: options.on.iter().map(|(l, r)| (at_left(*l), at_right(*r))).collect(),
            apart: options.apart.map(|(l, r)| (at_left(l), at_right(r))),
            right_group: options.right_group.map(at_right),
            projection: Some(projection.zip(names).collect()),
            ..options.clone()
        };
        let (left_rows, right_rows) = (rows(&left)?, rows(&right)?);
        if swaps(options, left_rows, right_rows) {
            let (few, many) = (left_needed.len(), right_needed.len());
            let moved = own.projection.iter().flatten().map(|(i, name)| {
                let at = match *i {
                    i if i < few => i + many,
                    i if i < few + many => i - few,
                    i => i,
                };
                (at, name.clone())
            });
            let swapped = SimilarityJoinOptions {
                left_vector: own.right_vector,
                right_vector: own.left_vector,
                on: own.on.iter().map(|(l, r)| (*r, *l)).collect(),
                projection: Some(moved.collect()),
                ..own
            };
            return Ok(Arc::new(SimilarityJoinExec::try_new_typed(right, left, swapped, self.vector_type.clone())?));
        }
        let hold_left = options.hold_left || options.k.is_some() && holds(left_rows, right_rows);
        let plain = options.on.is_empty() && options.apart.is_none();
        let approximates = options.k.is_some() && plain && !options.is_semi() && !hold_left;
        let recall = recall(state.config_options())?.filter(|_| approximates);
        let own = SimilarityJoinOptions { hold_left, recall, ..own };
        Ok(Arc::new(SimilarityJoinExec::try_new_typed(left, right, own, self.vector_type.clone())?))
    }
}

/// Every pair comes, whichever side is gathered: the smaller one.
fn swaps(options: &SimilarityJoinOptions, left: Option<usize>, right: Option<usize>) -> bool {
    let plain = options.right_group.is_none() && options.apart.is_none();
    let symmetric = options.join_type == JoinType::Inner && options.k.is_none() && plain;
    symmetric && left.zip(right).is_some_and(|(left, right)| left < right)
}

fn holds(left: Option<usize>, right: Option<usize>) -> bool {
    left.zip(right).is_some_and(|(left, right)| left <= HELD_ROWS && left * HELD_SHARE <= right)
}

fn rows(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<usize>> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    Ok(statistics.num_rows.get_value().copied())
}

fn needed(columns: impl Iterator<Item = usize>) -> Vec<usize> {
    columns.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn some_columns(plan: &LogicalPlan, columns: &[usize]) -> Result<LogicalPlan> {
    let schema = plan.schema();
    let exprs = columns.iter().map(|i| Expr::Column(Column::from(schema.qualified_field(*i))));
    LogicalPlanBuilder::from(plan.clone()).project(exprs)?.build()
}
