//! The shared store: every promise, several replicas, who may use it, and a server that ends, is slow or has no room.

mod access;
mod database;
mod faults;
mod full_disk;
mod replays;
mod replicas;
mod slow;

use crate::postgres::database::Shared;

crate::promises!(Shared::new());
