//! Very many rows of one customer, of which all are overdue: what an answer costs does not grow with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use timeline::http::answer::{MessagesAnswer, ProblemsAnswer};
use timeline::row::{IdKind, Pointer, Row, RowKind, StreamNumber};
use timeline::rules;
use timeline::store::{BATCH_ROWS_MAX, Batch, NewRow, OVERDUE_COUNTED_MAX, Position, Store};

use crate::stage::{NUMBER, Stage, at};

/// Commands of the customer, each without a result.
const COMMANDS: u64 = 100_000;
/// Longest time of an answer. A usual one takes milliseconds; the machine may be busy with other tests.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Stores a command every 20 ms.
async fn fill(stage: &Stage) {
    let command = stage.row(RowKind::Command, 0);
    let of = |sequence: u64| {
        let stored_at = at(0) + Duration::from_millis(sequence * 20);
        let pointer = Pointer { sequence, ..command.pointer };
        let links = vec![stage.link(IdKind::Command, &format!("order-{sequence}"))];
        let row = Row { pointer, stored_at, links, ..command.clone() };
        let followed = rules::follow(&row);
        NewRow { row: Arc::new(row), expected: followed.expected, settled: followed.settled, replayed: None }
    };
    let mut sequence = 0;
    while sequence < COMMANDS {
        let last = (sequence + BATCH_ROWS_MAX as u64).min(COMMANDS);
        let rows: Vec<NewRow> = (sequence + 1..=last).map(of).collect();
        let stored_at = rows.last().unwrap().row.stored_at;
        let position = Position {
            stream: StreamNumber::Commands,
            created_at: at(-86_400),
            reading: 0,
            missed_after: 0,
            sequence: last,
            stored_at,
        };
        stage.store.append(Batch { rows, position, gaps: Vec::new() }).await.unwrap();
        sequence = last;
    }
    stage.progress.send_modify(|progress| progress.of_mut(StreamNumber::Commands).sequence = COMMANDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_customer_with_very_many_messages_is_fast() {
    let stage = Stage::new().await;
    fill(&stage).await;
    let timed = async |path: &str| {
        let began = Instant::now();
        let got = stage.get(path).await;
        let time = began.elapsed();
        assert!(time < ANSWER_MAX, "{path} took {time:?}");
        got
    };
    let created = stage.post("/v1/searches", json!({ "number": NUMBER }).to_string()).await;
    let search: Value = serde_json::from_slice(&created.body).unwrap();
    let path = format!("/v1/searches/{}?limit=50", search["id"].as_str().unwrap());
    for path in [path.as_str(), "/v1/messages?limit=50"] {
        let first: MessagesAnswer = timed(path).await.json();
        assert_eq!(first.messages[0].headline.command_id.as_deref(), Some("order-100000"));
        let next = format!("{path}&cursor={}", first.next.unwrap());
        let second: MessagesAnswer = timed(&next).await.json();
        assert_eq!(second.messages[0].headline.command_id.as_deref(), Some("order-99950"));
        assert!(!second.cut && second.messages[49].missing[0].rule == "no_result");
    }
    let problems: ProblemsAnswer = timed("/v1/problems?limit=200").await.json();
    assert_eq!(problems.problems.len(), 200);
    assert_eq!(problems.problems[199].message.as_ref().unwrap().command_id.as_deref(), Some("order-200"));
    assert_eq!(problems.counts[0].count, OVERDUE_COUNTED_MAX);
    let next = format!("/v1/problems?limit=200&cursor={}", problems.next.unwrap());
    let problems: ProblemsAnswer = timed(&next).await.json();
    assert_eq!(problems.problems[0].message.as_ref().unwrap().command_id.as_deref(), Some("order-201"));
}
