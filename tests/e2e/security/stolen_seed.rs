//! What a stolen seed allows on the bus beyond its user's work: every user sends every request that it may send, with a
//! JetStream call in place of its own reply subject. SECURITY.md names what succeeds, and nothing else may succeed.

use std::time::Duration;

use async_nats::Client;
use serde_json::{Value, json};

use crate::harness::secured::{Secured, root};

/// The users, and their inboxes.
const USERS: [(&str, &str); 9] = [
    ("ingress", "_INBOX_imchannel-ingress"),
    ("normalizer", "_INBOX_imchannel-normalizer"),
    ("sender", "_INBOX_imchannel-sender"),
    ("media", "_INBOX_imchannel-media"),
    ("timeline", "_INBOX_imchannel-timeline"),
    ("eraser", "_INBOX_imchannel-eraser"),
    ("aicc", "_INBOX_aicc"),
    ("provisioner", "_INBOX_imchannel-provisioner"),
    ("operator", "_INBOX_imchannel-operator"),
];
const STREAMS: [&str; 4] = ["WEBHOOKS", "EVENTS", "COMMANDS", "DEADLETTERS"];
const BUCKETS: [&str; 4] =
    ["KV_imchannel_channels", "KV_imchannel_sends", "KV_imchannel_lanes", "KV_imchannel_marks"];
const DURABLES: [(&str, &str); 3] =
    [("WEBHOOKS", "normalizer"), ("EVENTS", "aicc"), ("COMMANDS", "send-channel-0")];
/// What is published, and by whom, so that every stream and bucket holds something.
const WORK: [(&str, &str); 9] = [
    ("ingress", "imchannel.webhook.infobip.channel-0"),
    ("normalizer", "imchannel.event.report.infobip.channel-0"),
    ("sender", "imchannel.event.send.infobip.channel-0"),
    ("operator", "imchannel.command.send.channel-0"),
    ("normalizer", "imchannel.deadletter.webhook.channel-0"),
    ("provisioner", "$KV.imchannel_channels.other"),
    ("sender", "$KV.imchannel_sends.channel-0.0123"),
    ("sender", "$KV.imchannel_lanes.lane.other"),
    ("sender", "$KV.imchannel_marks.other"),
];
/// Messages of each of those.
const WORK_COUNT: usize = 5;
/// A stream that no user may create. Published messages contain it in their bodies, like a webhook or a command of a
/// stranger could.
const PLANTED: &str = "PLANTED";
const FORGED_CHANNEL: &str = "$KV.imchannel_channels.forged";
const FORGED_MARK: &str = "$KV.imchannel_marks.KV_imchannel_sends";
/// Heartbeat of the consumers: the shortest that the server accepts.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// How long to wait for a harm. It takes some milliseconds; a consumer's heartbeat comes after a tenth of a second.
const WATCHED: Duration = Duration::from_millis(1500);

/// A kind of harm: a column of the table in SECURITY.md.
struct Harm {
    column: &'static str,
    /// Calls that do it, each with a body for a user that may make it directly.
    calls: fn() -> Vec<(String, String)>,
    /// A number that grows when it is done.
    measure: Measure,
}

#[derive(Clone, Copy)]
enum Measure {
    /// Messages that were deleted from the streams, including those of missing streams.
    Gone(&'static [&'static str]),
    /// Streams that are missing.
    Missing,
    /// Durables that are missing.
    MissingDurables,
    /// The last sequence of a stream's subject.
    Last { stream: &'static str, subject: &'static str },
    /// Whether the planted stream exists.
    Planted,
}

