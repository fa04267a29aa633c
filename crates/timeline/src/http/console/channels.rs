//! The page of all channels with their health, and the parts that the page of one channel has too.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::answer::{
    AdminPortAnswer, ChannelAnswer, ChannelsAnswer, LastAnswer, RefusedAnswer, SourcesAnswer,
};
use crate::http::console::layout::{self, Section};
use crate::http::console::query::{Query, encoded};
use crate::http::console::words::visible;
use crate::http::console::{export, parts};
use crate::http::refusal::Refusal;
use crate::http::routes::channels;
use crate::http::state::Shared;

/// `GET /channels`
pub(super) async fn page(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    let answer = channels::list(State(shared), uri).await?.0;
    let content = html! {
        div class="page-head" {
            h1 { "Channels" }
            p class="actions" {
                a class="button" href="/channels.csv" { "CSV" }
                a class="button" href="/v1/channels" { "JSON" }
            }
        }
        (partial(&answer.sources))
        section class="card" aria-label="List" {
            @if answer.channels.is_empty() { (empty(&answer)) } @else { (list(&answer)) }
        }
        (without_channel(&answer))
        (sources(&answer.sources))
    };
    Ok(layout::page("Channels", Section::Channels, &content))
}

/// `GET /channels.csv`
pub(super) async fn csv(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    let answer = channels::list(State(shared), uri).await?.0;
    let names = [
        "channel",
        "bsp",
        "tenant",
        "paused",
        "owner",
        "halted",
        "waiting",
        "last_webhook",
        "last_send",
        "outcome",
        "refused_recently",
        "problems",
    ];
    let head = names.map(str::to_owned).to_vec();
    Ok(export::file("channels", std::iter::once(head).chain(answer.channels.into_iter().map(line))))
}

/// A line of the file. What was not read is empty.
fn line(channel: ChannelAnswer) -> Vec<String> {
    let recent = |refused: &Vec<RefusedAnswer>| refused.iter().map(|of| of.recent).sum::<u64>();
    let refused = channel.refused.as_ref().map(|refused| recent(refused).to_string());
    let problems: u64 = channel.problems.iter().map(|of| of.count).sum();
    let (owner, halted, waiting) = match channel.lane {
        Some(lane) => (lane.owner, lane.halted.map(|of| of.text), lane.waiting.to_string()),
        None => Default::default(),
    };
    let at = |last: &LastAnswer| last.at.to_string();
    vec![
        channel.channel,
        channel.bsp,
        channel.tenant,
        channel.paused.to_string(),
        owner,
        halted.unwrap_or_default(),
        waiting,
        channel.last_webhook.as_ref().map(at).unwrap_or_default(),
        channel.last_send.as_ref().map(at).unwrap_or_default(),
        channel.last_send.map(|last| last.outcome).unwrap_or_default(),
        refused.unwrap_or_default(),
        problems.to_string(),
    ]
}

fn empty(answer: &ChannelsAnswer) -> Markup {
    html! {
        div class="empty" {
            @if answer.sources.not_read.iter().any(|of| of.source == "registry") {
                p class="empty-title" { "Not known yet." }
                p { "The channels were not read from NATS. Reload the page in a few seconds." }
            } @else {
                p class="empty-title" { "There is no channel." }
                p { "Add channels with " code { "imchannel channel apply" } "." }
            }
        }
    }
}

fn list(answer: &ChannelsAnswer) -> Markup {
    html! {
        table class="list" {
            caption class="hidden" { "Channels by name" }
            thead { tr { th scope="col" { "Channel" } th scope="col" { "State" } th scope="col" { "Last webhook" } th scope="col" { "Last send" } } }
            tbody { @for channel in &answer.channels { (row(channel, &answer.sources)) } }
        }
    }
}

