//! One step of a message's life, with a drawer that holds its fields and its full message.

use maud::{Markup, html};

use crate::http::answer::{IdAnswer, NoteAnswer, RowAnswer};
use crate::http::console::parts;
use crate::http::console::words::{self, Tone, visible};

/// A step, with what is said about it. Its drawer opens without JavaScript.
pub(super) fn step(row: &RowAnswer, notes: &[&NoteAnswer]) -> Markup {
    let tone = row.status.as_deref().map_or(default_tone(&row.kind), words::tone);
    html! {
        li class={ "step " (tone.class()) } {
            details {
                summary {
                    span class="step-time" {
                        (parts::clock(row.at))
                        @if let Some(after) = row.after_ms { span class="gap" { (words::gap(after)) } }
                    }
                    span class="step-what" {
                        span class="step-kind" { (visible(words::kind(&row.kind))) }
                        @if let Some(status) = &row.status { " " (parts::status(status)) }
                        @if row.replayed { " " span class="chip neutral" { "replayed" } }
                        @if !row.summary.is_empty() { " " span class="step-summary" { (visible(&row.summary)) } }
                        @if let Some(error) = &row.error { span class="step-error" { (parts::error(error)) } }
                        @for note in notes { span class="step-note" { (parts::note(&note.text)) } }
                    }
                }
                (drawer(row))
            }
        }
    }
}

/// How a step without a status is to be taken.
fn default_tone(kind: &str) -> Tone {
    if kind == "dead_letter" { Tone::Bad } else { Tone::Neutral }
}

fn drawer(row: &RowAnswer) -> Markup {
    html! {
        div class="drawer" {
            dl {
                dt { "Stored at" } dd { (parts::time(row.at)) }
                @if let Some(happened_at) = row.happened_at { dt { "Happened at" } dd { (parts::time(happened_at)) } }
                @if let Some(difference) = row.clock_difference_ms {
                    dt { "Clock difference" } dd { (words::gap(difference)) " by the clock of the BSP or of the gateway" }
                }
                @for id in &row.ids { dt { (name(id, row)) } dd { (parts::id(&id.id)) } }
                @if row.part > 0 { dt { "Attempt" } dd { (row.part) } }
            }
            (behind(row))
        }
    }
}

/// What an id is. That of a stored message is the row's own, or of the message that it was made from.
fn name(id: &IdAnswer, row: &RowAnswer) -> String {
    match id.kind.as_str() {
        "stored" if id.id == row.pointer => "Stored as".to_owned(),
        "stored" => "Made from".to_owned(),
        kind => visible(words::id_kind(kind)),
    }
}

/// The kept body, and a link to the full message. When the drawer opens, the script puts what the link leads to in place of both.
fn behind(row: &RowAnswer) -> Markup {
    let path = match row.part {
        0 => format!("/stored/{}", row.pointer),
        part => format!("/stored/{}?part={part}", row.pointer),
    };
    let label = format!("Body of {}, {}", row.pointer, row.part);
    html! {
        div class="behind" hx-get=(path) hx-trigger="toggle once from:closest details" hx-swap="innerHTML" {
            @if let Some(body) = &row.body { h3 { "What the timeline has kept" } (parts::body(body, &label)) }
            p { a href=(path) { "Full message, raw webhook and difference" } }
        }
    }
}
