//! `docs/asyncapi.yaml` against the bus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bsp::command::{ReceivedCommand, check};
use bsp::ids::{CHANNEL_ID_LENGTH_MAX, COMMAND_ID_LENGTH_MAX};
use bsp::{ChannelId, registry};
use bus::streams::{
    BUCKETS, COMMANDS, DEADLETTERS, DURABLES, EVENTS, LANE_ACK_WAIT, LANE_MAX_ACK_PENDING, LaneConsumer,
    STREAMS, WEBHOOKS,
};
use bus::{Delivery, EventKind, Origin, Priority, Subject, headers};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use proto::v1::{
    AccountEvent, CustomerEvent, InboundMessage, MediaFetched, ReportEvent, SendCommand, SendResult,
};
use serde_json::{Value, json};

use super::{Document, entries, texts};
use crate::harness::outbound::{Outbound, TENANT, UPLOAD_TOKEN, store_dead_letter, text};
use crate::harness::{Installation, RunningIngress, TIMEOUT, Webhook, eventually, run_cli};

const CHANNEL: &str = "channel-0";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn document() -> Document {
    Document::read(include_str!("../../../docs/asyncapi.yaml"))
}

fn descriptors() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTORS).unwrap()
}

/// Every subject of a channel of the document, for one channel of ours.
fn subjects(document: &Document, channel: &Value) -> Vec<String> {
    let mut all = vec![channel["address"].as_str().unwrap().replace("{channel}", CHANNEL)];
    for (name, parameter) in document.entries(&channel["parameters"]).filter(|(name, _)| *name != "channel") {
        let values = texts(&parameter["enum"]);
        assert!(!values.is_empty(), "{name} has no values");
        let filled = |subject: &String| {
            values.iter().map(|value| subject.replace(&format!("{{{name}}}"), value)).collect()
        };
        all = all.iter().flat_map::<Vec<_>, _>(filled).collect();
    }
    all
}

/// Every subject of ours, of the same channel.
fn known_subjects() -> Vec<Subject> {
    let channel = || ChannelId::parse(CHANNEL).unwrap();
    let bsps = || registry::REGISTRY.iter().map(|bsp| bsp.profile().id);
    let webhooks = bsps().map(|bsp| Subject::Webhook(bsp, channel()));
    let events = EventKind::ALL
        .into_iter()
        .flat_map(|kind| bsps().map(move |bsp| Subject::Event(kind, bsp, channel())));
    let of_none = std::iter::once(Subject::ResultWithoutBsp(Some(channel())));
    let commands = Priority::ALL.into_iter().map(|queue| Subject::Command(queue, channel()));
    let letters = Origin::ALL.into_iter().map(|origin| Subject::DeadLetter(origin, Some(channel())));
    webhooks.chain(events).chain(of_none).chain(commands).chain(letters).collect()
}

#[test]
fn every_subject_has_its_channel_and_its_stream() {
    let document = document();
    let mut described = BTreeMap::new();
    for (name, channel) in entries(&document.0["channels"]) {
        let stream = channel["x-stream"].as_str().unwrap();
        for subject in subjects(&document, channel) {
            assert!(Subject::parse(&subject).is_some(), "{name}: {subject} is not a subject of imchannel");
            assert_eq!(described.insert(subject, stream), None, "{name} describes what another channel does");
        }
    }
    // A new kind of subject does not compile here before it is described.
    let stream = |subject: &Subject| match subject {
        Subject::Webhook(..) => "WEBHOOKS",
        Subject::Event(..) | Subject::ResultWithoutBsp(..) => "EVENTS",
        Subject::Command(..) => "COMMANDS",
        Subject::DeadLetter(..) => "DEADLETTERS",
    };
    let known: BTreeMap<_, _> =
        known_subjects().iter().map(|known| (known.to_text(), known.stream().name())).collect();
    assert_eq!(described, known);
    assert!(known_subjects().iter().all(|known| stream(known) == known.stream().name()));
}

