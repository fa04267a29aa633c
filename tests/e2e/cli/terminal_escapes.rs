//! Texts of customers, BSPs, servers and files cannot control a terminal: escape sequences in every field of everything
//! that is stored, shown by every command on a pseudo-terminal (`script` of util-linux, which Debian always has).

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use bus::read::{self, StartAt};
use bus::streams::COMMANDS;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use proto::v1::{SendOutcome, SendResult};
use tokio::process::Command;

use crate::harness::{Installation, KEY, TIMEOUT, binary};

/// Sets a title, rings, resets, colors, reverses the direction, hides; each in 7 and in 8 bits if there are both.
const FOREIGN: &str = "<\u{1b}]0;owned\u{7}\u{1b}c\u{1b}[45m\u{9b}45m\u{9d}0;owned\u{9c}\u{7f}\u{202e}\u{2066}\u{200b}\u{2028}>";
/// How it is shown.
const SHOWN: &str =
    r"<\u001b]0;owned\u0007\u001bc\u001b[45m\u009b45m\u009d0;owned\u009c\u007f\u202e\u2066\u200b\u2028>";
/// The channel of the stored texts.
const CHANNEL: &str = "202105102694809992";

/// Runs a program of this workspace on a pseudo-terminal; returns everything that reached the terminal.
async fn on_a_terminal(
    installation: &Installation,
    name: &str,
    args: &[&str],
    variables: &[(&str, &str)],
) -> String {
    let quoted = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
    let mut line = format!("stty cols 240 rows 50; exec {}", quoted(&binary(name).to_string_lossy()));
    for arg in args {
        line.push_str(&format!(" {}", quoted(arg)));
    }
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.current_dir(installation.folder());
    command.env("TERM", "xterm-256color").env("IMCHANNEL_NATS_URL", installation.nats.url());
    // At the end of its input `script` types NUL, which pauses `top`; a question is answered by that end.
    command.stdin(if args.contains(&"top") { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped());
    command.env("IMCHANNEL_CREDENTIAL_KEY", KEY);
    command.envs(variables.iter().copied()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let _input = child.stdin.take();
    let output = tokio::time::timeout(TIMEOUT, child.wait_with_output()).await.unwrap().unwrap();
    String::from_utf8(output.stdout).expect("a terminal is sent UTF-8")
}

/// Foreign text has no effect: only our own colors and cursor moves remain beside plain text.
fn assert_harmless(what: &str, output: &str) {
    let plain = without_our_own(output);
    let bad = plain.chars().find(|c| service::terminal::is_unsafe(*c) && !matches!(c, '\n' | '\r'));
    assert_eq!(bad, None, "{what} let it through: {output:?}");
}

/// Removes the control sequences (`ESC [ … letter`) of colors, bars and `top`. A background of 45 is not one of ours.
fn without_our_own(output: &str) -> String {
    let mut plain = String::new();
    let mut rest = output;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let end = after.find(|c: char| !matches!(c, '0'..='?')).unwrap_or(0);
        if after.starts_with("45m") || !after[end..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            plain.push('\u{1b}');
            rest = after;
        } else {
            rest = &after[end + 1..];
        }
    }
    plain + rest
}

/// One message for each member of its `oneof`s, with the foreign text in every text field.
fn filled(of: &MessageDescriptor, depth: u32) -> Vec<DynamicMessage> {
    let mut common = DynamicMessage::new(of.clone());
    let (alternatives, plain): (Vec<_>, Vec<_>) =
        of.fields().partition(|field| field.containing_oneof().is_some_and(|oneof| oneof.fields().len() > 1));
    for field in &plain {
        for value in values(field, depth).into_iter().take(1) {
            common.set_field(field, value);
        }
    }
    let mut all = Vec::new();
    for field in &alternatives {
        for value in values(field, depth) {
            let mut message = common.clone();
            message.set_field(field, value);
            all.push(message);
        }
    }
    if all.is_empty() { vec![common] } else { all }
}

fn values(field: &FieldDescriptor, depth: u32) -> Vec<Value> {
    let single = match field.kind() {
        Kind::String => vec![Value::String(FOREIGN.to_owned())],
        Kind::Message(of) if depth > 0 => filled(&of, depth - 1).into_iter().map(Value::Message).collect(),
        Kind::Message(_) => Vec::new(),
        Kind::Enum(of) => vec![Value::EnumNumber(of.values().last().unwrap().number())],
        Kind::Bytes => vec![Value::Bytes(FOREIGN.into())],
        // Times and coordinates are unchanged.
        _ => Vec::new(),
    };
    if field.is_map() {
        return Vec::new();
    }
    if field.is_list() { single.into_iter().map(|value| Value::List(vec![value])).collect() } else { single }
}

/// Publishes without the types of the bus, like a stranger on it could.
async fn publish(client: &async_nats::Client, subject: &str, headers: &[(&str, &str)], payload: Vec<u8>) {
    let mut map = async_nats::HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let jetstream = async_nats::jetstream::new(client.clone());
    let sent = jetstream.publish_with_headers(subject.to_owned(), map, payload.into()).await.unwrap();
    sent.await.unwrap();
}

/// Foreign texts in everything that the streams and the registry hold.
async fn store_everything(installation: &Installation) -> async_nats::Client {
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let of = |name: &str| pool.get_message_by_name(&format!("imchannel.v1.{name}")).unwrap();
    for (kind, name) in [
        ("report", "ReportEvent"),
        ("message", "InboundMessage"),
        ("send", "SendResult"),
        ("media", "MediaFetched"),
        ("account", "AccountEvent"),
        ("customer", "CustomerEvent"),
    ] {
        for message in filled(&of(name), 4) {
            let subject = format!("imchannel.event.{kind}.infobip.{CHANNEL}");
            publish(&client, &subject, &[], message.encode_to_vec()).await;
        }
    }
    for command in filled(&of("SendCommand"), 4) {
        let subject = format!("imchannel.command.send.{CHANNEL}");
        publish(&client, &subject, &[], command.encode_to_vec()).await;
    }
    let report = serde_json::json!({ "results": [
        { "messageId": FOREIGN, "to": FOREIGN, "status": { "groupName": FOREIGN, "name": FOREIGN, "description": FOREIGN } },
    ]});
    for body in [report.to_string(), FOREIGN.to_owned(), format!("{{\"results\":[{{\"{FOREIGN}\":1}}]}}")] {
        let headers = [bus::headers::ROUTE, bus::headers::RECEIVED_AT, bus::headers::CONTENT_TYPE];
        let headers: Vec<_> = headers.iter().map(|name| (name.as_str(), FOREIGN)).collect();
        publish(&client, &format!("imchannel.webhook.infobip.{CHANNEL}"), &headers, body.into()).await;
    }
    let names = [
        bus::headers::REASON,
        bus::headers::REASON_KIND,
        bus::headers::ORIGIN,
        bus::headers::TIME,
        bus::headers::BSP,
    ];
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), FOREIGN)).collect();
    publish(&client, &format!("imchannel.deadletter.webhook.{CHANNEL}"), &headers, FOREIGN.into()).await;
    // A subject may contain them too; `top` counts by it.
    let token = FOREIGN.replace(['>', '\u{2028}'], "");
    publish(&client, &format!("imchannel.deadletter.webhook.{token}"), &headers, FOREIGN.into()).await;
    for found in bus::registry::list(&installation.bus).await.unwrap() {
        let mut record = found.record.unwrap();
        if record.id == "gupshup-demo" {
            record.tenant = FOREIGN.to_owned();
            bus::registry::put(&installation.bus, &record).await.unwrap();
        }
    }
    client
}

