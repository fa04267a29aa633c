//! The erasure of a customer: nothing of a seeded number is left in the store, the streams, the ledger, Redis and the logs, except for what
//! the answer names.

use bus::Priority;
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, SENDS_BUCKET, WEBHOOKS};
use proto::v1::{OutboundMedia, SendCommand, outbound_media, send_command};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::files::{bytes, client, redis, stored};
use crate::harness::ledger;
use crate::harness::outbound::{Outbound, outcome, text};
use crate::harness::timeline::{RunningTimeline, store_folder};
use crate::harness::{Installation, RunningIngress, RunningNormalizer, TIMEOUT, Webhook, eventually, within};

pub(super) const ERASED: &str = "4915112345678";
pub(super) const OTHER: &str = "4915187654321";
const NAME: &str = "Seeded Customer";
pub(super) const TEXT: &str = "seeded words of the customer";
/// The erased number in base64, as in WhatsApp's ids: `wamid.HBgN…`.
pub(super) const WAMID: &str = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABIYFDNBQUI=";

/// A gateway, and a timeline that may erase.
pub(super) struct Stage {
    pub(super) outbound: Outbound,
    ingress: RunningIngress,
    pub(super) normalizer: Option<RunningNormalizer>,
    pub(super) timeline: RunningTimeline,
    pub(super) store: tempfile::TempDir,
    pub(super) redis_url: String,
}

/// Settings of a timeline that may erase.
pub(super) fn may_erase(redis_url: &str) -> [(&'static str, &str); 3] {
    [
        ("IMCHANNEL_TIMELINE_ERASURE", "on"),
        ("IMCHANNEL_REDIS_URL", redis_url),
        ("IMCHANNEL_TIMELINE_BODIES", "full"),
    ]
}

/// The back end acknowledges every event up to now.
pub(super) async fn acknowledge(installation: &Installation) {
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(EVENTS.name).await.unwrap();
    let consumer: async_nats::jetstream::consumer::PullConsumer = stream.get_consumer("aicc").await.unwrap();
    let mut events = consumer.fetch().max_messages(1000).messages().await.unwrap();
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        // Confirmed: the connection ends with this function.
        event.unwrap().double_ack().await.unwrap();
    }
}

async fn timeline(outbound: &Outbound, store: &tempfile::TempDir, redis_url: &str) -> RunningTimeline {
    RunningTimeline::start(&outbound.installation, store, &may_erase(redis_url)).await
}

pub(super) async fn stage() -> Stage {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let url = format!("http://{}", ingress.address);
    let normalizer = Some(installation.normalizer().await);
    let outbound = Outbound::on(installation, &[100], Some(&url)).await;
    let (store, redis_url) = (store_folder(), outbound.redis.url());
    let timeline = timeline(&outbound, &store, &redis_url).await;
    Stage { outbound, ingress, normalizer, timeline, store, redis_url }
}

