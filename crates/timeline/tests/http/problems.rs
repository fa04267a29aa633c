//! What is overdue.

use std::sync::Arc;

use timeline::http::answer::ProblemsAnswer;
use timeline::life::{Finished, Floors};
use timeline::row::RowKind;
use timeline::rules::{Expectation, RuleName};
use timeline::store::{Batch, NewRow, Position, Store};

use crate::stage::{Stage, at};

#[tokio::test]
async fn overdue_expectations_are_listed_with_their_messages_and_counted() {
    let mut stage = Stage::new().await;
    for number in 0..5 {
        stage.store(stage.accepted(&format!("order-{number}"), number * 10)).await;
    }
    stage.store(stage.delivered("order-9", 100)).await;
    let mut other = stage.accepted("order-0", 200);
    other.truncate(1);
    "service".clone_into(&mut other[0].channel);
    stage.store(other).await;
    let answer: ProblemsAnswer = stage.get("/v1/problems").await.json();
    let listed: Vec<_> = answer
        .problems
        .iter()
        .map(|problem| {
            let command = problem.message.as_ref().and_then(|message| message.command_id.as_deref());
            (problem.channel.as_str(), problem.missing.rule.as_str(), command.unwrap_or_default())
        })
        .collect();
    let report = |command| ("sales", "no_report", command);
    let expected = [
        ("service", "no_result", "order-0"),
        report("order-0"),
        report("order-1"),
        report("order-2"),
        report("order-3"),
        report("order-4"),
    ];
    assert_eq!(listed, expected);
    assert_eq!(answer.problems[1].pointer.as_deref(), Some("COMMANDS/1"));
    assert!(answer.problems[1].missing.text.starts_with("no report for"));
    let counts: Vec<_> = answer.counts.iter().map(|count| (count.channel.as_str(), count.count)).collect();
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 6, "{counts:?}");
    // Pages, and filters.
    let first: ProblemsAnswer = stage.get("/v1/problems?rule=no_report&limit=3").await.json();
    assert_eq!(first.problems.len(), 3);
    let next = format!("/v1/problems?rule=no_report&limit=3&cursor={}", first.next.unwrap());
    let second: ProblemsAnswer = stage.get(&next).await.json();
    assert_eq!((second.problems.len(), second.next), (2, None));
    let other: ProblemsAnswer = stage.get("/v1/problems?channel=service").await.json();
    assert_eq!(other.problems.len(), 1);
}

#[tokio::test]
async fn what_readers_have_not_acknowledged_for_a_minute_is_a_problem() {
    let mut stage = Stage::new().await;
    let rows = vec![stage.row(RowKind::Webhook, 0), stage.row(RowKind::Webhook, 3590)];
    stage.store(rows).await;
    let waiting = async |stage: &Stage| {
        let answer: ProblemsAnswer = stage.get("/v1/problems").await.json();
        answer
            .waiting
            .into_iter()
            .map(|waiting| (waiting.pointer, waiting.since, waiting.count))
            .collect::<Vec<_>>()
    };
    assert_eq!(waiting(&stage).await, []);
    stage.floors.send_replace(Floors { normalizer: Some(0), aicc: Some(0), finished: None });
    assert_eq!(waiting(&stage).await, [("WEBHOOKS/1".to_owned(), at(0), 2)]);
    stage.floors.send_replace(Floors { normalizer: Some(1), aicc: Some(0), finished: None });
    assert_eq!(waiting(&stage).await, []);
    let answer: ProblemsAnswer = stage.get("/v1/problems?rule=event_waiting").await.json();
    assert_eq!(answer.waiting, []);
    // A stream keeps messages for 72 hours: an older one is not in it.
    let mut older = Stage::new().await;
    older
        .store(vec![older.row(RowKind::Webhook, 3600 - 72 * 3600 - 1), older.row(RowKind::Webhook, 10)])
        .await;
    older.floors.send_replace(Floors { normalizer: Some(0), aicc: Some(0), finished: None });
    assert_eq!(waiting(&older).await, [("WEBHOOKS/2".to_owned(), at(10), 1)]);
    // Nor is one that was stored before the stream was created again.
    let mut again = Stage::new().await;
    again.store(vec![again.row(RowKind::Webhook, -86_401), again.row(RowKind::Webhook, 10)]).await;
    again.floors.send_replace(Floors { normalizer: Some(0), aicc: Some(0), finished: None });
    assert_eq!(waiting(&again).await, [("WEBHOOKS/2".to_owned(), at(10), 1)]);
}

#[tokio::test]
async fn a_campaigns_command_that_form_1_expected_a_result_of_is_explained_by_its_message() {
    let mut stage = Stage::new().await;
    let mut command = stage.accepted("order-1", 0).remove(0);
    command.is_bulk = true;
    let key = command.links[0].key;
    stage.store(vec![command]).await;
    // Form 1 has one rule for both queues.
    let (rule, channel) = (RuleName::NoResult, "sales".to_owned());
    let expected = vec![Expectation { rule, key, file: None, channel, since: at(0), due: at(60) }];
    let mut row = stage.row(RowKind::Command, 1);
    row.pointer.sequence = 2;
    let stream = row.pointer.stream;
    let (created_at, stored_at) = (at(-86_400), row.stored_at);
    let position = Position { stream, created_at, reading: 0, missed_after: 0, sequence: 2, stored_at };
    let new = NewRow { row: Arc::new(row), expected, settled: Vec::new(), replayed: None };
    stage.store.append(Batch { rows: vec![new], position, gaps: Vec::new() }).await.unwrap();
    let answer: ProblemsAnswer = stage.get("/v1/problems?rule=no_result").await.json();
    let [problem] = &answer.problems[..] else { panic!("{answer:?}") };
    assert!(problem.missing.text.starts_with("no result for"), "{problem:?}");
}

#[tokio::test]
async fn no_report_is_no_problem_while_it_may_be_in_a_webhook_that_waits() {
    let mut stage = Stage::new().await;
    stage.store(stage.accepted("order-1", 0)).await;
    let count = async |stage: &Stage| {
        let answer: ProblemsAnswer = stage.get("/v1/problems?rule=no_report").await.json();
        assert_eq!(answer.problems.len(), answer.counts.len());
        answer.problems.len()
    };
    assert_eq!(count(&stage).await, 1);
    let finished = |until| Some(Finished { sequence: 0, until: Some(at(until)) });
    stage.floors.send_modify(|floors| floors.finished = finished(900));
    assert_eq!(count(&stage).await, 0);
    stage.floors.send_modify(|floors| floors.finished = finished(901));
    assert_eq!(count(&stage).await, 1);
}

#[tokio::test]
async fn every_problem_of_the_same_time_and_id_is_on_a_page() {
    let mut stage = Stage::new().await;
    let mut rows = Vec::new();
    for channel in ["a", "b", "c", "d", "e"] {
        let mut command = stage.accepted("order-1", 0).remove(0);
        channel.clone_into(&mut command.channel);
        rows.push(command);
    }
    stage.store(rows).await;
    for limit in 1..6 {
        let (mut channels, mut next) = (Vec::new(), String::new());
        loop {
            let page: ProblemsAnswer = stage.get(&format!("/v1/problems?limit={limit}{next}")).await.json();
            assert!(page.problems.len() <= limit);
            channels.extend(page.problems.into_iter().map(|problem| problem.channel));
            let Some(cursor) = page.next else { break };
            next = format!("&cursor={cursor}");
        }
        assert_eq!(channels, ["a", "b", "c", "d", "e"], "{limit}");
    }
}
