//! A customer's messages. The number is in the body of a POST, never in a URL.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::http::answer::{MessagesAnswer, SearchAnswer, SearchRequest};
use crate::http::cursor::Cursors;
use crate::http::parameters::Parameters;
use crate::http::refusal::{Known, Refusal};
use crate::http::routes::body;
use crate::http::routes::listing::{self, Filters, Page, Paging, Source};
use crate::http::searches::{NotKept, Search};
use crate::http::state::Shared;
use crate::row::shown;

/// What is posted, for people.
const FORM: &str = "{\"number\": \"+49…\", \"since\": \"2026-03-01T10:00:00Z\", \"until\": …}, of which only number must be there";
/// Longest number or id of a customer, in bytes.
const NUMBER_BYTES_MAX: usize = 256;

/// `POST /v1/searches`
pub(in crate::http) async fn create(
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> Result<Response, Refusal> {
    let answer = keep(&shared, &body::read(body, body::BYTES_MAX, FORM).await?)?;
    let location =
        HeaderValue::from_str(&format!("/v1/searches/{}", answer.id)).expect("base64 is valid in a header");
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(answer)).into_response())
}

/// Keeps a search.
pub(in crate::http) fn keep(shared: &Shared, request: &SearchRequest) -> Result<SearchAnswer, Refusal> {
    let number = request.number.trim();
    if number.is_empty() || number.len() > NUMBER_BYTES_MAX {
        return Err(Refusal::invalid("number", format!("must have 1 to {NUMBER_BYTES_MAX} bytes")));
    }
    if request.since.zip(request.until).is_some_and(|(since, until)| since >= until) {
        return Err(Refusal::invalid("until", "must be after since"));
    }
    let now = (shared.api.now)();
    let (since, until) = listing::window(request.since, request.until, now);
    let search = Search { recipient: shared.api.keys.recipient(number), since, until };
    let kept = shared.searches.keep(search, now).map_err(|error| match error {
        NotKept::Full => Refusal::TooMany("too many searches are kept; they end after an hour".to_owned()),
        NotKept::NoRandom => Refusal::Unavailable("the system gives no random bytes".to_owned()),
    })?;
    let recipient = format!("…{}", shown::last_digits(number));
    Ok(SearchAnswer { id: kept.id, recipient, expires_at: kept.expires_at })
}

/// `GET /v1/searches/{id}`
pub(in crate::http) async fn list(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Json<MessagesAnswer>, Refusal> {
    let mut parameters = Parameters::of(uri.query());
    let paging = Paging::read(&mut parameters);
    parameters.finish()?;
    let search = shared.searches.get(&id, (shared.api.now)()).ok_or_else(|| Refusal::NotFound {
        detail: "no such search: it has ended, or the service was restarted; post it again".to_owned(),
        id: None,
        known: Box::new(Known::default()),
    })?;
    let cursors = Cursors::of(&shared.api.keys, format!("searches {id}"));
    let after = paging.after(&cursors)?;
    let Search { recipient, since, until } = search;
    let (source, filters) = (Source::Recipient(recipient), Filters::default());
    let page = Page { source, filters, since, until, after, limit: paging.limit, cursors };
    Ok(Json(listing::page(&shared, page).await?))
}
