//! For any body: items that can be parsed become events, the rest becomes dead letters with their exact bytes, and
//! nothing is lost.

use std::collections::HashSet;

use bus::headers;
use proto::v1::inbound_message::Content;
use proto::v1::{InboundMessage, ReportStatus};

use crate::harness::{Installation, Webhook, eventually, within};

fn infobip(message_id: &str) -> String {
    format!(r#"{{"messageId":"{message_id}","to":"49151","status":{{"groupName":"DELIVERED"}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_becomes_a_dead_letter_with_its_bytes() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let bad: Vec<(Webhook, &str)> = vec![
        (Webhook::infobip(r#"{"results":[{"messageId":"t-1"#), "truncated"),
        (Webhook::infobip("hello"), "no_json"),
        (Webhook::infobip(r#"{"results":7}"#), "wrong_shape"),
        (Webhook::infobip(r#"{"something":"else"}"#), "wrong_shape"),
        (Webhook::infobip(nested), "wrong_shape"),
        (Webhook::infobip(b"{\"results\":\xff}".to_vec()), "no_json"),
        (Webhook::koomessage("[]"), "wrong_shape"),
        (Webhook::gupshup(r#"{"type":"weather-event","payload":{}}"#), "unknown_type"),
        (Webhook::twilio("MessageStatus=read"), "missing_id"),
        (Webhook::twilio("MessageSid=SM1&MessageStatus=read&To=%FF"), "no_utf8"),
        (Webhook::twilio(""), "missing_id"),
    ];
    for (webhook, _) in &bad {
        assert_eq!(webhook.post(ingress.address).await.status.as_u16(), 200, "a webhook is taken as it is");
    }
    installation.until_processed().await;
    let letters = installation.dead_letters().await;
    assert_eq!(letters.len(), bad.len());
    for (webhook, kind) in &bad {
        let letter = letters.iter().find(|letter| letter.payload == webhook.body());
        let letter = letter.unwrap_or_else(|| panic!("no letter has the bytes of {:?}", webhook.body()));
        assert_eq!(letter.headers.get(headers::REASON_KIND), Some(*kind), "{letter:?}");
        let reason = letter.headers.get(headers::REASON).unwrap();
        assert!(!reason.is_empty() && !reason.contains("hello"), "{reason}");
        assert!(letter.headers.get(headers::ORIGIN).unwrap().starts_with("WEBHOOKS/"));
        assert!(letter.headers.get(headers::TIME).unwrap().parse::<jiff::Timestamp>().is_ok());
        assert!(letter.headers.get(headers::RECEIVED_AT).is_some());
    }
    assert!(installation.reports().await.is_empty() && installation.messages().await.is_empty());
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_item_costs_none_of_its_siblings() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let (first, last) = (infobip("first"), infobip("last"));
    let unknown =
        r#"{"messageId":"odd","to":"49151","status":{"groupName":"TELEPORTED","x":[{}]},"new":true}"#;
    let bad = r#"{"to":"49151","status":{"groupName":"DELIVERED"}}"#;
    let damaged = b"{\"messageId\":\"\xff\",\"to\":\"49151\",\"status\":{\"groupName\":\"READ\"}}";
    let head = format!(r#"{{"results":[{first},null,{bad},{unknown},{last},"#);
    Webhook::infobip([head.as_bytes(), damaged, b"]}"].concat()).post(ingress.address).await;
    Webhook::infobip(r#"{"results":[]}"#).post(ingress.address).await;
    installation.until_processed().await;
    let reports = installation.reports().await;
    let known = |id: &str| reports.iter().find(|report| report.message_id == id).unwrap();
    assert_eq!(reports.len(), 3);
    assert_eq!(known("first").status(), ReportStatus::Delivered);
    assert_eq!(known("last").source.unwrap().item_index, 4);
    assert_eq!(known("odd").status(), ReportStatus::Unrecognized);
    assert_eq!(known("odd").provider_status.as_ref().unwrap().raw, "TELEPORTED");
    let letters = installation.dead_letters().await;
    let bytes: HashSet<&[u8]> = letters.iter().map(|letter| &letter.payload[..]).collect();
    assert_eq!(bytes, HashSet::from(["null".as_bytes(), bad.as_bytes(), damaged]));
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_thousands_of_items_becomes_thousands_of_events() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let items: Vec<_> = (0..5_000).map(|number| infobip(&format!("m-{number}"))).collect();
    Webhook::infobip(format!(r#"{{"results":[{}]}}"#, items.join(","))).post(ingress.address).await;
    installation.until_processed().await;
    let reports = installation.reports().await;
    let ids: HashSet<_> = reports.iter().map(|report| report.message_id.as_str()).collect();
    assert_eq!(reports.len(), 5_000);
    assert_eq!(ids.len(), 5_000);
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_cloud_events_with_a_stable_id() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    // The same report twice in different bodies, like the retry of a BSP.
    let report = r#"{"messageId":"m-1","to":"49151","doneAt":"2026-03-01T10:00:00.000+0000","status":{"groupName":"DELIVERED"}}"#;
    Webhook::infobip(format!(r#"{{"results":[{report}]}}"#)).post(ingress.address).await;
    Webhook::infobip(format!(r#"{{"results":[{report}], "again":1}}"#)).post(ingress.address).await;
    installation.until_processed().await;
    assert_eq!(installation.webhooks().await.len(), 2);
    let events = installation.stored(&bus::streams::EVENTS, "imchannel.event.>").await;
    let [event] = events.as_slice() else { panic!("{} events", events.len()) };
    assert_eq!(event.subject, "imchannel.event.report.infobip.202105102694809992");
    let id = event.headers.get(headers::CE_ID).unwrap();
    assert_eq!(event.message_id(), Some(id));
    for (name, value) in [
        (headers::CE_SPECVERSION, "1.0"),
        (headers::CE_TYPE, "imchannel.v1.ReportEvent"),
        (headers::CE_SOURCE, "/infobip/202105102694809992"),
        (headers::CE_TIME, "2026-03-01T10:00:00Z"),
        (headers::CE_DATACONTENTTYPE, "application/protobuf"),
    ] {
        assert_eq!(event.headers.get(name.clone()), Some(value), "{name}");
    }
    assert_eq!(installation.reports().await[0].event_id, id);
    normalizer.stop().await;
    ingress.stop().await;
}

/// A webhook whose dead letter has no room is redelivered after a minute. While a thousand wait like this, no more are
/// delivered.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_whose_dead_letters_have_no_room_are_retried_and_not_lost() {
    const COUNT: usize = bus::worker::POSTPONED_MAX + 100;
    let settings = bus::streams::StreamSettings { deadletters_max_bytes: 4096, ..Default::default() };
    let installation = Installation::start_with(&settings).await;
    let ingress = installation.ingress().await;
    let post = async |body: String| {
        assert_eq!(Webhook::infobip(body).post(ingress.address).await.status.as_u16(), 200);
    };
    for number in 0..20 {
        post(format!("no JSON {number} {}", "x".repeat(400))).await;
    }
    let normalizer = installation.normalizer().await;
    let refused = "normalizer_dead_letters_rejected_total{bsp=\"infobip\",channel=\"202105102694809992\",reason=\"channel_full\"}";
    eventually("letters find no room", || async { normalizer.metrics().contains(refused).then_some(()) })
        .await;
    // A few waiting webhooks delay no others, and the good items of their own bodies are published once.
    post(format!(r#"{{"results":[{},null,{}]}}"#, infobip("good-1"), infobip("good-2"))).await;
    eventually("the good items are events", || async {
        (installation.reports().await.len() == 2).then_some(())
    })
    .await;
    assert!(normalizer.metrics().contains("worker_paused 0\n"), "{}", normalizer.metrics());
    for number in 20..COUNT {
        post(format!("no JSON {number}")).await;
    }
    eventually("the normalizer pauses", || async {
        let text = normalizer.metrics();
        text.lines().any(|line| line.starts_with("worker_paused ") && line != "worker_paused 0").then_some(())
    })
    .await;
    let stored = installation.dead_letters().await.len();
    assert!((1..20).contains(&stored), "{stored} letters fit into the stream");
    let larger = bus::streams::StreamSettings { deadletters_max_bytes: 64 << 20, ..settings };
    bus::provision::apply(&installation.bus, &larger).await.unwrap();
    within(3 * bus::worker::POSTPONE_DELAY, "every webhook is acknowledged", || async {
        let backlog = bus::lag::backlog(&installation.bus, &bus::streams::NORMALIZER).await.ok()?;
        (backlog == 0).then_some(())
    })
    .await;
    let letters = installation.dead_letters().await;
    let bodies: HashSet<_> = letters.iter().map(|letter| letter.payload.clone()).collect();
    assert_eq!(bodies.len(), COUNT + 1);
    assert_eq!(installation.reports().await.len(), 2, "an event was stored again with each attempt");
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_is_skipped_and_bad_bytes_are_replaced_in_words_alone() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let marked = |body: &str| format!("\u{feff}{body}");
    for webhook in [
        Webhook::infobip(marked(&format!(r#"{{"results":[{}]}}"#, infobip("bom-1")))),
        Webhook::twilio(marked("MessageSid=bom-2&MessageStatus=read&To=whatsapp%3A%2B49151")),
        Webhook::twilio("MessageSid=words-1&From=whatsapp%3A%2B49151&ProfileName=Zo%EB&Body=caf%E9"),
        Webhook::infobip(
            b"{\"results\":[{\"messageId\":\"words-2\",\"message\":{\"type\":\"TEXT\",\"text\":\"caf\xe9\"}}]}".to_vec(),
        ),
    ] {
        assert_eq!(webhook.post(ingress.address).await.status.as_u16(), 200);
    }
    let damaged = Webhook::twilio("MessageSid=SM%E9&MessageStatus=read");
    assert_eq!(damaged.post(ingress.address).await.status.as_u16(), 200);
    installation.until_processed().await;

    let reports: HashSet<String> =
        installation.reports().await.into_iter().map(|report| report.message_id).collect();
    assert_eq!(reports, HashSet::from(["bom-1".to_owned(), "bom-2".to_owned()]));
    let messages = installation.messages().await;
    let texts: HashSet<&str> = messages.iter().map(text).collect();
    assert_eq!(messages.len(), 2);
    assert_eq!(texts, HashSet::from(["caf\u{fffd}"]));
    let letters = installation.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].headers.get(headers::REASON_KIND), Some("no_utf8"));
    assert_eq!(letters[0].payload, damaged.body());
    let metrics = normalizer.metrics();
    for (bsp, field, count) in [("twilio", "profile_name", 1), ("twilio", "text", 1), ("infobip", "text", 1)]
    {
        let line = format!("normalizer_invalid_utf8_total{{bsp=\"{bsp}\",field=\"{field}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    normalizer.stop().await;
    ingress.stop().await;
}

fn text(message: &InboundMessage) -> &str {
    match &message.content {
        Some(Content::Text(text)) => &text.body,
        other => panic!("{other:?}"),
    }
}
