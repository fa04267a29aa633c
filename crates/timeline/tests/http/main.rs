//! The HTTP port over the embedded store: the router is called as a port calls it.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod access;
mod channels;
mod console;
mod errors;
mod large;
mod live;
mod lists;
mod look_ups;
mod problems;
mod replays;
mod sign_in;
mod stage;
mod stored;
mod unmask;