/// A server that responds to every request with foreign text: an admin port, media, a monitoring port.
async fn foreign_server() -> String {
    let metrics = format!(
        "imchannel_ingress_channel_refused_total{{bsp=\"{FOREIGN}\",channel=\"{FOREIGN}\",outcome=\"{FOREIGN}\"}} "
    );
    // A refusal is shown if the count has grown since the first reading.
    let asked = Arc::new(AtomicU64::new(1));
    let count = move |State(asked): State<Arc<AtomicU64>>| async move {
        format!("{metrics}{}\n", asked.fetch_add(1, Ordering::Relaxed))
    };
    let router = Router::new()
        .route("/metrics", get(count))
        .fallback(|| async { (StatusCode::SERVICE_UNAVAILABLE, FOREIGN) })
        .with_state(asked);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_reaches_a_terminal_escaped() {
    let installation = Installation::start().await;
    let _client = store_everything(&installation).await;
    let whats = [
        "webhooks",
        "reports",
        "messages",
        "sends",
        "media",
        "account",
        "customers",
        "commands",
        "deadletters",
    ];
    for what in whats {
        for more in [&[][..], &["--unmask"], &["--json"], &["--json", "--unmask"]] {
            let args = [&["tail", what, "--no-follow"], more].concat();
            let output = on_a_terminal(&installation, "imchannel", &args, &[]).await;
            assert_harmless(&format!("{args:?}"), &output);
            // Unmasked text is visible.
            assert!(!more.contains(&"--unmask") || output.contains(r"\u009b45m"), "{args:?}: {output}");
            if more.contains(&"--json") {
                for line in output.lines() {
                    serde_json::from_str::<serde_json::Value>(line).expect("an escape keeps it JSON");
                }
            }
        }
    }
    let reports = on_a_terminal(
        &installation,
        "imchannel",
        &["--json", "tail", "reports", "--no-follow", "--unmask"],
        &[],
    );
    let report: serde_json::Value = serde_json::from_str(reports.await.lines().next().unwrap()).unwrap();
    assert_eq!(report["recipient"], FOREIGN, "a program reads what was written");
    let letter = read::last_sequence(&installation.bus, &bus::streams::DEADLETTERS).await.unwrap();
    let letter = letter.to_string();
    for args in [
        &["deadletter", "list"][..],
        &["deadletter", "show", &letter],
        &["deadletter", "show", &letter, "--unmask"],
        &["deadletter", "show", &letter, "--raw"],
        &["deadletter", "replay", "--all"],
        &["deadletter", "replay", "--all", "--publish"],
        &["replay", "webhooks", "--dry-run", "--unmask"],
        &["channel", "list"],
        &["channel", "show", "gupshup-demo"],
        &["channel", "pause", "gupshup-demo"],
        &["channel", "resume", "gupshup-demo"],
        &["lanes", "list"],
        &["streams", "check"],
        &["doctor", "--watch-for", "1s"],
        &["deadletter", "drop", "--all"],
        &["deadletter", "drop", "--all", "--yes"],
    ] {
        for json in [&[][..], &["--json"]] {
            let args = [json, args].concat();
            let output = on_a_terminal(&installation, "imchannel", &args, &[]).await;
            assert_harmless(&format!("{args:?}"), &output);
            assert!(!output.is_empty() || args.contains(&"drop"), "{args:?} says nothing");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_or_stands_in_a_file_reaches_a_terminal_escaped() {
    let installation = Installation::start().await;
    let path = installation.folder().join("channels.toml");
    std::fs::write(
        &path,
        format!("[[channel]]\nid = \"{}\"\n[channel.\"{}\"]\n", &FOREIGN[1..3], "\u{9b}\u{202e}"),
    )
    .unwrap();
    let file = path.to_str().unwrap();
    let entry = "[[channel]]\nid = \"\u{9b}\u{202e}\"\nbsp = \"\u{9b}45m\u{202e}\"\ntenant = \"t\"\n";
    let other = installation.folder().join("other.toml");
    std::fs::write(&other, entry).unwrap();
    let other = other.to_str().unwrap();
    let answers = foreign_server().await;
    let media = format!("http://{answers}/{FOREIGN}");
    let to = ["send", "--channel", CHANNEL, "--to", "4915112345"];
    for args in [
        &[FOREIGN][..],
        &["tail", FOREIGN],
        &["tail", "reports", "--channel", FOREIGN],
        &["tail", "reports", "--bsp", FOREIGN],
        &["channel", "apply", "-f", file],
        &["channel", "apply", "-f", other],
        &["channel", "apply", "-f", FOREIGN],
        &["channel", "show", FOREIGN],
        &["channel", "remove", FOREIGN],
        &["lanes", "list", FOREIGN],
        &["streams", "repair", "--stream", FOREIGN],
        &["deadletter", "list", "--reason", FOREIGN],
        &["replay", "webhooks", "--channel", FOREIGN],
        &["setup", "--channels", FOREIGN],
        &["secrets", "generate", FOREIGN],
        &["health", "--admin-listen", &answers],
        &["media", "get", &media],
        &["media", "stat", &media],
        &["media", "put", FOREIGN, "--channel", CHANNEL],
        &["simulate", "webhooks", "--channels", FOREIGN],
        &["simulate", "infobip", "--channels", other],
        &["doctor", "--admin", &media],
        &["up", "--channels", other, "--data-dir", FOREIGN],
        &["--nats-url", FOREIGN, "tail", "reports"],
        &["--nats-nkey-file", FOREIGN, "tail", "reports"],
        &[&to[..], &["--text", "x", "--context", FOREIGN, "--command-id", FOREIGN, "--until", "stored"]]
            .concat(),
        &[&to[..], &["--image", FOREIGN]].concat(),
    ] {
        for json in [&[][..], &["--json"]] {
            let args = [json, args].concat();
            let output = on_a_terminal(&installation, "imchannel", &args, &[]).await;
            assert_harmless(&format!("{args:?}"), &output);
            assert!(!output.is_empty() || args.contains(&"list"), "{args:?} says nothing");
        }
    }
    let said = on_a_terminal(&installation, "imchannel", &["tail", FOREIGN], &[]).await;
    // Clap removes seven-bit sequences, and does not know the others.
    assert!(said.contains(r"\u009b45m\u009d0;owned\u009c\u202e"), "{said}");
    // On a terminal, services print which settings are invalid, and write log lines.
    for name in ["imchannel-ingress", "imchannel-normalizer", "imchannel-sender", "imchannel-media"] {
        let variables = [("IMCHANNEL_LOG_LEVEL", FOREIGN), ("IMCHANNEL_ADMIN_LISTEN", FOREIGN)];
        for (args, variables) in [(&[][..], &variables[..]), (&["--help"], &variables), (&[FOREIGN], &[])] {
            let output = on_a_terminal(&installation, name, args, variables).await;
            assert_harmless(name, &output);
            assert!(!output.is_empty(), "{name} says nothing");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_and_send_show_what_comes_escaped() {
    let installation = Installation::start().await;
    let client = store_everything(&installation).await;
    let admin = format!("http://{}", foreign_server().await);
    for json in [&[][..], &["--json"]] {
        let args = [json, &["top", "--count", "4", "--interval", "300ms", "--admin", &admin]].concat();
        let output = on_a_terminal(&installation, "imchannel", &args, &[]).await;
        assert_harmless(&format!("{args:?}"), &output);
        // The columns are narrow, and the BSP's name is the first of the row.
        assert!(output.contains(r"<\u001b]0;o"), "{output:?}");
    }
    let args =
        ["send", "--channel", CHANNEL, "--to", "4915112345", "--text", "x", "--command-id", "answered"];
    let sending = on_a_terminal(&installation, "imchannel", &args, &[]);
    let answering = async {
        let mut commands = read::subscribe(
            &installation.bus,
            &COMMANDS,
            format!("imchannel.command.send.{CHANNEL}"),
            StartAt::Now,
        )
        .await
        .unwrap();
        let stored = commands.next().await.unwrap().unwrap();
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        let descriptor = pool.get_message_by_name("imchannel.v1.SendResult").unwrap();
        let answer = filled(&descriptor, 4).remove(0).encode_to_vec();
        let mut answer = SendResult::decode(&answer[..]).unwrap();
        answer.command_id = "answered".to_owned();
        answer.command_sequence = stored.delivery.sequence;
        answer.set_outcome(SendOutcome::Rejected);
        publish(&client, &format!("imchannel.event.send.infobip.{CHANNEL}"), &[], answer.encode_to_vec())
            .await;
    };
    let (output, ()) = tokio::join!(sending, answering);
    assert_harmless("send", &output);
    assert!(output.contains(SHOWN) && output.contains("REJECTED"), "{output}");
}