fn row(channel: &ChannelAnswer, sources: &SourcesAnswer) -> Markup {
    html! {
        tr {
            th scope="row" {
                a href=(path(&channel.channel)) { (visible(&channel.channel)) }
                span class="under" { (visible(&channel.bsp)) " · " (visible(&channel.tenant)) }
            }
            td {
                (state(channel, sources))
                @if let Some(halted) = channel.lane.as_ref().and_then(|lane| lane.halted.as_ref()) {
                    span class="under bad-text" { (visible(&halted.text)) }
                }
            }
            td class="when" { (hidden_label("Last webhook: ")) (last(channel.last_webhook.as_ref(), "in WEBHOOKS")) }
            td class="when" { (hidden_label("Last send: ")) (last(channel.last_send.as_ref(), "in EVENTS")) }
        }
    }
}

/// A label for where a narrow screen hides the head of the table, and for screen readers.
fn hidden_label(text: &str) -> Markup {
    html! { span class="cell-label" { (text) } }
}

/// The page of a channel.
pub(super) fn path(channel: &str) -> String {
    format!("/channels/{}", encoded(channel))
}

/// The last message of a kind.
pub(super) fn last(of: Option<&LastAnswer>, place: &str) -> Markup {
    html! {
        @match of {
            Some(last) => {
                a href=(parts::life_path(&last.pointer)) { (parts::time(last.at)) }
                @if !last.outcome.is_empty() { " " (parts::status(&last.outcome)) }
            }
            None => { span class="quiet" { "none " (place) } }
        }
    }
}

/// Signs of a channel's state. Each has its text.
pub(super) fn state(channel: &ChannelAnswer, sources: &SourcesAnswer) -> Markup {
    let has_lanes = !sources.not_read.iter().any(|of| of.source == "lanes");
    let problems: u64 = channel.problems.iter().map(|of| of.count).sum();
    let refused: u64 = channel.refused.iter().flatten().map(|of| of.recent).sum();
    html! {
        p class="chips" {
            @match &channel.lane {
                Some(lane) if lane.halted.is_some() => { (chip("bad", "!", "halted")) }
                Some(_) => { (chip("good", "✓", "sends")) }
                None if channel.paused => { (chip("open", "◷", "paused")) }
                None if channel.sends && has_lanes => { (chip("bad", "!", "no sender")) }
                None if !channel.sends => { (chip("neutral", "•", "receives only")) }
                None => {}
            }
            @if problems > 0 {
                a class="chip bad" href=(Query::default().with("channel", &channel.channel).on("/problems")) {
                    span aria-hidden="true" { "!" } (problems) @if problems == 1 { " problem" } @else { " problems" }
                }
            }
            @if refused > 0 { (chip("bad", "✕", &format!("{refused} refused"))) }
        }
    }
}

fn chip(tone: &str, sign: &str, text: &str) -> Markup {
    html! { span class={ "chip " (tone) } { span aria-hidden="true" { (sign) } " " (text) } }
}

/// Refused webhooks that belong to no channel.
fn without_channel(answer: &ChannelsAnswer) -> Markup {
    let refused: Vec<_> = answer.refused_without_channel.iter().flatten().cloned().collect();
    html! {
        @if !refused.is_empty() {
            section class="card" aria-labelledby="no-channel" {
                h2 id="no-channel" { "Refused without a channel" }
                p class="quiet" { "Their URL names no known channel, or no BSP. Compare the URL at the BSP with the channels above." }
                (refusals(&refused, &answer.sources))
            }
        }
    }
}

/// Refused webhooks by cause.
pub(super) fn refusals(refused: &[RefusedAnswer], sources: &SourcesAnswer) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Refused webhooks by cause" {
            table class="counted" {
                thead { tr {
                    th scope="col" { "Cause" } th scope="col" { "BSP" } th scope="col" class="number" { "Recent" }
                    th scope="col" class="number" { "Total" } th scope="col" { "Last" }
                } }
                tbody {
                    @for of in refused {
                        tr {
                            th scope="row" { (visible(cause(&of.cause))) span class="under" { code { (visible(&of.cause)) } } }
                            td { (visible(&of.bsp)) }
                            td class="number" { (of.recent) }
                            td class="number" { (of.total) }
                            td { @match of.last_at { Some(at) => { (parts::time(at)) } None => { "not seen" } } }
                        }
                    }
                }
            }
        }
        (counted_since(sources))
    }
}

