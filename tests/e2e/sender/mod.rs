//! Tests of the sender: each command is sent at most once, and every command has a true result.

mod attempts;
mod command_contents;
mod crash;
mod invalid_commands;
mod ledger_entries;
mod order;
mod orphans;
mod pending_commands;
mod reconcile;
mod reconcile_checks;
mod reconcile_times;
mod redis_functions;
mod reconnection;
mod resend_unknown;
mod responses;
mod sends;
mod suspended;
mod takeover;
