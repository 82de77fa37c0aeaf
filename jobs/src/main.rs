//! The `generel` command.

mod alignment_files;
mod cli;
mod consumer_file;
mod demo;
mod environment;
mod exit;
mod ingest;
mod job_file;
mod models;
mod progress;
mod report;
mod runner;
mod serve;
mod train_file;
mod train_log;
mod watch;
mod yaml_file;

use std::process::ExitCode;

/// Ingest allocates and frees batches on many threads, at which it beats the system's allocator. Without huge pages: most
/// of them would never be filled, and to clear them takes time (a fourth of the memory of an ingest, and a tenth of its
/// time where the machine is a virtual one).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc 3's number of the option `purge_delay`, which the bindings do not name.
const PURGE_DELAY: std::ffi::c_int = 15;

/// Milliseconds after which memory that was freed and not used again is given back.
const PURGE_AFTER: std::ffi::c_long = 10_000;

/// Memory that was freed is kept for what comes next: an ingest allocates the same again and again, and each time that
/// the system takes a page back it clears it before giving it again (a tenth of the time of an ingest). What nothing comes
/// for is given back: a consumer runs for months, and what a moment took it would hold for ever.
#[allow(unsafe_code, reason = "a setting of the allocator, made before any thread is there")]
fn keep_freed_memory() {
    // SAFETY: the option exists under this number and takes any value.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_AFTER) }
}

fn main() -> ExitCode {
    keep_freed_memory();
    cli::main()
}
