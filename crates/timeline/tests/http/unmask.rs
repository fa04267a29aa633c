//! Numbers and texts of messages: who may see them, and the audit log.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bus::provision;
use bus::streams::StreamSettings;
use bus::{Bus, BusOptions, Headers, Priority, Subject, headers, message_store};
use bytes::Bytes;
use prost::Message as _;
use proto::v1::{OutboundText, SendCommand, send_command};
use serde_json::{Value, json};
use servers::{NatsOptions, NatsServer};
use tempfile::TempDir;
use timeline::extract::{Bodies, Extractor};
use timeline::http::access::{Access, TokenFile};
use timeline::http::answer::{AuditAnswer, TimelineAnswer, UnmaskAnswer, UnmaskedAnswer};
use timeline::row::{IdKind, RowKind, StreamNumber};
use timeline::store::{Batch, NewRow, Position, Store};
use tokio::time::Instant;

use crate::stage::{Got, NUMBER, Parts, Stage};

/// A text that only the customer should see.
const TEXT: &str = "your secret code is 4711";
/// Roles, and the tokens of their users.
const ROLES: [&str; 3] = ["viewer", "unmask", "operator"];

fn token(role: &str) -> String {
    format!("token-of-the-role-{role}")
}

fn access(folder: &TempDir) -> Access {
    let path = folder.path().join("tokens");
    let lines: Vec<_> = ROLES.iter().map(|role| format!("{role} {role}-user {}\n", token(role))).collect();
    std::fs::write(&path, lines.concat()).unwrap();
    Access::Tokens(TokenFile::open(path, false).unwrap().follow(tokio_util::sync::CancellationToken::new()))
}

async fn stage(bus: Option<Bus>, bodies: Bodies) -> (Stage, TempDir) {
    let folder = TempDir::new().unwrap();
    (Stage::with(Parts { access: access(&folder), bus, bodies }).await, folder)
}

async fn send(stage: &Stage, role: &str, request: axum::http::request::Builder, body: Body) -> Got {
    let bearer = format!("Bearer {}", token(role));
    let request = request.header("host", "localhost").header("authorization", bearer);
    stage.call_unmasked(request.body(body).unwrap()).await
}

async fn get(stage: &Stage, role: &str, path: &str) -> Got {
    send(stage, role, Request::get(path).header("accept", "text/html"), Body::empty()).await
}

async fn unmask(stage: &Stage, role: &str, body: &Value) -> Got {
    let request = Request::post("/v1/unmask").header("sec-fetch-site", "none");
    send(stage, role, request, body.to_string().into()).await
}

fn text(got: &Got) -> String {
    String::from_utf8_lossy(&got.body).into_owned()
}

async fn audit(stage: &Stage) -> AuditAnswer {
    get(stage, "operator", "/v1/audit").await.json()
}

/// A server with a command in its stream.
pub(crate) struct Gateway {
    pub(crate) bus: Bus,
    command: SendCommand,
    sequence: u64,
    _nats: NatsServer,
    _folder: TempDir,
}

