//! Messages, the newest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;

use crate::http::answer::{self, MessagesAnswer};
use crate::http::cursor::Cursors;
use crate::http::parameters::Parameters;
use crate::http::refusal::Refusal;
use crate::http::routes::listing::{self, Filters, Page, Paging, Problem, Source};
use crate::http::state::Shared;
use crate::rules::RuleName;

/// A filter by any problem.
const ANY: &str = "any";

/// `GET /v1/messages`
pub(in crate::http) async fn list(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<MessagesAnswer>, Refusal> {
    let mut parameters = Parameters::of(uri.query());
    let channel = parameters.text("channel");
    let filters = Filters {
        status: parameters.one_of("status", &answer::statuses()),
        outcome: parameters.one_of("outcome", &answer::outcomes()),
        problem: problem(&mut parameters),
    };
    let (since, until) = (parameters.time("since"), parameters.time("until"));
    if since.zip(until).is_some_and(|(since, until)| since >= until) {
        parameters.fault("until", "must be after since");
    }
    let paging = Paging::read(&mut parameters);
    parameters.finish()?;
    let list = format!("messages {channel:?} {filters:?} {since:?} {until:?}");
    let cursors = Cursors::of(&shared.api.keys, list);
    let after = paging.after(&cursors)?;
    let (since, until) = listing::window(since, until, (shared.api.now)());
    let source = Source::Beginnings(channel);
    let page = Page { source, filters, since, until, after, limit: paging.limit, cursors };
    Ok(Json(listing::page(&shared, page).await?))
}

fn problem(parameters: &mut Parameters) -> Option<Problem> {
    let names = RuleName::ALL.iter().filter(|rule| **rule != RuleName::Delivery).map(|rule| rule.name());
    let names: Vec<_> = std::iter::once(ANY).chain(names).collect();
    let name = parameters.one_of("problem", &names)?;
    Some(if name == ANY { Problem::Any } else { Problem::Rule(name) })
}