/// In an order in which each leaves something for the next to destroy.
fn harms() -> Vec<Harm> {
    vec![
        Harm {
            column: "writes channels",
            calls: || vec![(FORGED_CHANNEL.to_owned(), planted_body())],
            measure: Measure::Last { stream: BUCKETS[0], subject: FORGED_CHANNEL },
        },
        Harm {
            column: "writes the ledger",
            calls: || vec![("$KV.imchannel_sends.channel-0.forged".to_owned(), planted_body())],
            measure: Measure::Last { stream: BUCKETS[1], subject: "$KV.imchannel_sends.channel-0.forged" },
        },
        Harm {
            column: "writes marks",
            calls: || vec![(FORGED_MARK.to_owned(), planted_body())],
            measure: Measure::Last { stream: BUCKETS[3], subject: FORGED_MARK },
        },
        Harm {
            column: "forges commands",
            calls: || vec![("imchannel.command.send.forged".to_owned(), planted_body())],
            measure: Measure::Last { stream: "COMMANDS", subject: "imchannel.command.send.forged" },
        },
        Harm {
            column: "forges events",
            calls: || vec![("imchannel.event.report.infobip.forged".to_owned(), planted_body())],
            measure: Measure::Last { stream: "EVENTS", subject: "imchannel.event.report.infobip.forged" },
        },
        Harm {
            column: "any call",
            calls: || vec![(format!("$JS.API.STREAM.CREATE.{PLANTED}"), planted_body())],
            measure: Measure::Planted,
        },
        Harm {
            column: "empties buckets",
            calls: || {
                [calls("STREAM.PURGE", &BUCKETS, "{}"), calls("STREAM.MSG.DELETE", &BUCKETS, ONE)].concat()
            },
            // Leases expire by themselves.
            measure: Measure::Gone(&[BUCKETS[0], BUCKETS[1], BUCKETS[3]]),
        },
        Harm {
            column: "removes messages",
            calls: || calls("STREAM.MSG.DELETE", &STREAMS, ONE),
            measure: Measure::Gone(&STREAMS),
        },
        Harm {
            column: "empties streams",
            calls: || calls("STREAM.PURGE", &STREAMS, "{}"),
            measure: Measure::Gone(&STREAMS),
        },
        Harm {
            column: "deletes durables",
            calls: || {
                let names =
                    DURABLES.map(|(stream, durable)| format!("$JS.API.CONSUMER.DELETE.{stream}.{durable}"));
                names.into_iter().map(|subject| (subject, String::new())).collect()
            },
            measure: Measure::MissingDurables,
        },
        Harm {
            column: "deletes streams",
            calls: || [calls("STREAM.DELETE", &STREAMS, ""), calls("STREAM.DELETE", &BUCKETS, "")].concat(),
            measure: Measure::Missing,
        },
    ]
}

const ONE: &str = "{\"seq\":1}";

fn calls(call: &str, streams: &[&str], body: &str) -> Vec<(String, String)> {
    streams.iter().map(|stream| (format!("$JS.API.{call}.{stream}"), body.to_owned())).collect()
}

fn planted_body() -> String {
    json!({ "name": PLANTED, "subjects": ["planted"], "storage": "memory" }).to_string()
}

/// An installation with one of each, and an observer.
struct Target {
    secured: Secured,
    provisioner: Client,
    operator: Client,
}

impl Target {
    async fn start() -> Self {
        let secured = Secured::start().await;
        let channels = secured.folder().join("channels.toml");
        let file = "[[channel]]\nid = \"channel-0\"\nbsp = \"infobip\"\ntenant = \"t\"\nwebhook = [{ password = \"p\" }]\n\
                    [channel.infobip]\nbase_url = \"https://127.0.0.1:1\"\napi_key = \"file:infobip_api_key\"\n\
                    scenario_key = \"S\"\nsends_per_second = 1\n";
        std::fs::write(&channels, file).unwrap();
        let provisioner = connect(&secured, "provisioner").await;
        let operator = connect(&secured, "operator").await;
        Self { secured, provisioner, operator }
    }

    /// Deletes the consumers of the last attack, creates what is missing, and stores some messages everywhere.
    async fn restore(&self) {
        for stream in STREAMS.iter().chain(&BUCKETS) {
            let names = ask(&self.operator, &format!("$JS.API.CONSUMER.NAMES.{stream}"), "").await;
            for name in names["consumers"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let is_durable = DURABLES.contains(&(*stream, name)) || name == "bulk-channel-0";
                let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{name}");
                if !is_durable {
                    ask(&self.operator, &subject, "").await;
                }
            }
        }
        // A heartbeat that was delivered there is stored with its status line, and a client treats it as a status.
        self.operator.publish(FORGED_CHANNEL, planted_body().into()).await.unwrap();
        self.operator.flush().await.unwrap();
        let channels = self.secured.folder().join("channels.toml");
        self.secured.cli("provisioner", &["setup", "--channels", channels.to_str().unwrap()]).await;
        for (user, subject) in WORK {
            let client = connect(&self.secured, user).await;
            for _ in 0..WORK_COUNT {
                let stored = ask(&client, subject, &planted_body()).await;
                assert!(stored["seq"].is_u64(), "{user} {subject}: {stored}");
            }
        }
    }

