//! Least privilege: the users of `deploy/nats/users.conf` and `deploy/redis/users.acl` can do all of their work, and
//! those of NATS nothing else, on real servers with these files. `redis_users.rs` tests what the users of Redis cannot
//! do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bsp::ChannelId;
use bus::{Headers, Priority, Subject};
use prost::Message;
use proto::v1::{
    MediaFetched, OutboundMedia, ReportEvent, ReportStatus, SendCommand, SendOutcome, SendResult,
    outbound_media, send_command,
};

use crate::harness::secured::{Secured, free_address};
use crate::harness::secured_channel::{
    CHANNEL, Events, channels_file, command, read_events, simulated_infobip,
};
use crate::harness::{TIMEOUT, bus_options, eventually};

const MARKER: &str = "no-such.may.publish.here";

/// Everything like in a deployment, each program with its own user: a file is uploaded, a command sent, reports come
/// in.
#[tokio::test(flavor = "multi_thread")]
async fn every_user_can_do_its_work_and_is_refused_nothing() {
    service::process::install_crypto_provider();
    let secured = Secured::start().await;
    let account = free_address();
    let file = channels_file(&format!("https://{account}"));
    let path = secured.folder().join("channels.toml");
    std::fs::write(&path, &file).unwrap();
    secured.cli("provisioner", &["setup", "--channels", path.to_str().unwrap()]).await;

    let mut ingress = secured.program("ingress", &[("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0")]);
    let gateway = format!("http://{}", ingress.address_after("accepts webhooks on").await);
    let _normalizer = secured.program("normalizer", &[]);
    let token = secured.secret_file("media.token");
    // Infobip gets the address of media, so it has to be known before media runs.
    let media_address = free_address();
    let media_url = format!("http://{media_address}");
    let mut media = secured.program(
        "media",
        &[
            ("IMCHANNEL_MEDIA_LISTEN", &media_address),
            ("IMCHANNEL_MEDIA_PUBLIC_URL", &media_url),
            ("IMCHANNEL_MEDIA_UPLOAD_TOKEN_FILE", &token),
        ],
    );
    media.line_with("accepts and serves files").await;
    let authority = secured.secret_file("simulate/ca.pem");
    let _sender = secured.program(
        "sender",
        &[("IMCHANNEL_MEDIA_PUBLIC_URL", &media_url), ("IMCHANNEL_INFOBIP_CA_FILE", &authority)],
    );
    let _infobip = simulated_infobip(&secured, &account, path.to_str().unwrap(), &gateway).await;

    let rows = secured.folder().join("timeline").to_string_lossy().into_owned();
    let mut timeline = secured.program(
        "timeline",
        &[("IMCHANNEL_TIMELINE_LISTEN", "127.0.0.1:0"), ("IMCHANNEL_TIMELINE_DIR", &rows)],
    );
    let media_id = upload(&media_url, &secured.secret("media.token")).await;
    let aicc = secured.bus("aicc", "aicc").await;
    let events = read_events(&aicc);
    publish_document(&aicc, &media_id).await;
    until_read(&events, &media_id).await;
    post_what_is_no_report(&gateway).await;
    until_shown(&timeline.address_after("answers on").await).await;
    eventually("events about the account and a customer are there", || async {
        let events = events.lock().unwrap();
        let is_there = |name: &str| events.iter().any(|(kind, _)| kind == name);
        (is_there("imchannel.v1.AccountEvent") && is_there("imchannel.v1.CustomerEvent")).then_some(())
    })
    .await;
    eventually("it is a dead letter", || async {
        let letters = secured.cli("operator", &["--json", "deadletter", "list"]).await;
        letters.contains("truncated").then_some(())
    })
    .await;
    // A command that waits for longer than the time after which a lane counts as behind.
    secured.cli("operator", &["channel", "pause", CHANNEL]).await;
    publish_text(&aicc, "c-2", Duration::from_secs(8)).await;
    eventually("what waits in a paused lane expires", || async {
        let events = events.lock().unwrap();
        let results = events.iter().filter(|(kind, _)| kind == "imchannel.v1.SendResult");
        let mut results = results.map(|(_, payload)| SendResult::decode(&payload[..]).unwrap());
        results.find(|result| result.command_id == "c-2" && result.outcome() == SendOutcome::Expired)
    })
    .await;
    secured.cli("operator", &["channel", "resume", CHANNEL]).await;
    operate(&secured).await;
    assert_eq!(secured.refusals(), Vec::<String>::new());
}

