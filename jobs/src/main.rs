//! The `generel` command.

mod cli;
mod demo;
mod environment;
mod exit;
mod ingest;
mod job_file;
mod progress;
mod report;
mod runner;

use std::process::ExitCode;

/// Ingest allocates and frees batches on many threads, at which it beats the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
