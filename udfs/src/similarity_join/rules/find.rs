//! Plans that say what the similarity join does.

use datafusion::common::{JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Operator, ScalarUDF, Sort, Window,
    WindowFunctionDefinition,
};
use datafusion::optimizer::OptimizerConfig;

use super::super::options::SimilarityJoinOptions;
use super::expressions::{at_least, at_most, belongs_to, cosine_of, is_constant, is_plain, through};
use super::replace::{Side, joined, scanned};

/// More neighbors than this are sorted by DataFusion, which does that in a heap or on disk.
const MOST_NEIGHBORS: usize = 10_000;

/// A join whose condition has a least cosine.
pub(super) fn threshold(cosine: &ScalarUDF, join: &Join, config: &dyn OptimizerConfig) -> Result<Option<LogicalPlan>> {
    let Some(filter) = &join.filter else { return Ok(None) };
    let conditions = split_conjunction(filter);
    let stated = conditions.iter().enumerate().find_map(|(i, c)| Some((i, between(cosine, c, join)?)));
    let Some((at, (a, b, min_score))) = stated else { return Ok(None) };
    let others: Vec<Expr> =
        conditions.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, c)| (*c).clone()).collect();
    let (reversed, join_type) = match join.join_type {
        kept @ (JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti) => (false, kept),
        JoinType::Right => (true, JoinType::Left),
        JoinType::RightSemi => (true, JoinType::LeftSemi),
        JoinType::RightAnti => (true, JoinType::LeftAnti),
        _ => return Ok(None),
    };
    // Only from an inner join may rows be dropped afterwards.
    if !others.is_empty() && join_type != JoinType::Inner {
        return Ok(None);
    }
    let Some((mut left, mut right, on)) = sides(join, reversed) else { return Ok(None) };
    let (of_left, of_right) = if reversed { (b, a) } else { (a, b) };
    let options = SimilarityJoinOptions {
        on,
        ..SimilarityJoinOptions::threshold(left.column(of_left), right.column(of_right), min_score, join_type)
    };
    let Some(plan) = joined(left, right, options, reversed, config)? else { return Ok(None) };
    match conjunction(others) {
        Some(others) => LogicalPlanBuilder::from(plan).filter(others)?.build().map(Some),
        None => Ok(Some(plan)),
    }
}

/// The vectors of a join's left and right side, of which a condition states the least cosine.
fn between<'a>(cosine: &ScalarUDF, condition: &'a Expr, join: &Join) -> Option<(&'a Expr, &'a Expr, f32)> {
    let (a, b, score) = at_least(cosine, condition)?;
    in_order(a, b, join).map(|(a, b)| (a, b, score))
}

/// Expressions of a join's left and right side that a condition wants to differ.
fn differ<'a>(condition: &'a Expr, join: &Join) -> Option<(&'a Expr, &'a Expr)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::NotEq, right }) if is_plain(left) && is_plain(right) => {
            in_order(left, right, join)
        }
        _ => None,
    }
}

/// Two expressions, the one of the left side first.
fn in_order<'a>(a: &'a Expr, b: &'a Expr, join: &Join) -> Option<(&'a Expr, &'a Expr)> {
    let (left, right) = (join.left.schema(), join.right.schema());
    match () {
        () if belongs_to(a, left) && belongs_to(b, right) => Some((a, b)),
        () if belongs_to(b, left) && belongs_to(a, right) => Some((b, a)),
        () => None,
    }
}

/// The sides of a join, and the columns that must be equal.
#[expect(clippy::type_complexity, reason = "two sides and pairs of their columns")]
fn sides(join: &Join, reversed: bool) -> Option<(Side, Side, Vec<(usize, usize)>)> {
    if join.null_aware || !join.on.is_empty() && join.null_equality != NullEquality::NullEqualsNothing {
        return None;
    }
    let (mut left, mut right) = (Side::new(&join.left), Side::new(&join.right));
    let mut on = Vec::new();
    for (l, r) in &join.on {
        if !is_plain(l) || !is_plain(r) {
            return None;
        }
        on.push((left.column(l), right.column(r)));
    }
    if reversed {
        on.iter_mut().for_each(|(l, r)| std::mem::swap(l, r));
        std::mem::swap(&mut left, &mut right);
    }
    Some((left, right, on))
}

