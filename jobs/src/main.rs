//! The `generel` command.

mod cli;
mod demo;
mod environment;
mod exit;
mod job_file;
mod progress;
mod report;
mod runner;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
