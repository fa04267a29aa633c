//! Everything about an id.

use serde_json::{Value, json};
use timeline::http::answer::{MessagesAnswer, ProblemsAnswer, TimelineAnswer, UnreadableAnswer};
use timeline::row::{IdKind, RowKind, StreamNumber};

use crate::stage::{Stage, at, texts};

#[tokio::test]
async fn any_id_of_a_message_gives_its_life() {
    let mut stage = Stage::new().await;
    stage.store(stage.delivered("order/17 ä", 0)).await;
    let by_command: TimelineAnswer = stage.get("/v1/timeline?id=order/17+%C3%A4").await.json();
    assert_eq!((by_command.id.as_str(), by_command.lives.len(), by_command.cut), ("order/17 ä", 1, false));
    let life = &by_command.lives[0];
    let head = &life.headline;
    assert_eq!((head.status.as_str(), head.outcome.as_deref()), ("DELIVERED", Some("ACCEPTED")));
    assert_eq!(
        (head.channel.as_str(), head.bsp.as_str(), head.tenant.as_str()),
        ("sales", "infobip", "acme")
    );
    assert_eq!((head.direction.as_str(), head.recipient.as_deref()), ("out", Some("…78")));
    assert_eq!(head.message_id.as_deref(), Some("imc-order/17 ä"));
    assert_eq!((head.began, head.ended), (at(0), at(2)));
    let kinds: Vec<_> = life.rows.iter().map(|row| (row.kind.as_str(), row.after_ms)).collect();
    assert_eq!(kinds, [("command", None), ("result", Some(1000)), ("report", Some(1000))]);
    assert_eq!(life.rows[0].body, Some(serde_json::json!({"text": "***"})));
    assert_eq!(life.missing, []);
    // Ids in a path may have slashes and escapes.
    for path in
        ["order%2F17%20%C3%A4", "order/17%20%C3%A4", "imc-order%2f17%20%C3%A4", "COMMANDS/1", "EVENTS/2"]
    {
        let answer: TimelineAnswer = stage.get(&format!("/v1/timeline/{path}")).await.json();
        assert_eq!(answer.lives[0].rows.len(), 3, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_found_says_up_to_when_streams_were_read() {
    let stage = Stage::new().await;
    stage.progress.send_modify(|progress| {
        let webhooks = progress.of_mut(StreamNumber::Webhooks);
        (webhooks.read_until, webhooks.behind) = (None, 7);
    });
    for id in
        ["%00%ff%1b%5b2J", "x", "..", "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==", "%2B4915112345678"]
    {
        let problem = stage.get(&format!("/v1/timeline?id={id}")).await.problem(404);
        assert_eq!(problem.read_until.len(), 4);
        assert_eq!((problem.read_until[0].until, problem.read_until[0].behind), (None, 7));
        assert_eq!(problem.read_until[1].until, Some(at(3600)));
        assert!(problem.detail.contains("POST /v1/searches"), "{}", problem.detail);
        let id = problem.id.unwrap();
        assert!(!id.contains('\u{1b}') && !id.contains('\0'), "{id:?}");
    }
}

#[tokio::test]
async fn an_id_that_several_messages_have_gives_each_life() {
    let mut stage = Stage::new().await;
    stage.store(stage.delivered("order-1", 0)).await;
    let mut other = stage.accepted("order-1", 5);
    other.iter_mut().for_each(|row| "service".clone_into(&mut row.channel));
    stage.store(other).await;
    let mut webhook = stage.row(RowKind::Webhook, 8);
    webhook.recipient = None;
    stage.store(vec![webhook]).await;
    let of_webhook = stage.link(IdKind::Stored, "WEBHOOKS/1");
    let mut messages = vec![stage.row(RowKind::Message, 9), stage.row(RowKind::Message, 9)];
    for (number, message) in messages.iter_mut().enumerate() {
        message.links = vec![stage.link(IdKind::Message, &format!("in-{number}")), of_webhook.clone()];
    }
    stage.store(messages).await;
    let both: Value = stage.get("/v1/timeline?id=order-1").await.json();
    let mut channels = texts(both["lives"].as_array().unwrap(), "channel");
    channels.sort_unstable();
    assert_eq!(channels, ["sales", "service"]);
    let both: TimelineAnswer = stage.get("/v1/timeline/WEBHOOKS/1").await.json();
    assert_eq!(both.lives.len(), 2);
    assert!(both.lives.iter().all(|life| life.headline.direction == "in"));
}

#[tokio::test]
async fn a_message_without_a_report_says_so_and_not_before_the_stream_is_read() {
    let mut stage = Stage::new().await;
    stage.store(stage.accepted("order-2", 0)).await;
    let answer: TimelineAnswer = stage.get("/v1/timeline?id=order-2").await.json();
    let missing = &answer.lives[0].missing;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert_eq!((missing[0].rule.as_str(), missing[0].since), ("no_report", at(1)));
    assert!(missing[0].text.starts_with("no report for") && !missing[0].advice.is_empty());
    stage.progress.send_modify(|progress| progress.of_mut(StreamNumber::Events).read_until = Some(at(60)));
    let answer: TimelineAnswer = stage.get("/v1/timeline?id=order-2").await.json();
    assert_eq!(answer.lives[0].missing, []);
}

#[tokio::test]
async fn an_id_is_posted_so_that_it_is_in_no_url() {
    let mut stage = Stage::new().await;
    stage.store(stage.delivered("order-1", 0)).await;
    let answer: TimelineAnswer =
        stage.post("/v1/timeline", json!({"id": " order-1 "}).to_string()).await.json();
    assert_eq!((answer.id.as_str(), answer.lives.len()), ("order-1", 1));
    let wamid = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==";
    let problem = stage.post("/v1/timeline", json!({ "id": wamid }).to_string()).await.problem(404);
    assert_eq!(problem.id.as_deref(), Some("wamid.…Y0AA=="));
    for body in ["", "{}", "[]", r#"{"id":""}"#, r#"{"id":7}"#, r#"{"id":"a","more":1}"#] {
        let problem = stage.post("/v1/timeline", body).await.problem(400);
        assert_eq!(problem.faults.len(), 1, "{body}");
    }
    stage.post("/v1/timeline", json!({"id": "x".repeat(1025)}).to_string()).await.problem(400);
    stage.post("/v1/timeline", "x".repeat(5000)).await.problem(413);
    stage.post("/v1/timeline?id=order-1", json!({"id": "order-1"}).to_string()).await.problem(400);
}

#[tokio::test]
async fn every_answer_names_what_was_missed_and_what_cannot_be_read() {
    let mut stage = Stage::new().await;
    stage.store(stage.delivered("order-1", 0)).await;
    stage.store(stage.delivered("order-2", 86_400)).await;
    stage.miss(200).await;
    stage.damage("2026-11-20");
    let answer: TimelineAnswer = stage.get("/v1/timeline?id=order-2").await.json();
    assert_eq!(answer.lives[0].rows.len(), 3);
    assert_eq!((answer.missed.len(), answer.missed_left_out), (100, 100));
    let parts = |all: &[UnreadableAnswer]| all.iter().map(|of| of.part.clone()).collect::<Vec<_>>();
    stage.get("/v1/timeline?id=order-1").await.problem(404);
    let problem = stage.get("/v1/timeline?id=order-1").await.problem(404);
    assert_eq!((problem.missed.len(), problem.missed_left_out), (100, 100));
    assert_eq!(parts(&problem.unreadable), ["2026-11-20"]);
    let answer: TimelineAnswer = stage.get("/v1/timeline?id=order-2").await.json();
    assert_eq!(parts(&answer.unreadable), ["2026-11-20"]);
    let messages: MessagesAnswer = stage.get("/v1/messages").await.json();
    assert_eq!(parts(&messages.unreadable), ["2026-11-20"]);
    let problems: ProblemsAnswer = stage.get("/v1/problems").await.json();
    assert_eq!(parts(&problems.unreadable), ["2026-11-20"]);
}
