//! Commands under subjects that no lane reads: refused when they are published, and dead letters with a result if an
//! older configuration of the streams has stored them. Also filters of readers, and readiness with other subjects of
//! streams.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bsp::CommandId;
use bus::ledger::{LedgerKey, Revision};
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, StreamSettings};
use bus::{Priority, headers, provision};
use prost::Message;
use proto::v1::{SendOutcome, SendResult};
use serde_json::{Value, json};
use sha2::Digest;

use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::{Installation, KEY, Program, TIMEOUT, eventually, run_cli, within};

/// Subjects with the prefix of commands that no lane reads.
const UNREAD: [&str; 10] = [
    "imchannel.command.send.shop.milan",
    "imchannel.command.send.a.extra",
    "imchannel.command.urgent.a",
    "imchannel.command.Send.a",
    "imchannel.command.send",
    "imchannel.command.bulk",
    "imchannel.command.send.a.b.c.d",
    "imchannel.command",
    // nats-server treats a wildcard in a publish as an ordinary character.
    "imchannel.command.*.channel-0",
    "imchannel.command.>",
];
/// Subjects that COMMANDS accepts without a valid channel id.
const NO_CHANNELS: [&str; 5] = [
    "imchannel.command.send.unknown",
    "imchannel.command.bulk.none",
    "imchannel.command.send.größe",
    "imchannel.command.send.*",
    "imchannel.command.bulk.>",
];
/// The subjects of the streams of earlier versions.
const FORMER: [(&str, &str); 4] = [
    ("WEBHOOKS", "imchannel.webhook.>"),
    ("EVENTS", "imchannel.event.>"),
    ("COMMANDS", "imchannel.command.>"),
    ("DEADLETTERS", "imchannel.deadletter.>"),
];

/// JetStream without our code.
async fn jetstream(installation: &Installation) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(async_nats::connect(installation.nats.url()).await.unwrap())
}

async fn change_stream(
    installation: &Installation,
    name: &str,
    change: impl FnOnce(&mut async_nats::jetstream::stream::Config),
) {
    let jetstream = jetstream(installation).await;
    let stream = jetstream.get_stream(name).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    change(&mut config);
    jetstream.update_stream(config).await.unwrap();
}

async fn make_former_streams(installation: &Installation) {
    for (name, subject) in FORMER {
        change_stream(installation, name, |config| config.subjects = vec![subject.to_owned()]).await;
    }
}

