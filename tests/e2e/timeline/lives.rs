//! The life of a message from any of its ids: what happened, and what is missing in it.

use bus::{EventKind, Headers, Priority, Subject, headers};
use proto::v1::{OutboundMedia, ReportEvent, ReportStatus, SendCommand, outbound_media, send_command};
use reqwest::StatusCode;
use serde_json::Value;
use simulator::infobip_api::{Fate, Faults};

use crate::harness::files::{bytes, stored};
use crate::harness::outbound::{Outbound, text};
use crate::harness::timeline::{RunningTimeline, kinds_of, missing_in, store_folder};
use crate::harness::{Installation, TIMEOUT, Webhook, eventually};

/// The customer of every command.
pub(super) const CUSTOMER: &str = "4915112345678";

/// A gateway whose account posts reports, and its timeline.
pub(super) struct Gateway {
    pub(super) outbound: Outbound,
    pub(super) ingress: crate::harness::RunningIngress,
    pub(super) timeline: RunningTimeline,
    _store: tempfile::TempDir,
}

/// Starts everything but the sender. `more` are settings of the timeline.
pub(super) async fn gateway(more: &[(&str, &str)]) -> Gateway {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let url = format!("http://{}", ingress.address);
    let outbound = Outbound::on(installation, &[100], Some(&url)).await;
    with_timeline(outbound, ingress, more).await
}

/// The same with an account that posts no reports.
pub(super) async fn silent_gateway() -> Gateway {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let outbound = Outbound::on(installation, &[100], None).await;
    with_timeline(outbound, ingress, &[]).await
}

async fn with_timeline(
    outbound: Outbound,
    ingress: crate::harness::RunningIngress,
    more: &[(&str, &str)],
) -> Gateway {
    let store = store_folder();
    let timeline = RunningTimeline::start(&outbound.installation, &store, more).await;
    Gateway { outbound, ingress, timeline, _store: store }
}

fn file(command_id: &str, media_id: &str) -> SendCommand {
    let document = OutboundMedia {
        source: Some(outbound_media::Source::MediaId(media_id.to_owned())),
        ..OutboundMedia::default()
    };
    SendCommand {
        content: Some(send_command::Content::Document(document)),
        ..text(0, command_id, CUSTOMER, "")
    }
}

#[tokio::test]
async fn a_delivered_message_with_a_file_is_whole_from_each_of_its_ids() {
    let gateway = gateway(&[]).await;
    let _normalizer = gateway.outbound.installation.normalizer().await;
    let _sender = gateway.outbound.sender().await;
    let media = gateway.outbound.media().await;
    let uploaded = stored(&media.url, "document", "application/pdf", bytes(b"%PDF-1.7", 4000)).await;
    let media_id = uploaded["id"].as_str().unwrap();
    gateway.outbound.publish(Priority::Interactive, &file("c-file", media_id)).await;
    let all = ["command", "result", "fetch", "report", "webhook"];
    let life = eventually("it is delivered", || async {
        let life = gateway.timeline.life("c-file", &all).await;
        (life["status"] == "READ" || life["status"] == "DELIVERED").then_some(life)
    })
    .await;
    let kinds = kinds_of(&life);
    assert_eq!(kinds[0], "command", "{kinds:?}");
    let place = |kind: &str| kinds.iter().position(|found| found == kind).unwrap();
    assert!(place("result") < place("report"), "{kinds:?}");
    assert_eq!(missing_in(&life), Vec::<String>::new(), "{life:#}");
    assert_eq!(life["channel"], "channel-0");
    assert_eq!(life["recipient"], "…78");
    for id in ["imc-c-file", media_id] {
        // A report may come between two answers.
        eventually(&format!("{id} has the same life"), || async {
            let (other, life) =
                (gateway.timeline.life(id, &all).await, gateway.timeline.life("c-file", &all).await);
            (kinds_of(&other) == kinds_of(&life)).then_some(())
        })
        .await;
    }
    let answer = gateway.timeline.get("/v1/timeline/c-file").await.1.to_string();
    assert!(!answer.contains("49151123"), "{answer}");
}

