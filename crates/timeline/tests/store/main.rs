//! What every engine of the store promises (the trait's head lists it), proved for each engine, and what only one engine has.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

mod auditing;
mod engine;
mod erasing;
mod expecting;
mod expiring;
mod finding;
mod listing;
mod postgres;
mod promises;
mod replaying;
mod sample;
mod sqlite;
mod storing;
