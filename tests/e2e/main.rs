//! Tests of the gateway's promises through its public edges: HTTP, NATS and the programs themselves, with real servers
//! that each test starts on free ports.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

mod harness;

mod ingress;
mod normalizer;
mod sender;
mod media;
mod bus;
mod security;
mod cli;
mod operations;
mod simulator;
mod contracts;
mod timeline;
