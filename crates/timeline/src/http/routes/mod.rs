//! What the paths of the JSON interface answer. [`crate::http::router()`] lists them; the pages show the same answers.

mod body;
pub(super) mod channels;
pub(super) mod erasures;
mod listing;
pub(super) mod audit;
pub(super) mod live;
pub(super) mod messages;
pub(super) mod problems;
pub(super) mod searches;
pub(super) mod timeline;
pub(super) mod unmask;
