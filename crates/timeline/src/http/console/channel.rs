//! The page of one channel: its lane, its last messages, refusals by cause, passwords in use, results and problems.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::answer::{ChannelAnswer, LaneAnswer, PasswordAnswer, ResultAnswer, SourcesAnswer};
use crate::http::console::channels as shared_parts;
use crate::http::console::layout::{self, Section};
use crate::http::console::parts;
use crate::http::console::query::Query;
use crate::http::console::words::{self, visible};
use crate::http::refusal::Refusal;
use crate::http::routes::channels;
use crate::http::state::Shared;

/// `GET /channels/{channel}`
pub(super) async fn page(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let answer = channels::one(State(shared), Path(id), uri).await?.0;
    let (channel, sources) = (&answer.channel, &answer.sources);
    let of_channel = |path: &str| Query::default().with("channel", &channel.channel).on(path);
    let content = html! {
        div class="page-head" {
            h1 { "Channel " (visible(&channel.channel)) }
            p class="actions" {
                a class="button" href=(of_channel("/messages")) { "Messages" }
                a class="button" href=(of_channel("/problems")) { "Problems" }
                a class="button" href={ "/v1" (shared_parts::path(&channel.channel)) } { "JSON" }
            }
        }
        (shared_parts::partial(sources))
        section class="card life-head" aria-label="Summary" {
            (shared_parts::state(channel, sources))
            (facts(channel))
            (lane(channel, sources))
            (problems(channel))
        }
        (refused(channel, sources))
        (passwords(channel, sources))
        (results(channel, sources))
        (shared_parts::sources(sources))
    };
    Ok(layout::page(&format!("Channel {}", visible(&channel.channel)), Section::Channels, &content))
}

fn facts(channel: &ChannelAnswer) -> Markup {
    html! {
        dl class="facts" {
            div { dt { "BSP" } dd { (visible(&channel.bsp)) } }
            div { dt { "Tenant" } dd { (visible(&channel.tenant)) } }
            div { dt { "Last webhook" } dd { (shared_parts::last(channel.last_webhook.as_ref(), "in WEBHOOKS")) } }
            div { dt { "Last send" } dd { (shared_parts::last(channel.last_send.as_ref(), "in EVENTS")) } }
            @if let Some(lane) = &channel.lane { (waiting(lane)) }
        }
    }
}

fn waiting(lane: &LaneAnswer) -> Markup {
    html! {
        div {
            dt { "Commands that wait" }
            dd { (lane.waiting) @if let Some(oldest) = lane.oldest_waiting_at { ", the oldest since " (parts::time(oldest)) } }
        }
        div { dt { "Commands in progress" } dd { (lane.in_progress) } }
        div { dt { "Sender" } dd { (parts::id(&lane.owner)) } }
    }
}

/// Why nothing is sent.
fn lane(channel: &ChannelAnswer, sources: &SourcesAnswer) -> Markup {
    let has_lanes = !sources.not_read.iter().any(|of| of.source == "lanes");
    let halted = channel.lane.as_ref().and_then(|lane| lane.halted.as_ref());
    let is_without_owner = channel.lane.is_none() && channel.sends && has_lanes;
    html! {
        @if let Some(halted) = halted { (nothing_is_sent(channel, &halted.text, "ImchannelLaneHalted")) }
        @if is_without_owner { (nothing_is_sent(channel, "no sender owns the lane", "ImchannelLaneUnassigned")) }
    }
}

fn nothing_is_sent(channel: &ChannelAnswer, why: &str, runbook: &str) -> Markup {
    html! {
        div class="missing" {
            p class="missing-text" { span class="missing-sign" aria-hidden="true" { "!" } strong { "Nothing is sent: " (visible(why)) } }
            p { code { "imchannel lanes list --channel " (visible(&channel.channel)) } " shows the lane. The runbook says what to do under " (runbook) "." }
        }
    }
}

fn problems(channel: &ChannelAnswer) -> Markup {
    html! {
        @if !channel.problems.is_empty() {
            ul class="counts" aria-label="Problems by rule" {
                @for of in &channel.problems {
                    li {
                        a class="count" href=(Query::default().with("channel", &channel.channel).with("rule", &of.rule).on("/problems")) {
                            strong { (of.count) } " " span { (words::rule(&of.rule)) }
                        }
                    }
                }
            }
        }
    }
}

fn refused(channel: &ChannelAnswer, sources: &SourcesAnswer) -> Markup {
    html! {
        @if let Some(refused) = &channel.refused {
            section class="card" aria-labelledby="refused" {
                h2 id="refused" { "Refused webhooks" }
                @if refused.is_empty() { p class="quiet" { "No webhook was refused since the services started that run now." } }
                @else { (shared_parts::refusals(refused, sources)) }
            }
        }
    }
}

fn passwords(channel: &ChannelAnswer, sources: &SourcesAnswer) -> Markup {
    html! {
        @if let Some(passwords) = &channel.passwords {
            section class="card" aria-labelledby="passwords" {
                h2 id="passwords" { "Passwords in use" }
                p class="quiet" { "Numbered in the order of the channels file. A password that no webhook has any more can be removed." }
                div class="scroll" tabindex="0" role="region" aria-label="Webhooks by password" {
                    table class="counted" {
                        thead { tr { th scope="col" { "Password" } th scope="col" class="number" { "Recent" } th scope="col" class="number" { "Total" } th scope="col" { "Last used" } } }
                        tbody { @for of in passwords { (password(of)) } }
                    }
                }
                (shared_parts::counted_since(sources))
            }
        }
    }
}

fn password(of: &PasswordAnswer) -> Markup {
    html! {
        tr {
            th scope="row" { "Number " (of.number) }
            td class="number" { (of.recent) }
            td class="number" { (of.total) }
            td {
                @match of.last_at {
                    Some(at) => { (parts::time(at)) }
                    None if of.total > 0 => { "before the timeline counted" }
                    None => { "not used" }
                }
            }
        }
    }
}

fn results(channel: &ChannelAnswer, sources: &SourcesAnswer) -> Markup {
    let results: Vec<&ResultAnswer> =
        channel.results.iter().flatten().filter(|of| of.total > 0 || of.recent > 0).collect();
    html! {
        @if !results.is_empty() {
            section class="card" aria-labelledby="results" {
                h2 id="results" { "Results of sends" }
                div class="scroll" tabindex="0" role="region" aria-label="Results of sends by outcome" {
                    table class="counted" {
                        thead { tr { th scope="col" { "Outcome" } th scope="col" class="number" { "Recent" } th scope="col" class="number" { "Total" } } }
                        tbody {
                            @for of in results {
                                tr {
                                    th scope="row" { (parts::status(&of.outcome)) }
                                    td class="number" { (of.recent) }
                                    td class="number" { (of.total) }
                                }
                            }
                        }
                    }
                }
                (shared_parts::counted_since(sources))
            }
        }
    }
}
