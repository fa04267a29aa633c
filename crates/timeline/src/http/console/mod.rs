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
mod who;
mod layout;
mod step;
mod stored;
mod home;
mod life;
mod list;
mod lacks;
mod export;
mod messages;
mod problems;
mod form;
mod audit;
mod unmask;
mod sign_in;
mod search;
mod live;
mod refused;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

pub(super) use crate::http::console::assets::ASSETS_PATH;
pub(super) use crate::http::console::refused::refused;
pub(super) use crate::http::console::sign_in::{Asked, FAILED_TARGET, PATH as SIGN_IN};
use crate::http::state::Shared;

/// The paths of the pages.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(home::page))
        .route("/timeline", get(life::page))
        .route("/timeline.csv", get(life::csv))
        .route("/stored/{stream}/{sequence}", get(stored::page))
        .route("/messages", get(messages::page))
        .route("/messages.csv", get(messages::csv))
        .route("/problems", get(problems::page))
        .route("/problems.csv", get(problems::csv))
        .route("/channels", get(channels::page))
        .route("/channels.csv", get(channels::csv))
        .route("/channels/{channel}", get(channel::page))
        .route("/search", post(search::create))
        .route("/searches/{id}", get(search::page))
        .route("/searches/{id}/messages.csv", get(search::csv))
        .route("/live", get(live::page))
        .route("/live/rows", get(live::rows))
        .route(SIGN_IN, get(sign_in::page).post(sign_in::create))
        .route("/unmask", post(unmask::create))
        .route(audit::PATH, get(audit::page))
        .route("/sign-out", post(sign_in::end))
        .route("/assets/{hash}/{name}", get(assets::file))
}