/// Publishes like a back end that waits for the ack.
async fn publish(installation: &Installation, subject: &'static str) -> Result<u64, String> {
    let jetstream = jetstream(installation).await;
    let sent = jetstream.publish(subject, subject.into()).await.map_err(|error| format!("{error:?}"))?;
    sent.await.map(|ack| ack.sequence).map_err(|error| format!("{:?}", error.kind()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_to_a_subject_that_nothing_reads_is_refused() {
    let installation = Installation::start().await;
    let others = [
        "imchannel.webhook.infobip",
        "imchannel.webhook.infobip.a.b",
        "imchannel.event.report.infobip",
        "imchannel.event.report.infobip.a.b",
        "imchannel.deadletter.command",
        "imchannel.deadletter.command.a.b",
    ];
    for subject in UNREAD.into_iter().chain(others) {
        assert_eq!(publish(&installation, subject).await, Err("StreamNotFound".to_owned()), "{subject}");
    }
    for subject in ["imchannel.command.send.a", "imchannel.command.bulk.a"] {
        publish(&installation, subject).await.unwrap();
    }
    assert_eq!(bus::read::last_sequence(&installation.bus, &COMMANDS).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_no_lane_reads_becomes_a_dead_letter() {
    let outbound = Outbound::start(&[100]).await;
    let installation = &outbound.installation;
    outbound.set_paused(0, true).await;
    make_former_streams(installation).await;
    outbound.publish(Priority::Interactive, &text(0, "waits", "4915112345", "Hello")).await;
    outbound.publish(Priority::Interactive, &text(7, "missing", "4915112345", "Hello")).await;
    let answered = leave_commands_of_channels_without_a_lane(&outbound).await;
    let mut orphans = BTreeMap::new();
    // The server refuses `imchannel.command` even with the former subjects.
    for subject in UNREAD.into_iter().filter(|subject| *subject != "imchannel.command") {
        orphans.insert(subject.to_owned(), publish(installation, subject).await.unwrap());
    }
    provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    for subject in NO_CHANNELS {
        orphans.insert(subject.to_owned(), publish(installation, subject).await.unwrap());
    }
    // As if a newer version had applied its streams.
    let newer = "imchannel.command.later.a";
    change_stream(installation, "COMMANDS", |config| {
        config.subjects.push("imchannel.command.later.*".to_owned());
    })
    .await;
    publish(installation, newer).await.unwrap();
    let _sender = outbound.sender().await;

    let unknown = "imchannel.deadletter.command.unknown";
    until_letters(installation, orphans.len(), Duration::from_secs(60)).await;
    let letters = installation.stored(&DEADLETTERS, unknown).await;
    let origin = |letter: &bus::Delivery, name| letter.headers.get(name).unwrap().to_owned();
    let found: BTreeMap<_, _> = letters
        .iter()
        .map(|letter| (origin(letter, headers::SUBJECT), origin(letter, headers::ORIGIN)))
        .collect();
    let wanted: BTreeMap<_, _> =
        orphans.iter().map(|(subject, place)| (subject.clone(), format!("COMMANDS/{place}/0"))).collect();
    assert_eq!(found, wanted);
    assert_eq!(letters.len(), orphans.len());
    for letter in &letters {
        assert_eq!(origin(letter, headers::REASON_KIND), "no_such_subject");
        assert_eq!(letter.payload, origin(letter, headers::SUBJECT));
    }
    let results = results_under(installation, "imchannel.event.send.none.unknown").await;
    let places: BTreeSet<_> = results.iter().map(|result| result.command_sequence).collect();
    assert_eq!(places, orphans.values().copied().collect());
    assert_eq!(results.len(), orphans.len());
    for result in &results {
        assert_eq!(result.bsp.as_str(), "");
        assert_eq!(result.channel_id.as_str(), "");
        assert_eq!(outcome(result), SendOutcome::Rejected);
        assert_eq!(code(result), "NO_SUCH_SUBJECT");
    }
    // The channel may still be created, so its command has more time.
    assert_eq!(installation.dead_letters().await.len(), orphans.len());
    // 60 to 90 s after the sender has seen it first.
    until_letters(installation, orphans.len() + 4, Duration::from_secs(100)).await;
    let missing = "imchannel.deadletter.command.channel-7";
    let of_missing = installation.stored(&DEADLETTERS, missing).await;
    let letter =
        of_missing.iter().find(|letter| letter.headers.get(headers::REASON_KIND) == Some("no_channel"));
    assert_eq!(letter.unwrap().headers.get(headers::SUBJECT), Some("imchannel.command.send.channel-7"));
    eventually("nothing else was touched", || async {
        let left: BTreeSet<_> = stored_subjects(installation).await;
        // Of the removed channel, the earlier results.
        let wanted = ["imchannel.command.send.channel-0", "imchannel.command.bulk.channel-7", newer];
        (left == BTreeSet::from(wanted.map(str::to_owned))).then_some(())
    })
    .await;
    answered.check(installation).await;
    outbound.set_paused(0, false).await;
    outbound.result("waits").await;

    let listed =
        run_cli(installation, &["--json", "deadletter", "list", "--reason", "no_such_subject"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.matches(r#""channel":"unknown""#).count(), orphans.len(), "{listed}");
}

fn code(result: &SendResult) -> &str {
    result.error.as_ref().map_or("", |error| error.code.as_str())
}

async fn results_under(installation: &Installation, subject: &str) -> Vec<SendResult> {
    let stored = installation.stored(&EVENTS, subject).await;
    stored.into_iter().map(|delivery| SendResult::decode(delivery.payload).unwrap()).collect()
}

/// Expected results for channels without a lane: by the code of each command's result.
struct Answered {
    of_missing: BTreeMap<u64, (SendOutcome, &'static str)>,
    of_listener: u64,
}

impl Answered {
    async fn check(&self, installation: &Installation) {
        let results = results_under(installation, "imchannel.event.send.none.channel-7").await;
        let found: BTreeMap<_, _> =
            results.iter().map(|result| (result.command_sequence, (outcome(result), code(result)))).collect();
        let mut wanted = self.of_missing.clone();
        let first = results.iter().find(|result| result.command_id == "missing").unwrap();
        wanted.insert(first.command_sequence, (SendOutcome::Rejected, "NO_CHANNEL"));
        assert_eq!(found, wanted);
        assert_eq!(results.len(), wanted.len(), "each once");
        assert!(results.iter().all(|result| result.channel_id == "channel-7"));
        let [result] = &results_under(installation, "imchannel.event.send.gupshup.listener").await[..] else {
            panic!("one result")
        };
        assert_eq!(result.bsp.as_str(), "gupshup");
        assert_eq!(result.channel_id.as_str(), "listener");
        assert_eq!(result.command_sequence, self.of_listener);
        assert_eq!(code(result), "NO_ACCOUNT");
        assert_eq!(result.command_id.as_str(), "heard");
        assert_eq!(result.context.as_str(), "ticket 7");
    }
}

/// Commands of a removed channel, which its lane had left in every state, and one of a channel that only receives.
async fn leave_commands_of_channels_without_a_lane(outbound: &Outbound) -> Answered {
    let bus = &outbound.installation.bus;
    let listener = "[[channel]]\nid = \"listener\"\nbsp = \"gupshup\"\ntenant = \"t\"\nwebhook = [{ password = \"p\" }]\n";
    let described = channel::file::parse(listener, &bsp::SettingsContext::default()).unwrap().remove(0);
    let key = channel::CredentialKey::new(KEY.as_bytes()).unwrap();
    bus::registry::put(bus, &described.to_record(&key)).await.unwrap();
    let heard = br#"{"commandId":"heard","channelId":"listener","recipient":"4915112345","context":"ticket 7","text":{"body":"hi"}}"#;
    let of_listener = outbound.publish_raw(Priority::Interactive, described.id(), heard.to_vec(), &[]).await;
    let owed = SendResult {
        event_id: "0123456789abcdef0123456789abcdef".to_owned(),
        outcome: SendOutcome::Expired.into(),
        channel_id: "channel-7".to_owned(),
        ..SendResult::default()
    };
    let done = |is_answered: bool, sequence: u64| {
        let result = SendResult { command_sequence: sequence, ..owed.clone() };
        json!({ "done": { "result": hex::encode(result.encode_to_vec()), "is_answered": is_answered } })
    };
    let mut of_missing = BTreeMap::new();
    for (id, queue, answer) in [
        ("begun", Priority::Interactive, Some((SendOutcome::Unknown, "OUTCOME_UNKNOWN"))),
        ("unsent", Priority::Interactive, Some((SendOutcome::Rejected, "NO_CHANNEL"))),
        ("owed", Priority::Interactive, Some((SendOutcome::Expired, ""))),
        ("used", Priority::Interactive, Some((SendOutcome::Rejected, "REUSED_COMMAND_ID"))),
        ("answered", Priority::Bulk, None),
    ] {
        let command = text(7, id, "4915112345", "Hello");
        let sequence = outbound.publish(queue, &command).await;
        let state = match id {
            "begun" => json!({ "intent": { "at_ms": 1, "unknown_since_ms": 1, "is_resent": false } }),
            "unsent" => json!("not_sent"),
            "owed" => done(false, sequence),
            _ => done(true, sequence),
        };
        let digest = hex::encode(&sha2::Sha256::digest(command.encode_to_vec())[..8]);
        let digest = if id == "used" { "another".to_owned() } else { digest };
        let entry = json!({
            "version": 1, "sequence": sequence, "digest": digest, "attempts": 1, "token": "t", "state": state,
        });
        let key = LedgerKey::new(&channel(7), &CommandId::parse(id).unwrap());
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        bus.ledger_write(&key, Revision::NONE, entry.to_string().into(), deadline).await.unwrap();
        of_missing.extend(answer.map(|answer| (sequence, answer)));
    }
    Answered { of_missing, of_listener }
}

/// Reads only the newest sequence: it takes a minute, and every reader is a consumer that the server keeps for a while.
async fn until_letters(installation: &Installation, count: usize, limit: Duration) {
    within(limit, "they are dead letters", || async {
        let last = bus::read::last_sequence(&installation.bus, &DEADLETTERS).await.unwrap();
        (last >= count as u64).then_some(())
    })
    .await;
}

async fn stored_subjects(installation: &Installation) -> BTreeSet<String> {
    let stored = installation.stored(&COMMANDS, "imchannel.command.>").await;
    stored.into_iter().map(|delivery| delivery.subject).collect()
}

/// Whether a dead letter of a webhook with an unknown channel has a subject.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_no_channel_is_a_dead_letter_of_none() {
    let installation = Installation::start().await;
    let normalizer = installation.normalizer().await;
    publish(&installation, "imchannel.webhook.infobip.unknown").await.unwrap();
    publish(&installation, "imchannel.webhook.pigeon.channel-1").await.unwrap();
    let letters = eventually("both are dead letters", || async {
        let letters = installation.dead_letters().await;
        (letters.len() == 2).then_some(letters)
    })
    .await;
    let subjects: BTreeSet<_> = letters.iter().map(|letter| letter.subject.as_str()).collect();
    let wanted = ["imchannel.deadletter.webhook.unknown", "imchannel.deadletter.webhook.channel-1"];
    assert_eq!(subjects, BTreeSet::from(wanted));
    normalizer.stop().await;
}

async fn tailed(installation: &Installation, args: &[&str]) -> Vec<Value> {
    let args = [&["--json", "tail"], args].concat();
    let output = run_cli(installation, &args).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// nats-server 2.9 refuses a filter that no subject of the stream covers.
#[tokio::test(flavor = "multi_thread")]
async fn every_reader_of_a_stream_has_a_filter_that_the_server_takes() {
    let installation = Installation::start().await;
    const CHANNEL: &str = "202105102694809992";
    for what in ["webhooks", "reports", "messages", "sends", "media", "commands", "deadletters"] {
        for more in [
            &[][..],
            &["--channel", CHANNEL],
            &["--bsp", "infobip"],
            &["--channel", CHANNEL, "--bsp", "infobip"],
        ] {
            if what == "commands" && more.contains(&"--bsp") {
                continue;
            }
            let args = [&[what, "--no-follow"], more].concat();
            assert_eq!(tailed(&installation, &args).await, [Value::Null; 0], "{args:?}");
        }
    }
    for args in [
        &["deadletter", "list"][..],
        &["deadletter", "list", "--channel", CHANNEL, "--bsp", "infobip"],
        &["replay", "webhooks", "--from-sequence", "1"],
        &["replay", "webhooks", "--since", "1h", "--channel", CHANNEL, "--bsp", "infobip"],
        &["streams", "check"],
    ] {
        let output = run_cli(&installation, args).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_a_channel_are_shown_in_the_order_of_both_queues() {
    let outbound = Outbound::start(&[100, 100]).await;
    let mut wanted = Vec::new();
    for number in 0..40 {
        let queue = if number % 3 == 0 { Priority::Bulk } else { Priority::Interactive };
        let command = text(number % 2, &format!("c-{number}"), "4915112345", "Hello");
        let sequence = outbound.publish(queue, &command).await;
        if number % 2 == 0 {
            wanted.push(sequence);
        }
    }
    let sequences = |shown: Vec<Value>| -> Vec<u64> {
        shown.iter().map(|command| command["sequence"].as_u64().unwrap()).collect()
    };
    let installation = &outbound.installation;
    let id = channel(0).to_string();
    let stored = tailed(installation, &["commands", "--channel", &id, "--no-follow"]).await;
    assert_eq!(sequences(stored), wanted);

    // And then new ones, in either queue.
    let count = (wanted.len() + 2).to_string();
    let args = ["--json", "tail", "commands", "--channel", &id, "--from-beginning", "--count", &count];
    let mut follower = Program::start_with_args("imchannel", &installation.nats.url(), &args, &[]);
    let newest = format!("\"sequence\":{}", wanted.last().unwrap());
    follower.line_with(&newest).await;
    for queue in [Priority::Bulk, Priority::Interactive] {
        let id = format!("later-{}", queue.token());
        let sequence = outbound.publish(queue, &text(0, &id, "4915112345", "Hello")).await;
        follower.line_with(&format!("\"sequence\":{sequence}")).await;
    }
    assert!(follower.ended_well().await);
}

/// The services that check streams, each with its port.
struct Services {
    programs: Vec<(&'static str, String, Program)>,
}

impl Services {
    fn start(outbound: &Outbound) -> Self {
        let start = |name: &'static str| {
            let admin = free_address();
            let variables =
                [("IMCHANNEL_ADMIN_LISTEN", admin.as_str()), ("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")];
            let program = match name {
                "imchannel-sender" => outbound.sender_program(&variables[..1]),
                "imchannel-normalizer" => Program::start(name, &outbound.installation, &variables[..1]),
                _ => Program::start(name, &outbound.installation, &variables),
            };
            (name, format!("http://{admin}/ready"), program)
        };
        Self { programs: ["imchannel-ingress", "imchannel-normalizer", "imchannel-sender"].map(start).into() }
    }

    /// What each reports of its streams; empty for a ready one.
    async fn said(&self) -> Option<BTreeMap<&'static str, String>> {
        let mut all = BTreeMap::new();
        for (name, url, _) in &self.programs {
            let answer = reqwest::get(url).await.ok()?;
            let is_ready = answer.status() == 200;
            let text = answer.text().await.ok()?;
            all.insert(*name, if is_ready { String::new() } else { text });
        }
        Some(all)
    }

    async fn until(&self, what: &str, unready: &[(&str, &str)]) {
        eventually(what, || async {
            let said = self.said().await?;
            let is = |(name, text): (&&'static str, &String)| {
                let wanted = unready.iter().find(|(unready, _)| unready == name);
                wanted.map_or(text.is_empty(), |(_, wanted)| text.contains(wanted))
            };
            said.iter().all(is).then_some(())
        })
        .await;
    }
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Two versions run at the same time during an upgrade, so a service requires only what it needs. The command line
/// compares exactly.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_on_streams_that_hold_at_least_what_it_needs() {
    let outbound = Outbound::start(&[100]).await;
    let installation = &outbound.installation;
    make_former_streams(installation).await;
    for name in ["WEBHOOKS", "COMMANDS"] {
        change_stream(installation, name, |config| config.max_age *= 2).await;
    }
    let services = Services::start(&outbound);
    services.until("all are ready on streams that hold more", &[]).await;
    let output = run_cli(installation, &["streams", "check"]).await;
    assert_eq!(output.status.code(), Some(3), "the streams are not as they are defined");
    let output = run_cli(installation, &["--json", "doctor", "--watch-for", "1s"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let wrong = found.filter(|found| found["level"] == "error" && found["check"] == "streams.definition");
    assert_eq!(wrong.count(), 6, "four subjects and two ages: {text}");

    // Applied by the newer command line, all services stay ready, and the check finds no difference.
    provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    services.until("all are ready on the streams as they are defined", &[]).await;
    assert!(run_cli(installation, &["streams", "check"]).await.status.success());

    // Less than needed: the services that use it are not ready, and report what is missing.
    change_stream(installation, "COMMANDS", |config| drop(config.subjects.pop())).await;
    services.until("the sender misses a subject", &[("imchannel-sender", "imchannel.command.bulk.*")]).await;
    provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    services.until("the sender has it again", &[]).await;
    change_stream(installation, "WEBHOOKS", |config| config.max_age /= 2).await;
    let short = "at least 259200s";
    services
        .until("webhooks go too early", &[("imchannel-ingress", short), ("imchannel-normalizer", short)])
        .await;
    provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    services.until("all are ready at the end", &[]).await;
}

/// `streams apply` on streams of an older version: no stored message is lost, and lanes continue reading.
#[tokio::test(flavor = "multi_thread")]
async fn streams_apply_changes_the_subjects_of_a_stream_with_messages_and_back() {
    let outbound = Outbound::start(&[100]).await;
    let installation = &outbound.installation;
    make_former_streams(installation).await;
    outbound.publish(Priority::Interactive, &text(0, "before", "4915112345", "Hello")).await;
    publish(installation, "imchannel.command.urgent.a").await.unwrap();
    let apply = run_cli(installation, &["streams", "apply"]).await;
    assert!(apply.status.success(), "{}", String::from_utf8_lossy(&apply.stdout));
    assert_eq!(publish(installation, "imchannel.command.urgent.a").await, Err("StreamNotFound".to_owned()));
    let subjects = ["imchannel.command.send.channel-0", "imchannel.command.urgent.a"].map(str::to_owned);
    assert_eq!(stored_subjects(installation).await, BTreeSet::from(subjects));
    outbound.publish(Priority::Bulk, &text(0, "after", "4915112346", "Hello")).await;
    let sender = outbound.sender().await;
    outbound.result("before").await;
    outbound.result("after").await;
    // Back, like the older version's command line.
    make_former_streams(installation).await;
    outbound.publish(Priority::Interactive, &text(0, "back", "4915112347", "Hello")).await;
    outbound.result("back").await;
    sender.stop().await;
}
