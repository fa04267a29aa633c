//! Tests of the command line: what people and scripts type, see and get.

mod commands;
mod errors;
mod completions;
mod send_cli;
mod concurrent_operators;
mod replay;
mod terminal_escapes;
mod spooled;
mod top;
mod doctor;
mod up_terminal;
