//! Logical rule: calls of `embed` stand where they can be run, and as few of them as possible.
//!
//! DataFusion runs an asynchronous function in a projection, a filter, and the arguments of one aggregate; anywhere else
//! it fails when it is run. This rule
//! - makes `concept_similarity(a, b)` the cosine of two `embed`, so that what follows holds for it too;
//! - moves calls out of `ORDER BY`, window functions, grouping and aggregates into a projection below;
//! - moves calls out of join conditions below the side whose columns they need, and, from above a join without equal
//!   keys, which has more rows than either side, below it too. Above a join with keys they stay: a row that the join
//!   drops should not be embedded;
//! - lets `SELECT DISTINCT name, embed(name)` find the distinct names first;
//! - lets `SELECT embed(name) … ORDER BY code LIMIT 10` sort first: what the limit drops is not embedded, and vectors are not
//!   sorted.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Aggregate, Expr, Join, LogicalPlan, Projection, ScalarUDF, Sort, SortExpr};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use generel_model::Embedder;

/// Begins the names of the columns that the rule adds.
const ADDED: &str = "__embed";

/// Moves calls of `embed` to where they can be run.
#[derive(Debug)]
pub struct HoistEmbed {
    embed: Arc<ScalarUDF>,
    embed_snp: ScalarUDF,
    concept_similarity: ScalarUDF,
    cosine_similarity: Arc<ScalarUDF>,
}

impl HoistEmbed {
    /// The rule for one model.
    pub fn new(embedder: &Embedder) -> Self {
        Self {
            embed: Arc::new(crate::embed::udf(embedder.clone())),
            embed_snp: crate::snp::embed_snp::udf(embedder.clone()),
            concept_similarity: crate::concept_similarity::udf(embedder.clone()),
            cosine_similarity: Arc::new(crate::cosine_similarity::udf()),
        }
    }

