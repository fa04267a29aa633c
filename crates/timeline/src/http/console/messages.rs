//! The page of all messages, with filters, and the same page as CSV.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::answer::{self, MessagesAnswer};
use crate::http::console::layout::{self, Section};
use crate::http::console::query::Query;
use crate::http::console::{export, list, words};
use crate::http::refusal::Refusal;
use crate::http::routes::messages;
use crate::http::state::Shared;
use crate::rules::RuleName;

const PATH: &str = "/messages";
const JSON_PATH: &str = "/v1/messages";

/// `GET /messages`
pub(super) async fn page(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    let query = Query::of(uri.query());
    let answer = read(shared, &query).await?;
    let is_filtered = !query.with("cursor", "").is_empty();
    let empty = html! {
        @if is_filtered {
            p { "No message passes these filters." }
            p { a class="button" href=(PATH) { "Remove the filters" } }
        } @else {
            p { "No message is stored yet." }
            p { "Messages appear here a moment after they are sent or received. If they do not, look at how far the streams are read." }
        }
    };
    let content = html! {
        div class="page-head" {
            h1 { "Messages" }
            p class="actions" {
                a class="button" href=(query.on("/messages.csv")) { "CSV of this page" }
                a class="button" href=(query.times_in_utc().on(JSON_PATH)) { "JSON" }
            }
        }
        (filters(&query))
        section class="card" aria-label="List" { (list::messages(&answer, PATH, &query, &empty)) }
    };
    Ok(layout::page("Messages", Section::Messages, &content))
}

/// `GET /messages.csv`
pub(super) async fn csv(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    Ok(lines(read(shared, &Query::of(uri.query())).await?))
}

/// A list of messages as CSV.
pub(super) fn lines(answer: MessagesAnswer) -> Response {
    let names = [
        "began",
        "ended",
        "direction",
        "status",
        "outcome",
        "channel",
        "bsp",
        "summary",
        "recipient",
        "command_id",
        "message_id",
        "pointer",
        "missing",
    ];
    let lines = answer.messages.into_iter().map(|message| {
        let line = message.headline;
        let missing: Vec<_> = message.missing.into_iter().map(|missing| missing.text).collect();
        vec![
            line.began.to_string(),
            line.ended.to_string(),
            line.direction,
            line.status,
            line.outcome.unwrap_or_default(),
            line.channel,
            line.bsp,
            line.summary,
            line.recipient.unwrap_or_default(),
            line.command_id.unwrap_or_default(),
            line.message_id.unwrap_or_default(),
            message.pointer,
            missing.join("; "),
        ]
    });
    let head = names.map(str::to_owned).to_vec();
    export::file("messages", std::iter::once(head).chain(lines))
}

async fn read(shared: Arc<Shared>, query: &Query) -> Result<MessagesAnswer, Refusal> {
    let uri = query.times_in_utc().to_uri(JSON_PATH)?;
    Ok(messages::list(State(shared), uri).await?.0)
}

fn filters(query: &Query) -> Markup {
    let rules = RuleName::ALL.iter().filter(|rule| **rule != RuleName::Delivery).map(|rule| rule.name());
    let problems = std::iter::once("any").chain(rules);
    let minute = |name| query.get(name).chars().take(16).collect::<String>();
    html! {
        form class="filters card" method="get" action=(PATH) aria-label="Filters" {
            label { "Channel" input name="channel" value=(query.get("channel")) autocomplete="off" maxlength="100"; }
            label { "Status" (select("status", query, answer::statuses().into_iter(), words::status)) }
            label { "Problem" (select("problem", query, problems, |name| if name == "any" { "Any problem".to_owned() } else { words::rule(name).to_owned() })) }
            label { "From (UTC)" input type="datetime-local" name="since" value=(minute("since")); }
            label { "To (UTC)" input type="datetime-local" name="until" value=(minute("until")); }
            div class="filter-actions" {
                button type="submit" { "Filter" }
                @if !query.is_empty() { a class="button" href=(PATH) { "Clear" } }
            }
        }
    }
}

/// A field with the values of a filter.
pub(super) fn select(
    name: &str,
    query: &Query,
    values: impl Iterator<Item = &'static str>,
    words: impl Fn(&str) -> String,
) -> Markup {
    html! {
        select name=(name) {
            option value="" { "All" }
            @for value in values { option value=(value) selected[query.get(name).eq_ignore_ascii_case(value)] { (words(value)) } }
        }
    }
}