/// Waits until the result, the fetch of the file and the report of a reading are there.
async fn until_read(events: &Events, media_id: &str) {
    eventually("result, fetch and report are there", || async {
        let events = events.lock().unwrap();
        let result = events.iter().find(|(kind, _)| kind == "imchannel.v1.SendResult")?;
        let result = SendResult::decode(&result.1[..]).unwrap();
        assert_eq!(result.outcome(), SendOutcome::Accepted, "{result:?}");
        let fetched = |(kind, payload): &(String, Vec<u8>)| {
            kind == "imchannel.v1.MediaFetched"
                && MediaFetched::decode(&payload[..]).unwrap().media_id == media_id
        };
        let read = |(kind, payload): &(String, Vec<u8>)| {
            let is_report = kind == "imchannel.v1.ReportEvent";
            is_report && ReportEvent::decode(&payload[..]).unwrap().status() == ReportStatus::Read
        };
        (events.iter().any(fetched) && events.iter().any(read)).then_some(())
    })
    .await;
}

/// Waits until the timeline shows the channel with what it reads from streams and leases.
async fn until_shown(timeline: &str) {
    let url = format!("http://{timeline}/v1/channels/{CHANNEL}");
    eventually("the timeline shows how the channel is", || async {
        let answer = reqwest::get(&url).await.ok()?.bytes().await.ok()?;
        let channel: serde_json::Value = serde_json::from_slice(&answer).ok()?;
        let has_messages = channel["last_webhook"].is_object() && channel["last_send"].is_object();
        (has_messages && channel["lane"].is_object()).then_some(())
    })
    .await;
}

