//! Parts that several pages have.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use crate::http::answer::{ErrorAnswer, Headline, MissingAnswer, ReadUntil};
use crate::http::console::query::encoded;
use crate::http::console::words::{self, visible};

/// A status with its sign. The color adds nothing to its text.
pub(super) fn status(status: &str) -> Markup {
    let tone = words::tone(status);
    html! {
        span class={ "chip " (tone.class()) } {
            span aria-hidden="true" { (tone.sign()) } " " (visible(&words::status(status)))
        }
    }
}

/// An error in one line: its code, name and text.
pub(super) fn error(error: &ErrorAnswer) -> String {
    let words = [&error.code, &error.name, &error.text].into_iter().filter(|word| !word.is_empty());
    visible(&words.map(String::as_str).collect::<Vec<_>>().join(" · "))
}

/// A note about a step. What is between backquotes is a command.
pub(super) fn note(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (visible(part)) } } @else { (visible(part)) }
        }
    }
}

/// How many problems there are.
pub(super) fn problem(text: &str) -> Markup {
    html! { span class="chip bad" { span aria-hidden="true" { "!" } " " (visible(text)) } }
}

/// A time with its date in UTC. The script adds the local time.
pub(super) fn time(time: Timestamp) -> Markup {
    html! {
        time datetime=(time.to_string()) {
            span class="date" { (words::date(time)) } " " span class="utc" { span class="clock" { (words::clock(time)) } " UTC" }
        }
    }
}

/// The time of day in UTC.
pub(super) fn clock(time: Timestamp) -> Markup {
    html! { time datetime=(time.to_string()) title={ (words::date(time)) " UTC" } { span class="clock" { (words::clock(time)) } } }
}

/// An id that can be copied.
pub(super) fn id(id: &str) -> Markup {
    html! { code class="id" data-copy=(id) { (visible(id)) } }
}

/// The address of a message's page.
pub(super) fn life_path(pointer: &str) -> String {
    format!("/timeline?id={}", encoded(pointer))
}

/// What a message is, in a few words.
pub(super) fn title(headline: &Headline) -> String {
    let what = if headline.summary.is_empty() { "message" } else { &headline.summary };
    let what = capitalized(&visible(what));
    match (headline.direction.as_str(), headline.recipient.as_deref()) {
        ("out", Some(to)) => format!("{what} to {to}"),
        ("in", Some(from)) => format!("{what} from {from}"),
        _ => what,
    }
}

/// With a capital letter at the beginning.
fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// Which way a message goes.
pub(super) fn direction(name: &str) -> &'static str {
    match name {
        "out" => "Outbound",
        "in" => "Inbound",
        _ => "Account or webhook",
    }
}

/// What is missing and what to do.
pub(super) fn missing(missing: &MissingAnswer) -> Markup {
    html! {
        div class="missing" {
            p class="missing-text" { span class="missing-sign" aria-hidden="true" { "!" } strong { "Missing: " (visible(&missing.text)) } }
            p { (note(&missing.advice)) }
            p class="quiet" { "Expected since " (time(missing.since)) ", overdue since " (time(missing.due)) ". Rule " code { (missing.rule) } "." }
        }
    }
}

/// A body as it is kept: JSON, or a text that is not.
pub(super) fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| body.into())
}

/// A body in lines. That of a call has its request and response apart. `label` says what it is.
pub(super) fn body(body: &Value, label: &str) -> Markup {
    let call =
        body.as_object().filter(|of| of.keys().all(|key| ["request", "response"].contains(&key.as_str())));
    match call {
        Some(call) if !call.is_empty() => html! {
            @for (name, title) in [("request", "Request"), ("response", "Response")] {
                @if let Some(part) = call.get(name) {
                    h4 { (title) }
                    (lines(part, &format!("{title}, {label}")))
                }
            }
        },
        _ => lines(body, label),
    }
}

fn lines(body: &Value, label: &str) -> Markup {
    // A text may be JSON, as that of a call is.
    let inner = body
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .filter(|inner| !inner.is_string());
    let text = match inner.as_ref().unwrap_or(body) {
        Value::String(text) => text.clone(),
        value => serde_json::to_string_pretty(value).expect("a JSON value is always JSON"),
    };
    html! {
        @if text.is_empty() { p class="quiet" { "Empty." } }
        @else { pre class="scroll" tabindex="0" role="region" aria-label=(label) { (visible(&text)) } }
    }
}

/// Whether every stream was read at all. Before that, no one knows what is missing.
pub(super) fn is_read(all: &[ReadUntil]) -> bool {
    all.iter().all(|of| of.until.is_some())
}

/// How far the streams are read.
pub(super) fn read_until(all: &[ReadUntil]) -> Markup {
    let oldest = all.iter().map(|of| of.until).min().flatten();
    let behind: u64 = all.iter().map(|of| of.behind).sum();
    html! {
        details class="read-until" {
            summary {
                @match oldest {
                    Some(until) => { "Everything up to " (clock(until)) " UTC is read" }
                    None => { "Not every stream was read yet" }
                }
                @if behind > 0 { ", " (behind) " messages behind" }
            }
            div class="scroll" tabindex="0" role="region" aria-label="How far each stream is read" {
                table {
                    thead { tr { th scope="col" { "Stream" } th scope="col" { "Read up to" } th scope="col" class="number" { "Last sequence" } th scope="col" class="number" { "Behind" } } }
                    tbody {
                        @for of in all {
                            tr {
                                th scope="row" { (of.stream) }
                                td { @match of.until { Some(until) => { (time(until)) } None => { "not yet" } } }
                                td class="number" { (of.sequence) }
                                td class="number" { (of.behind) }
                            }
                        }
                    }
                }
            }
        }
    }
}
