//! Tests of the sender: each command is sent at most once, and every command has a true result.

mod sends;
mod responses;
mod command_contents;
mod invalid_commands;
mod orphans;
mod order;
mod pending_commands;
mod redis_functions;
mod timing;
mod ledger_entries;
mod chaos_sends;
