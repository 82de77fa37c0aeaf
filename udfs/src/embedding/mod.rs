//! How plans embed: `embed` is taken out of the places that an asynchronous function cannot stand in, kept away from
//! rows that need not be embedded, and run by an operator of its own.

mod codec;
mod exec;
mod hoist;
mod physical_rule;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use generel_model::Embedder;

pub(crate) use codec::EmbedNode;
pub(crate) use exec::EmbedCall;
pub use exec::EmbedExec;
pub use hoist::HoistEmbed;
pub use physical_rule::PlanEmbed;

/// The logical rule before which ours must run: it drops the columns that ours leave behind.
const BEFORE: &str = "optimize_projections";

/// Puts both rules into a session, in place: everybody who shares it sees them.
///
/// # Errors
/// Never with the rules of DataFusion 55; kept for those to come.
pub(crate) fn register(ctx: &SessionContext, embedder: &Embedder) -> Result<()> {
    let shared = ctx.state_ref();
    let mut state = shared.write();
    let id = state.session_id().to_string();
    let mut builder = SessionStateBuilder::new_from_existing(state.clone()).with_session_id(id);
    let logical = &mut builder.optimizer().get_or_insert_default().rules;
    let at = logical.iter().position(|rule| rule.name() == BEFORE).unwrap_or(logical.len());
    logical.insert(at, Arc::new(HoistEmbed::new(embedder)));
    // First of all, so that the rules behind it see the operator with its own properties.
    let physical = &mut builder.physical_optimizers().get_or_insert_default().rules;
    physical.insert(0, Arc::new(PlanEmbed::new(embedder)));
    *state = builder.build();
    Ok(())
}
