//! The search box: ids lead to their lives, a number to its customer's messages. What was typed may be a number, so that it is
//! posted, and the address that follows has the place of a row or the id of a search instead.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use crate::http::answer::{MessagesAnswer, SearchRequest};
use crate::http::console::layout::{self, Section};
use crate::http::console::life::{IDS_MAX, NOT_FOUND};
use crate::http::console::query::{Query, encoded};
use crate::http::console::{list, messages};
use crate::http::refusal::Refusal;
use crate::http::routes::{searches, timeline};
use crate::http::state::Shared;
use crate::row::shown;

/// Largest body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Timeout of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// `POST /search`
pub(super) async fn create(State(shared): State<Arc<Shared>>, body: Body) -> Result<Response, Refusal> {
    let bytes = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let bytes =
        bytes.map_err(|_| Refusal::TooSlow)?.map_err(|_| Refusal::TooLarge { limit: BODY_BYTES_MAX })?;
    let form = Query::of(std::str::from_utf8(&bytes).ok());
    let typed = form.get("q").trim();
    if typed.is_empty() {
        return Err(Refusal::invalid("q", "is empty: type an id or a number"));
    }
    if is_number(typed) {
        return number(&shared, typed).await;
    }
    let ids: Vec<&str> = typed.split([' ', ',', ';', '\n', '\r', '\t']).filter(|id| !id.is_empty()).collect();
    if ids.len() > IDS_MAX {
        return Err(Refusal::invalid("q", format!("has more than {IDS_MAX} ids")));
    }
    let (mut parts, mut hidden) = (Vec::new(), Vec::new());
    for id in &ids {
        match address(&shared, id).await {
            Ok(part) => parts.extend(part),
            Err(refusal @ Refusal::NotFound { .. }) => hidden.push(refusal),
            Err(refusal) => return Err(refusal),
        }
    }
    let not_found = hidden.len();
    match hidden.pop() {
        Some(refusal) if parts.is_empty() => Err(refusal),
        _ => Ok(to_lives(&parts, not_found)),
    }
}

/// Leads to the lives of ids. `not_found` of those that were typed are not in the address.
fn to_lives(ids: &[String], not_found: usize) -> Response {
    let mut parts: Vec<_> = ids.iter().take(IDS_MAX).map(|id| format!("id={}", encoded(id))).collect();
    if not_found > 0 {
        parts.push(format!("{NOT_FOUND}={not_found}"));
    }
    Redirect::to(&format!("/timeline?{}", parts.join("&"))).into_response()
}

/// What an address has of an id: the id itself, or the places of its messages where it may contain a number.
async fn address(shared: &Shared, id: &str) -> Result<Vec<String>, Refusal> {
    if shown::chosen_id(id) == id {
        return Ok(vec![id.to_owned()]);
    }
    let answer = timeline::answer(shared, id).await?.0;
    Ok(answer.lives.iter().filter_map(|life| life.rows.first()).map(|row| row.pointer.clone()).collect())
}

/// Digits may be an id as well as a number. An id that is stored counts more.
async fn number(shared: &Shared, typed: &str) -> Result<Response, Refusal> {
    match address(shared, typed).await {
        Ok(parts) if shown::chosen_id(typed) != typed => {
            return Ok(to_lives(&parts, 0));
        }
        Ok(_) | Err(Refusal::NotFound { .. }) => {}
        Err(refusal) => return Err(refusal),
    }
    let request = SearchRequest { number: typed.to_owned(), since: None, until: None };
    let kept = searches::keep(shared, &request)?;
    Ok(Redirect::to(&format!("/searches/{}", kept.id)).into_response())
}

/// Whether a text may be a customer's number, as people write it.
fn is_number(text: &str) -> bool {
    !shown::last_digits(text).is_empty()
}

/// `GET /searches/{id}`
pub(super) async fn page(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let query = Query::of(uri.query());
    let path = format!("/searches/{}", encoded(&id));
    let answer = read(shared, id, &query).await?;
    let recipient = answer.messages.iter().find_map(|message| message.headline.recipient.as_deref());
    let title = recipient
        .map_or_else(|| "A customer's messages".to_owned(), |of| format!("Messages of the customer {of}"));
    let empty = html! {
        p { "No message of this number is stored." }
        p { "Type the number with its country code, such as +49. Messages older than the retention are gone." }
    };
    let content = html! {
        div class="page-head" {
            h1 { (title) }
            p class="actions" {
                a class="button" href=(query.on(&format!("{path}/messages.csv"))) { "CSV of this page" }
                a class="button" href=(query.on(&format!("/v1{path}"))) { "JSON" }
            }
        }
        p class="quiet" { "This address does not contain the number. It works for an hour." }
        section class="card" aria-label="List" { (list::messages(&answer, &path, &query, &empty)) }
    };
    Ok(layout::page(&title, Section::Other, &content))
}

/// `GET /searches/{id}/messages.csv`
pub(super) async fn csv(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    Ok(messages::lines(read(shared, id, &Query::of(uri.query())).await?))
}

async fn read(shared: Arc<Shared>, id: String, query: &Query) -> Result<MessagesAnswer, Refusal> {
    let json = query.to_uri(&format!("/v1/searches/{}", encoded(&id)))?;
    Ok(searches::list(State(shared), Path(id), json).await?.0)
}
