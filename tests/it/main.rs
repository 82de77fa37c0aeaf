//! End-to-end tests, one binary: linking is the slow part.

mod cli;
mod crash;
mod demo;
mod ingest;
mod lake;
mod plans;
mod sql;
mod support;
mod tidy;
