//! The HTTP port: look-ups by id, lists, problems and new rows. Answers are JSON ([`answer`]), errors those of RFC 9457; a browser
//! gets both as pages.
//!
//! It reads the store and what the observer publishes ([`crate::observed`]), and changes nothing but its own searches. What a life
//! is and what is missing in it is left to [`crate::life`], what the store holds to [`crate::store`], erasing to [`crate::erasure`].

pub mod access;
pub mod answer;
pub mod settings;
pub mod state;
mod contents;
mod cursor;
mod headlines;
mod originals;
mod parameters;
mod refusal;
mod searches;
mod routes;
mod console;
mod router;

pub use crate::http::router::router;
pub use crate::http::routes::erasures::{ErasureBody, ErasuresAnswer};
pub use crate::http::state::ApiState;
