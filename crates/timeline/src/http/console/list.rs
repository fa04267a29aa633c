//! A list of messages, of everyone or of one customer.

use maud::{Markup, html};

use crate::http::answer::{MessageAnswer, MessagesAnswer};
use crate::http::console::lacks::{self, Lacks};
use crate::http::console::parts;
use crate::http::console::query::Query;
use crate::http::console::words::visible;

/// A page of messages, and the links to the others. `path` and `query` are those of the page.
pub(super) fn messages(answer: &MessagesAnswer, path: &str, query: &Query, empty: &Markup) -> Markup {
    html! {
        @if answer.messages.is_empty() {
            div class="empty" {
                @if answer.next.is_some() {
                    p { "None of the last " (answer.scanned) " messages passes. Go on with older ones." }
                } @else { (empty) }
            }
        } @else {
            table class="list" {
                caption class="hidden" { "Messages, the newest first" }
                thead { tr { th scope="col" { "Began" } th scope="col" { "Message" } th scope="col" { "Status" } th scope="col" { "Channel" } } }
                tbody { @for message in &answer.messages { (row(message)) } }
            }
        }
        @if answer.cut { p class="quiet" { "A message has more rows than were read: its status here may be an older one." } }
        nav class="pages" aria-label="Pages" {
            @if !query.get("cursor").is_empty() { a class="button" href=(query.with("cursor", "").on(path)) { "Newest" } }
            @if let Some(next) = &answer.next { a class="button" rel="next" href=(query.with("cursor", next).on(path)) { "Older" } }
        }
        (lacks::notices(&Lacks { unreadable: &answer.unreadable, ..Lacks::default() }))
        (parts::read_until(&answer.read_until))
    }
}

fn row(message: &MessageAnswer) -> Markup {
    let line = &message.headline;
    html! {
        tr {
            td class="when" { (parts::time(line.began)) }
            th scope="row" {
                a href=(parts::life_path(&message.pointer)) { (parts::title(line)) }
                @if let Some(id) = line.command_id.as_ref().or(line.message_id.as_ref()) { span class="under" { (visible(id)) } }
            }
            td {
                (parts::status(&line.status))
                @if message.cut { span class="under" { "not all of its rows were read" } }
                @for missing in &message.missing { span class="under bad-text" { (visible(&missing.text)) } }
            }
            td class="channel" { (visible(&line.channel)) @if !line.bsp.is_empty() { span class="under" { (visible(&line.bsp)) } } }
        }
    }
}
