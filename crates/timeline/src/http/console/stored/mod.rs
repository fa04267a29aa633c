//! The full message behind a step, with personal data masked: read from its stream while that holds it, with the webhook that it was
//! made from, and what today's parser would make of that webhook. htmx puts it into the step's drawer; without it, it is a page.

mod difference;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{Html, IntoResponse, Response};
use bus::Delivery;
use jiff::Timestamp;

use crate::extract::{Bodies, Extractor};
use crate::http::console::layout::{self, Section};
use crate::http::console::query::Query;
use crate::http::console::stored::difference::Difference;
use crate::http::originals::{self, Original};
use crate::http::refusal::{Known, Refusal};
use crate::http::state::Shared;
use crate::life;
use crate::row::{IdKind, Pointer, Row, RowKind, StreamNumber};

/// Most events of a webhook that are read and compared.
const EVENTS_MAX: usize = 20;
/// Most rows that are read for one place: those of a result, or of a webhook with many items.
const ROWS_MAX: usize = 200;
/// Header of a request by htmx.
const HX_REQUEST: &str = "hx-request";

/// A step with everything that is behind it.
struct Step {
    /// The stored row.
    row: Row,
    /// The row's message.
    original: Whole,
    /// The webhook that it was made from, if it was.
    webhook: Option<WebhookBehind>,
}

/// A message as it may be shown.
enum Whole {
    /// With personal data masked; empty if it is too long, or its BSP is not known.
    Body(String),
    Gone,
    Unavailable,
}

struct WebhookBehind {
    sequence: u64,
    body: Whole,
    /// `None` if the webhook is not there.
    compared: Option<Compared>,
}

/// How the webhook's events compare with those of today's parser.
struct Compared {
    difference: Difference,
    /// Whether the normalizer has processed the webhook; `None` while that is not known.
    is_processed: Option<bool>,
    /// Published events that were not compared, because their stream no longer holds them, or because they are too many.
    left_out: usize,
}

/// `GET /stored/{stream}/{sequence}?part=N`
pub(super) async fn page(
    State(shared): State<Arc<Shared>>,
    Path((stream, sequence)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let stream = StreamNumber::of_name(&stream).ok_or(Refusal::NoPath)?;
    let sequence = sequence.parse().map_err(|_| Refusal::NoPath)?;
    let part = match Query::of(uri.query()).get("part") {
        "" => 0,
        part => part.parse().map_err(|_| Refusal::invalid("part", "must be a whole number"))?,
    };
    let mut row = stored_row(&shared, Pointer { stream, sequence, part }).await?;
    if shared.is_whole(&row) {
        // It is as it was sent: only an unmasking shows it.
        row.body.clear();
    }
    // Each may read many messages of a megabyte.
    let _place = shared.originals.acquire().await;
    let step = step(&shared, row).await?;
    let content = view::content(&step);
    if headers.contains_key(HX_REQUEST) {
        return Ok(Html(content.into_string()).into_response());
    }
    Ok(layout::page(&view::title(&step), Section::Other, &view::page(&step, &content)))
}

async fn stored_row(shared: &Shared, pointer: Pointer) -> Result<Row, Refusal> {
    let key = shared.api.keys.stored(pointer.stream.name(), pointer.sequence);
    let found = shared.api.store.find(vec![key], ROWS_MAX).await?;
    found.rows.into_iter().find(|row| row.pointer == pointer).ok_or_else(|| Refusal::NotFound {
        detail: "this step is not stored: it is older than the retention, or not read yet".to_owned(),
        id: Some(format!("{}/{}", pointer.stream.name(), pointer.sequence)),
        known: Box::new(Known::until(crate::http::answer::read_until(&shared.view().progress))),
    })
}

async fn step(shared: &Shared, row: Row) -> Result<Step, Refusal> {
    let Pointer { stream, sequence, .. } = row.pointer;
    let read = originals::read(shared, stream, sequence).await.stored_at(row.stored_at);
    let original = whole(shared, row.pointer, &read);
    let webhook = match (row.kind, webhook_of(&row)) {
        (RowKind::Webhook, _) => Some(behind(shared, sequence, &read).await?),
        // NATS is not asked again while it does not answer.
        (_, Some(sequence)) if matches!(read, Original::Unavailable) => {
            Some(WebhookBehind { sequence, body: Whole::Unavailable, compared: None })
        }
        (_, Some(sequence)) => {
            let read = originals::read(shared, StreamNumber::Webhooks, sequence).await.source_of(&row);
            Some(behind(shared, sequence, &read).await?)
        }
        (_, None) => None,
    };
    Ok(Step { row, original, webhook })
}

/// The sequence of the webhook that a row was made from.
fn webhook_of(row: &Row) -> Option<u64> {
    let mut stored = row.links.iter().filter(|link| link.kind == IdKind::Stored);
    stored.find_map(|link| link.shown.strip_prefix("WEBHOOKS/")?.parse().ok())
}

/// What may be shown of a message: the body that a row of it would have without the limit for small ones.
fn whole(shared: &Shared, pointer: Pointer, read: &Original) -> Whole {
    let delivery = match read {
        Original::Found(delivery) => delivery,
        Original::Gone => return Whole::Gone,
        Original::Unavailable => return Whole::Unavailable,
    };
    let keys = shared.api.keys.clone();
    let extractor = Extractor { keys, channels: Arc::default(), bodies: Bodies::MaskedLong };
    let rows = extractor.rows(pointer.stream, delivery);
    let row = rows.into_iter().find(|row| row.pointer.part == pointer.part);
    Whole::Body(row.map(|row| row.body).unwrap_or_default())
}

async fn behind(shared: &Shared, sequence: u64, read: &Original) -> Result<WebhookBehind, Refusal> {
    let pointer = Pointer { stream: StreamNumber::Webhooks, sequence, part: 0 };
    let body = whole(shared, pointer, read);
    let compared = match read.found() {
        Some(webhook) => compare(shared, webhook).await?,
        None => None,
    };
    Ok(WebhookBehind { sequence, body, compared })
}

async fn compare(shared: &Shared, webhook: &Delivery) -> Result<Option<Compared>, Refusal> {
    // The floor first: the events of a processed webhook are then stored, and found unless they were not read yet.
    let floor = shared.view().floors.normalizer;
    let key = shared.api.keys.stored(StreamNumber::Webhooks.name(), webhook.sequence);
    let found = shared.api.store.find(vec![key], ROWS_MAX).await?;
    let events: BTreeSet<(u64, Timestamp)> = found
        .rows
        .iter()
        .filter(|row| row.pointer.stream == StreamNumber::Events && row.pointer.part == 0)
        .filter(|row| life::was_there_for(row, webhook.stored_at))
        .map(|row| (row.pointer.sequence, row.stored_at))
        .collect();
    let mut published = Vec::new();
    for (sequence, stored_at) in events.iter().take(EVENTS_MAX) {
        match originals::read(shared, StreamNumber::Events, *sequence).await.stored_at(*stored_at) {
            Original::Found(event) => published.push(*event),
            Original::Gone => {}
            Original::Unavailable => break,
        }
    }
    let left_out = events.len() - published.len();
    let is_processed = floor.map(|floor| webhook.sequence <= floor);
    let difference = difference::of(webhook, &published);
    Ok(difference.map(|difference| Compared { difference, is_processed, left_out }))
}