    fn is_embed(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::ScalarFunction(call) if call.func == self.embed || *call.func == self.embed_snp)
    }

    fn embeds(&self, expr: &Expr) -> bool {
        expr.exists(|e| Ok(self.is_embed(e))).unwrap_or(false)
    }

    /// `concept_similarity(a, b)` → `cosine_similarity(embed(a), embed(b))`, under the same name.
    fn spell_out(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let spelled = expr.transform_up(|e| match e {
                Expr::ScalarFunction(call) if *call.func == self.concept_similarity => {
                    let embed =
                        |text| Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&self.embed), vec![text]));
                    let vectors = call.args.into_iter().map(embed).collect();
                    let cosine = ScalarFunction::new_udf(Arc::clone(&self.cosine_similarity), vectors);
                    Ok(Transformed::yes(Expr::ScalarFunction(cosine)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(spelled.update_data(|e| name.restore(e)))
        })
    }

    /// Sort, window, aggregate: their calls become columns of a projection below.
    fn below_one(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !plan.expressions().iter().any(|e| self.embeds(e)) {
            return Ok(Transformed::no(plan));
        }
        let (schema, input) = (Arc::clone(plan.schema()), plan.inputs()[0].clone());
        let mut added = Added::new(config);
        // Of a sort key the whole expression moves: the sort then carries a number, not vectors.
        let whole = matches!(plan, LogicalPlan::Sort(_));
        let exprs = plan.expressions().into_iter().map(|expr| match expr {
            e if whole && self.embeds(&e) => Ok(added.column(e)),
            e => self.replaced(e, &mut |call| Ok(Some(added.column(call)))),
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let input = added.project(input)?;
        let moved = plan.with_new_exprs(exprs, vec![input])?;
        Ok(Transformed::yes(restored(moved, &schema)?))
    }

    /// A join's condition: each call becomes a column of the side that it needs.
    fn below_join(&self, join: Join, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let Some(filter) = join.filter.clone().filter(|f| self.embeds(f)) else {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        };
        let mut sides = Sides::new(&join, config);
        let filter = self.replaced(filter, &mut |call| match sides.column(call.clone()) {
            Some(column) => Ok(Some(column)),
            None => plan_err!(
                "{call} in a join's condition needs columns of both sides; embed it in a query around the join"
            ),
        })?;
        let schema = Arc::clone(&join.schema);
        Ok(Transformed::yes(restored(sides.join(join, Some(filter))?, &schema)?))
    }

    /// Calls above a join without equal keys, which multiplies rows: each becomes a column of the side that it needs.
    fn below_product(&self, projection: Projection, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = projection.input.as_ref() else {
            return Ok(Transformed::no(LogicalPlan::Projection(projection)));
        };
        let needs_column = |e: &Expr| self.is_embed(e) && !e.column_refs().is_empty();
        let wanted = |e: &Expr| e.exists(|e| Ok(needs_column(e))).unwrap_or(false);
        if !join.on.is_empty()
            || join.join_type != datafusion::common::JoinType::Inner
            || !projection.expr.iter().any(wanted)
        {
            return Ok(Transformed::no(LogicalPlan::Projection(projection)));
        }
        let mut sides = Sides::new(join, config);
        let names = projection.schema.iter();
        let exprs = projection.expr.iter().zip(names).map(|(expr, (qualifier, field))| {
            let moved = self.replaced(expr.clone(), &mut |call| {
                Ok(if call.column_refs().is_empty() { None } else { sides.column(call) })
            })?;
            Ok(named(moved, qualifier, field.name()))
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        if sides.is_unchanged() {
            return Ok(Transformed::no(LogicalPlan::Projection(projection)));
        }
        let join = sides.join(join.clone(), join.filter.clone())?;
        Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(join))?)))
    }

    /// `SELECT DISTINCT name, f(embed(name))`: distinct names first.
    fn above_distinct(&self, aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
        let unchanged = |aggregate| Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        let LogicalPlan::Projection(projection) = aggregate.input.as_ref() else { return unchanged(aggregate) };
        // As the rule for DISTINCT leaves it: every column of the projection, in order.
        let same = aggregate.aggr_expr.is_empty()
            && aggregate.group_expr.len() == projection.expr.len()
            && aggregate.group_expr.iter().zip(projection.schema.columns()).all(|(e, c)| *e == Expr::Column(c));
        let bare: Vec<&Column> = projection.expr.iter().filter_map(Expr::try_as_col).collect();
        let follows = |e: &Expr| self.embeds(e) && !e.is_volatile() && e.column_refs().iter().all(|c| bare.contains(c));
        if !same || !projection.expr.iter().any(follows) {
            return unchanged(aggregate);
        }
        let kept: Vec<Expr> = projection.expr.iter().filter(|e| !follows(e)).cloned().collect();
        let below = Arc::new(LogicalPlan::Projection(Projection::try_new(kept, Arc::clone(&projection.input))?));
        let groups = below.schema().columns().into_iter().map(Expr::Column).collect();
        let distinct = Arc::new(LogicalPlan::Aggregate(Aggregate::try_new(below, groups, vec![])?));
        let exprs = projection.expr.iter().zip(aggregate.schema.iter()).map(|(expr, (qualifier, field))| {
            let expr = if follows(expr) {
                expr.clone().unalias()
            } else {
                Expr::Column(Column::new(qualifier.cloned(), field.name()))
            };
            named(expr, qualifier, field.name())
        });
        Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs.collect(), distinct)?)))
    }

    /// A sort of rows with vectors that its keys do not need: the vectors come after it.
    fn above_sort(&self, sort: &Sort) -> Result<Option<LogicalPlan>> {
        let LogicalPlan::Projection(projection) = sort.input.as_ref() else { return Ok(None) };
        if !projection.expr.iter().any(|e| self.embeds(e)) || projection.expr.iter().any(Expr::is_volatile) {
            return Ok(None);
        }
        let made = |column: &Column| {
            let at = projection.schema.maybe_index_of_column(column)?;
            projection.expr.get(at).map(|expr| expr.clone().unalias())
        };
        let below = |key: SortExpr| -> Result<SortExpr> {
            let expr = key.expr.transform_up(|e| match e.try_as_col().and_then(made) {
                Some(made) => Ok(Transformed::yes(made)),
                None => Ok(Transformed::no(e)),
            })?;
            Ok(SortExpr { expr: expr.data, ..key })
        };
        let keys = sort.expr.iter().cloned().map(below).collect::<Result<Vec<_>>>()?;
        if keys.iter().any(|key| self.embeds(&key.expr)) {
            return Ok(None);
        }
        let sorted = LogicalPlan::Sort(Sort { expr: keys, input: Arc::clone(&projection.input), fetch: sort.fetch });
        let schema = Arc::clone(&projection.schema);
        let above = Projection::try_new_with_schema(projection.expr.clone(), Arc::new(sorted), schema)?;
        Ok(Some(LogicalPlan::Projection(above)))
    }

    /// An expression with each outermost call replaced by what `column` makes of it, if anything.
    fn replaced(&self, expr: Expr, column: &mut dyn FnMut(Expr) -> Result<Option<Expr>>) -> Result<Expr> {
        let replaced = expr.transform_down(|e| {
            if !self.is_embed(&e) {
                return Ok(Transformed::no(e));
            }
            match column(e.clone())? {
                Some(column) => Ok(Transformed::yes(column)),
                None => Ok(Transformed::no(e)),
            }
        })?;
        Ok(replaced.data)
    }
}

