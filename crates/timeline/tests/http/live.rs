//! New rows as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures_util::StreamExt;
use serde_json::Value;
use timeline::http::state::LIVE_CLIENTS_MAX;
use timeline::row::{Row, RowKind};
use tower::ServiceExt;

use crate::stage::{LIVE_ROWS, Stage};

async fn follow(stage: &Stage, path: &str) -> BodyDataStream {
    let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
    let response = stage.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.into_body().into_data_stream()
}

/// The next event: its name and data.
async fn next(events: &mut BodyDataStream) -> Option<(String, Value)> {
    let piece = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap()?;
    let text = String::from_utf8(piece.unwrap().to_vec()).unwrap();
    let of = |field| text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    Some((of("event: ").to_owned(), serde_json::from_str(of("data: ")).unwrap()))
}

fn row(stage: &Stage, channel: &str, sequence: u64) -> Arc<Row> {
    let mut row = stage.row(RowKind::Report, 0);
    channel.clone_into(&mut row.channel);
    row.pointer.sequence = sequence;
    Arc::new(row)
}

#[tokio::test]
async fn new_rows_of_the_channel_come_as_events_until_the_service_stops() {
    let stage = Stage::new().await;
    let mut all = follow(&stage, "/v1/live").await;
    let mut sales = follow(&stage, "/v1/live?channel=sales").await;
    for events in [&mut all, &mut sales] {
        let (name, data) = next(events).await.unwrap();
        assert_eq!((name.as_str(), data.as_array().unwrap().len()), ("read_until", 4));
    }
    stage.live.send(row(&stage, "service", 1)).unwrap();
    stage.live.send(row(&stage, "sales", 2)).unwrap();
    let (name, data) = next(&mut all).await.unwrap();
    assert_eq!(
        (name.as_str(), &data["channel"], &data["pointer"]),
        ("row", &"service".into(), &"EVENTS/1".into())
    );
    for events in [&mut all, &mut sales] {
        let (_, data) = next(events).await.unwrap();
        assert_eq!(
            (&data["channel"], &data["pointer"], &data["recipient"]),
            (&"sales".into(), &"EVENTS/2".into(), &"…78".into())
        );
    }
    stage.stop.cancel();
    assert_eq!(next(&mut all).await, None);
    assert_eq!(next(&mut sales).await, None);
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_is_told_how_many_rows_it_lost() {
    let stage = Stage::new().await;
    let mut events = follow(&stage, "/v1/live").await;
    next(&mut events).await.unwrap();
    for sequence in 0..LIVE_ROWS as u64 + 3 {
        stage.live.send(row(&stage, "sales", sequence)).unwrap();
    }
    let (name, data) = next(&mut events).await.unwrap();
    assert_eq!((name.as_str(), data), ("missed", serde_json::json!({"rows": 3})));
    let (name, data) = next(&mut events).await.unwrap();
    assert_eq!((name.as_str(), &data["pointer"]), ("row", &"EVENTS/3".into()));
}

#[tokio::test]
async fn the_number_of_clients_is_limited_and_a_place_is_free_again_when_one_leaves() {
    let stage = Stage::new().await;
    let mut clients = Vec::new();
    for _ in 0..LIVE_CLIENTS_MAX {
        clients.push(follow(&stage, "/v1/live").await);
    }
    let refused = stage.get("/v1/live").await;
    refused.problem(503);
    assert!(refused.headers.contains_key("retry-after"));
    clients.pop();
    clients.push(follow(&stage, "/v1/live").await);
}