impl Stage {
    /// Asks for an erasure: the status, and the answer.
    async fn ask(&self, body: &Value) -> (StatusCode, Value) {
        let url = format!("{}/v1/erasures", self.timeline.url);
        let answer =
            client().post(url).header("sec-fetch-site", "none").body(body.to_string()).send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    /// Asks for one and returns its id.
    async fn start(&self, number: &str, force: bool) -> String {
        let body =
            json!({ "number": number, "dry_run": false, "force": force, "reason": "asked for by letter" });
        let (status, answer) = self.ask(&body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer:#}");
        answer["id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn state(&self, id: &str) -> Value {
        let (status, answer) = self.timeline.get(&format!("/v1/erasures/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{answer:#}");
        answer
    }

    async fn done(&self, id: &str) -> Value {
        // It waits for the normalizer, the timeline and the owner of the lane, each with its own interval.
        within(3 * TIMEOUT, "it is erased", || async {
            let state = self.state(id).await;
            (state["step"] == "done").then_some(state)
        })
        .await
    }

    /// A webhook with a message of a customer.
    pub(super) async fn write(&self, number: &str, id: &str, words: &str) {
        let body = format!(
            r#"{{"app":"a","timestamp":1772359199000,"version":2,"type":"message","payload":{{"id":"{id}","source":"{number}","type":"text","payload":{{"text":"{words}"}},"sender":{{"phone":"{number}","name":"{NAME} {number}"}}}}}}"#
        );
        assert_eq!(Webhook::gupshup(body).post(self.ingress.address).await.status, StatusCode::OK);
    }

    /// A command with a file.
    async fn send_file(&self, command_id: &str, number: &str, media_id: &str) {
        let document = OutboundMedia {
            source: Some(outbound_media::Source::MediaId(media_id.to_owned())),
            caption: format!("{TEXT} for {number}"),
            ..OutboundMedia::default()
        };
        let command = SendCommand {
            content: Some(send_command::Content::Document(document)),
            context: format!("case of {number}"),
            ..text(0, command_id, number, "")
        };
        self.outbound.publish(Priority::Interactive, &command).await;
    }

    pub(super) async fn acknowledge(&self) {
        acknowledge(&self.outbound.installation).await;
    }

    /// Where any of these texts is stored.
    pub(super) async fn traces(&self, needles: &[&[u8]]) -> Vec<String> {
        let holds = |bytes: &[u8]| {
            needles.iter().any(|needle| bytes.windows(needle.len()).any(|window| window == *needle))
        };
        let mut traces = Vec::new();
        for stream in [WEBHOOKS.name, EVENTS.name, COMMANDS.name, DEADLETTERS.name, SENDS_BUCKET.stream] {
            for message in self.messages(stream).await {
                let headers = format!("{:?}", message.headers);
                // The result in an entry of the ledger is encoded once more.
                let decoded = ledger::decoded(&message.payload).unwrap_or_default();
                if [&message.payload[..], headers.as_bytes(), decoded.as_bytes()].into_iter().any(holds) {
                    traces.push(format!("{stream}/{} {}", message.sequence, message.subject));
                }
            }
        }
        for entry in std::fs::read_dir(self.store.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && holds(&std::fs::read(&path).unwrap()) {
                traces.push(path.display().to_string());
            }
        }
        let keys = redis(&self.outbound, &[b"KEYS", b"*"]).await;
        for key in keys.lines().map(str::trim).filter(|key| key.contains("IMChannel")) {
            for read in [&[b"GET", key.as_bytes()][..], &[b"HGETALL", key.as_bytes()]] {
                let value = redis(&self.outbound, read).await;
                if holds(key.as_bytes()) || holds(value.as_bytes()) {
                    traces.push(format!("Redis {key}"));
                }
            }
        }
        traces
    }

    /// Every message of a stream.
    async fn messages(&self, stream: &str) -> Vec<async_nats::jetstream::message::StreamMessage> {
        let client = async_nats::connect(self.outbound.installation.nats.url()).await.unwrap();
        let stream = async_nats::jetstream::new(client).get_stream(stream).await.unwrap();
        let state = stream.cached_info().state.clone();
        let mut messages = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            // One that was deleted is missing.
            messages.extend(stream.get_raw_message(sequence).await.ok());
        }
        messages
    }
}

/// Everything that is seeded of the customer.
pub(super) fn seeded() -> [&'static [u8]; 4] {
    [
        ERASED.as_bytes(),
        b"HBgNNDkxNTExMjM0NTY3O",
        b"Seeded Customer 4915112345678",
        b"words of the customer for 4915112345678",
    ]
}

/// A dry run counts what would be erased, and erases nothing.
async fn assert_counted(stage: &Stage, before: &Vec<String>) {
    let (status, counted) = stage.ask(&json!({ "number": ERASED, "dry_run": true })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{counted:#}");
    let counted = stage.done(counted["id"].as_str().unwrap()).await;
    assert_eq!(stage.traces(&seeded()).await, *before, "a dry run changes nothing");
    assert_eq!(counted["erased"]["rows"], 0);
    for (what, least) in
        [("rows", 10), ("webhooks", 4), ("events", 5), ("commands", 2), ("dead_letters", 1), ("files", 1)]
    {
        assert!(counted["found"][what].as_u64().unwrap() >= least, "{what}: {counted:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_number_is_left_in_stores_streams_redis_and_logs() {
    let mut stage = Box::pin(stage()).await;
    let mut sender = stage.outbound.sender_program(&[]);
    let media = stage.outbound.media().await;
    let own = stored(&media.url, "document", "application/pdf", bytes(b"%PDF-1.7 4915112345678", 4000)).await;
    let both = stored(&media.url, "document", "application/pdf", bytes(b"%PDF-1.7 for all", 4000)).await;
    let (own, both) = (own["id"].as_str().unwrap(), both["id"].as_str().unwrap());
    stage.send_file("c-own", ERASED, own).await;
    stage.send_file("c-both", ERASED, both).await;
    stage.send_file("c-other", OTHER, both).await;
    for id in ["c-own", "c-both", "c-other"] {
        stage.timeline.life(id, &["command", "result", "report", "webhook"]).await;
    }
    stage.write(ERASED, WAMID, TEXT).await;
    stage.write(OTHER, "wamid.HBgNNDkxNTE4NzY1NDMyMRUCABIYFDNBQUI=", TEXT).await;
    // An item that cannot be read, of which no row names the customer.
    let broken = format!("{{ this is no JSON of {ERASED}");
    assert_eq!(Webhook::infobip(broken).post(stage.ingress.address).await.status, StatusCode::OK);
    stage.outbound.installation.until_processed().await;
    stage.timeline.life(WAMID, &["message", "webhook"]).await;
    eventually("the dead letter is stored", || async {
        (!stage.outbound.installation.dead_letters().await.is_empty()).then_some(())
    })
    .await;
    let before = stage.traces(&seeded()).await;
    for place in
        ["WEBHOOKS/", "EVENTS/", "COMMANDS/", "DEADLETTERS/", "KV_imchannel_sends/", "Redis", ".sqlite"]
    {
        assert!(before.iter().any(|trace| trace.contains(place)), "{place} has nothing: {before:#?}");
    }

    assert_counted(&stage, &before).await;

    // The back end has acknowledged nothing, so that the events are waited for.
    let id = stage.start(&format!("+{ERASED}"), false).await;
    eventually("it waits for the back end", || async {
        let waits_for = stage.state(&id).await["waits_for"].to_string();
        waits_for.contains("the back end has acknowledged").then_some(())
    })
    .await;
    let (status, busy) = stage.ask(&json!({ "number": OTHER, "dry_run": true })).await;
    assert_eq!(status, StatusCode::CONFLICT, "{busy:#}");

    // It goes on after it was killed.
    stage.timeline.program.kill().await;
    let mut logs = stage.timeline.program.rest().await;
    stage.acknowledge().await;
    stage.timeline = timeline(&stage.outbound, &stage.store, &stage.redis_url).await;
    let done = stage.done(&id).await;
    assert_eq!(done["unread_events"].as_array().unwrap().len(), 0, "{done:#}");
    assert_eq!(done["shared_files"], 1, "{done:#}");
    assert!(done["erased"]["ledger_entries"].as_u64().unwrap() >= 2, "{done:#}");
    assert!(!done["remains"].as_array().unwrap().is_empty());
    assert!(!done.to_string().contains("49151123"), "{done:#}");
    assert_eq!(stage.traces(&seeded()).await, Vec::<String>::new(), "{done:#}");

    // The other customer's messages are whole.
    let other = stage.timeline.life("c-other", &["command", "result", "report", "webhook"]).await;
    assert_eq!(other["recipient"], "…21");
    // A second erasure finds nothing, and a number may come again.
    let again = stage.start(ERASED, false).await;
    assert_eq!(stage.done(&again).await["found"]["rows"], 0);
    // Under an id of its own: NATS takes a repeat of an event within two minutes for the same.
    let next = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABIYFDNBQkI=";
    stage.write(ERASED, next, TEXT).await;
    stage.timeline.life(next, &["message", "webhook"]).await;
    for program in [&mut stage.timeline.program, &mut sender] {
        assert!(program.stop().await);
        logs.push_str(&program.rest().await);
    }
    assert!(logs.contains(&format!("erasure {id}: ")), "{logs}");
    for personal in ["49151123", "HBgNNDkx", "Seeded", "words of the customer"] {
        assert!(!logs.contains(personal), "{personal} in {logs}");
    }
    stage.normalizer.take().unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undecided_commands_are_answered_before_they_are_erased() {
    let stage = Box::pin(stage()).await;
    stage.outbound.set_paused(0, true).await;
    let sender = stage.outbound.sender().await;
    eventually("the lane is halted", || async {
        stage.outbound.halted(0).await.filter(|why| !why.is_empty())
    })
    .await;
    for (id, number) in [("c-1", ERASED), ("c-2", ERASED), ("c-3", OTHER)] {
        stage.outbound.publish(Priority::Interactive, &text(0, id, number, TEXT)).await;
    }
    stage.timeline.life("c-3", &["command"]).await;
    let id = stage.start(ERASED, true).await;
    for command in ["c-1", "c-2"] {
        let result = stage.outbound.result(command).await;
        assert_eq!(outcome(&result), proto::v1::SendOutcome::Rejected);
        assert_eq!(result.error.unwrap().code, "CUSTOMER_ERASED");
    }
    let done = stage.done(&id).await;
    assert_eq!(done["erased"]["commands"], 2, "{done:#}");
    assert_eq!(stage.traces(&seeded()).await, Vec::<String>::new());
    // With "force" the back end's events are erased and named.
    assert!(done["unread_events"].as_array().unwrap().len() >= 2, "{done:#}");
    stage.outbound.set_paused(0, false).await;
    let sent = stage.outbound.result("c-3").await;
    assert_eq!(outcome(&sent), proto::v1::SendOutcome::Accepted);
    for erased in ["imc-c-1", "imc-c-2"] {
        assert_eq!(stage.outbound.received(erased), 0, "{erased} was sent");
    }
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_interrupted_before_it_begins_says_so() {
    let mut stage = Box::pin(stage()).await;
    stage.normalizer.take().unwrap().stop().await;
    // It waits until the normalizer has processed this one.
    stage.write(ERASED, WAMID, TEXT).await;
    let id = stage.start(ERASED, false).await;
    stage.timeline.program.kill().await;
    let logs = stage.timeline.program.rest().await;
    assert!(!logs.contains(ERASED), "{logs}");
    stage.timeline = timeline(&stage.outbound, &stage.store, &stage.redis_url).await;
    let state = stage.state(&id).await;
    assert_eq!(state["step"], "interrupted", "{state:#}");
    assert!(state["error"].as_str().unwrap().contains("ask for it again"), "{state:#}");
    let again = stage.start(ERASED, true).await;
    stage.normalizer = Some(stage.outbound.installation.normalizer().await);
    assert!(stage.done(&again).await["erased"]["webhooks"].as_u64().unwrap() >= 1);
    stage.normalizer.take().unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_where_it_is_switched_on_and_said_what_for() {
    let stage = Box::pin(stage()).await;
    for body in [
        json!({ "number": ERASED }),
        json!({ "number": "", "dry_run": true }),
        json!({ "number": ERASED, "dry_run": false }),
        json!({ "number": ERASED, "dry_run": true, "everything": true }),
    ] {
        let (status, answer) = stage.ask(&body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer:#}");
        assert!(!answer.to_string().contains(ERASED), "{answer:#}");
    }
    let store = store_folder();
    let off = RunningTimeline::start(&stage.outbound.installation, &store, &[]).await;
    let answer = client()
        .post(format!("{}/v1/erasures", off.url))
        .header("sec-fetch-site", "none")
        .body(json!({ "number": ERASED, "dry_run": true }).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}
