//! Compares the simulated traffic with the gateway's parsers, without a network: the parsers must find the expected
//! events.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::HashSet;

use bsp::{ChannelId, Outcome, SettingsContext, Webhook, registry};
use bytes::Bytes;
use channel::Secrets;
use jiff::Timestamp;
use proto::v1::ReportStatus;
use proto::v1::inbound_message::Content;
use simulator::{Expected, Mix, Plan, RunTag, Target, Traffic, TwilioRetries};

const CHANNELS: &str = include_str!("../../../examples/channels.toml");
const COUNT: usize = 4_000;

fn targets() -> Vec<Target> {
    let channels = channel::file::parse(CHANNELS, &SettingsContext::default()).unwrap();
    let target = |channel| Target::new("http://gateway", channel, &Secrets::default()).unwrap();
    channels.iter().map(target).collect()
}

fn traffic(seed: u64) -> Traffic {
    let plan = Plan {
        rate_per_s: 100.0,
        count: None,
        seed,
        run: RunTag(0xabcd_1234),
        speed: 1.0,
        mix: Mix { unknown: 0.05, broken: 0.05, deleted: 0.1, ..Mix::default() },
        twilio_retries: TwilioRetries::All,
    };
    Traffic::new(plan, targets(), "2026-03-01T10:00:00Z".parse().unwrap())
}

/// What the gateway's parsers produce of a body, without the fields that only the gateway sets.
fn found(name: &str, body: &[u8]) -> Vec<Expected> {
    let (bsp, channel) = name.split_once('/').unwrap();
    let channel = ChannelId::parse(channel).unwrap();
    let body = Bytes::copy_from_slice(body);
    let webhook = Webhook { channel: &channel, body: &body, received_at: Timestamp::UNIX_EPOCH, sequence: 1 };
    let items = registry::find(bsp).unwrap().parse(&webhook).items;
    let outcomes = items.into_iter().map(|item| match item.outcome {
        Outcome::Report(mut report) => {
            report.event_id.clear();
            (report.received_at, report.source) = (None, None);
            Expected::Report(report)
        }
        Outcome::Message(mut message) => {
            message.event_id.clear();
            (message.received_at, message.source) = (None, None);
            Expected::Message(message)
        }
        Outcome::Account(mut event) => {
            event.event_id.clear();
            (event.received_at, event.source) = (None, None);
            Expected::Account(event)
        }
        Outcome::Customer(mut event) => {
            event.event_id.clear();
            (event.received_at, event.source) = (None, None);
            Expected::Customer(event)
        }
        Outcome::Rejected(reject) => {
            Expected::DeadLetter { channel: channel.to_string(), payload: reject.raw }
        }
        Outcome::Ignored(kind) => panic!("{name}: an item was ignored: {kind}"),
    });
    outcomes.collect()
}

#[test]
fn the_parsers_find_what_the_simulated_bsps_say() {
    let names: Vec<String> = targets().iter().map(Target::name).collect();
    let (mut statuses, mut unsupported, mut dead, mut batches) = (HashSet::new(), 0, 0, 0);
    let (mut templates, mut payments) = (0, 0);
    for webhook in traffic(1).take(COUNT) {
        let name = &names[webhook.target()];
        let text = String::from_utf8_lossy(webhook.bytes()).into_owned();
        assert_eq!(found(name, webhook.bytes()), webhook.expected(), "{name}: {text}");
        batches += usize::from(webhook.expected().len() > 1);
        for item in webhook.expected() {
            match item {
                Expected::Report(report) => {
                    statuses.insert((report.bsp.clone(), report.status()));
                }
                Expected::Message(message) => {
                    unsupported += usize::from(matches!(message.content, Some(Content::Unsupported(_))));
                }
                Expected::Account(_) => templates += 1,
                Expected::Customer(_) => payments += 1,
                Expected::DeadLetter { .. } => dead += 1,
            }
        }
    }
    for bsp in ["infobip", "koomessage", "gupshup", "twilio"] {
        for status in
            [ReportStatus::Unrecognized, ReportStatus::Failed, ReportStatus::Delivered, ReportStatus::Read]
        {
            assert!(statuses.contains(&(bsp.to_owned(), status)), "{bsp} never reports {status:?}");
        }
    }
    assert!(unsupported > 0 && dead > 0 && batches > 0, "{unsupported} {dead} {batches}");
    assert!(templates > 0 && payments > 0, "{templates} {payments}");
}

#[test]
fn the_same_seed_makes_the_same_webhooks_and_another_makes_others() {
    let bodies = |seed| traffic(seed).take(500).map(|webhook| webhook.bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(bodies(7), bodies(7));
    assert_ne!(bodies(7), bodies(8));
}

#[test]
fn every_event_of_a_run_has_a_name_of_its_own() {
    let mut events = HashSet::new();
    let mut bodies = HashSet::new();
    for webhook in traffic(3).take(COUNT) {
        // A retry has the same body.
        if !bodies.insert(webhook.bytes().to_vec()) {
            continue;
        }
        for item in webhook.expected() {
            let name = match item {
                Expected::Report(report) => {
                    let raw = &report.provider_status.as_ref().unwrap().raw;
                    format!("{} {} {raw}", report.channel_id, report.message_id)
                }
                Expected::Message(message) => format!("{} {}", message.channel_id, message.message_id),
                Expected::Account(event) => format!("{} {}", event.channel_id, event.raw_json),
                Expected::Customer(event) => {
                    let payment = event.payment.as_ref().map(|payment| &payment.reference);
                    let customer = &event.customer.as_ref().unwrap().user_id;
                    format!("{} customer {}", event.channel_id, payment.unwrap_or(customer))
                }
                Expected::DeadLetter { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
            };
            assert!(name.contains("abcd1234"), "{name}");
            assert!(events.insert(name.clone()), "twice: {name}");
        }
    }
}
