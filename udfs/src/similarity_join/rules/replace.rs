//! A similarity join of two plans in the place of a join.

use std::sync::Arc;

use datafusion::common::{Column, JoinType, TableReference};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::OptimizerConfig;
use generel_schemas::vector::compatible;

use super::super::options::SimilarityJoinOptions;
use super::super::table::SimilarityTable;

/// Begins the names of the scans of similarity joins.
const NAME: &str = "similarity_join";
/// Begins the names of vectors and keys that are computed for a join.
const COMPUTED: &str = "__similarity_join_key";

/// One side of a join, with what is computed for it.
pub(super) struct Side {
    plan: LogicalPlan,
    computed: Vec<Expr>,
}

impl Side {
    pub(super) fn new(plan: &LogicalPlan) -> Self {
        Self { plan: plan.clone(), computed: Vec::new() }
    }

    /// The column of an expression; one is added where it is not a column already.
    pub(super) fn column(&mut self, expr: &Expr) -> usize {
        if let Expr::Column(column) = expr
            && let Some(index) = self.plan.schema().maybe_index_of_column(column)
        {
            return index;
        }
        let known = self.computed.iter().position(|e| e == expr);
        let at = known.unwrap_or_else(|| {
            self.computed.push(expr.clone());
            self.computed.len() - 1
        });
        self.plan.schema().fields().len() + at
    }

    fn finish(self) -> Result<LogicalPlan> {
        if self.computed.is_empty() {
            return Ok(self.plan);
        }
        let own = self.plan.schema().columns().into_iter().map(Expr::Column);
        let computed = self.computed.into_iter().enumerate().map(|(i, e)| e.alias(format!("{COMPUTED}_{i}")));
        let exprs: Vec<Expr> = own.chain(computed).collect();
        LogicalPlanBuilder::from(self.plan).project(exprs)?.build()
    }
}

/// The similarity join of two sides as a plan with the columns of the left and, but for semi and anti joins, the right
/// side, under their names; with `reversed` those of the right side come first. `None` where the vectors cannot be compared.
pub(super) fn joined(
    left: Side,
    right: Side,
    options: SimilarityJoinOptions,
    reversed: bool,
    config: &dyn OptimizerConfig,
) -> Result<Option<LogicalPlan>> {
    let own = |side: &Side| -> Vec<Column> { side.plan.schema().columns() };
    let (of_left, mut of_right) = (own(&left), own(&right));
    if matches!(options.join_type, JoinType::LeftSemi | JoinType::LeftAnti) {
        of_right.clear();
    }
    let (left, right) = (left.finish()?, right.finish()?);
    let vectors = [(&left, options.left_vector), (&right, options.right_vector)];
    let [a, b] = vectors.map(|(plan, i)| plan.schema().field(i).as_ref());
    if compatible(a, b).is_err() {
        return Ok(None);
    }
    let lefts = left.schema().fields().len();
    let mut names = std::collections::HashSet::new();
    let columns = of_left.iter().enumerate().chain(of_right.iter().enumerate().map(|(i, c)| (lefts + i, c)));
    let columns: Vec<(usize, String, &Column)> = columns
        .map(|(index, column)| {
            let mut name = column.flat_name();
            while !names.insert(name.clone()) {
                name.push('_');
            }
            (index, name, column)
        })
        .collect();
    let of_table = columns.iter().map(|(index, name, _)| (*index, name.clone())).collect();
    let table = SimilarityTable::try_new(left, right, options, of_table)?;
    let alias = config.alias_generator().next(NAME);
    let scan = scan(&alias, table, None)?;
    let mut restored: Vec<Expr> = columns
        .iter()
        .map(|(_, name, column)| {
            let own = Expr::Column(Column::new(Some(TableReference::bare(alias.clone())), name));
            own.alias_qualified(column.relation.clone(), &column.name)
        })
        .collect();
    if reversed {
        restored.rotate_left(of_left.len());
    }
    LogicalPlanBuilder::from(scan).project(restored)?.build().map(Some)
}

/// A scan of a similarity join.
pub(super) fn scan(alias: &str, table: SimilarityTable, projection: Option<Vec<usize>>) -> Result<LogicalPlan> {
    let source = provider_as_source(Arc::new(table));
    LogicalPlanBuilder::scan(TableReference::bare(alias), source, projection)?.build()
}

/// The similarity join that a plan scans, whatever projections and names are above it.
pub(super) fn scanned(plan: &LogicalPlan) -> Option<Arc<dyn datafusion::catalog::TableProvider>> {
    match plan {
        LogicalPlan::Projection(projection) => scanned(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => scanned(&alias.input),
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source).ok()?;
            provider.downcast_ref::<SimilarityTable>().is_some().then_some(provider)
        }
        _ => None,
    }
}
