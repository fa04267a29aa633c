//! Replay and dead letters with the command line: differences of another parser, events published again, dead letters
//! listed, replayed and dropped.

use bus::streams::{DEADLETTERS, EVENTS};
use bus::{Delivery, headers};
use proto::v1::{ReportEvent, ReportStatus};
use serde_json::Value;

use crate::harness::{CHANNELS, Installation, Webhook, run_cli, run_cli_with};

/// Two reports of Infobip's, one of them refused.
const BATCH: &str = r#"{"results":[{"messageId":"m-1","to":"4915112345678","status":{"groupName":"DELIVERED"}},{"price":{}}]}"#;
const KOOMESSAGE: &str = r#"{"message_id":"k-1","sender":"1","user_number":"4915187654321","status":"read"}"#;

const PUBLISH: [&str; 4] = ["replay", "webhooks", "--publish", "--yes"];

/// Runs `imchannel --json` and gives its exit code and its objects.
async fn json(installation: &Installation, args: &[&str]) -> (i32, Vec<Value>) {
    let output = run_cli(installation, &[&["--json"], args].concat()).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let objects = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code().unwrap(), objects)
}

/// The same for people.
async fn text(installation: &Installation, args: &[&str]) -> (i32, String) {
    let output = run_cli(installation, args).await;
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

async fn processed() -> Installation {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    for webhook in [Webhook::infobip(BATCH), Webhook::koomessage(KOOMESSAGE)] {
        assert_eq!(webhook.post(ingress.address).await.status.as_u16(), 200);
    }
    installation.until_processed().await;
    ingress.stop().await;
    normalizer.stop().await;
    installation
}

fn header(event: &Delivery, name: headers::Name) -> &str {
    event.headers.get(name).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_finds_nothing_where_the_parser_is_the_same() {
    let installation = processed().await;
    let (code, objects) = json(&installation, &["replay", "webhooks", "--since", "1h"]).await;
    assert_eq!(code, 0, "{objects:?}");
    let summary = objects.last().unwrap();
    assert_eq!(summary["webhooks"], 2);
    assert_eq!(summary["same"], 3);
    assert_eq!(summary["different"], 0);
    assert_eq!(
        installation.stored(&EVENTS, "imchannel.event.>").await.len(),
        2,
        "a dry run publishes nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_unless_that_is_said_and_confirmed() {
    let installation = processed().await;
    let before = installation.stored(&EVENTS, "imchannel.event.>").await.len();
    // The start is required, and nothing is done that was not requested.
    for (args, code) in [
        (&["replay", "webhooks"][..], 2),
        (&["replay", "webhooks", "--publish", "--yes"], 2),
        (&["replay", "webhooks", "--until", "0s", "--publish", "--yes"], 2),
        (&["replay", "webhooks", "--since", "1h"], 0),
        (&["replay", "webhooks", "--since", "1h", "--yes"], 2),
        (&["replay", "webhooks", "--since", "1h", "--by", "ann"], 2),
        (&["replay", "webhooks", "--since", "1h", "--publish", "--yes", "--number", "10000000000"], 2),
        (&["replay", "webhooks", "--since", "1h", "--publish"], 2),
        (&["replay", "webhooks", "--since", "1h", "--dry-run", "--publish", "--yes"], 2),
        (&["channel", "remove", "koomessage-demo"], 2),
        (&["deadletter", "drop", "--all"], 2),
    ] {
        let output = run_cli(&installation, args).await;
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let channels = installation.folder().join("empty.toml");
    let (first, _) = CHANNELS.rsplit_once("[[channel]]").unwrap();
    std::fs::write(&channels, first).unwrap();
    let prune = ["channel", "apply", "--prune", "-f", channels.to_str().unwrap()];
    let output = run_cli(&installation, &prune).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("no channel was removed"), "{said}");
    assert!(!bus::registry::list(&installation.bus).await.unwrap().is_empty());
    assert_eq!(installation.stored(&EVENTS, "imchannel.event.>").await.len(), before);
    assert_eq!(installation.dead_letters().await.len(), 1);
    // What was requested is done.
    let (code, objects) = json(&installation, &[&PUBLISH[..], &["--since", "1h"]].concat()).await;
    assert_eq!(code, 0, "{objects:?}");
    assert_eq!(objects[0]["events"], 2, "{objects:?}");
}

/// The events in the stream are those of another version of the parser.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_another_parser_would_change() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    for number in 0..30 {
        let body = format!(
            r#"{{"results":[{{"messageId":"m-{number}","to":"49151{number}","status":{{"groupName":"DELIVERED","name":"DELIVERED_TO_OPERATOR"}}}}]}}"#
        );
        assert_eq!(Webhook::infobip(body).post(ingress.address).await.status.as_u16(), 200);
    }
    installation.until_processed().await;
    for report in installation.stored(&EVENTS, "imchannel.event.report.*.*").await {
        installation
            .forge(&report, |event| {
                event.set_status(ReportStatus::Delivered);
                event.recipient = "another".to_owned();
            })
            .await;
    }
    normalizer.stop().await;

    let (code, objects) = json(&installation, &["replay", "webhooks", "--from-sequence", "1"]).await;
    assert_eq!(code, 3, "differences have an exit code of their own");
    let summary = objects.last().unwrap();
    assert_eq!(summary["webhooks"], 30);
    assert_eq!(summary["different"], 30);
    let first = &objects[0];
    let fields = first["change"]["fields"].as_array().unwrap();
    let status = fields.iter().find(|field| field["path"] == "status").unwrap();
    assert_eq!(status["then"], "REPORT_STATUS_DELIVERED");
    assert_eq!(status["now"], "REPORT_STATUS_SENT");
    let recipient = fields.iter().find(|field| field["path"] == "recipient").unwrap();
    assert_eq!(recipient["then"], "***", "numbers are masked");
    assert_eq!(recipient["now"], "***", "numbers are masked");

    let (code, shown) =
        text(&installation, &["replay", "webhooks", "--since", "1h", "--unmask", "--examples", "1"]).await;
    assert_eq!(code, 3);
    for line in [
        "- status: REPORT_STATUS_DELIVERED",
        "+ status: REPORT_STATUS_SENT",
        "- recipient: another",
        "+ recipient: 491510",
    ] {
        assert!(shown.lines().any(|found| found.contains(line)), "no {line} in\n{shown}");
    }
    assert_eq!(shown.matches("- status: ").count(), 1, "one example was asked for\n{shown}");
    assert!(shown.contains("30 different"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_publishes_the_same_events_under_ids_of_its_own() {
    let installation = processed().await;
    let before = installation.stored(&EVENTS, "imchannel.event.>").await;
    for _ in 0..2 {
        let chosen = ["--since", "1h", "--number", "7", "--by", "Ann", "--note", "call +49 151 12345678"];
        let (code, objects) = json(&installation, &[&PUBLISH[..], &chosen].concat()).await;
        assert_eq!(code, 0, "{objects:?}");
        assert_eq!(objects[0]["events"], 2, "{objects:?}");
    }
    let after = installation.stored(&EVENTS, "imchannel.event.>").await;
    assert_eq!(after.len(), 4, "the same replay twice publishes once");
    for new in &after[2..] {
        let old =
            before.iter().find(|old| header(old, headers::CE_ID) == header(new, headers::CE_ID)).unwrap();
        assert_eq!(new.message_id().unwrap(), format!("{}.r7", header(old, headers::CE_ID)));
        assert_eq!(header(old, headers::REPLAYED), "");
        assert_eq!(header(new, headers::REPLAYED), "true");
        assert_eq!((header(old, headers::REPLAY_RUN), header(new, headers::REPLAY_RUN)), ("", "7"));
        assert_eq!(header(new, headers::REPLAYED_BY), "Ann");
        assert_eq!(header(new, headers::REPLAY_REASON), "call ***");
        assert_eq!(&old.payload, &new.payload);
        assert_eq!(&old.subject, &new.subject);
    }
    let chosen = ["--bsp", "koomessage", "--from-sequence", "1", "--to-sequence", "2"];
    let (_, objects) = json(&installation, &[&PUBLISH[..], &chosen].concat()).await;
    assert_eq!(objects[0]["webhooks"], 1);
    assert_eq!(objects[0]["events"], 1);
    // Without a name, the user of the system is named.
    let chosen = [&PUBLISH[..], &["--since", "1h", "--number", "9", "--limit", "1"]].concat();
    let url = installation.nats.url();
    assert!(run_cli_with(&url, "imchannel", &chosen, &[("SUDO_USER", "bob")]).await.status.success());
    let last = installation.stored(&EVENTS, "imchannel.event.>").await.pop().unwrap();
    assert_eq!((header(&last, headers::REPLAYED_BY), header(&last, headers::REPLAY_REASON)), ("bob", ""));
    let old = ["--from-sequence", "1", "--until", "1h"];
    let (_, objects) = json(&installation, &[&PUBLISH[..], &old].concat()).await;
    assert_eq!(objects[0]["webhooks"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_its_rate_and_says_where_its_limit_cut_it() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    for number in 0..5 {
        let body = KOOMESSAGE.replace("k-1", &format!("k-{number}"));
        assert_eq!(Webhook::koomessage(body).post(ingress.address).await.status.as_u16(), 200);
    }
    let replay = async |rate: &str| {
        let started = tokio::time::Instant::now();
        let chosen = ["--since", "1h", "--limit", "4", "--rate", rate];
        let (code, objects) = json(&installation, &[&PUBLISH[..], &chosen].concat()).await;
        assert_eq!(code, 0);
        assert_eq!(objects[0]["webhooks"], 4);
        assert_eq!(objects[1]["limit_reached_before"], 5);
        started.elapsed()
    };
    replay("1000000").await;
    let (fast, slow) = (replay("1000000").await, replay("2").await);
    // Three waits of half a second; the second half of one may be the machine's.
    assert!(slow > fast + std::time::Duration::from_secs(1), "{slow:?} against {fast:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_and_thrown_away() {
    let installation = processed().await;
    let (code, objects) = json(&installation, &["deadletter", "list"]).await;
    assert_eq!(code, 0, "{objects:?}");
    assert_eq!(objects.len(), 2, "{objects:?}");
    assert_eq!(objects[0]["reason_kind"], "wrong_shape");
    assert_eq!(objects[0]["origin"], "WEBHOOKS/1/1");
    assert_eq!(objects[1]["reason_kind"], "wrong_shape");
    assert_eq!(objects[1]["count"], 1);
    let (_, none) = json(&installation, &["deadletter", "list", "--bsp", "twilio"]).await;
    assert!(none.is_empty(), "{none:?}");

    let (_, raw) = text(&installation, &["deadletter", "show", "1", "--raw"]).await;
    assert_eq!(raw, r#"{"price":{}}"#);
    let (_, shown) = text(&installation, &["deadletter", "show", "1"]).await;
    assert!(shown.contains("Imchannel-Reason: missing field"), "{shown}");
    assert_eq!(json(&installation, &["deadletter", "show", "9"]).await.0, 1);

    let (code, _) = json(&installation, &["deadletter", "drop", "1", "--reason", "other", "--yes"]).await;
    assert_eq!(code, 1, "a choice is never ignored");
    let (code, _) = json(&installation, &["deadletter", "drop", "--all"]).await;
    assert_eq!(code, 2, "there was no terminal to ask on");
    assert_eq!(installation.dead_letters().await.len(), 1);
    let (code, _) = json(&installation, &["deadletter", "drop", "1", "--yes"]).await;
    assert_eq!(code, 0);
    assert!(installation.dead_letters().await.is_empty());
}

/// Dead letters of an older version: one that this version can parse and one that it cannot.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_are_understood_now_are_published_with_and_without_their_webhook() {
    let installation = processed().await;
    let letter = |sequence: u64, item: u32, part: &'static str, body: &'static str| {
        let (id, origin) = (format!("old-{sequence}-{item}"), format!("WEBHOOKS/{sequence}/{item}"));
        let installation = &installation;
        async move {
            let headers = || {
                bus::Headers::new()
                    .with(headers::MESSAGE_ID, &id)
                    .with(headers::REASON_KIND, "missing_id")
                    .with(headers::BSP, "infobip")
                    .with(headers::PART, part)
                    .with(headers::ORIGIN, &origin)
            };
            let channel = bsp::ChannelId::parse("202105102694809992").unwrap();
            let subject = bus::Subject::DeadLetter(bus::Origin::Webhook, Some(channel));
            let deadline = tokio::time::Instant::now() + crate::harness::TIMEOUT;
            installation.bus.store(&subject, headers, &body.into(), deadline).await.unwrap();
        }
    };
    let item = r#"{"messageId":"old","to":"1","seenAt":"2026-03-01T10:00:00.000+0000"}"#;
    // Its webhook is still there; of the second, only the item is left.
    letter(1, 0, "item", r#"{"messageId":"m-1","to":"4915112345678","status":{"groupName":"DELIVERED"}}"#)
        .await;
    letter(999, 3, "item", item).await;
    // A body that was refused as a whole has two items now.
    letter(998, 0, "body", r#"{"results":[{"messageId":"b-1","to":"1","seenAt":"2026-03-01T10:00:00.000+0000"},{"messageId":"b-2","to":"1","seenAt":"2026-03-01T10:00:00.000+0000"}]}"#).await;
    // The webhook of that sequence is another one: the item is parsed alone.
    letter(2, 0, "item", r#"{"messageId":"c-1","to":"1","seenAt":"2026-03-01T10:00:00.000+0000"}"#).await;

    let (_, dry) = json(&installation, &["deadletter", "replay", "--all"]).await;
    let outcomes: Vec<_> = dry.iter().filter_map(|object| object["outcome"].as_str()).collect();
    assert_eq!(outcomes[0], "refused");
    assert_eq!(outcomes[1..], ["would be published"; 4]);
    assert_eq!(installation.dead_letters().await.len(), 5, "a dry run removes nothing");

    let (code, _) = json(&installation, &["deadletter", "replay", "--all", "--publish"]).await;
    assert_eq!(code, 2, "there was no terminal to ask on");
    assert_eq!(installation.dead_letters().await.len(), 5);
    let (code, done) = json(&installation, &["deadletter", "replay", "--all", "--publish", "--yes"]).await;
    assert_eq!(code, 0, "{done:?}");
    assert_eq!(done.last().unwrap()["events"], 5, "{done:?}");
    let left = installation.stored(&DEADLETTERS, "imchannel.deadletter.>").await;
    assert_eq!(left.len(), 1, "what is refused still stays");
    let reports = installation.reports().await;
    for id in ["old", "b-1", "b-2", "c-1"] {
        let is_read =
            |report: &&ReportEvent| report.message_id == id && report.status() == ReportStatus::Read;
        assert_eq!(reports.iter().filter(is_read).count(), 1, "{id}");
    }
    assert_eq!(reports.iter().filter(|report| report.message_id == "m-1").count(), 2);
}