    async fn measure(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Gone(streams) => {
                let mut gone = 0;
                for stream in streams {
                    let state = self.info(stream).await["state"].take();
                    let number = |name: &str| state[name].as_u64().unwrap_or_default();
                    // A bucket keeps one message of a key, so its sequences have holes: its values are counted from above.
                    let held = number("messages");
                    gone += if BUCKETS.contains(stream) { 1000 - held } else { number("last_seq") - held };
                }
                gone
            }
            Measure::Missing => {
                let mut missing = 0;
                for stream in STREAMS.iter().chain(&BUCKETS) {
                    missing += u64::from(self.info(stream).await["state"].is_null());
                }
                missing
            }
            Measure::MissingDurables => {
                let mut missing = 0;
                for (stream, durable) in DURABLES {
                    let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{durable}");
                    missing += u64::from(ask(&self.provisioner, &subject, "").await["name"].is_null());
                }
                missing
            }
            Measure::Last { stream, subject } => {
                let body = json!({ "last_by_subj": subject }).to_string();
                let found = ask(&self.operator, &format!("$JS.API.STREAM.MSG.GET.{stream}"), &body).await;
                found["message"]["seq"].as_u64().unwrap_or_default()
            }
            Measure::Planted => {
                let account = ask(&self.operator, "$JS.API.INFO", "").await;
                account["streams"].as_u64().unwrap().saturating_sub((STREAMS.len() + BUCKETS.len()) as u64)
            }
        }
    }

    async fn info(&self, stream: &str) -> Value {
        ask(&self.provisioner, &format!("$JS.API.STREAM.INFO.{stream}"), "").await
    }

    /// Whether a number grows. It waits the whole time, because the effect of a request may still be on its way.
    async fn grows(&self, measure: Measure, before: u64) -> bool {
        tokio::time::sleep(WATCHED).await;
        self.measure(measure).await > before
    }

    /// What a user can do of a harm.
    async fn try_harm(&self, client: &Client, harm: &Harm) -> &'static str {
        let before = self.measure(harm.measure).await;
        for (subject, body) in (harm.calls)() {
            client.publish(subject, body.into()).await.unwrap();
        }
        client.flush().await.unwrap();
        let may_directly = self.grows(harm.measure, before).await;
        let before = self.measure(harm.measure).await;
        for (subject, _) in (harm.calls)() {
            abuse(client, &subject).await;
        }
        client.flush().await.unwrap();
        match (self.grows(harm.measure, before).await, may_directly) {
            (true, _) => "yes",
            (false, true) => "its work",
            (false, false) => "no",
        }
    }
}

async fn connect(secured: &Secured, user: &str) -> Client {
    let inbox = USERS.iter().find(|(name, _)| *name == user).unwrap().1;
    let options = async_nats::ConnectOptions::new().nkey(secured.seed(user).expose().to_owned());
    options.custom_inbox_prefix(inbox).connect(secured.nats.url()).await.unwrap()
}

