//! A timeline takes over the folder that the version before has written, and that version refuses it afterwards, if the form has changed.

use std::path::Path;

use bus::Priority;
use bus::streams::EVENTS;
use bus::{EventKind, Headers, Subject, headers};
use prost::Message;
use proto::v1::{EventSource, ReportEvent, ReportStatus};
use serde_json::Value;

use crate::PART_LIMIT;
use crate::harness::outbound::{Outbound, channel, text};
use crate::harness::timeline::{RunningTimeline, store_folder};
use crate::harness::{Program, eventually};
use crate::upgrade::Version;

const CUSTOMER: &str = "4915112345678";
const WORDS: &str = "the secret word is zebra";
const PROGRAM: &str = "imchannel-timeline";
/// Without a rule of their own, campaigns are judged as other messages are.
const SHORT: (&str, &str) = ("IMCHANNEL_TIMELINE_RESULT_AFTER", "1s");

/// A report of the message log, which a version without reconciliation reads past.
async fn store_reconciled(outbound: &Outbound, command_id: &str) {
    let bsp = bsp::registry::find("infobip").unwrap().profile().id;
    let report = ReportEvent {
        event_id: "0123456789abcdef0123456789abcdef".to_owned(),
        bsp: "infobip".to_owned(),
        channel_id: channel(0).to_string(),
        message_id: format!("imc-{command_id}"),
        command_id: command_id.to_owned(),
        status: ReportStatus::Delivered.into(),
        source: Some(EventSource { reconciled: true, ..EventSource::default() }),
        ..ReportEvent::default()
    };
    let headers = || Headers::new().with(headers::MESSAGE_ID, &report.event_id);
    let deadline = tokio::time::Instant::now() + PART_LIMIT;
    let subject = Subject::Event(EventKind::Report, bsp, channel(0));
    let payload = report.encode_to_vec().into();
    outbound.installation.bus.store(&subject, headers, &payload, deadline).await.unwrap();
}

/// The rule by which a command is waited for, once it is overdue.
async fn overdue_by(timeline: &RunningTimeline, command_id: &str) -> String {
    eventually(&format!("{command_id} is a problem"), || async {
        let (_, answer) = timeline.get("/v1/problems").await;
        let problems = answer["problems"].as_array()?.clone();
        let of = problems.iter().find(|problem| problem["message"]["command_id"] == command_id)?;
        Some(of["rule"].as_str().unwrap().to_owned())
    })
    .await
}

/// The messages, newest first, without what an answer says of the moment, and what one of the versions does not say.
async fn messages(timeline: &RunningTimeline) -> Vec<Value> {
    let (_, mut answer) = timeline.get("/v1/messages").await;
    let mut messages = answer["messages"].take().as_array().unwrap().clone();
    for message in &mut messages {
        let message = message.as_object_mut().unwrap();
        ["missing", "cut"].iter().for_each(|key| drop(message.remove(*key)));
    }
    messages
}

fn form(folder: &Path) -> Vec<u8> {
    // `user_version` is at byte 60 of the header of a database.
    std::fs::read(folder.join("open.sqlite")).unwrap()[60..64].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_takes_over_the_folder_of_the_version_before() {
    service::process::install_crypto_provider();
    let (previous, this) = (Version::previous(), Version::this());
    if !previous.has(PROGRAM) {
        return;
    }
    let outbound = Outbound::start(&[100]).await;
    let installation = &outbound.installation;
    let folder = store_folder();
    let full = [SHORT, ("IMCHANNEL_TIMELINE_BODIES", "full")];
    let (mut before, _) =
        RunningTimeline::start_program(&previous.program(PROGRAM), installation, &folder, &full).await;
    let mut sender = outbound.sender_program_of(&previous.program("imchannel-sender"), &[]);
    outbound.publish(Priority::Interactive, &text(0, "sent", CUSTOMER, WORDS)).await;
    outbound.result("sent").await;
    store_reconciled(&outbound, "sent").await;
    assert!(sender.stop().await);
    outbound.publish(Priority::Bulk, &text(0, "campaign", CUSTOMER, WORDS)).await;
    outbound.publish(Priority::Interactive, &text(0, "agent", CUSTOMER, WORDS)).await;
    before.life("sent", &["command", "attempt", "result", "report"]).await;
    overdue_by(&before, "campaign").await;
    overdue_by(&before, "agent").await;
    let known = messages(&before).await;
    assert_eq!(known.len(), 3);
    assert!(before.program.stop().await);
    let form_before = form(folder.path());

    let (mut after, _) =
        RunningTimeline::start_program(&this.program(PROGRAM), installation, &folder, &[SHORT]).await;
    assert_eq!(messages(&after).await, known);
    let life = after.life("sent", &["command", "attempt", "result", "report"]).await;
    assert!(!life.to_string().contains("zebra"), "a text of before the change back to masked: {life:#}");
    assert_eq!(overdue_by(&after, "campaign").await, "no_bulk_result");
    assert_eq!(overdue_by(&after, "agent").await, "no_result");
    // What comes next is read on.
    let last = bus::read::last_sequence(&installation.bus, &EVENTS).await.unwrap();
    let mut sender = outbound.sender_program(&[]);
    outbound.result("campaign").await;
    after.life("campaign", &["command", "attempt", "result"]).await;
    assert!(bus::read::last_sequence(&installation.bus, &EVENTS).await.unwrap() > last);
    assert!(sender.stop().await && after.program.stop().await);
    if form(folder.path()) == form_before {
        return;
    }
    let path = folder.path().to_string_lossy().into_owned();
    let variables = [("IMCHANNEL_TIMELINE_DIR", path.as_str()), ("IMCHANNEL_TIMELINE_LISTEN", "127.0.0.1:0")];
    let mut refusing = Program::start(&previous.program(PROGRAM), installation, &variables);
    let taken_over = std::fs::read(folder.path().join("open.sqlite")).unwrap();
    assert!(!refusing.ended_well().await, "it does not refuse files that it cannot read");
    assert_eq!(std::fs::read(folder.path().join("open.sqlite")).unwrap(), taken_over);
}
