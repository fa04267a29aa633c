//! What the gateway promises, proved at its public edges: HTTP in front, NATS behind, the programs themselves, and
//! real servers that each test starts on free ports.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

mod harness;

mod documents;
mod refusals;
mod slow_senders;
mod unread_answers;
mod slow_stores;
mod bodies;
mod contents;
mod notices;
mod registry;
mod permissions;
mod redis_users;
mod stolen_seed;
mod accounts;
mod buckets;
mod contracts;
mod tls;
mod outage;
mod kill;
mod worker;
mod full;
mod purge;
mod sequences;
mod programs;
mod lines;
mod terminals;
mod admin;
mod answers;
mod sends;
mod orphans;
mod commands;
mod unusable;
mod order;
mod lifetimes;
mod operators;
mod times;
mod storm;
mod media;
mod file_types;
mod replay;
mod simulation;
mod simulation_memory;
mod top;
mod doctor;
mod traces;
mod readers;