async fn ask(client: &Client, subject: &str, body: &str) -> Value {
    let answer = client.request(subject.to_owned(), body.to_owned().into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap_or_default()
}

/// Sends every request with `call` as the reply subject; the server refuses those that the user must not send. Then it
/// makes consumers deliver there, whose heartbeats are empty messages.
async fn abuse(client: &Client, call: &str) {
    for (subject, body) in requests() {
        client.publish_with_reply(subject, call.to_owned(), body.into()).await.unwrap();
    }
    for stream in STREAMS.iter().chain(&BUCKETS) {
        for (subject, name, filter) in consumers(stream) {
            let config = json!({
                "name": name,
                "filter_subject": filter,
                "deliver_subject": call,
                "deliver_policy": "all",
                "ack_policy": "none",
                "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
            });
            let body = json!({ "stream_name": stream, "config": config }).to_string();
            let reply = client.new_inbox();
            client.publish_with_reply(subject, reply, body.into()).await.unwrap();
        }
    }
}

/// Ways to create a consumer: without a name, with the name that the timeline may use, and with a name and a filter.
fn consumers(stream: &str) -> [(String, Option<&'static str>, String); 3] {
    let filter = match stream.strip_prefix("KV_") {
        Some(bucket) => format!("$KV.{bucket}.>"),
        None => "imchannel.command.>".to_owned(),
    };
    let subject = format!("$JS.API.CONSUMER.CREATE.{stream}");
    [
        (subject.clone(), None, String::new()),
        (format!("{subject}.timeline"), Some("timeline"), String::new()),
        (format!("{subject}.thief.{filter}"), Some("thief"), filter),
    ]
}

/// Every kind of request that some user may make, and publishes, whose acknowledgements are answers too.
fn requests() -> Vec<(String, String)> {
    let mut all = vec![("$JS.API.INFO".to_owned(), String::new())];
    for stream in STREAMS.iter().chain(&BUCKETS) {
        let plain = ["STREAM.INFO", "CONSUMER.NAMES", "STREAM.UPDATE", "STREAM.CREATE", "CONSUMER.CREATE"];
        all.extend(plain.map(|call| (format!("$JS.API.{call}.{stream}"), String::new())));
        all.push((format!("$JS.API.STREAM.MSG.GET.{stream}"), ONE.to_owned()));
        // There is nothing below the first sequence.
        all.push((format!("$JS.API.STREAM.PURGE.{stream}"), ONE.to_owned()));
        all.push((format!("$JS.API.CONSUMER.DELETE.{stream}.missing"), String::new()));
    }
    for (_, subject) in WORK {
        all.push((subject.to_owned(), planted_body()));
        if let Some(bucket) = subject.strip_prefix("$KV.").and_then(|key| key.split('.').next()) {
            all.push((format!("$JS.API.DIRECT.GET.KV_{bucket}.{subject}"), String::new()));
        }
    }
    for (stream, durable) in DURABLES {
        all.push((format!("$JS.API.CONSUMER.INFO.{stream}.{durable}"), String::new()));
        // The last requests find nothing: their response is an empty message.
        for _ in 0..4 * WORK_COUNT {
            let body = json!({ "batch": 1, "no_wait": true }).to_string();
            all.push((format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"), body));
        }
        for body in ["", "+NXT"] {
            all.push((format!("$JS.ACK.{stream}.{durable}.1.1.1.1.0"), body.to_owned()));
            all.push((format!("$JS.ACK._.hash.{stream}.{durable}.1.1.1.1.0.token"), body.to_owned()));
        }
    }
    all.push(("imchannel.event.media.infobip.channel-0".to_owned(), planted_body()));
    all
}

/// A user's row: what it can do of every harm.
async fn row(user: &'static str) -> Vec<(&'static str, &'static str)> {
    let target = Target::start().await;
    let client = connect(&target.secured, user).await;
    let mut found = Vec::new();
    for harm in harms() {
        target.restore().await;
        found.push((harm.column, target.try_harm(&client, &harm).await));
    }
    found
}

/// The table of SECURITY.md: for each user, the columns with their cells.
fn named(user: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut rows = text.lines().skip_while(|line| !line.starts_with("| a stolen seed of"));
    let columns = cells(rows.next().unwrap());
    let row = rows.find(|line| line.starts_with(&format!("| `{user}` |"))).unwrap();
    columns.into_iter().zip(cells(row)).skip(1).collect()
}

/// A cell for a server's version: `yes, from 2.12 no`. The servers from 2.12 on refuse a request with unknown fields, those from 2.15.3 on
/// a JetStream call as the subject of an answer.
fn cell_for<'c>(cell: &'c str, server: &str) -> &'c str {
    let Some((before, later)) = cell.split_once(", from ") else { return cell };
    let (from, cell) = later.split_once(' ').unwrap();
    if numbers(server) >= numbers(from) { cell } else { before }
}

/// The numbers of a version. What the servers from 2.15.3 on refuse, 2.14.10 and later patches of 2.14 refuse too.
fn numbers(version: &str) -> Vec<u32> {
    let numbers: Vec<u32> = version.split('.').map(|number| number.parse().unwrap()).collect();
    if numbers[..2] == [2, 14] && numbers.get(2) >= Some(&10) { vec![2, 15, 3] } else { numbers }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_seed_does_the_harm_that_is_named_and_no_other() {
    let version = servers::nats::version().await.unwrap();
    let rows: Vec<_> = USERS.map(|(user, _)| (user, tokio::spawn(row(user)))).into_iter().collect();
    let mut differences = Vec::new();
    for (user, row) in rows {
        let named = named(user);
        for (column, found) in row.await.unwrap() {
            let cell = named.iter().find(|(named, _)| named == column).unwrap();
            let cell = cell_for(&cell.1, &version);
            if found != cell {
                differences.push(format!("{user} {column}: found {found}, named {cell}"));
            }
        }
        assert_eq!(named.len(), harms().len(), "{user}: SECURITY.md has a column for every harm");
    }
    assert_eq!(differences, Vec::<String>::new(), "nats-server {version}");
}