#[test]
fn streams_durables_and_buckets_are_as_defined() {
    let document = document();
    let described = &document.0["x-jetstream"];
    let hours = |time: Duration| time.as_secs() / 3600;
    let streams: Value = STREAMS
        .iter()
        .map(|stream| {
            let (age, bytes) = (hours(stream.max_age), stream.max_bytes_default);
            (
                stream.name.to_owned(),
                json!({ "subjects": stream.subjects, "max_age_hours": age, "max_bytes_default": bytes }),
            )
        })
        .collect();
    assert_eq!(described["streams"], streams);

    let mut durables: BTreeMap<String, Value> = BTreeMap::new();
    for durable in DURABLES {
        let (stream, wait) = (durable.stream.name, durable.ack_wait.as_secs());
        let value =
            json!({ "stream": stream, "ack_wait_s": wait, "max_ack_pending": durable.max_ack_pending });
        durables.insert(durable.name.to_owned(), value);
    }
    for queue in Priority::ALL {
        let lane = LaneConsumer::of(queue, &ChannelId::parse(CHANNEL).unwrap());
        let (wait, pending) = (LANE_ACK_WAIT.as_secs(), LANE_MAX_ACK_PENDING);
        let value = json!({ "stream": COMMANDS.name, "filter": lane.filter, "ack_wait_s": wait, "max_ack_pending": pending });
        durables.insert(lane.name, value);
    }
    let text = described["durables"].to_string().replace("{channel}", CHANNEL);
    assert_eq!(serde_json::from_str::<BTreeMap<String, Value>>(&text).unwrap(), durables);
    assert_eq!(texts(&described["buckets"]), BUCKETS.iter().map(|bucket| bucket.name).collect());

    // An operation that reads, and one whose channel the AICC back end reads, uses a durable of the channel's stream.
    for (name, operation) in entries(&document.0["operations"]) {
        let channel = document.resolve(&operation["channel"]);
        let Some(durable) = operation["x-durable"].as_str() else {
            let is_read = operation["action"] == "receive" || channel["x-stream"] == "EVENTS";
            assert!(!is_read, "{name} names no durable");
            continue;
        };
        for queue in Priority::ALL {
            let durable = durable.replace("{queue}", queue.token()).replace("{channel}", CHANNEL);
            assert_eq!(durables[&durable]["stream"], channel["x-stream"], "{name}");
        }
    }
}

#[test]
fn every_event_has_the_message_that_its_type_names() {
    let (document, pool) = (document(), descriptors());
    for kind in EventKind::ALL {
        let address = format!("imchannel.event.{}.{{bsp}}.{{channel}}", kind.token());
        let (_, channel) =
            entries(&document.0["channels"]).find(|(_, channel)| channel["address"] == *address).unwrap();
        let messages: Vec<_> = document.entries(&channel["messages"]).collect();
        let [(_, message)] = messages[..] else { panic!("{address} has {} messages", messages.len()) };
        assert_eq!(message["x-protobuf-message"], kind.type_name());
        assert_eq!(message["headers"]["properties"]["ce-type"]["const"], kind.type_name());
    }
    let mut in_protobuf = 0;
    for (name, message) in entries(&document.0["components"]["messages"]) {
        let Some(type_name) = message["x-protobuf-message"].as_str() else { continue };
        for example in message["examples"].as_array().unwrap() {
            read_as(type_name, &example["payload"])
                .unwrap_or_else(|error| panic!("an example of {name}: {error}"));
        }
        let Some(schema) = message["payload"]["schema"].as_str() else { continue };
        in_protobuf += 1;
        let file = pool.get_message_by_name(type_name).unwrap().parent_file();
        assert_eq!(schema, format!("syntax = \"proto3\"; import public \"{}\";", file.name()), "{name}");
    }
    assert_eq!(in_protobuf, EventKind::ALL.len() + 1, "every event, and the command");
}

