//! The shared store: every promise, several replicas, and a server that ends.

mod database;
mod faults;
mod replicas;

use crate::postgres::database::Shared;

crate::promises!(Shared::new());
