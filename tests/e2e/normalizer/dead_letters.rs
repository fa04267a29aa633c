//! Dead letters cannot be abused: a body has a limited share of DEADLETTERS, a channel never uses more than a quarter
//! of it, and everything that was answered 200 can become a dead letter.

use std::collections::HashSet;
use std::time::Duration;

use bsp::ChannelId;
use bus::streams::{DEADLETTERS, NORMALIZER, StreamSettings};
use bus::{Delivery, Headers, Origin, Priority, Subject, headers};
use proto::v1::SendOutcome;
use tokio::time::Instant;

use crate::harness::outbound::{Outbound, channel, outcome, store_dead_letter, text};
use crate::harness::{Installation, TIMEOUT, Webhook, eventually, run_cli, within};

const CHANNEL: &str = "202105102694809992";

fn report(message_id: &str) -> String {
    format!(r#"{{"messageId":"{message_id}","to":"49151","status":{{"groupName":"DELIVERED"}}}}"#)
}

fn body(items: &[String]) -> String {
    format!(r#"{{"results":[{}]}}"#, items.join(","))
}

/// The bytes of a dead letter in the stream: the server's record, subject, headers, payload.
fn bytes(letter: &Delivery) -> usize {
    let headers: usize =
        letter.headers.sorted().iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    34 + 12 + headers + letter.subject.len() + letter.payload.len()
}

async fn letters_of(installation: &Installation, channel: &str) -> Vec<Delivery> {
    installation.stored(&DEADLETTERS, &format!("imchannel.deadletter.*.{channel}")).await
}

async fn post(webhook: Webhook, ingress: std::net::SocketAddr) {
    let answer = webhook.post(ingress).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
}

async fn replay(installation: &Installation, arguments: &[&str]) -> Vec<serde_json::Value> {
    let how: &[&str] = if arguments.contains(&"--dry-run") { &[] } else { &["--publish", "--yes"] };
    let output = run_cli(installation, &[&["--json", "deadletter", "replay"], arguments, how].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_ninth_on_bad_items_share_a_letter_and_good_ones_are_events() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    // Every third item is good.
    let items: Vec<_> = (0..30)
        .map(|number| if number % 3 == 0 { report(&format!("good-{number}")) } else { format!("[{number}]") })
        .collect();
    let webhook = Webhook::infobip(body(&items));
    post(webhook.clone(), ingress.address).await;
    post(Webhook::infobip(body(&items[..12])), ingress.address).await;
    installation.until_processed().await;

    let letters = installation.dead_letters().await;
    let of = |sequence: u64| {
        let origin = format!("WEBHOOKS/{sequence}/");
        letters
            .iter()
            .filter(move |letter| letter.headers.get(headers::ORIGIN).unwrap().starts_with(&origin))
            .collect::<Vec<_>>()
    };
    let (first, second) = (of(1), of(2));
    assert_eq!(first.len(), 9);
    assert_eq!(second.len(), 8);
    for (letter, number) in first.iter().zip([1, 2, 4, 5, 7, 8, 10, 11]) {
        assert_eq!(letter.payload, format!("[{number}]"));
        assert_eq!(letter.headers.get(headers::PART), Some("item"));
        assert_eq!(letter.headers.get(headers::ITEMS), None);
    }
    let rest = first[8];
    assert_eq!(rest.payload, webhook.body());
    for (name, value) in [
        (headers::PART, "body"),
        (headers::ORIGIN, "WEBHOOKS/1/13"),
        (headers::ITEMS, "13-14,16-17,19-20,22-23,25-26,28-29"),
        (headers::REASON_KIND, "wrong_shape"),
    ] {
        assert_eq!(rest.headers.get(name), Some(value));
    }
    let reason = rest.headers.get(headers::REASON).unwrap();
    assert!(reason.starts_with("12 more items of the body (wrong_shape 12); the first: "), "{reason}");
    assert_eq!(installation.reports().await.len(), 10);
    let counted = "normalizer_dead_letters_total{bsp=\"infobip\",reason=\"wrong_shape\"} 28\n";
    assert!(normalizer.metrics().contains(counted), "{}", normalizer.metrics());
    // The items that are still refused, of the eight and of the rest, are not published, and no good item is published
    // again.
    let done = replay(&installation, &["--all"]).await;
    assert_eq!(done.last().unwrap()["refused"], 17, "{done:?}");
    assert_eq!(installation.reports().await.len(), 10);
    assert_eq!(installation.dead_letters().await.len(), 17);
    normalizer.stop().await;
    ingress.stop().await;
}

/// Stores a dead letter of several items, like a version that could parse fewer of them.
async fn store_rest(installation: &Installation, sequence: u64, listed: &str, payload: &str) {
    let id = format!("rest-{sequence}-{listed}");
    let origin = format!("WEBHOOKS/{sequence}/{}", listed.split([',', '-']).next().unwrap());
    let headers = || {
        Headers::new()
            .with(headers::MESSAGE_ID, &id)
            .with(headers::REASON_KIND, "missing_id")
            .with(headers::BSP, "infobip")
            .with(headers::PART, "body")
            .with(headers::ITEMS, listed)
            .with(headers::ORIGIN, &origin)
    };
    let subject = Subject::DeadLetter(Origin::Webhook, Some(ChannelId::parse(CHANNEL).unwrap()));
    let payload = payload.to_owned().into();
    installation.bus.store(&subject, headers, &payload, Instant::now() + TIMEOUT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replay_of_the_rest_publishes_what_is_listed_and_understood_and_nothing_else() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let items: Vec<_> =
        ["a", "b", "c", "d", "e"].map(report).into_iter().chain(["null".to_owned()]).collect();
    post(Webhook::infobip(body(&items)), ingress.address).await;
    installation.until_processed().await;
    assert_eq!(installation.dead_letters().await.len(), 1);
    store_rest(&installation, 1, "1,3-4", &body(&items)).await;
    // In part: one of them is refused by this version too.
    store_rest(&installation, 1, "2,5", &body(&items)).await;
    // Its webhook is no longer stored.
    let gone = body(&["x", "y", "z"].map(report));
    store_rest(&installation, 999, "0,2", &gone).await;
    store_rest(&installation, 998, "many", &gone).await;

    let dry = replay(&installation, &["--all", "--dry-run"]).await;
    let outcomes: Vec<_> = dry.iter().filter_map(|object| object["outcome"].as_str()).collect();
    let would = "would be published";
    assert_eq!(outcomes, ["refused", would, "would be published in part", would, "refused"]);
    let done = replay(&installation, &["--all"]).await;
    let outcomes: Vec<_> = done.iter().filter_map(|object| object["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["refused", "published", "published in part", "published", "refused"]);
    assert_eq!(done.last().unwrap()["events"], 6);

    let reports = installation.reports().await;
    let count = |id: &str| reports.iter().filter(|report| report.message_id == id).count();
    assert_eq!(["a", "b", "c", "d", "e", "x", "y", "z"].map(count), [1, 2, 2, 2, 2, 1, 0, 1]);
    let left = installation.dead_letters().await;
    let origins: Vec<_> = left.iter().map(|letter| letter.headers.get(headers::ORIGIN).unwrap()).collect();
    assert_eq!(origins, ["WEBHOOKS/1/5", "WEBHOOKS/1/2", "WEBHOOKS/998/many"], "what is refused still stays");
    normalizer.stop().await;
    ingress.stop().await;
}

/// 125 posts of 30 KB with 10,000 empty items each filled 512 MiB in 28 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_bad_items_leaves_three_quarters_of_the_stream_to_others() {
    const MAX_BYTES: u64 = 8 * 1024 * 1024;
    let quarter = usize::try_from(MAX_BYTES).unwrap() / 4;
    let settings = StreamSettings { deadletters_max_bytes: MAX_BYTES, ..Default::default() };
    let installation = Installation::start_with(&settings).await;
    let ingress = installation.ingress().await;
    let empty = vec!["{}".to_owned(); 10_000];
    for number in 0..125 {
        post(Webhook::infobip(format!("{}{}", body(&empty), " ".repeat(number))), ingress.address).await;
    }
    let backlog = || async { bus::lag::backlog(&installation.bus, &NORMALIZER).await.ok() };
    let refused = format!(
        "dead_letters_rejected_total{{bsp=\"infobip\",channel=\"{CHANNEL}\",reason=\"channel_full\"}}"
    );
    let mut stored = Vec::new();
    // Two that run concurrently, and one without state of what was stored before it started.
    for count in [2, 1] {
        let mut normalizers = Vec::new();
        for _ in 0..count {
            normalizers.push(installation.normalizer().await);
        }
        for normalizer in &normalizers {
            within(Duration::from_secs(90), "a letter finds no room", || async {
                normalizer.metrics().contains(&refused).then_some(())
            })
            .await;
        }
        // A webhook whose dead letter is not stored waits, and delays no others.
        let before = letters_of(&installation, "gupshup-demo").await.len();
        post(Webhook::gupshup(format!("no JSON {count}")), ingress.address).await;
        eventually("a letter of another channel is stored", || async {
            (letters_of(&installation, "gupshup-demo").await.len() > before).then_some(())
        })
        .await;
        stored = letters_of(&installation, CHANNEL).await;
        let taken: usize = stored.iter().map(bytes).sum();
        // Replicas that run concurrently may store a dead letter at the same moment.
        assert!(taken < quarter + quarter / 8, "{taken} of {quarter}");
        for normalizer in normalizers {
            normalizer.stop().await;
        }
    }
    assert!(stored.len() > 9 * 10, "{} letters", stored.len());
    assert!(backlog().await.unwrap() > 0, "a webhook without its letter was acknowledged");

    // With room for all of them none is lost.
    let larger = StreamSettings { deadletters_max_bytes: 10 * MAX_BYTES, ..settings };
    bus::provision::apply(&installation.bus, &larger).await.unwrap();
    let normalizer = installation.normalizer().await;
    within(Duration::from_secs(120), "everything is acknowledged", || async {
        (backlog().await? == 0).then_some(())
    })
    .await;
    let letters = letters_of(&installation, CHANNEL).await;
    let rests = letters.iter().filter(|letter| letter.headers.get(headers::ITEMS) == Some("8-9999"));
    let bodies: HashSet<_> = rests.map(|letter| letter.payload.len()).collect();
    assert_eq!(bodies.len(), 125, "each webhook has its letter");
    let taken: usize = letters.iter().map(bytes).sum();
    assert!(taken < 125 * 40_000, "{taken} bytes of 125 bodies of 30 KB");
    normalizer.stop().await;
    ingress.stop().await;
}

/// The largest body with the longest accepted header.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_answered_200_can_become_a_letter() {
    const LARGEST: usize = 1_000_000;
    let installation = Installation::start().await;
    let ingress = installation.ingress_with(&[("body-limit", "1000000B")]).await;
    ingress.until_ready().await;
    let normalizer = installation.normalizer().await;
    let fill = |start: &str, filler: &str| {
        let mut body = start.to_owned();
        body.push_str(&filler.repeat((LARGEST - start.len()) / filler.len()));
        body
    };
    let every_second: Vec<_> =
        (0..10_000).map(|number| if number % 2 == 0 { "7".to_owned() } else { report("m") }).collect();
    let json = "application/json";
    let cases = [
        (Webhook::infobip(fill("no JSON ", "x")), json),
        (Webhook::infobip(fill("{\"results\":7}", " ")), json),
        (Webhook::infobip(fill(&body(&every_second), " ")), json),
        (Webhook::koomessage(fill("no JSON ", "x")), json),
        (Webhook::gupshup(fill("no JSON ", "x")), json),
        (Webhook::gupshup(fill("{\"entry\":[{\"changes\":[7]}]}", " ")), json),
        (Webhook::twilio(fill("MessageStatus=", "x")), "application/x-www-form-urlencoded"),
        (Webhook::twilio(fill("MessageSid=%FF&Body=", "%20")), "application/x-www-form-urlencoded"),
    ];
    let padded = |essence: &str, length: usize| {
        let start = format!("{essence}; x=");
        format!("{start}{}", "y".repeat(length - start.len()))
    };
    for (webhook, essence) in &cases {
        let longest = padded(essence, headers::COPIED_LENGTH_MAX);
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let webhook = webhook.clone().header("content-type", &longest).header("traceparent", traceparent);
        post(webhook.clone(), ingress.address).await;
        for length in [headers::COPIED_LENGTH_MAX + 1, 4_000] {
            let answer =
                webhook.clone().header("content-type", &padded(essence, length)).post(ingress.address).await;
            assert_eq!(answer.status.as_u16(), 431, "{length}");
        }
        let wrong = webhook.header("content-type", &padded(essence, 4_000)).header("accountkey", "wrong");
        let wrong = wrong.header("authorization", "wrong").post(ingress.address).await;
        assert_eq!(wrong.status.as_u16(), 401, "without a credential the header is not reported");
    }
    // The server's own limit for a head.
    let answer =
        Webhook::infobip("{}").header("content-type", &padded(json, 65_000)).post(ingress.address).await;
    assert_eq!(answer.status.as_u16(), 431);
    installation.until_processed().await;
    let letters = installation.dead_letters().await;
    for ((webhook, _), sequence) in cases.iter().zip(1..) {
        let origin = format!("WEBHOOKS/{sequence}/");
        let of_webhook = letters
            .iter()
            .filter(|letter| letter.headers.get(headers::ORIGIN).unwrap().starts_with(&origin))
            .collect::<Vec<_>>();
        assert!(!of_webhook.is_empty(), "webhook {sequence} has no letter");
        for letter in of_webhook {
            assert_eq!(letter.headers.get(headers::CONTENT_TYPE).unwrap().len(), headers::COPIED_LENGTH_MAX);
            let is_whole = letter.payload == webhook.body();
            let is_body = letter.headers.get(headers::PART) == Some("body");
            assert!(is_whole == is_body && !letter.payload.is_empty(), "webhook {sequence}: {letter:?}");
        }
    }
    let wholes = letters.iter().filter(|letter| letter.payload.len() > LARGEST - 100).count();
    assert_eq!(wholes, cases.len() - 1, "one of the bodies has a bad item alone");
    let metrics = ingress.metrics();
    let refused = "ingress_requests_total{bsp=\"twilio\",outcome=\"header_too_large\"} 4\n";
    assert!(metrics.contains(refused), "{metrics}");
    normalizer.stop().await;
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_letter_of_a_command_is_published_again_as_the_command_and_sent_once() {
    use prost::Message;
    let outbound = Outbound::start(&[100]).await;
    let installation = &outbound.installation;
    let _sender = outbound.sender().await;
    let own = channel(0).to_string();
    let late = text(0, "late", "4915112345", "Hello");
    let bulk = (headers::SUBJECT, "imchannel.command.bulk.channel-0");
    let command = |id: &str| text(0, id, "4915112345", "Hello").encode_to_vec();
    outbound.publish(Priority::Interactive, &text(0, "used", "4915112345", "Another")).await;
    outbound.result("used").await;

    let sent = store_dead_letter(&outbound, &own, &late.encode_to_vec(), std::slice::from_ref(&bulk)).await;
    let twice = store_dead_letter(&outbound, &own, &late.encode_to_vec(), &[]).await;
    let json =
        br#"{"commandId":"json","channelId":"channel-0","recipient":"4915112346","text":{"body":"hi"}}"#;
    let json = store_dead_letter(&outbound, &own, json, &[]).await;
    let past = proto::Timestamp { seconds: 1_700_000_000, nanos: 0 };
    let past = proto::v1::SendCommand { not_after: Some(past), ..text(0, "past", "4915112347", "Hello") };
    let refused = [
        (
            store_dead_letter(&outbound, &own, b"{\"commandId\":", &[]).await,
            "cannot decode it as SendCommand",
        ),
        (store_dead_letter(&outbound, &own, &command(""), &[]).await, "command_id"),
        (store_dead_letter(&outbound, &own, &command("used"), &[]).await, "another message"),
        (store_dead_letter(&outbound, &own, &past.encode_to_vec(), &[]).await, "deadline"),
        (
            store_dead_letter(&outbound, &own, &command("maybe"), &[(headers::MAY_BE_SENT, "true")]).await,
            "may have been sent",
        ),
        (store_dead_letter(&outbound, &own, &command("cut"), &[(headers::PART, "cut")]).await, "truncated"),
        (
            store_dead_letter(&outbound, "channel-7", &text(7, "c", "4915112345", "x").encode_to_vec(), &[])
                .await,
            "does not exist",
        ),
        (store_dead_letter(&outbound, "not.a.channel", &command("d"), &[]).await, "no lane reads"),
    ];

    let dry = replay(installation, &["--all", "--dry-run"]).await;
    let would = dry.iter().filter(|object| object["outcome"] == "would be published").count();
    assert_eq!(would, 3);
    assert_eq!(dry.last().unwrap()["commands"].as_u64(), Some(0));
    let kept = replay(installation, &["--all", "--keep"]).await;
    assert_eq!(kept.last().unwrap()["refused"], 11, "{kept:?}");
    assert_eq!(outbound.results().await.len(), 1);

    let done = replay(installation, &[&sent.to_string(), &json.to_string()]).await;
    assert_eq!(done.last().unwrap()["commands"], 2, "{done:?}");
    for id in ["late", "json"] {
        assert_eq!(outcome(&outbound.result(id).await), SendOutcome::Accepted, "{id}");
    }
    let commands = installation.stored(&bus::streams::COMMANDS, "imchannel.command.>").await;
    let subjects: Vec<_> = commands.iter().map(|command| command.subject.as_str()).collect();
    let send = "imchannel.command.send.channel-0";
    assert_eq!(subjects, [send, "imchannel.command.bulk.channel-0", send]);

    // The ledger has an entry for it, so the second dead letter of the same command is not sent.
    let done = replay(installation, &["--all"]).await;
    let reason = |sequence: u64| {
        let object = done.iter().find(|object| object["sequence"] == sequence).unwrap();
        assert_eq!(object["outcome"], "refused", "{object}");
        object["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason(twice).contains("the ledger of sends has an entry for it"), "{done:?}");
    for (sequence, wanted) in refused {
        assert!(reason(sequence).contains(wanted), "{wanted}: {done:?}");
    }
    // Also if it is published anyway, for example by two operators at the same time.
    outbound.publish_as(Priority::Interactive, &late, "another").await;
    outbound.publish(Priority::Interactive, &text(0, "last", "4915112345", "Hello")).await;
    outbound.result("last").await;
    let late_id = bsp::CommandId::parse("late").unwrap().message_id();
    assert_eq!(outbound.received(&late_id), 1);
    assert_eq!(installation.dead_letters().await.len(), 9, "what is not published stays");
}

/// The back end cannot fill the stream with undecodable commands either.
#[tokio::test(flavor = "multi_thread")]
async fn the_letters_of_commands_are_counted_too() {
    const MAX_BYTES: u64 = 256 * 1024;
    let settings = StreamSettings { deadletters_max_bytes: MAX_BYTES, ..Default::default() };
    let outbound = Outbound::start_with(&[100, 100], &settings).await;
    let installation = &outbound.installation;
    let sender = outbound.sender().await;
    let garbage = |number: usize| format!("{{{number} {}", "x".repeat(2_000)).into_bytes();
    for number in 0..60 {
        outbound.publish_raw(Priority::Interactive, &channel(0), garbage(number), &[]).await;
    }
    let refused = "sender_dead_letters_rejected_total{channel=\"channel-0\",reason=\"channel_full\"}";
    eventually("a letter finds no room", || async { sender.metrics().contains(refused).then_some(()) }).await;
    outbound.publish_raw(Priority::Interactive, &channel(1), garbage(0), &[]).await;
    eventually("a letter of another channel is stored", || async {
        (!letters_of(installation, "channel-1").await.is_empty()).then_some(())
    })
    .await;
    let stored = letters_of(installation, "channel-0").await;
    let taken: usize = stored.iter().map(bytes).sum();
    assert!(stored.len() > 10 && taken <= usize::try_from(MAX_BYTES).unwrap() / 4, "{taken}");
    // Commands whose dead letters have no room do not prevent sends.
    outbound.publish(Priority::Interactive, &text(0, "good", "4915112345", "Hello")).await;
    assert_eq!(outcome(&outbound.result("good").await), SendOutcome::Accepted);
    for letter in &stored[..20] {
        bus::message_store::drop_dead_letter(&installation.bus, letter.sequence).await.unwrap();
    }
    eventually("there is room again", || async {
        (outbound.results().await.len() > stored.len() + 10).then_some(())
    })
    .await;
}