/// Reads proto3 JSON; a field that the message does not have is an error.
fn read_as(type_name: &str, json: &Value) -> serde_json::Result<()> {
    let json = json.clone();
    match type_name {
        "imchannel.v1.ReportEvent" => serde_json::from_value::<ReportEvent>(json).map(drop),
        "imchannel.v1.InboundMessage" => serde_json::from_value::<InboundMessage>(json).map(drop),
        "imchannel.v1.SendResult" => serde_json::from_value::<SendResult>(json).map(drop),
        "imchannel.v1.MediaFetched" => serde_json::from_value::<MediaFetched>(json).map(drop),
        "imchannel.v1.AccountEvent" => serde_json::from_value::<AccountEvent>(json).map(drop),
        "imchannel.v1.CustomerEvent" => serde_json::from_value::<CustomerEvent>(json).map(drop),
        "imchannel.v1.SendCommand" => serde_json::from_value::<SendCommand>(json).map(drop),
        other => panic!("no message is called {other}"),
    }
}

#[test]
fn the_json_form_of_a_command_has_the_fields_of_the_protobuf_messages() {
    let (document, pool) = (document(), descriptors());
    let mut compared = BTreeSet::new();
    for (name, schema) in entries(&document.0["components"]["schemas"]) {
        let Some(type_name) = schema["x-protobuf-message"].as_str() else { continue };
        let message = pool.get_message_by_name(type_name).unwrap();
        let fields: BTreeMap<_, _> =
            message.fields().map(|field| (field.json_name().to_owned(), field)).collect();
        let described: BTreeSet<_> =
            entries(&schema["properties"]).map(|(field, _)| field.to_owned()).collect();
        assert_eq!(described, fields.keys().cloned().collect(), "{name}");
        for (field, property) in entries(&schema["properties"]) {
            compare_field(&document, &fields[field], property);
        }
        assert_eq!(schema["additionalProperties"], false, "{name}");
        let required = texts(&schema["required"]);
        assert!(required.iter().all(|field| fields.contains_key(*field)), "{name} requires {required:?}");
        let choices =
            schema["oneOf"].as_array().into_iter().flatten().flat_map(|choice| texts(&choice["required"]));
        assert_eq!(
            choices.collect::<BTreeSet<_>>(),
            oneof_fields(&message).iter().map(String::as_str).collect(),
            "{name}"
        );
        compared.insert(type_name);
    }
    assert!(compared.contains("imchannel.v1.SendCommand"), "{compared:?}");
}

fn oneof_fields(message: &MessageDescriptor) -> BTreeSet<String> {
    let real = message.oneofs().filter(|oneof| oneof.fields().len() > 1);
    real.flat_map(|oneof| oneof.fields().map(|field| field.json_name().to_owned()).collect::<Vec<_>>())
        .collect()
}

/// Compares the type of a property, or of what it refers to, with the field.
fn compare_field(document: &Document, field: &FieldDescriptor, property: &Value) {
    let name = field.full_name();
    let item = if field.is_list() {
        assert_eq!(property["type"], "array", "{name}");
        &property["items"]
    } else {
        property
    };
    let schema = document.resolve(item);
    let (kind, format) = match field.kind() {
        Kind::String => ("string", None),
        Kind::Bytes => ("string", Some("byte")),
        Kind::Bool => ("boolean", None),
        Kind::Double | Kind::Float => ("number", None),
        Kind::Int32 | Kind::Uint32 => ("integer", None),
        Kind::Message(message) if message.full_name() == "google.protobuf.Timestamp" => {
            ("string", Some("date-time"))
        }
        Kind::Message(message) => {
            assert_eq!(schema["x-protobuf-message"], message.full_name(), "{name}");
            ("object", None)
        }
        other => panic!("{name}: say here what {other:?} is in JSON"),
    };
    assert_eq!(schema["type"], kind, "{name}");
    assert!(format.is_none_or(|format| schema["format"] == format), "{name} is no {format:?}");
}

/// A command with this content, as JSON.
fn command(content: &Value) -> Value {
    let mut command = json!({ "commandId": "c", "channelId": CHANNEL, "recipient": "8618257518838" });
    command.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
    command
}

fn is_taken(command: &Value) -> bool {
    let channel = ChannelId::parse(CHANNEL).unwrap();
    let command: SendCommand = serde_json::from_value(command.clone()).unwrap();
    check(ReceivedCommand { channel: &channel, command: &command }).is_ok()
}