/// A filter on the ranks of pairs: their join needs to give no others.
pub(super) fn best_of_each(
    cosine: &ScalarUDF,
    filter: &Filter,
    config: &dyn OptimizerConfig,
) -> Result<Option<LogicalPlan>> {
    let Some((to_window, window, k)) = ranked(filter)? else { return Ok(None) };
    let [Expr::WindowFunction(function)] = window.window_expr.as_slice() else { return Ok(None) };
    let params = &function.params;
    let is_rank =
        matches!(&function.fun, WindowFunctionDefinition::WindowUDF(f) if ["row_number", "rank"].contains(&f.name()));
    let Some(first) = params.order_by.first() else { return Ok(None) };
    if !is_rank || first.asc || params.filter.is_some() || params.distinct || !(1..=MOST_NEIGHBORS).contains(&k) {
        return Ok(None);
    }
    // Down to the join, with what is ranked and how in its columns.
    let mut exprs = vec![first.expr.clone()];
    exprs.extend(params.partition_by.iter().cloned());
    let (to_join, plan, exprs) = descend(window.input.as_ref(), exprs)?;
    let LogicalPlan::Join(join) = plan else { return Ok(None) };
    if join.join_type != JoinType::Inner {
        return Ok(None);
    }
    let Some((a, b)) = cosine_of(cosine, &exprs[0]).and_then(|(a, b)| in_order(a, b, join)) else { return Ok(None) };
    // Rows that are ranked together have one left row each, or are of several: the best of each are enough.
    let all_of =
        |schema| exprs[1..].iter().all(|e| is_plain(e) && (e.column_refs().is_empty() || belongs_to(e, schema)));
    let reversed = match () {
        () if all_of(join.left.schema()) => false,
        () if all_of(join.right.schema()) => true,
        () => return Ok(None),
    };
    // A condition can be part of the join if it is a least cosine of the same vectors.
    // Or if it says that two columns differ.
    let (mut min_score, mut apart) = (None, None);
    for condition in join.filter.iter().flat_map(split_conjunction) {
        match between(cosine, condition, join) {
            Some((l, r, score)) if l == a && r == b => {
                min_score = Some(min_score.map_or(score, |m: f32| m.max(score)));
            }
            _ => match differ(condition, join) {
                Some(columns) if apart.is_none() => apart = Some(columns),
                _ => return Ok(None),
            },
        }
    }
    let Some((mut left, mut right, on)) = sides(join, reversed) else { return Ok(None) };
    let (of_left, of_right) = if reversed { (b, a) } else { (a, b) };
    let apart = apart.map(|(l, r)| match reversed {
        true => (left.column(r), right.column(l)),
        false => (left.column(l), right.column(r)),
    });
    let ties = params.order_by.len() > 1 || function.fun.name() == "rank";
    let options = SimilarityJoinOptions {
        on,
        apart,
        ties,
        candidates: Some(candidates(min_score.is_some(), ties, k)),
        unscored_first: first.nulls_first,
        ..SimilarityJoinOptions::top_k(left.column(of_left), right.column(of_right), k, min_score.unwrap_or(-1.0))
    };
    let Some(joined) = joined(left, right, options, reversed, config)? else { return Ok(None) };
    with_end(&LogicalPlan::Filter(filter.clone()), 1 + to_window + 1 + to_join, joined).map(Some)
}

/// Pairs without a cosine that the sort above may want: none where a least cosine rules them out, all where it looks at
/// more than that they have none.
fn candidates(ruled_out: bool, compared: bool, k: usize) -> usize {
    match (ruled_out, compared) {
        (true, _) => 0,
        (false, true) => usize::MAX,
        (false, false) => k,
    }
}

/// The window below a filter whose one function the filter bounds by k, and how far below its input it is.
fn ranked(filter: &Filter) -> Result<Option<(usize, &Window, usize)>> {
    for condition in split_conjunction(&filter.predicate) {
        let Some((column, k)) = at_most(condition) else { continue };
        let (depth, plan, exprs) = descend(filter.input.as_ref(), vec![Expr::Column(column.clone())])?;
        if let (LogicalPlan::Window(window), [Expr::Column(column)]) = (plan, exprs.as_slice())
            && window.schema.maybe_index_of_column(column) == Some(window.input.schema().fields().len())
        {
            return Ok(Some((depth, window, k)));
        }
    }
    Ok(None)
}

/// Down through projections and names: how far, what is there, and expressions in its columns.
fn descend(mut plan: &LogicalPlan, mut exprs: Vec<Expr>) -> Result<(usize, &LogicalPlan, Vec<Expr>)> {
    let mut depth = 0;
    while let Some(below) = through(plan, exprs.clone())? {
        (depth, plan, exprs) = (depth + 1, plan.inputs()[0], below);
    }
    Ok((depth, plan, exprs))
}

/// A chain of plans with another in the place of what is so far down.
fn with_end(plan: &LogicalPlan, depth: usize, end: LogicalPlan) -> Result<LogicalPlan> {
    if depth == 0 {
        return Ok(end);
    }
    let input = with_end(plan.inputs()[0], depth - 1, end)?;
    plan.with_new_exprs(plan.expressions(), vec![input])
}

/// The first few rows by their cosine with a constant.
pub(super) fn nearest(cosine: &ScalarUDF, sort: &Sort, config: &dyn OptimizerConfig) -> Result<Option<LogicalPlan>> {
    let Some(k) = sort.fetch.filter(|k| (1..=MOST_NEIGHBORS).contains(k)) else { return Ok(None) };
    let Some(first) = sort.expr.first().filter(|s| !s.asc) else { return Ok(None) };
    let (depth, plan, exprs) = descend(sort.input.as_ref(), vec![first.expr.clone()])?;
    let Some((a, b)) = cosine_of(cosine, &exprs[0]) else { return Ok(None) };
    let (query, vector) = match () {
        () if is_constant(a) && belongs_to(b, plan.schema()) => (a, b),
        () if is_constant(b) && belongs_to(a, plan.schema()) => (b, a),
        () => return Ok(None),
    };
    if scanned(plan).is_some() {
        return Ok(None);
    }
    let left = LogicalPlanBuilder::empty(true).project([query.clone().alias("query")])?.build()?;
    let mut right = Side::new(plan);
    let ties = sort.expr.len() > 1;
    let options = SimilarityJoinOptions {
        ties,
        candidates: Some(candidates(false, ties, k)),
        unscored_first: first.nulls_first,
        hold_left: true,
        ..SimilarityJoinOptions::top_k(0, right.column(vector), k, -1.0)
    };
    let fields = plan.schema().columns();
    let Some(joined) = joined(Side::new(&left), right, options, false, config)? else { return Ok(None) };
    let own: Vec<Expr> = fields.into_iter().map(Expr::Column).collect();
    let rows = LogicalPlanBuilder::from(joined).project(own)?.build()?;
    with_end(&LogicalPlan::Sort(sort.clone()), 1 + depth, rows).map(Some)
}
