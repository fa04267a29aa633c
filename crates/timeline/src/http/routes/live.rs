//! New rows as server-sent events (WHATWG HTML, section 9.2).
//!
//! The first event, `read_until`, says how far the streams were read. Each `row` is a new row. A client that reads more slowly than
//! rows come loses some: an event `missed` says how many. The service never waits for a client.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::extract::Bodies;
use crate::http::access::until::Until;
use crate::http::answer::{self, LiveAnswer, MissedAnswer, ReadUntil};
use crate::http::parameters::Parameters;
use crate::http::refusal::Refusal;
use crate::http::state::{LIVE_CLIENTS_MAX, Shared};
use crate::row::Row;

/// Interval of comments while no row comes, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Something new.
#[derive(Debug)]
pub(in crate::http) enum Live {
    /// How far the streams were read when the stream began.
    ReadUntil(Vec<ReadUntil>),
    /// A new row.
    Row(Box<LiveAnswer>),
    /// Rows that the client lost.
    Missed(MissedAnswer),
}

/// A client that follows new rows.
struct Follower {
    rows: Receiver<Arc<Row>>,
    /// Only rows of this channel.
    channel: Option<String>,
    bodies: Bodies,
    /// The first event.
    first: Option<Live>,
    stop: CancellationToken,
    /// Ends when the user may no longer read.
    ended: BoxFuture<'static, ()>,
    _place: OwnedSemaphorePermit,
}

/// `GET /v1/live`
pub(in crate::http) async fn follow(
    State(shared): State<Arc<Shared>>,
    until: Until,
    uri: Uri,
) -> Result<Response, Refusal> {
    events(&shared, &uri, until, |live| match live {
        Live::ReadUntil(read_until) => ("read_until", json(&read_until)),
        Live::Row(row) => ("row", json(&row)),
        Live::Missed(missed) => ("missed", json(&missed)),
    })
}

/// New rows as events, each with a name and data that `write` gives.
pub(in crate::http) fn events(
    shared: &Shared,
    uri: &Uri,
    until: Until,
    write: fn(Live) -> (&'static str, String),
) -> Result<Response, Refusal> {
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
        bodies: shared.api.bodies,
        first: Some(Live::ReadUntil(answer::read_until(&shared.view().progress))),
        stop: shared.api.stop.clone(),
        ended: Box::pin(until.ended()),
        _place: place,
    };
    let events = stream::unfold(follower, move |mut follower| async move {
        let (name, data) = write(follower.next().await?);
        Some((Ok::<_, Infallible>(Event::default().event(name).data(data)), follower))
    });
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Events by themselves say `no-cache`, which lets caches keep them.
    Ok(([(CACHE_CONTROL, "no-store")], stream).into_response())
}

impl Follower {
    /// The next event; `None` when the service stops, or the user may no longer read.
    async fn next(&mut self) -> Option<Live> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let next = tokio::select! {
                () = self.stop.cancelled() => return None,
                () = &mut self.ended => return None,
                next = self.rows.recv() => next,
            };
            match next {
                Ok(row) if self.channel.as_ref().is_none_or(|channel| *channel == row.channel) => {
                    let mut live = answer::live(&row);
                    // The rows of a replica that has an earlier version do not say that their bodies are whole.
                    live.row.body = live.row.body.filter(|_| self.bodies != Bodies::Full);
                    return Some(Live::Row(Box::new(live)));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(rows)) => return Some(Live::Missed(MissedAnswer { rows })),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("texts and numbers are always JSON")
}
