//! Optimizer rules: SQL that people would guess becomes the similarity join.
//!
//! [`PlanSimilarityJoin`] finds joins and sorts by `cosine_similarity` and puts a scan of a similarity join in their
//! place; what they said about the result stays above it. [`UseScore`] then lets `cosine_similarity` of the joined
//! vectors be the join's score, which is the same to the bit, so that no vector needs to come out of the join.

mod expressions;
mod find;
mod replace;
mod score;

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

pub use score::UseScore;

/// Puts the similarity join in the place of
/// - joins `ON cosine_similarity(l.v, r.v) >= t`: inner, outer on one side, `EXISTS` and `NOT EXISTS`;
/// - the best few of each left row: `row_number()` or `rank()` `OVER (PARTITION BY … ORDER BY cosine_similarity(…) DESC) <= k`;
/// - `ORDER BY cosine_similarity(v, …) DESC LIMIT k`.
///
/// Equal keys in the join's condition are part of the similarity join. Where the rule cannot apply, the plan is as it was.
#[derive(Debug)]
pub struct PlanSimilarityJoin {
    cosine: Arc<ScalarUDF>,
}

impl PlanSimilarityJoin {
    /// The rule for `cosine_similarity`.
    pub fn new() -> Self {
        Self { cosine: Arc::new(crate::cosine_similarity::udf()) }
    }
}

impl Default for PlanSimilarityJoin {
    fn default() -> Self {
        Self::new()
    }
}

impl OptimizerRule for PlanSimilarityJoin {
    fn name(&self) -> &'static str {
        "plan_similarity_join"
    }

    /// From above, so that a filter on ranks is met before the join below it.
    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let found = match &plan {
            LogicalPlan::Join(join) => find::threshold(&self.cosine, join, config)?,
            LogicalPlan::Filter(filter) => find::best_of_each(&self.cosine, filter, config)?,
            LogicalPlan::Sort(sort) => find::nearest(&self.cosine, sort, config)?,
            _ => None,
        };
        Ok(found.map_or_else(|| Transformed::no(plan), Transformed::yes))
    }
}
