//! How the channels are.

use std::collections::HashMap;
use std::sync::Arc;

use bsp::SettingsContext;
use channel::{Channels, CredentialKey};
use lane_state::{HaltReason, LaneBacklog, LaneState};
use timeline::admin::{AdminView, Counted, Counter, CounterKey, PortView};
use timeline::http::answer::{ChannelHealthAnswer, ChannelsAnswer, PasswordAnswer, RefusedAnswer};

use crate::stage::{Stage, at};

const FILE: &str = r#"
[[channel]]
id = "sales"
bsp = "infobip"
tenant = "acme"
webhook = [{ password = "the-old-password" }, { password = "the-new-password" }]
[channel.infobip]
base_url = "https://xxxx.api.infobip.com"
api_key = "env:INFOBIP_API_KEY"
scenario_key = "a-scenario"
[[channel]]
id = "inbox"
bsp = "koomessage"
tenant = "acme"
webhook = [{ password = "another-password" }]
"#;

fn registry() -> Arc<Channels> {
    let key = CredentialKey::new(&[7; 32]).unwrap();
    let mut channels = Channels::default();
    for channel in channel::file::parse(FILE, &SettingsContext::default()).unwrap() {
        channels.insert(channel.to_record(&key).to_channel().unwrap());
    }
    Arc::new(channels)
}

fn counted(counter: Counter, channel: &str, label: &str, recent: u64) -> Counted {
    let bsp = if counter == Counter::Refused { "infobip" } else { "" };
    let key =
        CounterKey { counter, channel: channel.to_owned(), bsp: bsp.to_owned(), label: label.to_owned() };
    let last_at = (recent > 0).then(|| at(3500));
    Counted { key, recent, total: recent + 100, last_at }
}

fn port(url: &str, error: &str) -> PortView {
    PortView {
        url: url.to_owned(),
        address: Some(([192, 0, 2, 1], 9090).into()),
        program: "imchannel-ingress".to_owned(),
        version: "0.1.0".to_owned(),
        read_at: Some(at(3590)),
        failed_since: (!error.is_empty()).then(|| at(3000)),
        error: error.to_owned(),
    }
}

/// What an ingress and a sender say.
fn admin() -> AdminView {
    AdminView {
        ports: vec![port("http://ingress:9090", ""), port("http://sender:9090", "")],
        counted_since: Some(at(0)),
        has_ingress: true,
        has_sender: true,
        counts: vec![
            counted(Counter::Refused, "", "unknown_channel", 2),
            counted(Counter::Refused, "sales", "wrong_credential", 3),
            counted(Counter::Credential, "sales", "1", 0),
            counted(Counter::Credential, "sales", "2", 8),
            counted(Counter::Result, "sales", "accepted", 5),
        ],
    }
}

fn halted() -> HashMap<String, LaneState> {
    let error = "401 <script>alert(1)</script>".to_owned();
    let state = LaneState {
        owner: "sender-1".to_owned(),
        halted: Some(HaltReason::AccountFails { error }),
        next_try_s: Some(4),
        waits: LaneBacklog { commands: 7, oldest_ms: Some(at(600).as_millisecond()) },
        ..LaneState::default()
    };
    HashMap::from([("sales".to_owned(), state)])
}

async fn filled() -> Stage {
    let mut stage = Stage::new().await;
    stage.store(stage.accepted("order-1", 0)).await;
    stage.channels.send_replace(Some(registry()));
    stage.lanes.send_replace(Some(Arc::new(halted())));
    stage.admin.send_replace(Arc::new(admin()));
    stage
}

