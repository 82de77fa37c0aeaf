//! The cosine of two joined vectors is the join's score.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, ScalarUDF, TableScan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::super::table::SimilarityTable;
use super::expressions::{cosine_of, through};
use super::replace::scan;

/// Begins the names of the scores that are passed up.
const SCORE: &str = "__similarity_score";

/// Replaces `cosine_similarity` above a similarity join by the join's score.
#[derive(Debug)]
pub struct UseScore {
    cosine: Arc<ScalarUDF>,
}

impl UseScore {
    /// The rule for `cosine_similarity`.
    pub fn new() -> Self {
        Self { cosine: Arc::new(crate::cosine_similarity::udf()) }
    }
}

impl Default for UseScore {
    fn default() -> Self {
        Self::new()
    }
}

impl OptimizerRule for UseScore {
    fn name(&self) -> &'static str {
        "use_similarity_score"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_)) {
            return Ok(Transformed::no(plan));
        }
        let mut calls = Vec::new();
        for expr in plan.expressions() {
            expr.apply(|e| {
                if cosine_of(&self.cosine, e).is_some() && !calls.contains(e) {
                    calls.push(e.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        let mut input = plan.inputs()[0].clone();
        let mut scores = Vec::new();
        for call in calls {
            let Some((a, b)) = cosine_of(&self.cosine, &call) else { continue };
            let name = config.alias_generator().next(SCORE);
            if let Some(with_score) = with_score(&input, a, b, &name)? {
                input = with_score;
                scores.push((call, Expr::Column(Column::new_unqualified(name))));
            }
        }
        if scores.is_empty() {
            return Ok(Transformed::no(plan));
        }
        let names = NamePreserver::new(&plan);
        let replaced = plan.expressions().into_iter().map(|expr| {
            let name = names.save(&expr);
            let replaced = expr.transform_down(|e| match scores.iter().find(|(call, _)| *call == e) {
                Some((_, score)) => Ok(Transformed::yes(score.clone())),
                None => Ok(Transformed::no(e)),
            })?;
            Ok(name.restore(replaced.data))
        });
        let replaced = replaced.collect::<Result<Vec<_>>>()?;
        let changed = match plan {
            LogicalPlan::Projection(_) => plan.with_new_exprs(replaced, vec![input])?,
            // These pass on all columns of their input: the scores end here. An order has no names.
            _ => {
                let own = plan.schema().columns().into_iter().map(Expr::Column).collect();
                let sorts = matches!(plan, LogicalPlan::Sort(_));
                let exprs = if sorts { replaced.into_iter().map(Expr::unalias).collect() } else { replaced };
                let passes = plan.with_new_exprs(exprs, vec![input])?;
                LogicalPlan::Projection(Projection::try_new(own, Arc::new(passes))?)
            }
        };
        Ok(Transformed::yes(changed))
    }
}

/// The plan with the score of two of its vectors as a further column, if it is a join's.
fn with_score(plan: &LogicalPlan, a: &Expr, b: &Expr, name: &str) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::TableScan(table) => scan_with_score(table, a, b, name),
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            let Some(below) = through(plan, vec![a.clone(), b.clone()])? else { return Ok(None) };
            let input = plan.inputs()[0];
            let Some(input) = with_score(input, &below[0], &below[1], name)? else { return Ok(None) };
            let score = Expr::Column(Column::new_unqualified(name));
            if let LogicalPlan::Projection(projection) = plan {
                let mut exprs = projection.expr.clone();
                exprs.push(score);
                return LogicalPlanBuilder::from(input).project(exprs)?.build().map(Some);
            }
            // A name would qualify the score too: a projection gives the same names.
            let own = plan.schema().iter().zip(plan.inputs()[0].schema().columns());
            let renamed = own.map(|((qualifier, field), column)| {
                Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
            });
            let exprs: Vec<Expr> = renamed.chain([score]).collect();
            LogicalPlanBuilder::from(input).project(exprs)?.build().map(Some)
        }
        LogicalPlan::Filter(_) | LogicalPlan::Limit(_) | LogicalPlan::Sort(_) | LogicalPlan::Window(_) => {
            let Some(input) = with_score(plan.inputs()[0], a, b, name)? else { return Ok(None) };
            plan.with_new_exprs(plan.expressions(), vec![input]).map(Some)
        }
        _ => Ok(None),
    }
}

fn scan_with_score(table: &TableScan, a: &Expr, b: &Expr, name: &str) -> Result<Option<LogicalPlan>> {
    let provider = source_as_provider(&table.source)?;
    let Some(similarity) = provider.downcast_ref::<SimilarityTable>() else { return Ok(None) };
    if !table.filters.is_empty() || table.fetch.is_some() {
        return Ok(None);
    }
    let column = |expr: &Expr| match expr {
        Expr::Column(column) => {
            let index = table.projected_schema.maybe_index_of_column(column)?;
            Some(table.projection.as_ref().map_or(index, |p| p[index]))
        }
        _ => None,
    };
    if !similarity.compares(a, column(a), b, column(b)) {
        return Ok(None);
    }
    let (with_score, index) = similarity.with_score();
    let wide = table.source.schema().fields().len();
    let mut projection = table.projection.clone().unwrap_or_else(|| (0..wide).collect());
    if !projection.contains(&index) {
        projection.push(index);
    }
    let own = table.projected_schema.columns().into_iter().map(Expr::Column);
    let score_name = with_score.schema().field(index).name().clone();
    let scan = scan(table.table_name.table(), with_score, Some(projection))?;
    let score = Column::new(Some(TableReference::bare(table.table_name.table())), score_name);
    let exprs: Vec<Expr> = own.chain([Expr::Column(score).alias(name)]).collect();
    LogicalPlanBuilder::from(scan).project(exprs)?.build().map(Some)
}
