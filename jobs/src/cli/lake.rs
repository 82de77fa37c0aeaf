//! `generel lake`: upkeep of the lake's tables.

use std::io::Write;
use std::num::NonZeroU64;

use anyhow::{Result, bail};
use chrono::TimeDelta;
use clap::{Args, Subcommand};
use generel_schemas::{Table, tables};

use super::LakeOptions;
use crate::exit::UsageError;
use crate::progress::Step;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel lake optimize                                        small files of every table put together
  generel lake optimize gwas_associations --z-order chromosome,base_pair_location
  generel lake vacuum --keep-days 30 --dry-run
  generel lake history gwas_associations --limit 5")]
pub(super) struct LakeArgs {
    #[command(subcommand)]
    command: LakeCommand,
}

#[derive(Debug, Subcommand)]
enum LakeCommand {
    /// Put small files together, within each input (Delta OPTIMIZE)
    Optimize {
        #[command(flatten)]
        lake: LakeOptions,
        /// Sort along these columns too, so that filters on any of them skip files
        #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
        z_order: Vec<String>,
        /// Size of a file, in MiB
        #[arg(long, value_name = "MIB")]
        target_size: Option<NonZeroU64>,
        /// Tables; all of them if none is named
        #[arg(value_name = "TABLE")]
        tables: Vec<String>,
    },
    /// Delete files that no recent version needs, those of killed runs among them (Delta VACUUM)
    Vacuum {
        #[command(flatten)]
        lake: LakeOptions,
        /// Days that old versions stay readable
        #[arg(long, value_name = "DAYS", default_value_t = 7)]
        keep_days: u32,
        /// Allow fewer than 7 days: only while nothing else writes to the lake
        #[arg(long)]
        force: bool,
        /// Only name the files
        #[arg(long)]
        dry_run: bool,
        /// Tables; all of them if none is named
        #[arg(value_name = "TABLE")]
        tables: Vec<String>,
    },
    /// The versions of a table, youngest first
    History {
        #[command(flatten)]
        lake: LakeOptions,
        /// So many versions
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// The table
        #[arg(value_name = "TABLE")]
        table: String,
    },
}

pub(super) async fn run(args: LakeArgs) -> Result<()> {
    match args.command {
        LakeCommand::Optimize { lake, z_order, target_size, tables } => {
            let named = named(&tables)?;
            if !z_order.is_empty() && named.len() != 1 {
                bail!(UsageError("--z-order needs the one table whose columns it names".to_string()));
            }
            let (lake, bytes) = (
                lake.open()?,
                target_size.map(|mib| mib.saturating_mul(NonZeroU64::MIN.saturating_add((1 << 20) - 1))),
            );
            for table in named {
                let step = Step::begin(format!("optimize {}", table.name));
                step.end(match lake.optimize(table, &z_order, bytes).await? {
                    Some(done) => format!("{} files became {}, {} left alone", done.removed, done.added, done.skipped),
                    None => "never written".to_string(),
                });
            }
        }
        LakeCommand::Vacuum { lake, keep_days, force, dry_run, tables } => {
            let (named, lake) = (named(&tables)?, lake.open()?);
            for table in named {
                let step = Step::begin(format!("vacuum {}", table.name));
                let keep = TimeDelta::days(i64::from(keep_days));
                let found = lake.vacuum(table, keep, force, dry_run).await?.unwrap_or_default();
                let mut out = std::io::stdout().lock();
                for file in found.iter().filter(|_| dry_run) {
                    writeln!(out, "{}/{file}", table.name)?;
                }
                step.end(format!("{} files {}", found.len(), if dry_run { "would go" } else { "deleted" }));
            }
        }
        LakeCommand::History { lake, limit, table } => {
            let table = named(std::slice::from_ref(&table))?[0];
            let mut out = std::io::stdout().lock();
            for version in lake.open()?.history(table, limit).await? {
                let at = version.at.map(|t| t.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default();
                let run = version.run.unwrap_or_default();
                writeln!(out, "{}\t{at}\t{}\t{run}", version.version, version.operation)?;
            }
        }
    }
    Ok(())
}

/// The tables of these names; all of them for none.
fn named(names: &[String]) -> Result<Vec<&'static Table>> {
    if names.is_empty() {
        return Ok(tables::ALL.to_vec());
    }
    let find = |name: &String| {
        let all: Vec<&str> = tables::ALL.iter().map(|t| t.name).collect();
        tables::by_name(name)
            .ok_or_else(|| UsageError(format!("no table '{name}'; there are: {}", all.join(", "))).into())
    };
    names.iter().map(find).collect()
}
