//! What the timeline says of messages, through its HTTP interface and the command line.

mod channels;
mod access;
mod console;
mod erase_command;
mod erasing_replicas;
mod erasure;
mod lives;
mod postgres;
mod reading;
mod trace;