pub(crate) async fn gateway() -> Gateway {
    let folder = TempDir::new().unwrap();
    let nats = NatsServer::start(NatsOptions::open(folder.path().join("nats"))).await.unwrap();
    let bus = Bus::connect_now(&BusOptions::new("timeline-test", nats.url())).await.unwrap();
    provision::apply(&bus, &StreamSettings::default()).await.unwrap();
    let command = SendCommand {
        command_id: "order-17".to_owned(),
        recipient: NUMBER.to_owned(),
        content: Some(send_command::Content::Text(OutboundText {
            body: TEXT.to_owned(),
            ..OutboundText::default()
        })),
        ..SendCommand::default()
    };
    let subject = Subject::Command(Priority::Interactive, bsp::ChannelId::parse("sales").unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    let payload = Bytes::from(command.encode_to_vec());
    let of_command = || Headers::new().with(headers::CONTENT_TYPE, "application/x-protobuf");
    let sequence = bus.store(&subject, of_command, &payload, deadline).await.unwrap().sequence();
    Gateway { bus, command, sequence, _nats: nats, _folder: folder }
}

/// Stores the row of the command as the reader does.
async fn store_row(stage: &Stage, gateway: &Gateway, bodies: Bodies) {
    let found = message_store::get(&gateway.bus, &bus::streams::COMMANDS, gateway.sequence).await;
    let delivery = found.unwrap().unwrap();
    let extractor = Extractor { keys: stage.keys.clone(), channels: Default::default(), bodies };
    let rows = extractor.rows(StreamNumber::Commands, &delivery).into_iter();
    let rows = rows
        .map(|row| NewRow { row: Arc::new(row), expected: Vec::new(), settled: Vec::new(), replayed: None })
        .collect();
    let position = Position {
        stream: StreamNumber::Commands,
        created_at: delivery.stored_at,
        reading: 0,
        missed_after: 0,
        sequence: delivery.sequence,
        stored_at: delivery.stored_at,
    };
    stage.store.append(Batch { rows, position, gaps: Vec::new() }).await.unwrap();
}

#[tokio::test]
async fn the_message_behind_a_row_is_shown_to_who_may_and_recorded_before() {
    let gateway = gateway().await;
    let (stage, _folder) = stage(Some(gateway.bus.clone()), Bodies::Masked).await;
    store_row(&stage, &gateway, Bodies::Masked).await;
    let request = json!({"id": "order-17", "reason": "ticket 4711 of +49 151 12345678"});
    let refused = unmask(&stage, "viewer", &request).await.problem(403);
    assert!(refused.detail.contains("needs the role unmask"), "{}", refused.detail);
    get(&stage, "viewer", "/v1/audit").await.problem(403);
    assert_eq!(audit(&stage).await.entries, []);
    let answer: UnmaskAnswer = unmask(&stage, "unmask", &request).await.json();
    let message = &answer.messages[0];
    assert_eq!((answer.messages.len(), message.source.as_deref()), (1, Some("stream")));
    let shown = message.content.as_ref().unwrap();
    assert_eq!((&shown["recipient"], &shown["text"]["body"]), (&NUMBER.into(), &TEXT.into()), "{shown}");
    assert_eq!(gateway.command.recipient, NUMBER);
    let entries = audit(&stage).await.entries;
    let entry = &entries[0];
    assert_eq!((entries.len(), entry.number), (1, answer.audit));
    assert_eq!(
        (entry.user.as_str(), entry.role.as_str(), entry.action.as_str()),
        ("unmask-user", "unmask", "unmask")
    );
    assert_eq!((entry.target.as_str(), entry.details.as_str()), ("order-17", "COMMANDS/1"));
    assert_eq!((entry.reason.as_str(), entry.address.as_str()), ("ticket 4711 of ***", "127.0.0.1"));
    // What a timeline shows stays masked.
    let life: TimelineAnswer = get(&stage, "operator", "/v1/timeline/order-17").await.json();
    assert!(!serde_json::to_string(&life).unwrap().contains(TEXT));
}

#[tokio::test]
async fn a_message_that_is_gone_is_not_shown_unless_its_row_has_it() {
    let gateway = gateway().await;
    // What rows kept, and what they keep now: a change back to masked does not show what was kept before.
    for (kept, bodies, source) in [
        (Bodies::Masked, Bodies::Masked, None),
        (Bodies::Full, Bodies::Full, Some("row")),
        (Bodies::Full, Bodies::Masked, Some("row")),
    ] {
        let (stage, _folder) = stage(None, bodies).await;
        store_row(&stage, &gateway, kept).await;
        // A viewer sees no body as it is.
        for path in ["/v1/timeline/order-17", "/timeline?id=order-17", "/stored/COMMANDS/1"] {
            let life = get(&stage, "viewer", path).await;
            assert!(life.status == 200 && !text(&life).contains("secret code"), "{path}: {}", text(&life));
        }
        let request = json!({"id": "COMMANDS/1", "reason": "ticket 4711"});
        let answer: UnmaskAnswer = unmask(&stage, "operator", &request).await.json();
        let message = &answer.messages[0];
        assert_eq!((message.source.as_deref(), message.content.is_some()), (source, source.is_some()));
        assert_eq!(message.detail.is_some(), source.is_none());
    }
}

#[tokio::test]
async fn while_nats_is_away_it_is_not_asked_for_each_message() {
    let Gateway { bus, _nats: nats, .. } = gateway().await;
    let (mut stage, _folder) = stage(Some(bus), Bodies::Masked).await;
    let mut row = stage.row(RowKind::Command, 0);
    row.links = vec![stage.link(IdKind::Command, "order-17")];
    stage.store_copies(row, 20).await;
    drop(nats);
    let request = json!({"id": "order-17", "reason": "ticket 4711"});
    let began = Instant::now();
    let answer: UnmaskAnswer = unmask(&stage, "unmask", &request).await.json();
    let why = |of: &UnmaskedAnswer| of.detail.clone().unwrap_or_default();
    assert!(answer.messages.iter().all(|of| why(of).contains("NATS did not answer")), "{answer:?}");
    // Each read waits for 3 s, and four of the 20 run at a time.
    assert!(answer.messages.len() == 20 && began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

#[tokio::test]
async fn nothing_is_shown_that_cannot_be_recorded() {
    let gateway = gateway().await;
    let (stage, _folder) = stage(Some(gateway.bus.clone()), Bodies::Full).await;
    store_row(&stage, &gateway, Bodies::Full).await;
    let log = rusqlite::Connection::open(stage.folder.path().join("audit.sqlite")).unwrap();
    log.execute_batch("DROP TABLE entries").unwrap();
    let refused = unmask(&stage, "operator", &json!({"id": "order-17", "reason": "ticket 4711"})).await;
    refused.problem(500);
    assert!(!text(&refused).contains("secret") && !text(&refused).contains(NUMBER));
}

#[tokio::test]
async fn a_request_without_a_reason_or_of_another_site_is_refused() {
    let (mut stage, _folder) = stage(None, Bodies::Masked).await;
    stage.store(stage.delivered("order-1", 0)).await;
    for (body, faults) in [
        (json!({"id": "order-1"}), 1),
        (json!({"id": "order-1", "reason": "  x  "}), 1),
        (json!({"id": " ", "reason": ""}), 2),
        (json!({"id": "order-1", "reason": "x".repeat(501)}), 1),
        (json!({"id": "order-1", "reason": "ticket 1", "format": "csv"}), 1),
        (json!([NUMBER]), 1),
    ] {
        let problem = unmask(&stage, "operator", &body).await.problem(400);
        assert_eq!(problem.faults.len(), faults, "{body}");
        assert!(!serde_json::to_string(&problem).unwrap().contains(NUMBER));
    }
    unmask(&stage, "operator", &json!({"id": "order-2", "reason": "ticket 1"})).await.problem(404);
    unmask(&stage, "operator", &json!({"id": "x", "reason": "y".repeat(9000)})).await.problem(413);
    let foreign = Request::post("/v1/unmask").header("origin", "https://evil.example");
    send(&stage, "operator", foreign, "{\"id\":\"order-1\",\"reason\":\"ticket 1\"}".into())
        .await
        .problem(403);
    get(&stage, "operator", "/v1/unmask?id=order-1&reason=ticket").await.problem(405);
    assert_eq!(audit(&stage).await.entries, []);
}

#[tokio::test]
async fn the_pages_offer_and_show_it_to_who_may() {
    let gateway = gateway().await;
    let (stage, _folder) = stage(Some(gateway.bus.clone()), Bodies::Masked).await;
    store_row(&stage, &gateway, Bodies::Masked).await;
    for (role, may) in [("viewer", false), ("unmask", true), ("operator", true)] {
        let life = text(&get(&stage, role, "/timeline?id=order-17").await);
        assert_eq!(life.contains("action=\"/unmask\""), may, "{role}");
        assert_eq!(life.contains("href=\"/audit\""), may, "{role}");
        assert!(!life.contains(TEXT) && !life.contains(NUMBER));
        let form =
            Request::post("/unmask").header("origin", "http://localhost").header("accept", "text/html");
        let page = send(&stage, role, form, "id=COMMANDS%2F1&reason=ticket+4711".into()).await;
        assert_eq!(page.status, if may { 200 } else { 403 });
        assert_eq!(text(&page).contains(TEXT) && text(&page).contains(NUMBER), may, "{role}");
        let log = get(&stage, role, "/audit").await;
        assert_eq!(log.status, if may { 200 } else { 403 });
        assert_eq!(text(&log).contains("ticket 4711") && text(&log).contains("COMMANDS/1"), may, "{role}");
    }
}

#[tokio::test]
async fn the_form_of_a_life_is_for_its_own_message_and_not_for_all_of_its_webhook() {
    let (mut stage, _folder) = stage(None, Bodies::Masked).await;
    let mut webhook = stage.row(RowKind::Webhook, 0);
    webhook.recipient = None;
    stage.store(vec![webhook]).await;
    let of_webhook = stage.link(IdKind::Stored, "WEBHOOKS/1");
    let mut messages = vec![stage.row(RowKind::Message, 1), stage.row(RowKind::Message, 1)];
    for (number, message) in messages.iter_mut().enumerate() {
        message.links = vec![stage.link(IdKind::Message, &format!("in-{number}")), of_webhook.clone()];
    }
    stage.store(messages).await;
    let life = text(&get(&stage, "operator", "/timeline?id=in-1").await);
    assert!(life.contains("name=\"id\" value=\"EVENTS/2\""), "{life}");
    let answer: UnmaskAnswer =
        unmask(&stage, "operator", &json!({"id": "EVENTS/2", "reason": "ticket 4711"})).await.json();
    let places: Vec<_> = answer.messages.iter().map(|message| message.pointer.as_str()).collect();
    assert_eq!(places, ["WEBHOOKS/1", "EVENTS/2"]);
}

#[tokio::test]
async fn the_audit_log_is_listed_in_pages() {
    let (mut stage, _folder) = stage(None, Bodies::Masked).await;
    stage.store(stage.delivered("order-1", 0)).await;
    for number in 0..5 {
        let request = json!({"id": "order-1", "reason": format!("ticket {number}")});
        assert_eq!(unmask(&stage, "operator", &request).await.status, 200);
    }
    let first: AuditAnswer = get(&stage, "unmask", "/v1/audit?limit=3&action=unmask").await.json();
    let next = format!("/v1/audit?limit=3&action=unmask&cursor={}", first.next.unwrap());
    let second: AuditAnswer = get(&stage, "unmask", &next).await.json();
    assert_eq!(second.next, None);
    let all = [first.entries, second.entries].concat();
    let reasons: Vec<_> = all.iter().map(|entry| entry.reason.as_str()).collect();
    assert_eq!(reasons, ["ticket 4", "ticket 3", "ticket 2", "ticket 1", "ticket 0"]);
    assert_eq!(all[0].details, "COMMANDS/1 EVENTS/1 EVENTS/2");
    let erasures: AuditAnswer = get(&stage, "unmask", "/v1/audit?action=erasure").await.json();
    assert_eq!(erasures.entries, []);
    let other_list = next.replace("action=unmask&", "");
    assert_eq!(get(&stage, "unmask", &other_list).await.problem(400).faults[0].name, "cursor");
    assert_eq!(get(&stage, "unmask", "/v1/audit?action=look").await.problem(400).faults[0].name, "action");
}