/// An undecodable body, and one about a template and one about a customer.
async fn post_what_is_no_report(gateway: &str) {
    let template = r#"{"content":{"type":"TEMPLATE_UPDATE","templateName":"promo","status":"PAUSED"}}"#;
    let opt_out = r#"{"from":"4915112345","content":{"type":"MARKETING_OPT_OUT"}}"#;
    let url = format!("{gateway}/social/on/whatsapp/infobip/report/{CHANNEL}");
    for body in ["{", template, opt_out] {
        let request = reqwest::Client::new().post(&url).header("AccountKey", "webhook-password");
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

/// The command line's own work, under its own users.
async fn operate(secured: &Secured) {
    // A sender writes the state of its lanes into its leases, and renews them every few seconds.
    let operator = secured.bus("imchannel-operator", "operator").await;
    let until_resumed = || async {
        eventually("no lane is said to be paused", || async {
            let leases = bus::inspect::leases(&operator).await.ok()?;
            let says = |value: &[u8]| String::from_utf8_lossy(value).contains("paused");
            (!leases.iter().any(|lease| says(&lease.value))).then_some(())
        })
        .await;
    };
    for args in [
        &["streams", "check"][..],
        &["channel", "list"],
        &["channel", "show", CHANNEL],
        &["channel", "pause", CHANNEL],
        &["channel", "resume", CHANNEL],
        &["lanes", "list"],
        &["tail", "reports", "--from-beginning", "--no-follow"],
        &["tail", "webhooks", "--from-beginning", "--no-follow"],
        &["tail", "commands", "--from-beginning", "--no-follow"],
        &["deadletter", "list"],
        &["deadletter", "drop", "--all", "--yes"],
        &["doctor", "--watch-for", "1s"],
        &["replay", "webhooks", "--since", "1h"],
        &["replay", "webhooks", "--since", "1h", "--publish", "--yes"],
        &["send", "--channel", CHANNEL, "--to", "4915112345", "--text", "Hello"],
    ] {
        if args[0] == "doctor" {
            until_resumed().await;
        }
        secured.cli("operator", args).await;
    }
    secured.cli("provisioner", &["streams", "apply"]).await;
    secured.cli("provisioner", &["channel", "remove", CHANNEL, "--force", "--yes"]).await;
}

async fn upload(media_url: &str, token: &str) -> String {
    let url = format!("{media_url}/tenantname/imchannel/media?channel={CHANNEL}&kind=document");
    let client = reqwest::Client::new();
    let answer = eventually("the upload is taken", || async {
        let upload = client.post(&url).bearer_auth(token).header("content-type", "text/plain").body("hello");
        let answer = upload.send().await.unwrap();
        (answer.status() == 201).then_some(answer)
    })
    .await;
    let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

async fn publish_text(aicc: &bus::Bus, command_id: &str, lives: Duration) {
    let text = proto::v1::OutboundText { body: "Hello".to_owned(), ..Default::default() };
    let not_after = bsp::time::to_proto(jiff::Timestamp::now() + lives);
    let content = Some(send_command::Content::Text(text));
    publish(aicc, SendCommand { content, not_after: Some(not_after), ..command(command_id) }).await;
}

async fn publish_document(aicc: &bus::Bus, media_id: &str) {
    let media = OutboundMedia {
        source: Some(outbound_media::Source::MediaId(media_id.to_owned())),
        file_name: "hello.txt".to_owned(),
        ..OutboundMedia::default()
    };
    publish(aicc, SendCommand { content: Some(send_command::Content::Document(media)), ..command("c-1") })
        .await;
}

async fn publish(aicc: &bus::Bus, command: SendCommand) {
    let subject = Subject::Command(Priority::Interactive, ChannelId::parse(CHANNEL).unwrap());
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    aicc.store(&subject, Headers::new, &command.encode_to_vec().into(), deadline).await.unwrap();
}

/// A user's bare connection, and its permission errors.
struct Intruder {
    client: async_nats::Client,
    refused: Arc<Mutex<Vec<String>>>,
    markers: usize,
}

impl Intruder {
    async fn connect(secured: &Secured, user: &str, inbox: &str) -> Self {
        let refused: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Arc::clone(&refused);
        let options = async_nats::ConnectOptions::new()
            .nkey(secured.seed(user).expose().to_owned())
            .custom_inbox_prefix(inbox)
            .event_callback(move |event| {
                if let async_nats::Event::ServerError(error) = event {
                    told.lock().unwrap().push(error.to_string());
                }
                std::future::ready(())
            });
        let client = options.connect(secured.nats.url()).await.unwrap();
        Self { client, refused, markers: 0 }
    }

    /// Whether the server refuses the last operation: it answers in order, so a refusal comes before that of a marker.
    async fn was_refused(&mut self, subject: &str) -> bool {
        self.markers += 1;
        let marker = format!("{MARKER}.{}", self.markers);
        self.client.publish(marker.clone(), "".into()).await.unwrap();
        eventually("the marker is refused", || async {
            let refused = self.refused.lock().unwrap();
            let holds = |subject: &str| {
                refused
                    .iter()
                    .any(|text| text.to_lowercase().contains(&format!("\"{}\"", subject.to_lowercase())))
            };
            holds(&marker).then(|| holds(subject))
        })
        .await
    }

    async fn may_publish(&mut self, subject: &str) -> bool {
        self.client.publish(subject.to_owned(), "{}".into()).await.unwrap();
        !self.was_refused(subject).await
    }

    async fn may_subscribe(&mut self, subject: &str) -> bool {
        let _subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        !self.was_refused(subject).await
    }
}

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

const READERS_OF_CHANNELS: [&str; 6] = ["ingress", "sender", "media", "timeline", "provisioner", "operator"];

/// Operations on the bus, and the users that may do them.
const RIGHTS: &[(&str, &[&str])] = &[
    ("imchannel.webhook.infobip.channel-0", &["ingress"]),
    ("imchannel.event.report.infobip.channel-0", &["normalizer", "sender", "operator"]),
    ("imchannel.event.message.infobip.channel-0", &["normalizer", "operator"]),
    ("imchannel.event.account.infobip.channel-0", &["normalizer", "operator"]),
    ("imchannel.event.customer.infobip.channel-0", &["normalizer", "operator"]),
    ("imchannel.event.send.infobip.channel-0", &["sender"]),
    ("imchannel.event.send.none.channel-0", &["sender"]),
    ("imchannel.event.send.none.unknown", &["sender"]),
    ("imchannel.event.media.infobip.channel-0", &["media"]),
    ("imchannel.command.send.channel-0", &["aicc", "operator"]),
    ("imchannel.command.bulk.channel-0", &["aicc", "operator"]),
    ("imchannel.deadletter.webhook.channel-0", &["normalizer"]),
    ("imchannel.deadletter.command.channel-0", &["sender"]),
    ("$KV.imchannel_channels.channel-0", &["provisioner", "operator"]),
    ("$KV.imchannel_sends.channel-0.0123", &["sender"]),
    ("$KV.imchannel_lanes.lane.channel-0", &["sender"]),
    ("$KV.imchannel_marks.KV_imchannel_sends", &["sender", "provisioner"]),
    ("$JS.API.STREAM.MSG.GET.KV_imchannel_marks", &["ingress", "sender", "media", "provisioner", "operator"]),
    // Only the user that does the work may pull and ack it.
    ("$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS.normalizer", &["normalizer", "operator"]),
    ("$JS.API.CONSUMER.MSG.NEXT.EVENTS.aicc", &["aicc", "operator"]),
    ("$JS.API.CONSUMER.MSG.NEXT.COMMANDS.send-channel-0", &["sender", "operator"]),
    ("$JS.ACK.WEBHOOKS.normalizer.1.1.1.1.1", &["normalizer"]),
    ("$JS.ACK.EVENTS.aicc.1.1.1.1.1", &["aicc"]),
    ("$JS.ACK.COMMANDS.send-channel-0.1.1.1.1.1", &["sender"]),
    // Only the provisioner creates durables and streams; a person who reads creates ephemeral consumers.
    ("$JS.API.CONSUMER.DURABLE.CREATE.WEBHOOKS.normalizer", &[]),
    ("$JS.API.CONSUMER.CREATE.WEBHOOKS.normalizer", &["provisioner"]),
    ("$JS.API.CONSUMER.CREATE.WEBHOOKS.other", &[]),
    // The body of such a request may name a durable.
    ("$JS.API.CONSUMER.CREATE.WEBHOOKS", &["operator"]),
    ("$JS.API.CONSUMER.CREATE.WEBHOOKS.timeline", &["timeline"]),
    ("$JS.API.CONSUMER.CREATE.WEBHOOKS.timeline.imchannel.webhook.>", &[]),
    ("$JS.API.CONSUMER.CREATE.EVENTS.timeline", &["timeline"]),
    ("$JS.API.CONSUMER.CREATE.EVENTS.aicc.imchannel.event.>", &[]),
    // Which messages have no report, for reconciliation.
    ("$JS.API.CONSUMER.CREATE.EVENTS.reconciler-1.imchannel.event.report.infobip.channel-0", &["sender"]),
    ("$JS.API.CONSUMER.CREATE.EVENTS.reconciler-1.imchannel.event.send.infobip.channel-0", &["sender"]),
    ("$JS.API.CONSUMER.CREATE.EVENTS.reconciler-1.imchannel.event.message.infobip.channel-0", &[]),
    ("$JS.API.CONSUMER.CREATE.EVENTS.reconciler-1", &[]),
    ("$JS.API.CONSUMER.CREATE.COMMANDS.timeline", &["timeline"]),
    ("$JS.API.CONSUMER.CREATE.DEADLETTERS.timeline", &["timeline"]),
    ("$JS.API.CONSUMER.DELETE.EVENTS.timeline", &["timeline", "provisioner", "operator"]),
    ("$JS.API.CONSUMER.MSG.NEXT.EVENTS.timeline", &["operator"]),
    ("$JS.API.CONSUMER.CREATE.COMMANDS.send-channel-0.imchannel.command.send.channel-0", &["provisioner"]),
    ("$JS.API.CONSUMER.CREATE.KV_imchannel_channels", &READERS_OF_CHANNELS),
    ("$JS.API.CONSUMER.CREATE.KV_imchannel_channels.x.$KV.imchannel_channels.>", &READERS_OF_CHANNELS),
    ("$JS.API.CONSUMER.CREATE.KV_imchannel_channels.x", &[]),
    ("$JS.API.CONSUMER.CREATE.KV_imchannel_sends", &["operator"]),
    ("$JS.API.CONSUMER.DELETE.EVENTS.aicc", &["provisioner", "operator"]),
    ("$JS.API.STREAM.CREATE.WEBHOOKS", &["provisioner"]),
    ("$JS.API.STREAM.CREATE.OTHER", &[]),
    (
        "$JS.API.STREAM.INFO.WEBHOOKS",
        &["ingress", "normalizer", "sender", "timeline", "provisioner", "operator"],
    ),
    (
        "$JS.API.STREAM.INFO.DEADLETTERS",
        &["ingress", "normalizer", "sender", "timeline", "provisioner", "operator"],
    ),
    (
        "$JS.API.STREAM.INFO.KV_imchannel_sends",
        &["ingress", "normalizer", "sender", "provisioner", "operator"],
    ),
    ("$JS.API.STREAM.INFO.KV_imchannel_marks", &["provisioner", "operator"]),
    ("$JS.API.STREAM.INFO.OTHER", &[]),
    ("$JS.API.STREAM.UPDATE.WEBHOOKS", &["provisioner"]),
    ("$JS.API.STREAM.DELETE.WEBHOOKS", &[]),
    ("$JS.API.STREAM.PURGE.WEBHOOKS", &["ingress", "normalizer"]),
    ("$JS.API.STREAM.PURGE.KV_imchannel_sends", &[]),
    ("$JS.API.STREAM.PURGE.KV_imchannel_marks", &[]),
    // A user that purges a stream deletes message by message on old servers.
    ("$JS.API.STREAM.MSG.DELETE.WEBHOOKS", &["ingress", "normalizer", "eraser"]),
    ("$JS.API.STREAM.MSG.DELETE.EVENTS", &["normalizer", "sender", "eraser"]),
    ("$JS.API.STREAM.MSG.DELETE.COMMANDS", &["sender", "eraser", "provisioner"]),
    ("$JS.API.STREAM.MSG.DELETE.DEADLETTERS", &["eraser", "operator"]),
    ("$JS.API.STREAM.MSG.DELETE.KV_imchannel_sends", &[]),
    ("$JS.API.STREAM.MSG.GET.KV_imchannel_sends", &["sender", "operator"]),
    // A sender reads the pending commands of its lanes; the normalizer the age of the oldest webhook.
    ("$JS.API.STREAM.MSG.GET.COMMANDS", &["sender", "timeline", "provisioner", "operator"]),
    ("$JS.API.STREAM.MSG.GET.WEBHOOKS", &["normalizer", "timeline", "operator"]),
    ("$JS.API.STREAM.MSG.GET.EVENTS", &["normalizer", "timeline", "operator"]),
    // A user that stores dead letters reads the bytes that a channel uses.
    ("$JS.API.STREAM.MSG.GET.DEADLETTERS", &["normalizer", "sender", "timeline", "operator"]),
    // The purger purges up to the ack floor of every durable.
    ("$JS.API.STREAM.PURGE.COMMANDS", &["sender", "provisioner"]),
    ("$JS.API.STREAM.PURGE.EVENTS", &["normalizer", "sender"]),
    // No service purges dead letters: they are for people.
    ("$JS.API.STREAM.PURGE.DEADLETTERS", &[]),
    ("$JS.API.CONSUMER.NAMES.WEBHOOKS", &["ingress", "normalizer", "provisioner", "operator"]),
    ("$JS.API.CONSUMER.NAMES.COMMANDS", &["sender", "provisioner", "operator"]),
    // A user that publishes to a stream checks whether it ends below its readers' positions.
    ("$JS.API.CONSUMER.NAMES.EVENTS", &["normalizer", "sender", "media", "provisioner", "operator"]),
    ("$JS.API.CONSUMER.INFO.EVENTS.other", &["normalizer", "sender", "media", "provisioner", "operator"]),
    // Acks and flow control of servers whose subjects begin with domain and account.
    ("$JS.ACK._.hash.WEBHOOKS.normalizer.1.1.1.1.1", &["normalizer"]),
    ("$JS.ACK._.hash.COMMANDS.send-channel-0.1.1.1.1.1", &["sender"]),
    ("$JS.ACK._.hash.EVENTS.aicc.1.1.1.1.1", &["aicc"]),
    ("$JS.FC.KV_imchannel_channels.x", &READERS_OF_CHANNELS),
    ("$JS.FC._.hash.KV_imchannel_lanes.x", &["sender", "timeline", "operator"]),
    ("$JS.FC.EVENTS.timeline.x", &["sender", "timeline", "operator"]),
    ("$JS.FC._.hash.WEBHOOKS.timeline.x", &["timeline", "operator"]),
    // What waits for a durable of a reader, and nothing of a back end's other ones.
    ("$JS.API.CONSUMER.INFO.COMMANDS.send-channel-0", &["sender", "timeline", "provisioner", "operator"]),
    (
        "$JS.API.CONSUMER.INFO.EVENTS.aicc",
        &["ingress", "normalizer", "sender", "media", "timeline", "aicc", "provisioner", "operator"],
    ),
    ("_INBOX_imchannel-sender.forged", &[]),
    // An erasure asks the owner of a lane, who answers the eraser and no other user.
    ("imchannel.erase.channel-0", &["eraser"]),
    ("_INBOX_imchannel-eraser.x", &["sender"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_user_cannot_do_or_read_the_work_of_another() {
    let secured = Secured::start().await;
    for (user, inbox) in USERS {
        let mut intruder = Intruder::connect(&secured, user, inbox).await;
        for &(subject, allowed) in RIGHTS {
            let may = intruder.may_publish(subject).await;
            assert_eq!(may, allowed.contains(&user), "{user} publishes to {subject}");
        }
        for subject in ["imchannel.>", "imchannel.event.>", "$JS.>", "$KV.>", "_INBOX.>", ">"] {
            assert!(!intruder.may_subscribe(subject).await, "{user} listens to {subject}");
        }
        let may = intruder.may_subscribe("imchannel.erase.*").await;
        assert_eq!(may, user == "sender", "{user} listens to the requests of an erasure");
        for (other, its_inbox) in USERS {
            let may = intruder.may_subscribe(&format!("{its_inbox}.>")).await;
            assert_eq!(may, user == other, "{user} listens to the answers for {other}");
        }
    }
}

/// Creates a consumer as user `timeline`, with this name in the body. The name in the subject is its own.
async fn create_as_timeline(intruder: &Intruder, stream: &str, more: serde_json::Value) {
    let mut config = serde_json::json!({
        "deliver_subject": intruder.client.new_inbox(),
        "deliver_policy": "new",
        "filter_subject": "imchannel.none",
        "ack_policy": "none",
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = serde_json::json!({ "stream_name": stream, "config": config }).to_string();
    let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.timeline");
    intruder.client.request(subject, body.into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_changes_no_durable_by_the_body_of_its_requests() {
    let secured = Secured::start().await;
    secured.cli("provisioner", &["streams", "apply"]).await;
    let operator = Intruder::connect(&secured, "operator", "_INBOX_imchannel-operator").await;
    let timeline = Intruder::connect(&secured, "timeline", "_INBOX_imchannel-timeline").await;
    for (stream, durable) in [("WEBHOOKS", "normalizer"), ("EVENTS", "aicc")] {
        let config = || async {
            let subject = format!("$JS.API.CONSUMER.INFO.{stream}.{durable}");
            let info = operator.client.request(subject, "".into()).await.unwrap();
            let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
            info["config"].clone()
        };
        let before = config().await;
        assert!(before.is_object(), "{stream} has {durable}");
        for named in [
            serde_json::json!({ "name": durable }),
            serde_json::json!({ "durable_name": durable }),
            serde_json::json!({ "name": "timeline", "durable_name": durable }),
            serde_json::json!({ "name": durable, "durable_name": "timeline" }),
        ] {
            create_as_timeline(&timeline, stream, named).await;
        }
        assert_eq!(config().await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_get_in() {
    let secured = Secured::start().await;
    let stranger = bus::NkeySeed::generate();
    for nkey in [None, Some(stranger)] {
        let options = bus::BusOptions { nkey, ..bus_options("stranger", secured.nats.url()) };
        assert!(bus::Bus::connect_now(&options).await.is_err());
    }
}
