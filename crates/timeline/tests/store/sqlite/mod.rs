//! The embedded store: every promise, and what is in its files.

mod crashes;
mod damage;
mod erased_bytes;
mod filters;
mod folder;
mod form_1;
mod full_disk;
mod midnight;
mod replays;

use crate::sqlite::folder::Embedded;

crate::promises!(Embedded::new());
