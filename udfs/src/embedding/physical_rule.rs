//! Physical rule: our operator in place of DataFusion's general one for asynchronous functions, and cheap conditions
//! before embedding.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::async_scalar_function::AsyncFuncExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, conjunction, split_conjunction};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::async_func::AsyncFuncExec;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use generel_model::Embedder;

use super::{EmbedCall, EmbedExec};

/// Plans `embed` as [`EmbedExec`], and splits `WHERE cheap AND f(embed(text))` so that rows that fail the cheap part are
/// not embedded.
#[derive(Debug)]
pub struct PlanEmbed {
    embedder: Embedder,
    embed: ScalarUDF,
}

impl PlanEmbed {
    /// The rule for one model.
    pub fn new(embedder: &Embedder) -> Self {
        Self { embedder: embedder.clone(), embed: crate::embed::udf(embedder.clone()) }
    }

    /// The operator for a node whose calls are all of `embed`.
    fn embed_exec(&self, node: &AsyncFuncExec) -> Result<Option<EmbedExec>> {
        let mut calls = Some(Vec::new());
        node.apply_expressions(&mut |expr| {
            let call = expr.downcast_ref::<AsyncFuncExpr>().and_then(|call| self.call(call));
            match (call, &mut calls) {
                (Some(call), Some(calls)) => calls.push(call),
                _ => calls = None,
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let calls = calls.filter(|calls| !calls.is_empty());
        calls.map(|calls| EmbedExec::try_new(self.embedder.clone(), calls, Arc::clone(node.input()))).transpose()
    }

    fn call(&self, call: &AsyncFuncExpr) -> Option<EmbedCall> {
        let function = call.func.downcast_ref::<ScalarFunctionExpr>()?;
        let text = function.args().first().filter(|_| function.fun() == &self.embed)?;
        Some(EmbedCall { text: Arc::clone(text), name: call.name.clone() })
    }
}

impl PhysicalOptimizerRule for PlanEmbed {
    fn name(&self) -> &'static str {
        "plan_embed"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let planned = plan.transform_up(|node| {
            if let Some(found) = node.downcast_ref::<AsyncFuncExec>()
                && let Some(ours) = self.embed_exec(found)?
            {
                return Ok(Transformed::yes(Arc::new(ours) as Arc<dyn ExecutionPlan>));
            }
            if let Some(filter) = node.downcast_ref::<FilterExec>()
                && let Some(split) = split(filter)?
            {
                return Ok(Transformed::yes(split));
            }
            Ok(Transformed::no(node))
        })?;
        Ok(planned.data)
    }
}

/// A filter over [`EmbedExec`] as two: what needs no vector below it, the rest above.
fn split(filter: &FilterExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(embed) = filter.input().downcast_ref::<EmbedExec>() else { return Ok(None) };
    // The operator's own columns stand behind its input's.
    let own = embed.input().schema().fields().len();
    let (costly, cheap): (Vec<Arc<dyn PhysicalExpr>>, Vec<_>) = split_conjunction(filter.predicate())
        .into_iter()
        .cloned()
        .partition(|part| collect_columns(part).iter().any(|column| column.index() >= own));
    if cheap.is_empty() || cheap.iter().any(is_volatile) {
        return Ok(None);
    }
    let below = FilterExecBuilder::new(conjunction(cheap), Arc::clone(embed.input()))
        .with_batch_size(filter.batch_size())
        .with_default_selectivity(filter.default_selectivity())
        .build()?;
    let above = FilterExecBuilder::from(filter)
        .with_input(Arc::new(embed.over(Arc::new(below))?))
        .with_predicate(conjunction(costly))
        .build()?;
    Ok(Some(Arc::new(above)))
}