#[tokio::test]
async fn a_rejected_message_says_why() {
    let gateway = gateway(&[]).await;
    gateway.outbound.account.set_faults(Faults { rejected: 1.0, ..Faults::default() });
    let _sender = gateway.outbound.sender().await;
    gateway.outbound.publish(Priority::Interactive, &text(0, "c-rejected", CUSTOMER, "Hello")).await;
    let life = gateway.timeline.life("c-rejected", &["command", "result"]).await;
    assert_eq!(life["outcome"], "REJECTED");
    let result = life["rows"].as_array().unwrap().iter().find(|row| row["kind"] == "result").unwrap();
    assert!(!result["error"]["code"].as_str().unwrap().is_empty(), "{result:#}");
    assert_eq!(missing_in(&life), Vec::<String>::new(), "{life:#}");
}

#[tokio::test]
async fn a_message_without_a_report_says_so_and_stops_saying_so_when_one_comes() {
    let gateway = silent_gateway().await;
    set_report_after(&gateway.outbound, 1).await;
    let _sender = gateway.outbound.sender().await;
    gateway.outbound.publish(Priority::Interactive, &text(0, "c-silent", CUSTOMER, "Hello")).await;
    let is_missing = |answer: &Value| missing_in(&answer["lives"][0]).contains(&"no_report".to_owned());
    let answer = gateway.timeline.answer("c-silent", "no report", is_missing).await;
    let missing = &answer["lives"][0]["missing"][0];
    assert!(missing["text"].as_str().unwrap().contains("no report for"), "{missing}");
    assert!(!missing["advice"].as_str().unwrap().is_empty());
    let problems = eventually("it is a problem", || async {
        let (status, problems) = gateway.timeline.get("/v1/problems?rule=no_report").await;
        assert_eq!(status, StatusCode::OK);
        (!problems["problems"].as_array().unwrap().is_empty()).then_some(problems)
    })
    .await;
    assert_eq!(problems["problems"][0]["message"]["command_id"], "c-silent", "{problems:#}");
    report_sent(&gateway.outbound, "c-silent").await;
    eventually("the report was read", || async {
        let life = gateway.timeline.life("c-silent", &["report"]).await;
        let (_, problems) = gateway.timeline.get("/v1/problems?rule=no_report").await;
        (missing_in(&life).is_empty() && problems["problems"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
}

/// Stores a report of a message, as the normalizer does.
async fn report_sent(outbound: &Outbound, command_id: &str) {
    let event = ReportEvent {
        event_id: format!("report-of-{command_id}"),
        command_id: command_id.to_owned(),
        message_id: format!("imc-{command_id}"),
        status: ReportStatus::Sent.into(),
        ..ReportEvent::default()
    };
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let channel = bsp::ChannelId::parse("channel-0").unwrap();
    let subject = Subject::Event(EventKind::Report, bsp, channel);
    let headers = || Headers::new().with(headers::MESSAGE_ID, &event.event_id);
    let payload = prost::Message::encode_to_vec(&event).into();
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    outbound.installation.bus.store(&subject, headers, &payload, deadline).await.unwrap();
}

/// Changes the time after which a missing report is a problem, like `channel apply`.
pub(super) async fn set_report_after(outbound: &Outbound, seconds: u32) {
    let stored = bus::registry::read(&outbound.installation.bus, "channel-0").await.unwrap().unwrap();
    let record = channel::Record { report_after_s: Some(seconds), ..stored.record.unwrap() };
    bus::registry::put(&outbound.installation.bus, &record).await.unwrap();
}

#[tokio::test]
async fn a_webhook_that_cannot_be_read_leads_to_its_dead_letter() {
    let gateway = gateway(&[]).await;
    let _normalizer = gateway.outbound.installation.normalizer().await;
    let answer = Webhook::infobip("{ this is no JSON").post(gateway.ingress.address).await;
    assert_eq!(answer.status, StatusCode::OK);
    let sequence = gateway.outbound.installation.webhooks().await[0].sequence;
    let life = gateway.timeline.life(&format!("WEBHOOKS/{sequence}"), &["webhook", "dead_letter"]).await;
    let letter = life["rows"].as_array().unwrap().iter().find(|row| row["kind"] == "dead_letter").unwrap();
    assert!(!letter["error"]["code"].as_str().unwrap().is_empty(), "{letter:#}");
}

#[tokio::test]
async fn a_file_that_is_never_fetched_is_missing() {
    let gateway = gateway(&[("IMCHANNEL_TIMELINE_FETCH_AFTER", "1s")]).await;
    let _sender = gateway.outbound.sender().await;
    let media = gateway.outbound.media().await;
    let uploaded = stored(&media.url, "document", "application/pdf", bytes(b"%PDF-1.7", 4000)).await;
    // The account does not fetch what it cannot reach.
    media.stop().await;
    gateway
        .outbound
        .publish(Priority::Interactive, &file("c-unfetched", uploaded["id"].as_str().unwrap()))
        .await;
    let is_missing = |answer: &Value| missing_in(&answer["lives"][0]).contains(&"not_fetched".to_owned());
    gateway.timeline.answer("c-unfetched", "the file was not fetched", is_missing).await;
}

/// MEDIA's event names the last command only, and a BSP that keeps files asks once.
#[tokio::test]
async fn a_file_that_was_fetched_once_is_missing_in_no_message_that_names_it() {
    let gateway = gateway(&[("IMCHANNEL_TIMELINE_FETCH_AFTER", "1s")]).await;
    let _sender = gateway.outbound.sender().await;
    let media = gateway.outbound.media().await;
    let uploaded = stored(&media.url, "document", "application/pdf", bytes(b"%PDF-1.7", 4000)).await;
    let id = uploaded["id"].as_str().unwrap();
    gateway.outbound.publish(Priority::Interactive, &file("c-first", id)).await;
    gateway.timeline.life("c-first", &["result", "fetch"]).await;
    media.stop().await;
    // The account does not fetch what it cannot reach.
    gateway.outbound.publish(Priority::Interactive, &file("c-second", id)).await;
    let has_note = |answer: &Value| {
        let life = &answer["lives"][0];
        kinds_of(life).contains(&"result".to_owned()) && life["notes"].to_string().contains("was fetched at")
    };
    let answer = gateway.timeline.answer("c-second", "its file was fetched", has_note).await;
    assert!(!missing_in(&answer["lives"][0]).contains(&"not_fetched".to_owned()), "{answer:#}");
    let (_, problems) = gateway.timeline.get("/v1/problems?rule=not_fetched").await;
    assert_eq!(problems["problems"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn a_customers_message_has_its_webhook_and_shows_no_number() {
    let gateway = gateway(&[]).await;
    let _normalizer = gateway.outbound.installation.normalizer().await;
    let body = format!(
        r#"{{"app":"a","timestamp":1772359199000,"version":2,"type":"message","payload":{{"id":"wamid.HBgNNDkxNTExMjM0NTY3OBUCABIYFDNBQUI=","source":"{CUSTOMER}","type":"text","payload":{{"text":"my secret text"}},"sender":{{"phone":"{CUSTOMER}","name":"Jane Doe"}}}}}}"#
    );
    let answer = Webhook::gupshup(body).post(gateway.ingress.address).await;
    assert_eq!(answer.status, StatusCode::OK);
    let life =
        gateway.timeline.life("wamid.HBgNNDkxNTExMjM0NTY3OBUCABIYFDNBQUI=", &["message", "webhook"]).await;
    assert_eq!(life["message_id"], "wamid.…NBQUI=");
    assert_eq!(life["recipient"], "…78");
    let text = life.to_string();
    for personal in ["secret text", "Jane", "49151", "HBgNNDkx"] {
        assert!(!text.contains(personal), "{personal} in {text}");
    }
}

#[tokio::test]
async fn a_command_in_a_halted_lane_says_why_it_waits() {
    let gateway = gateway(&[("IMCHANNEL_TIMELINE_RESULT_AFTER", "1s")]).await;
    gateway.outbound.set_paused(0, true).await;
    let _sender = gateway.outbound.sender().await;
    eventually("the lane is halted", || async {
        gateway.outbound.halted(0).await.filter(|why| !why.is_empty())
    })
    .await;
    gateway.outbound.publish(Priority::Interactive, &text(0, "c-waiting", CUSTOMER, "Hello")).await;
    let says_why = |answer: &Value| {
        let missing = answer["lives"][0]["missing"].as_array().cloned().unwrap_or_default();
        missing.iter().any(|missing| {
            missing["rule"] == "no_result" && missing["text"].as_str().unwrap_or_default().contains("paused")
        })
    };
    gateway.timeline.answer("c-waiting", "it waits because the lane is paused", says_why).await;
}

#[tokio::test]
async fn an_id_of_two_channels_has_two_lives() {
    let installation = Installation::start().await;
    let outbound = Outbound::on(installation, &[100, 100], None).await;
    let store = store_folder();
    let timeline = RunningTimeline::start(&outbound.installation, &store, &[]).await;
    for number in [0, 1] {
        let command = text(number, "c-same", CUSTOMER, "Hello");
        let channel = crate::harness::outbound::channel(number);
        let id = format!("{channel}.c-same");
        let fields = [(headers::MESSAGE_ID, id.as_str())];
        let payload = prost::Message::encode_to_vec(&command);
        outbound.publish_raw(Priority::Interactive, &channel, payload, &fields).await;
    }
    let both = |answer: &Value| answer["lives"].as_array().is_some_and(|lives| lives.len() == 2);
    let answer = timeline.answer("c-same", "two lives", both).await;
    let channels: Vec<_> = answer["lives"].as_array().unwrap().iter().map(|life| &life["channel"]).collect();
    assert!(channels.contains(&&Value::from("channel-0")) && channels.contains(&&Value::from("channel-1")));
}

#[tokio::test]
async fn ids_with_any_bytes_are_not_found_and_say_what_was_read() {
    let installation = Installation::start().await;
    let store = store_folder();
    let timeline = RunningTimeline::start(&installation, &store, &[]).await;
    for id in
        ["%00", "a%2Fb%2F..%2Fc", "%F0%9F%92%A9", "%3Cscript%3E", "WEBHOOKS/18446744073709551615", "%FF%FE"]
    {
        let (status, answer) = timeline.get(&format!("/v1/timeline/{id}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{id}: {answer}");
        assert_eq!(answer["status"], 404, "{answer}");
    }
    let (status, _) = timeline.get("/v1/timeline?id=nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_message_whose_report_did_not_come_says_what_the_message_log_says() {
    let gateway = gateway(&[]).await;
    // Without a normalizer no report becomes an event.
    let bus = &gateway.outbound.installation.bus;
    let stored = bus::registry::read(bus, "channel-0").await.unwrap().unwrap();
    let record = channel::Record { report_after_s: Some(1), reconcile: true, ..stored.record.unwrap() };
    bus::registry::put(bus, &record).await.unwrap();
    let _sender = gateway.outbound.sender().await;
    gateway.outbound.publish(Priority::Interactive, &text(0, "c-lost", CUSTOMER, "Hello")).await;
    gateway.outbound.result("c-lost").await;
    gateway.outbound.account.set_fate("imc-c-lost", Fate::Rejected);
    let life = eventually("the log was asked", || async {
        let life = gateway.timeline.life("c-lost", &["command", "result", "report"]).await;
        (life["status"] == "FAILED").then_some(life)
    })
    .await;
    let notes = life["notes"].to_string();
    for words in ["no report for", "infobip's log was asked at", "REJECTED_NOT_ENOUGH_CREDITS"] {
        assert!(notes.contains(words), "{life:#}");
    }
    assert_eq!(missing_in(&life), Vec::<String>::new(), "{life:#}");
}
