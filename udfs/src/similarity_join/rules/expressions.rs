//! What the rules read from expressions.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, ScalarUDF};
use datafusion::scalar::ScalarValue;

/// The two vectors of a `cosine_similarity`.
pub(super) fn cosine_of<'a>(cosine: &ScalarUDF, expr: &'a Expr) -> Option<(&'a Expr, &'a Expr)> {
    match expr {
        Expr::ScalarFunction(call) if *call.func == *cosine => match call.args.as_slice() {
            [a, b] => Some((a, b)),
            _ => None,
        },
        _ => None,
    }
}

/// `cosine_similarity(a, b) >= t`, in any spelling: the vectors, and the least score that fulfils it.
pub(super) fn at_least<'a>(cosine: &ScalarUDF, expr: &'a Expr) -> Option<(&'a Expr, &'a Expr, f32)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (score, bound, strict) = match op {
        Operator::GtEq => (left, right, false),
        Operator::Gt => (left, right, true),
        Operator::LtEq => (right, left, false),
        Operator::Lt => (right, left, true),
        _ => return None,
    };
    // The score is a Float32: as a Float64 it is the same number.
    let score = match score.as_ref() {
        Expr::Cast(cast) if cast.field.data_type() == &arrow::datatypes::DataType::Float64 => cast.expr.as_ref(),
        other => other,
    };
    let (a, b) = cosine_of(cosine, score)?;
    let bound = match bound.as_ref() {
        Expr::Literal(ScalarValue::Float64(Some(bound)), _) => *bound,
        Expr::Literal(ScalarValue::Float32(Some(bound)), _) => f64::from(*bound),
        _ => return None,
    };
    Some((a, b, least(bound, strict)?))
}

/// The least Float32 that is at least `bound`, or above it.
fn least(bound: f64, strict: bool) -> Option<f32> {
    if bound.is_nan() {
        return None;
    }
    let mut least = bound as f32;
    while f64::from(least) < bound || strict && f64::from(least) <= bound {
        if least == f32::INFINITY {
            return None;
        }
        least = least.next_up();
    }
    // No cosine is below -1.
    Some(least.max(-1.0))
}

/// `column <= k`, in any spelling: the column and k.
pub(super) fn at_most(expr: &Expr) -> Option<(&Column, usize)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (column, bound, less) = match (left.as_ref(), op, right.as_ref()) {
        (Expr::Column(c), Operator::LtEq | Operator::Eq, Expr::Literal(v, _)) => (c, v, 0),
        (Expr::Column(c), Operator::Lt, Expr::Literal(v, _)) => (c, v, 1),
        (Expr::Literal(v, _), Operator::GtEq | Operator::Eq, Expr::Column(c)) => (c, v, 0),
        (Expr::Literal(v, _), Operator::Gt, Expr::Column(c)) => (c, v, 1),
        _ => return None,
    };
    let bound = match bound {
        ScalarValue::UInt64(Some(n)) => i128::from(*n),
        ScalarValue::Int64(Some(n)) => i128::from(*n),
        _ => return None,
    };
    usize::try_from(bound - less).ok().map(|k| (column, k))
}

/// Whether an expression needs columns of one schema alone, and can be computed there.
pub(super) fn belongs_to(expr: &Expr, schema: &DFSchema) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty() && columns.iter().all(|c| schema.has_column(c)) && is_plain(expr)
}

/// Whether an expression gives the same wherever it stands.
pub(super) fn is_plain(expr: &Expr) -> bool {
    let strange = |e: &Expr| {
        matches!(
            e,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::Placeholder(_)
        )
    };
    !expr.is_volatile() && !expr.exists(|e| Ok(strange(e))).unwrap_or(true)
}

/// Whether an expression needs no columns.
pub(super) fn is_constant(expr: &Expr) -> bool {
    expr.column_refs().is_empty() && is_plain(expr)
}

/// Expressions of a plan's columns in the columns of its input, where the plan is a projection or gives its input a name.
pub(super) fn through(plan: &LogicalPlan, exprs: Vec<Expr>) -> Result<Option<Vec<Expr>>> {
    let below: Vec<Expr> = match plan {
        LogicalPlan::Projection(projection) => projection.expr.iter().map(|e| e.clone().unalias()).collect(),
        LogicalPlan::SubqueryAlias(alias) => alias.input.schema().columns().into_iter().map(Expr::Column).collect(),
        _ => return Ok(None),
    };
    let schema = plan.schema();
    let replaced = exprs.into_iter().map(|expr| {
        let replaced = expr.transform_up(|e| match &e {
            Expr::Column(column) => match schema.maybe_index_of_column(column) {
                Some(index) => Ok(Transformed::yes(below[index].clone())),
                None => Ok(Transformed::no(e)),
            },
            _ => Ok(Transformed::no(e)),
        });
        replaced.map(|r| r.data)
    });
    replaced.collect::<Result<Vec<_>>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    #[test]
    fn bounds_are_exact() {
        assert_eq!(least(0.5, false), Some(0.5));
        assert_eq!(least(0.5, true), Some(0.5f32.next_up()));
        for bound in [0.8, 0.1, 0.3, -0.7, 1e-30] {
            let found = least(bound, false).unwrap();
            assert!(f64::from(found) >= bound && f64::from(found.next_down()) < bound);
            assert_eq!(least(bound, true), Some(found));
        }
        assert_eq!(least(-7.0, false), Some(-1.0));
        assert_eq!(least(1e300, false), Some(f32::INFINITY));
        assert_eq!(least(f64::NAN, false), None);
        assert_eq!(least(f64::INFINITY, true), None);
    }

    #[test]
    fn ranks_have_bounds_in_many_spellings() {
        let k = |expr: Expr| at_most(&expr).map(|(_, k)| k);
        assert_eq!(k(col("rn").lt_eq(lit(3u64))), Some(3));
        assert_eq!(k(col("rn").lt(lit(3u64))), Some(2));
        assert_eq!(k(col("rn").eq(lit(1i64))), Some(1));
        assert_eq!(k(lit(4u64).gt(col("rn"))), Some(3));
        assert_eq!(k(col("rn").gt(lit(3u64))), None);
        assert_eq!(k(col("rn").lt_eq(lit(-1i64))), None);
    }
}
