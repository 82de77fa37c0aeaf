//! The command line: what can be typed, and which module does it.

mod align;
mod bench;
mod consume;
mod cooccurrence;
mod embed;
mod eval;
mod formats;
mod index;
mod ingest;
mod lake;
mod model;
pub(crate) mod output;
mod quarantine;
mod replay;
mod run;
mod serve;
mod sql;
mod train;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use generel_model::{DeviceChoice, Precision};
use generel_pipeline::Lake;
use tracing_subscriber::EnvFilter;

use crate::exit::{self, Exit};
use crate::models::{ModelChoice, ModelOverrides};
use crate::{consumer_file, demo, job_file, train_file};

/// Harmonize biomedical data: ingest files into a Delta lake, embed names, align codes across sources.
#[derive(Debug, Parser)]
#[command(name = "generel", version, propagate_version = true, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    log: LogOptions,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  generel demo                                          the whole pipeline on a bundled real sample
  generel ingest --format obo --source doid doid.obo.gz
  generel align --left hospital:condition_occurrence --right doid --out mappings.sssom.tsv
  generel consume conditions.yaml                       Kafka topics, harmonized as they come
  generel sql -c \"select concept_similarity('heart attack', 'myocardial infarction')\"

Exit codes: 0 done, 1 failed, 2 usage, 3 more rows rejected than --max-rejects allows";

#[derive(Debug, Args)]
struct LogOptions {
    /// Log more: -v for info, -vv for debug; RUST_LOG says it in detail
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// How log lines look on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// Where the lake is.
#[derive(Debug, Clone, Args)]
pub(crate) struct LakeOptions {
    /// The lake: a folder or a URI
    #[arg(long, env = "GENEREL_LAKE", default_value = DEFAULT_LAKE, value_name = "URI", global = true)]
    lake: String,
}

const DEFAULT_LAKE: &str = "generel-lake";

impl LakeOptions {
    /// For queries: nobody has to have a lake to ask for `concept_similarity('a', 'b')`, so the default one may be
    /// missing. A lake that was named must be there.
    fn open_or_empty(&self) -> Result<Lake> {
        match self.lake.as_str() {
            DEFAULT_LAKE => Ok(Lake::at_folder(DEFAULT_LAKE.as_ref())?),
            _ => self.open(),
        }
    }

    fn open(&self) -> Result<Lake> {
        Ok(Lake::open(&self.lake)?)
    }

    fn create(&self) -> Result<Lake> {
        Ok(Lake::create(&self.lake)?)
    }
}

/// Which model embeds.
#[derive(Debug, Args)]
pub(crate) struct ModelOptions {
    /// The model: generel (which comes with the program), a name that was pulled, or a folder in the Hugging Face layout;
    /// NAME@128 keeps the first 128 components of its vectors, for joins that compare fewer numbers
    #[arg(long, env = "GENEREL_MODEL", default_value = generel_model::store::DEFAULT_MODEL, value_name = "NAME")]
    model: String,
    /// Numbers of its matrix products: auto (the fastest of this CPU that agrees with f32 to a cosine of 0.9995), f32,
    /// bf16, int8. Vectors of two precisions never meet: name one where machines of different kinds share a lake
    #[arg(long, env = "GENEREL_PRECISION", default_value = "auto", value_name = "PRECISION")]
    precision: Choice<Precision>,
    /// Where it runs: auto, cpu, cuda:N, metal, candle (the CPU by candle, for comparison)
    #[arg(long, env = "GENEREL_DEVICE", default_value = "auto", value_name = "DEVICE")]
    device: DeviceChoice,
}

impl ModelOptions {
    /// The choice as the runner takes it.
    pub(crate) fn choice(&self) -> ModelChoice {
        ModelChoice { name: self.model.clone(), precision: self.precision.0, device: self.device }
    }
}

/// What is typed beside a job's or consumer's file, and wins over it.
#[derive(Debug, Args)]
pub(crate) struct FileOverrides {
    /// The lake: a folder or a URI; wins over the file
    #[arg(long, env = "GENEREL_LAKE", value_name = "URI")]
    lake: Option<String>,
    /// The model; wins over the file
    #[arg(long, env = "GENEREL_MODEL", value_name = "NAME")]
    model: Option<String>,
    /// Its precision (auto, f32, bf16, int8); wins over the file
    #[arg(long, env = "GENEREL_PRECISION", value_name = "PRECISION")]
    precision: Option<Choice<Precision>>,
    /// Where it runs (auto, cpu, cuda:N); wins over the file
    #[arg(long, env = "GENEREL_DEVICE", value_name = "DEVICE")]
    device: Option<DeviceChoice>,
}

impl FileOverrides {
    /// What was typed of the model.
    fn model(self) -> ModelOverrides {
        ModelOverrides { name: self.model, precision: self.precision, device: self.device }
    }
}

/// The folder of a file, from which the paths in it are.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A value, or `auto`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<T>(pub(crate) Option<T>);

impl<T: FromStr> FromStr for Choice<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> std::result::Result<Self, T::Err> {
        if text == "auto" { Ok(Self(None)) } else { text.parse().map(|value| Self(Some(value))) }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole pipeline on a bundled real sample and report
    Demo(DemoArgs),
    /// Run a job file: ingest, embed, align, export, only what is stale
    Run(run::RunArgs),
    /// Read files into the lake
    Ingest(ingest::IngestArgs),
    /// Embed texts
    Embed(embed::EmbedArgs),
    /// Map the codes of one source to those of another
    Align(align::AlignArgs),
    /// Count which codes the same persons have, more often than by chance, as edges of the graph
    Cooccurrence(cooccurrence::CooccurrenceArgs),
    /// Measure results against what is known
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Train a model on the lake: names, relations, variants in one space
    Train(train::TrainArgs),
    /// Query the lake with SQL; a shell without -c and -f
    Sql(sql::SqlArgs),
    /// Serve SQL to other programs over Arrow Flight SQL
    Serve(serve::ServeArgs),
    /// Read Kafka topics, write harmonized topics and rows, each message exactly once
    Consume(consume::ConsumeArgs),
    /// Send a consumer's dead letters again
    Replay(replay::ReplayArgs),
    /// Save what consumers harmonize to in a folder of its own
    Index(index::IndexArgs),
    /// List, fetch, show, verify and measure models
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Rejected rows, and reading their files again after a fix
    Quarantine(quarantine::QuarantineArgs),
    /// Upkeep of the lake's tables: optimize, vacuum, history
    Lake(lake::LakeArgs),
    /// What can be ingested, with an example each
    Formats,
    /// Print the JSON Schema of job files
    JobSchema,
    /// Print the JSON Schema of consumer files
    ConsumerSchema,
    /// Print the JSON Schema of train files
    TrainSchema,
    /// Print shell completions
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  generel demo\n  generel demo --dir /tmp/try-generel\n\nRun it again: it does nothing twice and says so."
)]
struct DemoArgs {
    /// Where the sample, the lake and the report go
    #[arg(long, default_value = "generel-demo", value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    model: ModelOptions,
}

