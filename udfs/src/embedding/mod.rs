//! How plans embed: `embed` is taken out of the places that an asynchronous function cannot stand in, kept away from
//! rows that need not be embedded, and run by an operator of its own.

mod codec;
mod exec;
mod hoist;
mod physical_rule;

pub(crate) use codec::EmbedNode;
pub(crate) use exec::EmbedCall;
pub use exec::EmbedExec;
pub use hoist::HoistEmbed;
pub use physical_rule::PlanEmbed;
