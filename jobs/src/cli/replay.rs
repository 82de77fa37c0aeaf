//! `generel replay`: dead letters, sent again.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use generel_pipeline::harmonize::Reason;
use generel_pipeline::streaming::{Accepted, ReplayOptions, replay};

use super::folder_of;
use crate::consumer_file::ConsumerFile;
use crate::exit::UsageError;
use crate::progress::note;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel replay conditions.yaml --dry-run
  generel replay conditions.yaml
  generel replay conditions.yaml --reason unknown_schema --reason low_confidence

Sends each dead letter of the consumer back to the topic that it came from, once: what was sent is remembered in the
group GROUP.replay. Letters of other reasons are passed over, and not sent later.")]
pub(super) struct ReplayArgs {
    /// The consumer file
    #[arg(value_name = "CONSUMER.yaml")]
    consumer: PathBuf,
    /// Only letters of this reason
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Only count what would be sent
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: ReplayArgs) -> Result<()> {
    if let Some(unknown) = args.reason.iter().find(|r| !Reason::ALL.iter().any(|known| known.as_str() == r.as_str())) {
        let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        return Err(UsageError(format!("--reason {unknown}: no such reason; there are {}", known.join(", "))).into());
    }
    let file = ConsumerFile::read(&args.consumer)?;
    let options = file.options(folder_of(&args.consumer), Accepted::default(), false)?;
    let what = ReplayOptions { reasons: args.reason, dry_run: args.dry_run };
    let done = tokio::task::spawn_blocking(move || replay(&options, &what)).await??;
    let mut reasons: Vec<_> = done.sent.iter().collect();
    reasons.sort();
    for (reason, count) in reasons {
        note(format_args!("{reason}: {count}"));
    }
    for place in &done.without_value {
        note(format_args!("{place}: the value was too large for the topic of dead letters; send it from there"));
    }
    let verb = if args.dry_run { "would be sent" } else { "sent" };
    note(format_args!("{} dead letters {verb}, {} passed over", done.sent.values().sum::<u64>(), done.left));
    Ok(())
}
