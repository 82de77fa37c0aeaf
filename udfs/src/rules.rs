//! The optimizer rules in a session.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::OptimizerRule;
use datafusion::prelude::SessionContext;
use generel_model::Embedder;

use crate::embedding::{HoistEmbed, PlanEmbed};
use crate::similarity_join::{GenerelOptions, PlanSimilarityJoin, UseScore};

/// The logical rule before which ours must run: it drops the columns that ours leave behind.
const BEFORE: &str = "optimize_projections";

/// Puts the rules into a session, in place: everybody who shares it sees them.
///
/// # Errors
/// Never with the rules of DataFusion 55; kept for those to come.
pub(crate) fn register(ctx: &SessionContext, embedder: &Embedder) -> Result<()> {
    let shared = ctx.state_ref();
    let mut state = shared.write();
    state.config_mut().options_mut().extensions.insert(GenerelOptions::default());
    let id = state.session_id().to_string();
    let mut builder = SessionStateBuilder::new_from_existing(state.clone()).with_session_id(id);
    let logical = &mut builder.optimizer().get_or_insert_default().rules;
    let at = logical.iter().position(|rule| rule.name() == BEFORE).unwrap_or(logical.len());
    // The vectors of a join are columns once `embed` is hoisted.
    let own: [Arc<dyn OptimizerRule + Send + Sync>; 3] =
        [Arc::new(HoistEmbed::new(embedder)), Arc::new(PlanSimilarityJoin::new()), Arc::new(UseScore::new())];
    logical.splice(at..at, own);
    // First of all, so that the rules behind it see the operator with its own properties.
    let physical = &mut builder.physical_optimizers().get_or_insert_default().rules;
    physical.insert(0, Arc::new(PlanEmbed::new(embedder)));
    *state = builder.build();
    Ok(())
}
