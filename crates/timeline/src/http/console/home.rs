//! The first page: the search, what is wrong now, and the channels.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::answer::{MessageAnswer, MessagesAnswer, ProblemsAnswer};
use crate::http::console::lacks::{self, Lacks};
use crate::http::console::layout::{self, Section};
use crate::http::console::query::Query;
use crate::http::console::words::visible;
use crate::http::console::{list, parts, problems as problems_page};
use crate::http::refusal::Refusal;
use crate::http::routes::{messages, problems};
use crate::http::state::Shared;

/// Messages of the first page.
const NEWEST: usize = 8;
/// Messages among which channels are looked for.
const SEEN: usize = 100;

/// What is known of a channel.
#[derive(Debug, Default)]
struct Channel {
    problems: u64,
    halted: Vec<(String, String)>,
    newest: Option<MessageAnswer>,
}

/// `GET /`
pub(super) async fn page(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let problems =
        problems::list(State(Arc::clone(&shared)), Uri::from_static("/v1/problems?limit=1")).await?.0;
    let uri = Query::default().with("limit", &SEEN.to_string()).to_uri("/v1/messages")?;
    let mut newest = messages::list(State(Arc::clone(&shared)), uri).await?.0;
    let halted = shared.api.observed.halted_lanes.borrow().clone();
    let channels = channels(&problems, &newest, &halted);
    newest.messages.truncate(NEWEST);
    newest.next = None;
    // The page says it once, under the problems.
    newest.unreadable.clear();
    let empty = html! {
        p class="empty-title" { "No message yet." }
        p { "Messages appear here a moment after they are sent or received." }
    };
    let content = html! {
        section class="hero" {
            h1 { "What happened to a message?" }
            (layout::search(true))
        }
        section aria-labelledby="problems" {
            div class="page-head" { h2 id="problems" { "Problems" } a href="/problems" { "All problems" } }
            @if problems.counts.is_empty() && problems.waiting.is_empty() {
                p class="card calm" {
                    @if !problems.unreadable.is_empty() { (lacks::not_known()) }
                    @else if parts::is_read(&problems.read_until) { span class="chip good" { span aria-hidden="true" { "✓" } " nothing is missing" } }
                    @else { span class="chip open" { span aria-hidden="true" { "◷" } " not known yet: not every stream was read" } }
                }
            }
            (problems_page::counts(&problems))
            @for waiting in &problems.waiting { (problems_page::waiting(waiting)) }
            (lacks::notices(&Lacks { unreadable: &problems.unreadable, ..Lacks::default() }))
        }
        section aria-labelledby="channels" {
            h2 id="channels" { "Channels" }
            @if channels.is_empty() { p class="card empty" { "No channel has messages yet." } } @else { (cards(&channels)) }
        }
        section aria-labelledby="newest" {
            div class="page-head" { h2 id="newest" { "Newest messages" } a href="/messages" { "All messages" } }
            div class="card" { (list::messages(&newest, "/messages", &Query::default(), &empty)) }
        }
    };
    Ok(layout::page("Overview", Section::Home, &content))
}

/// The channels that have problems, halted lanes or messages among the newest.
fn channels(
    problems: &ProblemsAnswer,
    newest: &MessagesAnswer,
    halted: &std::collections::HashMap<String, String>,
) -> BTreeMap<String, Channel> {
    let mut all: BTreeMap<String, Channel> = BTreeMap::new();
    for count in &problems.counts {
        all.entry(count.channel.clone()).or_default().problems += count.count;
    }
    for message in &newest.messages {
        if !message.headline.channel.is_empty() {
            let channel = all.entry(message.headline.channel.clone()).or_default();
            channel.newest.get_or_insert_with(|| message.clone());
        }
    }
    for (lane, why) in halted {
        let channel = lane.strip_prefix("bulk-").filter(|of| all.contains_key(*of)).unwrap_or(lane);
        all.entry(channel.to_owned()).or_default().halted.push((lane.clone(), why.clone()));
    }
    all
}

fn cards(channels: &BTreeMap<String, Channel>) -> Markup {
    html! {
        ul class="channels" {
            @for (name, channel) in channels {
                li class="card channel-card" {
                    h3 { a href=(Query::default().with("channel", name).on("/messages")) { (visible(name)) } }
                    p class="chips" {
                        @if !channel.halted.is_empty() { span class="chip bad" { span aria-hidden="true" { "!" } " halted" } }
                        @if channel.problems > 0 {
                            " " a class="chip bad" href=(Query::default().with("channel", name).on("/problems")) { (channel.problems) @if channel.problems == 1 { " problem" } @else { " problems" } }
                        }
                    }
                    @for (lane, why) in &channel.halted { p class="bad-text" { @if lane != name { (visible(lane)) ": " } (visible(why)) } }
                    @if let Some(newest) = &channel.newest {
                        p class="quiet" { "Newest message " (parts::time(newest.headline.began)) }
                    }
                }
            }
        }
    }
}
