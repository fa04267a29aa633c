//! The audit log as a page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use maud::{Markup, html};

use crate::http::access::require::Unmasker;
use crate::http::answer::{AuditAnswer, AuditEntryAnswer, ReplayedAnswer};
use crate::http::console::layout::{self, Section};
use crate::http::console::parts;
use crate::http::console::query::Query;
use crate::http::console::words::visible;
use crate::http::refusal::Refusal;
use crate::http::routes::audit;
use crate::http::state::Shared;
use crate::store::audit::AuditAction;

/// Path of the page.
pub(super) const PATH: &str = "/audit";

/// `GET /audit`
pub(super) async fn page(
    unmasker: Unmasker,
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let query = Query::of(uri.query());
    let answer = audit::list(unmasker, State(shared), query.to_uri("/v1/audit")?).await?.0;
    let content = html! {
        div class="page-head" {
            h1 { "Audit log" }
            p class="actions" { a class="button" href=(query.on("/v1/audit")) { "JSON" } }
        }
        p class="quiet" { "Who saw or changed personal data, and who published messages again. Entries are kept for 400 days and cannot be changed; the counts of a replay grow. A hole in the numbers may be an entry that was removed." }
        (filters(&query))
        section class="card" aria-label="Entries" { (table(&answer, &query)) }
    };
    Ok(layout::page("Audit log", Section::Audit, &content))
}

fn filters(query: &Query) -> Markup {
    html! {
        form class="filters card" method="get" action=(PATH) aria-label="Filters" {
            label { "Action"
                select name="action" {
                    option value="" { "Any" }
                    @for action in AuditAction::ALL.map(AuditAction::name) {
                        option value=(action) selected[query.get("action") == action] { (action) }
                    }
                }
            }
            div class="filter-actions" { button type="submit" { "Filter" } @if !query.get("action").is_empty() { a class="button" href=(PATH) { "Clear" } } }
        }
    }
}

fn table(answer: &AuditAnswer, query: &Query) -> Markup {
    html! {
        @if answer.entries.is_empty() {
            div class="empty" { p class="empty-title" { "No entry." } p { "An entry appears here when someone shows numbers and texts, erases a customer, or publishes messages again." } }
        } @else {
            table class="list" {
                thead { tr {
                    th scope="col" { "Time" } th scope="col" { "Who" } th scope="col" { "Action" } th scope="col" { "What" } th scope="col" { "Reason" }
                } }
                tbody { @for entry in &answer.entries { (row(entry)) } }
            }
        }
        nav class="pages" aria-label="Pages" {
            @if let Some(next) = &answer.next { a class="button" rel="next" href=(query.with("cursor", next).on(PATH)) { "Older" } }
        }
    }
}

fn row(entry: &AuditEntryAnswer) -> Markup {
    html! {
        tr {
            th scope="row" class="when" { (parts::time(entry.at)) span class="under" { "entry " (entry.number) } }
            td { (visible(&entry.user)) span class="under" { (under_the_user(entry)) } }
            td { (entry.action) }
            td {
                (parts::id(&entry.target))
                @if let Some(replayed) = &entry.replayed { span class="under" { (published(replayed)) ", the last one " (parts::time(replayed.last_at)) } }
                @if !entry.details.is_empty() { span class="under" { (visible(&entry.details)) } }
            }
            td { (visible(&entry.reason)) }
        }
    }
}

fn under_the_user(entry: &AuditEntryAnswer) -> Markup {
    if entry.replayed.is_some() {
        return html! { "as the replay says; not checked" };
    }
    html! { (visible(&entry.role)) " at " (visible(&entry.address)) }
}

/// What a replay has published, such as "2 events and 1 command".
fn published(replayed: &ReplayedAnswer) -> String {
    let count = |number: u64, one: &str| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{number} {one}s")),
    };
    let counts = [count(replayed.events, "event"), count(replayed.commands, "command")];
    counts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}