#[tokio::test]
async fn a_channel_says_how_it_is() {
    let stage = filled().await;
    let answer: ChannelsAnswer = stage.get("/v1/channels").await.json();
    let names: Vec<_> = answer.channels.iter().map(|of| (of.channel.as_str(), of.sends)).collect();
    assert_eq!(names, [("inbox", false), ("sales", true)]);
    assert!(!answer.sources.partial, "{:?}", answer.sources);
    let sales = &answer.channels[1];
    assert_eq!((sales.bsp.as_str(), sales.tenant.as_str(), sales.paused), ("infobip", "acme", false));
    let lane = sales.lane.as_ref().unwrap();
    assert_eq!((lane.owner.as_str(), lane.waiting, lane.oldest_waiting_at), ("sender-1", 7, Some(at(600))));
    let halted = lane.halted.as_ref().unwrap();
    assert_eq!(halted.reason, "account_fails");
    assert!(halted.text.ends_with("next try in 4 s"), "{}", halted.text);
    let refused = |cause: &str, recent| RefusedAnswer {
        bsp: "infobip".to_owned(),
        cause: cause.to_owned(),
        recent,
        total: recent + 100,
        last_at: Some(at(3500)),
    };
    assert_eq!(sales.refused, Some(vec![refused("wrong_credential", 3)]));
    assert_eq!(answer.refused_without_channel, Some(vec![refused("unknown_channel", 2)]));
    let passwords = vec![
        PasswordAnswer { number: 1, recent: 0, total: 100, last_at: None },
        PasswordAnswer { number: 2, recent: 8, total: 108, last_at: Some(at(3500)) },
    ];
    assert_eq!(sales.passwords, Some(passwords));
    let results = sales.results.as_ref().unwrap();
    assert_eq!((results[0].outcome.as_str(), results[0].recent), ("ACCEPTED", 5));
    assert_eq!((sales.problems[0].rule.as_str(), sales.problems[0].count), ("no_report", 1));
    let inbox = &answer.channels[0];
    assert_eq!((inbox.lane.is_none(), inbox.refused.as_deref()), (true, Some(&[][..])));
    assert_eq!(inbox.passwords.as_ref().unwrap().len(), 1);
    assert!(inbox.problems.is_empty());
    let one: ChannelHealthAnswer = stage.get("/v1/channels/sales").await.json();
    assert_eq!((&one.channel, &one.sources), (sales, &answer.sources));
}

#[tokio::test]
async fn an_answer_says_what_could_not_be_read() {
    let stage = Stage::new().await;
    let answer: ChannelsAnswer = stage.get("/v1/channels").await.json();
    let sources: Vec<_> = answer.sources.not_read.iter().map(|of| of.source.as_str()).collect();
    assert_eq!((answer.sources.partial, sources), (true, vec!["registry", "lanes", "admin_ports"]));
    assert!(answer.channels.is_empty() && answer.refused_without_channel.is_none());
    stage.get("/v1/channels/sales").await.problem(503);
    // A port that cannot be read: its process still runs elsewhere, and its counts are missing.
    let stage = filled().await;
    let ports = vec![port("http://ingress:9090", "timed out after 2 s")];
    stage.admin.send_replace(Arc::new(AdminView { ports, has_sender: false, ..admin() }));
    let answer: ChannelsAnswer = stage.get("/v1/channels").await.json();
    let failed = &answer.sources.admin_ports[0];
    assert!(answer.sources.partial);
    assert_eq!((failed.failed_since, failed.error.as_str()), (Some(at(3000)), "timed out after 2 s"));
    assert_eq!(answer.channels[1].results, None);
    assert_eq!(answer.sources.not_read[0].source, "admin_ports");
}

#[tokio::test]
async fn another_channel_or_parameter_is_refused() {
    let stage = filled().await;
    for path in ["/v1/channels/unknown", "/v1/channels/%00", "/channels/unknown"] {
        stage.get(path).await.problem(404);
    }
    for path in ["/v1/channels?tenant=acme", "/v1/channels/sales?x=1"] {
        assert_eq!(stage.get(path).await.problem(400).faults.len(), 1, "{path}");
    }
}

#[tokio::test]
async fn the_pages_show_the_same_and_take_no_text_as_markup() {
    let stage = filled().await;
    let page = async |path: &str| {
        let got = stage.get(path).await;
        assert_eq!(got.status.as_u16(), 200, "{path}");
        String::from_utf8(got.body).unwrap()
    };
    let all = page("/channels").await;
    for part in ["halted", "1 problem", "3 refused", "receives only", "unknown channel in the URL"] {
        assert!(all.contains(part), "no {part} in {all}");
    }
    assert!(all.contains(r#"href="/channels/sales""#) && !all.contains("<script>alert"), "{all}");
    assert!(!all.contains("Not everything could be read"), "{all}");
    let file = page("/channels.csv").await;
    let sales = file.lines().find(|line| line.starts_with("\"sales\"")).unwrap();
    assert!(sales.contains("\"sender-1\"") && sales.ends_with("\"3\",\"1\""), "{file}");
    let one = page("/channels/sales").await;
    for part in
        ["Nothing is sent", "wrong password", "before the timeline counted", "/problems?channel=sales"]
    {
        assert!(one.contains(part), "no {part} in {one}");
    }
    assert!(!one.contains("<script>alert"), "{one}");
    let ports = vec![port("http://ingress:9090", "timed out after 2 s")];
    stage.admin.send_replace(Arc::new(AdminView { ports, ..admin() }));
    let partial = page("/channels").await;
    assert!(partial.contains("Not everything could be read") && partial.contains("timed out after 2 s"));
}
