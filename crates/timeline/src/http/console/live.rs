//! The page on which new rows appear, and their stream of events for htmx.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::access::until::Until;
use crate::http::answer::LiveAnswer;
use crate::http::console::layout::{self, Section};
use crate::http::console::parts;
use crate::http::console::query::Query;
use crate::http::console::words::{self, visible};
use crate::http::refusal::Refusal;
use crate::http::routes::live::{self, Live};
use crate::http::state::Shared;

const PATH: &str = "/live";

/// `GET /live`
pub(super) async fn page(uri: Uri) -> Response {
    let query = Query::of(uri.query()).with("cursor", "");
    let content = html! {
        div class="page-head" {
            h1 { "Live" }
            p class="actions" { button type="button" id="pause" hidden aria-pressed="false" { "Pause" } }
        }
        form class="filters card" method="get" action=(PATH) aria-label="Filters" {
            label { "Channel" input name="channel" value=(query.get("channel")) autocomplete="off" maxlength="100"; }
            div class="filter-actions" { button type="submit" { "Filter" } @if !query.is_empty() { a class="button" href=(PATH) { "Clear" } } }
        }
        noscript { p class="card notice" { "New rows appear by themselves only with JavaScript. Without it, reload the list of " a href="/messages" { "messages" } "." } }
        section class="card" aria-label="New rows" {
            p id="live-state" class="quiet" role="status" { "Waiting for new rows." }
            ol id="rows" class="steps live" hx-ext="sse" sse-connect=(query.on("/live/rows")) sse-swap="row" hx-swap="afterbegin" {}
        }
    };
    layout::page("Live", Section::Live, &content)
}

/// `GET /live/rows`
pub(super) async fn rows(
    State(shared): State<Arc<Shared>>,
    until: Until,
    uri: Uri,
) -> Result<Response, Refusal> {
    live::events(&shared, &uri, until, |live| match live {
        Live::Row(row) => ("row", self::row(&row).into_string()),
        Live::Missed(missed) => {
            let text = html! { li class="step open" { div class="live-row" { "This page was too slow: " (missed.rows) " rows are left out." } } };
            ("row", text.into_string())
        }
        Live::ReadUntil(_) => ("ready", "ready".to_owned()),
    })
}

fn row(live: &LiveAnswer) -> Markup {
    let row = &live.row;
    let tone = row.status.as_deref().map_or(words::Tone::Neutral, words::tone);
    html! {
        li class={ "step " (tone.class()) } {
            div class="live-row" {
                span class="step-time" { (parts::clock(row.at)) }
                span class="step-what" {
                    a class="step-kind" href=(parts::life_path(&row.pointer)) { (visible(words::kind(&row.kind))) }
                    @if let Some(status) = &row.status { " " (parts::status(status)) }
                    " " span class="step-summary" { (visible(&row.summary)) @if let Some(recipient) = &live.recipient { " " (visible(recipient)) } }
                    @if let Some(error) = &row.error { span class="step-error" { (visible(&error.code)) " " (visible(&error.text)) } }
                    @if !live.channel.is_empty() { span class="under" { (visible(&live.channel)) } }
                }
            }
        }
    }
}
