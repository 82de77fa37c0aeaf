//! End-to-end tests, one binary: linking is the slow part.

mod align;
mod broker;
mod cli;
mod concurrent;
mod cooccurrence;
mod crash;
mod demo;
mod disk;
mod embed;
mod fuzz;
mod ingest;
mod kafka;
mod kafka_formats;
mod kafka_security;
mod lake;
mod object_store;
mod plans;
mod postgres;
mod serve;
mod servers;
mod shipped;
mod sql;
mod support;
mod tidy;
mod train;
