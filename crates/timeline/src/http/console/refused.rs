//! Errors as pages: what is wrong, and the way out.

use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use maud::html;

use crate::http::console::lacks::{self, Lacks};
use crate::http::console::layout::{self, Section};
use crate::http::console::parts;
use crate::http::console::words::visible;
use crate::http::refusal::Refusal;

/// The page of a refusal, with the status and headers of its JSON.
pub(in crate::http) fn refused(refusal: &Refusal, json: Response) -> Response {
    let problem = refusal.clone().problem();
    let (title, advice) = match refusal {
        Refusal::NotFound { .. } => ("Nothing found", "Check the id, or search for the customer's number."),
        Refusal::NoPath => ("No such page", "Go to the overview, or search for an id."),
        Refusal::Unauthorized(_) => {
            ("Not signed in", "Open this page through the proxy that signs users in.")
        }
        Refusal::Forbidden(_) => {
            ("Not allowed", "Open the page by one of the hosts of IMCHANNEL_TIMELINE_HOSTS.")
        }
        Refusal::NeedsRole { .. } => {
            ("Not allowed", "Sign in with a token of that role, or ask someone who has it.")
        }
        Refusal::Unavailable(_) | Refusal::TooMany(_) => {
            ("Not available now", "Reload the page in a few seconds.")
        }
        Refusal::Damaged => ("The store cannot be read", "See the log of the timeline."),
        _ => ("The request is not valid", "Go back and correct it, or start from the overview."),
    };
    let content = html! {
        section class="card empty" {
            p class="eyebrow" { "Status " (problem.status) }
            h1 { (title) }
            @if let Some(id) = &problem.id { p { "Searched for " (parts::id(id)) } }
            @if matches!(refusal, Refusal::NotFound { id: Some(_), .. }) {
                p { "Nothing with this id is stored: it is older than the retention, newer than what is read, or misspelled." }
            } @else if problem.faults.is_empty() {
                p { (visible(&problem.detail)) }
            } @else {
                ul { @for fault in &problem.faults { li { code { (visible(&fault.name)) } " " (visible(&fault.detail)) } } }
            }
            p { (advice) }
            p class="actions" { a class="button" href="/" { "Go to the overview" } }
            (lacks::notices(&Lacks { unreadable: &problem.unreadable, missed: &problem.missed, missed_left_out: problem.missed_left_out }))
            @if !problem.read_until.is_empty() { (parts::read_until(&problem.read_until)) }
        }
    };
    let mut page = layout::page(title, Section::Other, &content);
    *page.status_mut() = json.status();
    let mut headers = json.headers().clone();
    headers.remove(CONTENT_TYPE);
    headers.remove(CONTENT_LENGTH);
    page.headers_mut().extend(headers);
    page
}