impl OptimizerRule for HoistEmbed {
    fn name(&self) -> &'static str {
        "hoist_embed"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        self.spell_out(plan)?.transform_data(|plan| match plan {
            LogicalPlan::Join(join) => self.below_join(join, config),
            LogicalPlan::Projection(projection) => self.below_product(projection, config),
            LogicalPlan::Aggregate(aggregate) => {
                self.above_distinct(aggregate)?.transform_data(|plan| self.aggregate_below(plan, config))
            }
            LogicalPlan::Sort(sort) => match self.above_sort(&sort)? {
                Some(plan) => Ok(Transformed::yes(plan)),
                None => self.below_one(LogicalPlan::Sort(sort), config),
            },
            LogicalPlan::Window(_) => self.below_one(plan, config),
            other => Ok(Transformed::no(other)),
        })
    }
}

impl HoistEmbed {
    fn aggregate_below(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if matches!(plan, LogicalPlan::Aggregate(_)) { self.below_one(plan, config) } else { Ok(Transformed::no(plan)) }
    }
}

/// Calls that become columns.
struct Added<'a> {
    config: &'a dyn OptimizerConfig,
    calls: Vec<(Expr, String)>,
}

impl<'a> Added<'a> {
    fn new(config: &'a dyn OptimizerConfig) -> Self {
        Self { config, calls: Vec::new() }
    }

    /// The column of a call; equal calls share one, unless they give something else each time.
    fn column(&mut self, call: Expr) -> Expr {
        let known = self.calls.iter().find(|(known, _)| *known == call && !call.is_volatile());
        let known = known.map(|(_, name)| name.clone());
        let name = known.unwrap_or_else(|| {
            let name = self.config.alias_generator().next(ADDED);
            self.calls.push((call, name.clone()));
            name
        });
        Expr::Column(Column::new_unqualified(name))
    }

    /// The input with the columns behind its own.
    fn project(self, input: LogicalPlan) -> Result<LogicalPlan> {
        if self.calls.is_empty() {
            return Ok(input);
        }
        let own = input.schema().columns().into_iter().map(Expr::Column);
        let exprs = own.chain(self.calls.into_iter().map(|(call, name)| call.alias(name))).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
    }
}

/// The calls of a join's two sides.
struct Sides<'a> {
    schemas: [DFSchemaRef; 2],
    added: [Added<'a>; 2],
}

impl<'a> Sides<'a> {
    fn new(join: &Join, config: &'a dyn OptimizerConfig) -> Self {
        let schemas = [Arc::clone(join.left.schema()), Arc::clone(join.right.schema())];
        Self { schemas, added: [Added::new(config), Added::new(config)] }
    }

    /// The column of a call that needs columns of one side alone; of the left where it needs none.
    fn column(&mut self, call: Expr) -> Option<Expr> {
        let columns = call.column_refs();
        let side = self.schemas.iter().position(|schema| columns.iter().all(|c| schema.has_column(c)))?;
        Some(self.added[side].column(call))
    }

    fn is_unchanged(&self) -> bool {
        self.added.iter().all(|side| side.calls.is_empty())
    }

    fn join(self, join: Join, filter: Option<Expr>) -> Result<LogicalPlan> {
        let [left, right] = self.added;
        let left = Arc::new(left.project(Arc::unwrap_or_clone(join.left))?);
        let right = Arc::new(right.project(Arc::unwrap_or_clone(join.right))?);
        let moved = Join::try_new(
            left,
            right,
            join.on,
            filter,
            join.join_type,
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        Ok(LogicalPlan::Join(moved))
    }
}

/// A plan without the columns that were added, each of the others called as before.
fn restored(plan: LogicalPlan, before: &DFSchema) -> Result<LogicalPlan> {
    let own = plan.schema().columns().into_iter().filter(|c| !c.name.starts_with(ADDED) || before.has_column(c));
    let renamed: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    // Grouping by a call gives it the added column's name: it stands where the call stood.
    let exprs: Vec<Expr> =
        if plan.schema().fields().len() == before.fields().len() { renamed } else { own.map(Expr::Column).collect() };
    let named =
        exprs.into_iter().zip(before.iter()).map(|(expr, (qualifier, field))| named(expr, qualifier, field.name()));
    Ok(LogicalPlan::Projection(Projection::try_new(named.collect(), Arc::new(plan))?))
}

/// An expression under a name.
fn named(expr: Expr, qualifier: Option<&datafusion::common::TableReference>, name: &str) -> Expr {
    if let Expr::Column(column) = &expr
        && column.relation.as_ref() == qualifier
        && column.name == name
    {
        return expr;
    }
    expr.alias_qualified(qualifier.cloned(), name)
}