#[test]
fn the_longest_texts_of_a_command_are_as_long_as_described() {
    let document = document();
    let url = "https://files.example/1";
    let template = |more: Value| {
        let mut template = json!({ "name": "n", "language": "en" });
        template.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "template": template })
    };
    let header = || template(json!({ "header": { "text": "t" } }));
    let button = |kind: &str| template(json!({ "buttons": [{ kind: "t" }] }));
    for (content, at, schema, property) in [
        (json!({ "text": { "body": "t" } }), "/context", "SendCommand", "context"),
        (json!({ "text": { "body": "t" } }), "/text/body", "OutboundText", "body"),
        (json!({ "image": { "url": url, "caption": "t" } }), "/image/caption", "OutboundMedia", "caption"),
        (
            json!({ "document": { "url": url, "fileName": "t" } }),
            "/document/fileName",
            "OutboundMedia",
            "fileName",
        ),
        (json!({ "location": { "name": "t" } }), "/location/name", "Location", "name"),
        (json!({ "location": { "address": "t" } }), "/location/address", "Location", "address"),
        (template(json!({})), "/template/name", "Template", "name"),
        (template(json!({ "placeholders": ["t"] })), "/template/placeholders/0", "Template", "placeholders"),
        (header(), "/template/header/text", "TemplateHeader", "text"),
        (button("urlPlaceholder"), "/template/buttons/0/urlPlaceholder", "TemplateButton", "urlPlaceholder"),
        (
            button("quickReplyPayload"),
            "/template/buttons/0/quickReplyPayload",
            "TemplateButton",
            "quickReplyPayload",
        ),
    ] {
        let property = &document.0["components"]["schemas"][schema]["properties"][property];
        let limit = property["maxLength"].as_u64().or_else(|| property["items"]["maxLength"].as_u64());
        let limit = usize::try_from(limit.unwrap_or_else(|| panic!("{at} has no limit"))).unwrap();
        for (length, fits) in [(limit, true), (limit + 1, false)] {
            let mut command = command(&content);
            command["context"] = "".into();
            *command.pointer_mut(at).unwrap() = "x".repeat(length).into();
            assert_eq!(is_taken(&command), fits, "{at} of {length} characters");
        }
    }
    let schemas = &document.0["components"]["schemas"];
    let ids = &schemas["SendCommand"]["properties"];
    assert_eq!(ids["commandId"]["pattern"], format!("^[A-Za-z0-9_-]{{1,{COMMAND_ID_LENGTH_MAX}}}$"));
    assert_eq!(ids["channelId"]["pattern"], format!("^[A-Za-z0-9_-]{{1,{CHANNEL_ID_LENGTH_MAX}}}$"));
}

