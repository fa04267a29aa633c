//! One step of a message's life, with a drawer that holds its fields.

use maud::{Markup, html};

use crate::http::answer::RowAnswer;
use crate::http::console::parts;
use crate::http::console::words::{self, Tone, visible};

/// A step. Its drawer opens without JavaScript.
pub(super) fn step(row: &RowAnswer) -> Markup {
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
                        @if let Some(error) = &row.error {
                            span class="step-error" { (visible(&error.code)) " " (visible(&error.name)) " " (visible(&error.text)) }
                        }
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
                @if let Some(error) = &row.error {
                    dt { "Error" } dd { code { (visible(&error.code)) } " " (visible(&error.name)) " " (visible(&error.text)) }
                }
                @for id in &row.ids { dt { (visible(words::id_kind(&id.kind))) } dd { (parts::id(&id.id)) } }
                dt { "Full message" }
                dd { (parts::id(&row.pointer)) @if row.part > 0 { ", attempt " (row.part) } }
            }
            @match &row.body {
                Some(body) => {
                    pre class="scroll" tabindex="0" role="region" aria-label={ "Body of " (row.pointer) } { (pretty(body)) }
                }
                None => {
                    p class="quiet" { "The body is not kept here. Read it from NATS by its place." }
                }
            }
        }
    }
}

/// A body in lines. A text that JSON escapes stays escaped.
fn pretty(body: &serde_json::Value) -> String {
    let text = serde_json::to_string_pretty(body).expect("a JSON value is always JSON");
    visible(&text)
}