/// What the columns of counts mean.
pub(super) fn counted_since(sources: &SourcesAnswer) -> Markup {
    html! {
        @if let Some(since) = sources.counted_since {
            p class="quiet" { "Recent: since " (parts::time(since)) ", an hour ago at most. Total: since the services started that run now." }
        }
    }
}

/// What a cause means.
fn cause(name: &str) -> &str {
    match name {
        "unknown_channel" => "unknown channel in the URL",
        "other_bsp" => "the channel belongs to another BSP",
        "no_credential" => "no password",
        "wrong_credential" => "wrong password",
        "wrong_signature" => "wrong signature",
        "not_found" => "no such path",
        "method_not_allowed" => "not a POST",
        "header_too_large" => "a header is too long",
        "wrong_media_type" => "another media type than the BSP's",
        "wrong_encoding" => "the body is compressed",
        "wrong_charset" => "the body is not UTF-8",
        "body_too_large" => "the body is too large",
        "body_too_slow" => "the body did not arrive in time",
        "body_broken" => "the connection ended during the body",
        "channel_overloaded" => "too many bodies of the channel at a time",
        "overloaded" => "too many requests at a time",
        "not_ready" => "ingress was not ready",
        "not_stored" => "NATS did not store it in time",
        other => other,
    }
}

/// Says that something could not be read, and what.
pub(super) fn partial(sources: &SourcesAnswer) -> Markup {
    let failed = sources.admin_ports.iter().filter(|port| port.failed_since.is_some());
    html! {
        @if sources.partial {
            section class="card notice" aria-labelledby="partial" {
                h2 id="partial" { "Not everything could be read" }
                ul class="notes" {
                    @for of in &sources.not_read { li { (visible(&of.text)) "." } }
                    @for port in failed { (failed_port(port)) }
                    @if sources.admin_ports.iter().any(is_pending) { li { "Some admin ports were not read yet. Reload the page in a few seconds." } }
                }
            }
        }
    }
}

fn failed_port(port: &AdminPortAnswer) -> Markup {
    html! {
        li {
            code { (visible(&port.url)) } @if let Some(address) = &port.address { " (" code { (address) } ")" }
            " cannot be read" @if let Some(since) = port.failed_since { " since " (parts::time(since)) } ": " (visible(&port.error)) ". What it counts is missing."
        }
    }
}

fn is_pending(port: &AdminPortAnswer) -> bool {
    port.read_at.is_none() && port.failed_since.is_none()
}

/// What the page is made from.
pub(super) fn sources(sources: &SourcesAnswer) -> Markup {
    html! {
        section class="card" aria-label="Sources" {
            @if !sources.admin_ports.is_empty() { (admin_ports(&sources.admin_ports)) }
            (parts::read_until(&sources.read_until))
        }
    }
}

fn admin_ports(ports: &[AdminPortAnswer]) -> Markup {
    let read = ports.iter().filter(|port| port.read_at.is_some() && port.failed_since.is_none()).count();
    html! {
        details class="read-until" {
            summary { (read) " of " (ports.len()) " admin ports are read" }
            div class="scroll" tabindex="0" role="region" aria-label="Admin ports" {
                table class="counted" {
                    thead { tr { th scope="col" { "Port" } th scope="col" { "Program" } th scope="col" { "Last read" } th scope="col" { "State" } } }
                    tbody {
                        @for port in ports {
                            tr {
                                th scope="row" { (visible(&port.url)) @if let Some(address) = &port.address { span class="under" { (address) } } }
                                td { (visible(&port.program)) " " (visible(&port.version)) }
                                td { @match port.read_at { Some(at) => { (parts::time(at)) } None => { "never" } } }
                                td { @if port.failed_since.is_some() { (visible(&port.error)) } @else if is_pending(port) { "not read yet" } @else { "read" } }
                            }
                        }
                    }
                }
            }
        }
    }
}
