//! New rows as server-sent events (WHATWG HTML, section 9.2).
//!
//! The first event, `read_until`, says how far the streams were read. Each `row` is a new row. A client that reads more slowly than
//! rows come loses some: an event `missed` says how many. The service never waits for a client.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::http::answer::{self, MissedAnswer};
use crate::http::parameters::Parameters;
use crate::http::refusal::Refusal;
use crate::http::state::{LIVE_CLIENTS_MAX, Shared};
use crate::row::Row;

/// Interval of comments while no row comes, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A client that follows new rows.
struct Follower {
    rows: Receiver<Arc<Row>>,
    /// Only rows of this channel.
    channel: Option<String>,
    /// The first event.
    first: Option<Event>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// `GET /v1/live`
pub(super) async fn follow(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Refusal> {
    let mut parameters = Parameters::of(uri.query());
    let channel = parameters.text("channel");
    parameters.finish()?;
    let place = Arc::clone(&shared.live_clients).try_acquire_owned().map_err(|_| {
        Refusal::Unavailable(format!(
            "{LIVE_CLIENTS_MAX} clients follow new rows already, which is the maximum"
        ))
    })?;
    let follower = Follower {
        rows: shared.api.observed.live.subscribe(),
        channel,
        first: Some(event("read_until", &answer::read_until(&shared.view().progress))),
        stop: shared.api.stop.clone(),
        _place: place,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

impl Follower {
    /// The next event; `None` when the service stops.
    async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let next = tokio::select! {
                () = self.stop.cancelled() => return None,
                next = self.rows.recv() => next,
            };
            match next {
                Ok(row) if self.channel.as_ref().is_none_or(|channel| *channel == row.channel) => {
                    return Some(event("row", &answer::live(&row)));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(rows)) => return Some(event("missed", &MissedAnswer { rows })),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).expect("texts and numbers are always JSON");
    Event::default().event(name).data(data)
}
