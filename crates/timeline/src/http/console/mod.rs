//! The pages: the same answers as JSON has, for people with a browser. They work without JavaScript; with it, times are shown in
//! the zone of the browser too, ids can be copied and new rows appear by themselves.
//!
//! What is found and judged is left to [`crate::http::routes`]. Every text is escaped by maud, and control characters are shown.

mod assets;
mod channel;
mod channels;
mod query;
mod words;
mod parts;
mod layout;
mod step;
mod home;
mod life;
mod list;
mod export;
mod messages;
mod problems;
mod search;
mod live;
mod refused;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

pub(super) use crate::http::console::refused::refused;
use crate::http::state::Shared;

/// The paths of the pages.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(home::page))
        .route("/timeline", get(life::page))
        .route("/messages", get(messages::page))
        .route("/messages.csv", get(messages::csv))
        .route("/problems", get(problems::page))
        .route("/problems.csv", get(problems::csv))
        .route("/channels", get(channels::page))
        .route("/channels/{channel}", get(channel::page))
        .route("/search", post(search::create))
        .route("/searches/{id}", get(search::page))
        .route("/live", get(live::page))
        .route("/live/rows", get(live::rows))
        .route("/assets/{hash}/{name}", get(assets::file))
}