/// Parses, runs, exits.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    start_log(&cli.log);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Work goes to idle threads in turn: after a moment that needed many, all of them would stay, each with memory of its own.
    runtime.enable_all().thread_keep_alive(Duration::from_secs(1));
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into()).into(),
    };
    // A server ends in its own time.
    let is_server = matches!(cli.command, Command::Serve(_) | Command::Consume(_) | Command::Train(_));
    let ended = runtime.block_on(async {
        tokio::select! {
            result = dispatch(cli.command) => result,
            _ = tokio::signal::ctrl_c(), if !is_server => Err(anyhow::anyhow!("interrupted; what was committed is in the lake, run again to complete")),
        }
    });
    // Threads that still compute for an interrupted or failed run are not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Exit::Done.into(),
        Err(error) => exit::report(&error).into(),
    }
}

async fn dispatch(command: Command) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(&args.dir, args.model.choice()).await,
        Command::Run(args) => run::run(args).await,
        Command::Ingest(args) => ingest::run(args).await,
        Command::Embed(args) => embed::run(args).await,
        Command::Align(args) => align::run(args).await,
        Command::Cooccurrence(args) => cooccurrence::run(args).await,
        Command::Eval(command) => eval::run(command).await,
        Command::Train(args) => train::run(args).await,
        Command::Sql(args) => sql::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Consume(args) => consume::run(args).await,
        Command::Replay(args) => replay::run(args).await,
        Command::Index(args) => index::run(args).await,
        Command::Model(command) => model::run(command).await,
        Command::Quarantine(args) => quarantine::run(args).await,
        Command::Lake(args) => lake::run(args).await,
        Command::Formats => formats::run(),
        Command::JobSchema => Ok(writeln!(std::io::stdout(), "{}", job_file::json_schema())?),
        Command::TrainSchema => Ok(writeln!(std::io::stdout(), "{}", train_file::json_schema())?),
        Command::ConsumerSchema => Ok(writeln!(std::io::stdout(), "{}", consumer_file::json_schema())?),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "generel", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => Ok(clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?),
    }
}

fn start_log(options: &LogOptions) {
    let default = match options.verbose {
        // These log what reaches a person as one line of ours, or what is no trouble: commits are retried.
        0 => "warn,hf_hub=off,buoyant_kernel=off,deltalake_core::kernel::transaction=off",
        1 => "warn,generel=info,generel_model=info,generel_pipeline=info,generel_udfs=info",
        _ => "info,generel=debug,generel_model=debug,generel_pipeline=debug,generel_udfs=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log
            .with_ansi(std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => log.json().init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
