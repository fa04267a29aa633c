//! Numbers and texts of a message: the form in its life, for those who may see them, and the page that shows them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::access::require::Unmasker;
use crate::http::access::{Role, current};
use crate::http::answer::{LifeAnswer, UnmaskAnswer, UnmaskRequest, UnmaskedAnswer};
use crate::http::console::form;
use crate::http::console::layout::{self, Section};
use crate::http::console::parts;
use crate::http::console::words::{self, visible};
use crate::http::refusal::Refusal;
use crate::http::routes::unmask::{self, REASON_CHARS_MAX};
use crate::http::state::Shared;
use crate::row::{RowKind, shown};

/// The form in a life. Nothing for a user who may not.
pub(super) fn form(life: &LifeAnswer) -> Markup {
    let may = current::signed_in().is_some_and(|who| who.user.role >= Role::Unmask);
    // The place of a webhook would show every message that it holds.
    let row = life.rows.iter().find(|row| row.kind != RowKind::Webhook.name()).or(life.rows.first());
    let pointer = row.map_or("", |row| row.pointer.as_str());
    let id = format!("reason-{}", pointer.replace('/', "-"));
    html! {
        @if may {
            form class="filters unmask" method="post" action="/unmask" aria-label={ "Show numbers and texts of " (pointer) } {
                input type="hidden" name="id" value=(pointer);
                label for=(id) { "Reason, for the audit log"
                    input id=(id) name="reason" required minlength="3" maxlength=(REASON_CHARS_MAX) autocomplete="off" placeholder="Ticket 4711";
                }
                div class="filter-actions" { button type="submit" { "Show numbers and texts" } }
            }
        }
    }
}

/// `POST /unmask`
pub(super) async fn create(
    Unmasker(actor): Unmasker,
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> Result<Response, Refusal> {
    let fields = form::read(body).await?;
    let request = UnmaskRequest { id: fields.get("id").to_owned(), reason: fields.get("reason").to_owned() };
    let answer = unmask::show(&shared, &actor, &request).await?;
    // An id that is not shown whole does not belong into an address.
    let first = answer.messages.first().map_or("", |first| first.pointer.as_str());
    let is_whole = shown::chosen_id(&request.id) == request.id;
    let back = parts::life_path(if is_whole { &request.id } else { first });
    Ok(layout::page("Numbers and texts", Section::Unmasked, &content(&answer, &back)))
}

fn content(answer: &UnmaskAnswer, back: &str) -> Markup {
    html! {
        div class="page-head" {
            h1 { "Numbers and texts" }
            p class="actions" { a class="button" href=(back) { "Back to the timeline" } }
        }
        p class="card notice" role="note" {
            "This page shows personal data of " (parts::id(&answer.id)) ". It is entry "
            a href="/audit" { (answer.audit) } " of the audit log. Nothing of it is stored: reload the page to record and show it again."
        }
        @for message in &answer.messages { (one(message)) }
        @if answer.cut { p class="card notice" { "There is more than is shown here. Ask for the id of one message." } }
    }
}

fn one(message: &UnmaskedAnswer) -> Markup {
    html! {
        section class="card" aria-label=(message.pointer) {
            h2 { (words::kind(&message.kind)) }
            p class="quiet" { (parts::time(message.at)) " · " (parts::id(&message.pointer))
                @if message.source.as_deref() == Some("row") { " · as the row kept it; its stream did not give it" } }
            @match &message.content {
                Some(content) => {
                    pre class="scroll" tabindex="0" role="region" aria-label={ "Content of " (message.pointer) } { (pretty(content)) }
                }
                None => { p { "Not shown: " (message.detail.as_deref().unwrap_or("no content")) "." } }
            }
        }
    }
}

/// A content in lines. A text that JSON escapes stays escaped.
fn pretty(content: &serde_json::Value) -> String {
    let text = serde_json::to_string_pretty(content).expect("a JSON value is always JSON");
    visible(&text)
}