/// The headers of a message, by name, and whether each must be there.
#[derive(Default)]
struct HeaderRules<'d>(BTreeMap<&'d str, (Vec<&'d Value>, bool)>);

impl<'d> HeaderRules<'d> {
    fn of(document: &'d Document, message: &'d Value) -> Self {
        let mut rules = Self::default();
        rules.add(document, &message["headers"]);
        rules
    }

    fn add(&mut self, document: &'d Document, schema: &'d Value) {
        let schema = document.resolve(schema);
        for (name, property) in entries(&schema["properties"]) {
            self.0.entry(name).or_default().0.push(property);
        }
        for name in texts(&schema["required"]) {
            self.0.entry(name).or_default().1 = true;
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.add(document, part);
        }
    }

    /// Every header of a message is described and is as described, and none is missing.
    fn check(&self, delivery: &Delivery) {
        let found: BTreeMap<_, _> = all_headers(delivery).collect();
        let at = format!("{} {}", delivery.subject, delivery.sequence);
        for (name, value) in &found {
            let (schemas, _) =
                self.0.get(name.as_str()).unwrap_or_else(|| panic!("{at}: {name} is not described"));
            for schema in schemas {
                assert!(schema["const"].is_null() || schema["const"] == *value, "{at}: {name} is {value}");
                let allowed = texts(&schema["enum"]);
                assert!(allowed.is_empty() || allowed.contains(value.as_str()), "{at}: {name} is {value}");
            }
        }
        for (name, (_, is_required)) in &self.0 {
            assert!(!is_required || found.contains_key(*name), "{at}: {name} is missing");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_have_the_headers_that_are_described_and_no_others() {
    let document = document();
    let outbound = Outbound::start(&[50]).await;
    let stored = make_every_message(&outbound).await;
    for (name, channel) in entries(&document.0["channels"]) {
        let subjects = subjects(&document, channel);
        let here: Vec<_> = stored.iter().filter(|delivery| subjects.contains(&delivery.subject)).collect();
        assert!(!here.is_empty(), "nothing was published to {name}");
        let mut seen = BTreeSet::new();
        let mut described = BTreeSet::new();
        for (_, message) in document.entries(&channel["messages"]) {
            let rules = HeaderRules::of(&document, message);
            described.extend(rules.0.keys().map(|name| (*name).to_owned()));
            // Each of the two forms of a command has the one header that identifies it.
            let is_its = |delivery: &&&Delivery| {
                let content_type = delivery.headers.get(headers::CONTENT_TYPE);
                name != "commands" || content_type == message["contentType"].as_str()
            };
            let its: Vec<_> = here.iter().filter(is_its).collect();
            assert!(!its.is_empty(), "{name} has none of its {}", message["name"]);
            for delivery in its {
                rules.check(delivery);
                seen.extend(all_headers(delivery).map(|(name, _)| name));
            }
        }
        assert_eq!(described, seen, "{name}: what is described never came");
    }
    let of_channels = entries(&document.0["channels"]).map(|(_, channel)| subjects(&document, channel));
    let described: BTreeSet<_> = of_channels.flatten().collect();
    assert!(stored.iter().all(|delivery| described.contains(&delivery.subject)));
}

/// The headers of a message, and the id of its publish.
fn all_headers(delivery: &Delivery) -> impl Iterator<Item = (String, String)> {
    let id = delivery.message_id().map(|id| (headers::MESSAGE_ID.to_string(), id.to_owned()));
    delivery.headers.sorted().into_iter().chain(id)
}

/// Rare dead letters: of the rest of a body, of a command that may have been sent, and one that is published again.
async fn make_letters_that_tell_more(outbound: &Outbound, ingress: &RunningIngress) {
    post(ingress, "report", &format!(r#"{{"results":[{}]}}"#, ["7"; 9].join(","))).await;
    let channel = ChannelId::parse(CHANNEL).unwrap();
    // The state after a version that could decode the command died during its call.
    let id = bsp::CommandId::parse("maybe").unwrap();
    let entry = json!({
        "version": 1, "sequence": 4, "digest": "d", "attempts": 1, "token": "t",
        "state": { "intent": { "at_ms": 1, "unknown_since_ms": 1, "is_resent": false } },
    });
    let bus = &outbound.installation.bus;
    let key = bus::ledger::LedgerKey::new(&channel, &id);
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    let value = entry.to_string().into();
    bus.ledger_write(&key, bus::ledger::Revision::NONE, value, deadline).await.unwrap();
    let fields = [(headers::MESSAGE_ID, "maybe"), (headers::CONTENT_TYPE, "application/json")];
    let payload = br#"{"commandId":"maybe","text":7}"#.to_vec();
    assert_eq!(outbound.publish_raw(Priority::Interactive, &channel, payload, &fields).await, 4);
    let again = prost::Message::encode_to_vec(&text(0, "again", "8618257518840", "Hello"));
    let fields = [(headers::CONTENT_TYPE, "application/protobuf"), (headers::TRACEPARENT, TRACE)];
    store_dead_letter(outbound, CHANNEL, &again, &fields).await;
}

async fn post(ingress: &RunningIngress, route: &str, body: &str) {
    let path = format!("/social/on/whatsapp/infobip/{route}/{CHANNEL}");
    let webhook = Webhook::infobip(body).to(&path).header("accountkey", "p").header("traceparent", TRACE);
    assert_eq!(webhook.post(ingress.address).await.status.as_u16(), 200);
}

/// Replays webhooks and dead letters.
async fn replay_all(installation: &Installation) {
    let publish = ["--publish", "--yes", "--by", "Ann", "--note", "ticket 17"];
    for what in [&["replay", "webhooks", "--since", "1h"][..], &["deadletter", "replay", "--all"][..]] {
        let replay = run_cli(installation, &[what, &publish[..]].concat()).await;
        assert!(replay.status.success(), "{replay:?}");
    }
}

/// Runs everything until each kind of message has been published, and returns all messages of the streams.
async fn make_every_message(outbound: &Outbound) -> Vec<Delivery> {
    let installation = &outbound.installation;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let (sender, media) = (outbound.sender().await, outbound.media().await);

    let report = r#"{"messageId":"m-1","to":"4915112345678","status":{"groupName":"DELIVERED"}}"#;
    post(&ingress, "report", &format!(r#"{{"results":[{report},{{"price":{{}}}}]}}"#)).await;
    let message = r#"{"from":"39123456789","to":"44123456789","messageId":"w-1","message":{"text":"Hello","type":"TEXT"}}"#;
    post(&ingress, "message", &format!(r#"{{"results":[{message}]}}"#)).await;
    let template =
        r#"{"content":{"type":"TEMPLATE_UPDATE","templateName":"order_shipped","status":"PAUSED"}}"#;
    post(&ingress, "report", template).await;
    let opt_out =
        r#"{"from":"39123456789","content":{"type":"MARKETING_SUBSCRIPTION_UPDATE","value":"stop"}}"#;
    post(&ingress, "report", opt_out).await;
    post(&ingress, "report", r#"{"results":["#).await;

    let channel = ChannelId::parse(CHANNEL).unwrap();
    let json = command(&json!({ "text": { "body": "Hello" } })).to_string().into_bytes();
    let protobuf = prost::Message::encode_to_vec(&text(0, "d", "8618257518839", "Hello"));
    for (queue, id, content_type, payload) in [
        (Priority::Interactive, "c", "application/json", json),
        (Priority::Bulk, "d", "application/protobuf", protobuf),
        (Priority::Interactive, "broken", "application/json", b"{".to_vec()),
    ] {
        let fields =
            [(headers::MESSAGE_ID, id), (headers::CONTENT_TYPE, content_type), (headers::TRACEPARENT, TRACE)];
        outbound.publish_raw(queue, &channel, payload, &fields).await;
    }

    make_letters_that_tell_more(outbound, &ingress).await;

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/{TENANT}/imchannel/media?channel={CHANNEL}&kind=document", media.url);
    let upload =
        client.post(url).bearer_auth(UPLOAD_TOKEN).header("content-type", "text/plain").body("Hello");
    let told: Value = serde_json::from_slice(&upload.send().await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(client.get(told["url"].as_str().unwrap()).send().await.unwrap().status().as_u16(), 200);

    installation.until_processed().await;
    replay_all(installation).await;
    let stored = eventually("everything is published", || async {
        let mut all = Vec::new();
        for (stream, everything) in [
            (&WEBHOOKS, "imchannel.webhook.>"),
            (&EVENTS, "imchannel.event.>"),
            (&COMMANDS, "imchannel.command.>"),
            (&DEADLETTERS, "imchannel.deadletter.>"),
        ] {
            all.extend(installation.stored(stream, everything).await);
        }
        let count = |part: &str| all.iter().filter(|delivery| delivery.subject.contains(part)).count();
        // A report, a message and an event of either kind, each replayed; five results, two of invalid commands; a
        // fetch; dead letters of two webhooks and of one with nine bad items, and of two commands.
        let counts = [
            "event.report",
            "event.message",
            "event.send",
            "event.media",
            "event.account",
            "event.customer",
            "deadletter.webhook",
            "deadletter.command",
        ];
        (counts.map(count) == [2, 2, 5, 1, 2, 2, 11, 2]).then_some(all)
    })
    .await;
    sender.stop().await;
    media.stop().await;
    normalizer.stop().await;
    ingress.stop().await;
    stored
}
