//! A server that has lost the sequence of a stream, like after a full disk: nothing is reported as stored that would
//! not be delivered, nothing is sent, and `imchannel streams repair` repairs it. The test does not fill a disk: it
//! removes the files of the messages while the server is down.

use std::path::PathBuf;

use bus::streams::{
    AICC, CHANNELS_BUCKET, COMMANDS, DEADLETTERS, EVENTS, MARKS_BUCKET, NORMALIZER, SENDS_BUCKET,
    StreamSettings, WEBHOOKS,
};
use bus::{Priority, Subject, lag, provision, repair};
use prost::Message;
use proto::v1::SendOutcome;
use service::ServiceContext;

use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::secured::Secured;
use crate::harness::secured_channel::channels_file;
use crate::harness::{Installation, Webhook, eventually, run_cli};

/// Folder of a stream's messages on the server.
fn messages_of(installation: &Installation, stream: &str) -> PathBuf {
    installation.folder().join("nats/jetstream/jetstream/$G/streams").join(stream).join("msgs")
}

/// Whether the server has kept the position of a durable whose stream has lost everything. nats-server 2.15 sets it to
/// the end of the stream, so only a process with earlier state detects that it has gone back; no message would stay
/// undelivered.
async fn keeps_places(installation: &Installation, stream: &str, durable: &str) -> bool {
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(stream).await.unwrap();
    stream.consumer_info(durable).await.unwrap().delivered.stream_sequence > 0
}

/// Restarts the server without the messages of the stream, and with everything else.
async fn forget(installation: &mut Installation, stream: &str) {
    installation.nats.stop().await;
    for file in std::fs::read_dir(messages_of(installation, stream)).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    installation.nats.start_again().await.unwrap();
    eventually("the server has lost the messages", || async {
        let found = bus::inspect::streams(&installation.bus).await.ok()?;
        found.iter().any(|seen| seen.name() == stream && seen.last_sequence == 0).then_some(())
    })
    .await;
}

async fn until_refused(context: &ServiceContext, stream: &str) {
    eventually(&format!("{stream} is refused"), || async {
        let conditions = context.readiness.check();
        let (_, state) = conditions.iter().find(|(name, _)| *name == "sequences")?;
        state
            .as_ref()
            .is_err_and(|fault| fault.starts_with(stream) && fault.contains("streams repair"))
            .then_some(())
    })
    .await;
}

async fn until_taken(context: &ServiceContext) {
    eventually("nothing is refused any more", || async {
        context.readiness.check().iter().all(|(_, state)| state.is_ok()).then_some(())
    })
    .await;
}

async fn repaired(installation: &Installation, args: &[&str]) -> String {
    let args = [&["streams", "repair"], args].concat();
    let output = run_cli(installation, &args).await;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Stores a command like a back end that does not use the checks of the gateway.
async fn publish_bare(installation: &Installation, command: &proto::v1::SendCommand) {
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let subject = Subject::Command(Priority::Interactive, channel(0)).to_text();
    jetstream.publish(subject, command.encode_to_vec().into()).await.unwrap().await.unwrap();
}

fn report(number: usize) -> String {
    format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_below_the_place_of_its_durable_is_never_answered_200() {
    let mut installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    for number in 0..20 {
        assert_eq!(Webhook::infobip(report(number)).post(ingress.address).await.status.as_u16(), 200);
    }
    installation.until_processed().await;
    forget(&mut installation, WEBHOOKS.name).await;
    // The process that was running, and one that starts now.
    until_refused(&ingress.context, WEBHOOKS.name).await;
    let later = installation.ingress_with(&[]).await;
    let answer = Webhook::infobip(report(100)).post(ingress.address).await;
    assert_eq!(answer.status.as_u16(), 503, "{answer:?}");
    if keeps_places(&installation, WEBHOOKS.name, NORMALIZER.name).await {
        until_refused(&later.context, WEBHOOKS.name).await;
        let answer = Webhook::infobip(report(100)).post(later.address).await;
        assert_eq!(answer.status.as_u16(), 503, "{answer:?}");
        let doctor = run_cli(&installation, &["doctor", "--watch-for", "1s"]).await;
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.contains("the sequence has gone back: WEBHOOKS"), "{doctor}");
        let text = repaired(&installation, &[]).await;
        assert!(text.contains("WEBHOOKS had reached sequence 20"), "{text}");
    } else {
        let text = repaired(&installation, &[]).await;
        assert!(text.contains("--stream NAME"), "{text}");
        repaired(&installation, &["--stream", WEBHOOKS.name]).await;
    }
    until_taken(&ingress.context).await;
    until_taken(&later.context).await;
    for (number, address) in [(100, ingress.address), (101, later.address)] {
        assert_eq!(Webhook::infobip(report(number)).post(address).await.status.as_u16(), 200);
    }
    eventually("both are events", || async {
        let reports = installation.reports().await;
        ["m-100", "m-101"]
            .iter()
            .all(|id| reports.iter().any(|report| report.message_id == *id))
            .then_some(())
    })
    .await;
    for ingress in [ingress, later] {
        ingress.stop().await;
    }
    normalizer.stop().await;
}

/// A stream counts as gone back after some seconds; an operator with a script may be faster.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_faster_than_the_services_counts() {
    let mut installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    for number in 0..20 {
        assert_eq!(Webhook::infobip(report(number)).post(ingress.address).await.status.as_u16(), 200);
    }
    installation.until_processed().await;
    forget(&mut installation, WEBHOOKS.name).await;
    repaired(&installation, &["--stream", WEBHOOKS.name]).await;
    eventually("webhooks are stored again", || async {
        (Webhook::infobip(report(100)).post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    until_taken(&ingress.context).await;
    eventually("it is an event", || async {
        let reports = installation.reports().await;
        reports.iter().any(|report| report.message_id == "m-100").then_some(())
    })
    .await;
    ingress.stop().await;
    normalizer.stop().await;
}

/// No check runs between the server's return and the webhook: only the ack of the webhook shows it.
#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_from_below_is_not_believed() {
    let mut installation = Installation::start().await;
    let subject = Subject::Webhook(bsp::registry::find("infobip").unwrap().profile().id, channel(0));
    let store = |installation: &Installation, id: &'static str| {
        let (bus, subject) = (installation.bus.clone(), subject.clone());
        async move {
            let headers = || bus::Headers::new().with(bus::headers::MESSAGE_ID, id);
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(2);
            bus.store(&subject, headers, &"{}".into(), deadline).await
        }
    };
    store(&installation, "first").await.unwrap();
    store(&installation, "second").await.unwrap();
    forget(&mut installation, WEBHOOKS.name).await;
    // Neither the first time, nor as a duplicate of itself.
    for _ in 0..2 {
        let refused = store(&installation, "third").await.unwrap_err();
        assert!(matches!(refused, bus::PublishError::GoneBack), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_until_a_stream_that_has_gone_back_is_repaired() {
    let mut installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let mut normalizer = installation.normalizer().await;
    for number in 0..20 {
        assert_eq!(Webhook::infobip(report(number)).post(ingress.address).await.status.as_u16(), 200);
    }
    installation.until_processed().await;
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let aicc: async_nats::jetstream::consumer::PullConsumer =
        jetstream.get_consumer_from_stream(AICC.name, EVENTS.name).await.unwrap();
    read_all(&aicc, 20).await;
    normalizer.stop().await;
    forget(&mut installation, EVENTS.name).await;
    normalizer = installation.normalizer().await;
    eventually("ingress is there again", || async {
        (Webhook::infobip(report(100)).post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    if keeps_places(&installation, EVENTS.name, AICC.name).await {
        eventually("the normalizer has tried", || async {
            normalizer.metrics().contains("worker_paused 1").then_some(())
        })
        .await;
        assert_eq!(installation.reports().await.len(), 0, "an event was stored where it is never delivered");
        repaired(&installation, &[]).await;
    }
    assert_eq!(read_all(&aicc, 1).await, ["m-100"]);
    normalizer.stop().await;
    ingress.stop().await;
}

/// Reads and acks this number of events; returns the messages that they report.
async fn read_all(durable: &async_nats::jetstream::consumer::PullConsumer, count: usize) -> Vec<String> {
    use futures_util::StreamExt;
    let mut ids = Vec::new();
    let reading = async {
        while ids.len() < count {
            let batch = durable.batch().max_messages(count).expires(std::time::Duration::from_secs(1));
            let Ok(mut messages) = batch.messages().await else { continue };
            while let Some(Ok(message)) = messages.next().await {
                message.double_ack().await.unwrap();
                let report = proto::v1::ReportEvent::decode(message.payload.clone()).unwrap();
                ids.push(report.message_id);
            }
        }
    };
    tokio::time::timeout(crate::harness::TIMEOUT, reading).await.expect("the events come");
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_below_the_places_of_their_lanes_are_found_and_sent_after_the_repair() {
    let mut outbound = Outbound::start(&[100]).await;
    let sender = outbound.sender().await;
    for number in 0..5 {
        let id = format!("c-{number}");
        outbound.publish(Priority::Interactive, &text(0, &id, "+4915112345", "Hello")).await;
        outbound.result(&id).await;
    }
    forget(&mut outbound.installation, COMMANDS.name).await;
    until_refused(&sender.context, COMMANDS.name).await;
    if keeps_places(&outbound.installation, COMMANDS.name, "send-channel-0").await {
        let args = ["send", "--channel", "channel-0", "--to", "4915112345", "--text", "Hello"];
        let refused = run_cli(&outbound.installation, &args).await;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("COMMANDS had reached sequence 5"), "{said}");
    }
    publish_bare(&outbound.installation, &text(0, "below", "+4915112345", "Hello")).await;
    repaired(&outbound.installation, &["--stream", COMMANDS.name]).await;
    assert_eq!(outcome(&outbound.result("below").await), SendOutcome::Accepted);
    until_taken(&sender.context).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_behind_a_ledger_that_has_gone_back() {
    let mut outbound = Outbound::start(&[100]).await;
    let sender = outbound.sender().await;
    outbound.publish(Priority::Interactive, &text(0, "c-1", "+4915112345", "Hello")).await;
    outbound.result("c-1").await;
    until_marked(&outbound).await;
    forget(&mut outbound.installation, SENDS_BUCKET.stream).await;
    until_refused(&sender.context, SENDS_BUCKET.stream).await;
    sender.stop().await;
    // A sender that starts now sends nothing either.
    let sender = outbound.sender().await;
    until_refused(&sender.context, SENDS_BUCKET.stream).await;
    outbound.publish(Priority::Interactive, &text(0, "c-2", "+4915112345", "Hello")).await;
    eventually("the lane says why", || async {
        let leases = bus::inspect::leases(&outbound.installation.bus).await.ok()?;
        let is_told = |value: &[u8]| String::from_utf8_lossy(value).contains("may have lost entries");
        leases.iter().any(|lease| is_told(&lease.value)).then_some(())
    })
    .await;
    // Without an operator's consent nothing changes.
    let asked = run_cli(&outbound.installation, &["streams", "repair"]).await;
    assert_eq!(asked.status.code(), Some(2), "{asked:?}");
    assert_eq!(outbound.received("imc-c-2"), 0, "it was sent");
    let text = repaired(&outbound.installation, &["--yes"]).await;
    assert!(text.contains("SENT AGAIN"), "{text}");
    assert_eq!(outcome(&outbound.result("c-2").await), SendOutcome::Accepted);
    until_taken(&sender.context).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_made_again_waits_for_a_word_too() {
    let outbound = Outbound::start(&[100]).await;
    let sender = outbound.sender().await;
    outbound.publish(Priority::Interactive, &text(0, "c-1", "+4915112345", "Hello")).await;
    outbound.result("c-1").await;
    sender.stop().await;
    let client = async_nats::connect(outbound.installation.nats.url()).await.unwrap();
    async_nats::jetstream::new(client).delete_stream(SENDS_BUCKET.stream).await.unwrap();
    provision::apply(&outbound.installation.bus, &StreamSettings::default()).await.unwrap();
    let sender = outbound.sender().await;
    until_refused(&sender.context, SENDS_BUCKET.stream).await;
    repaired(&outbound.installation, &["--yes"]).await;
    until_taken(&sender.context).await;
    sender.stop().await;
}

async fn restart(installation: &mut Installation) {
    installation.nats.stop().await;
    installation.nats.start_again().await.unwrap();
    eventually("the server is back", || async {
        bus::inspect::streams(&installation.bus).await.ok().map(|_| ())
    })
    .await;
}

async fn ledger_made_at(installation: &Installation) -> i128 {
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream(SENDS_BUCKET.stream).await.unwrap();
    stream.cached_info().created.unix_timestamp_nanos()
}

/// nats-server 2.9 and 2.10 change the creation time of a stream: at the restart after a restart and an update.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_whose_server_was_restarted_and_set_up_is_the_same() {
    let mut outbound = Outbound::start(&[100]).await;
    let sender = outbound.sender().await;
    outbound.publish(Priority::Interactive, &text(0, "c-1", "+4915112345", "Hello")).await;
    outbound.result("c-1").await;
    until_marked(&outbound).await;
    let made_at = ledger_made_at(&outbound.installation).await;
    // A setup that changes nothing makes no update.
    restart(&mut outbound.installation).await;
    provision::apply(&outbound.installation.bus, &StreamSettings::default()).await.unwrap();
    restart(&mut outbound.installation).await;
    assert_eq!(ledger_made_at(&outbound.installation).await, made_at);
    // One that changes the ledger does.
    let larger = StreamSettings { sends_max_bytes: 2 << 30, ..StreamSettings::default() };
    provision::apply(&outbound.installation.bus, &larger).await.unwrap();
    restart(&mut outbound.installation).await;
    until_taken(&sender.context).await;
    outbound.publish(Priority::Interactive, &text(0, "c-2", "+4915112345", "Hello")).await;
    assert_eq!(outcome(&outbound.result("c-2").await), SendOutcome::Accepted);
    // And for a process that starts now.
    sender.stop().await;
    let sender = outbound.sender().await;
    until_taken(&sender.context).await;
    outbound.publish(Priority::Interactive, &text(0, "c-3", "+4915112345", "Hello")).await;
    assert_eq!(outcome(&outbound.result("c-3").await), SendOutcome::Accepted);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_again_needs_no_repair() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    for number in 0..5 {
        assert_eq!(Webhook::infobip(report(number)).post(ingress.address).await.status.as_u16(), 200);
    }
    let client = async_nats::connect(installation.nats.url()).await.unwrap();
    async_nats::jetstream::new(client).delete_stream(WEBHOOKS.name).await.unwrap();
    provision::apply(&installation.bus, &StreamSettings::default()).await.unwrap();
    eventually("webhooks are stored again", || async {
        (Webhook::infobip(report(100)).post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    assert_eq!(lag::backlog(&installation.bus, &NORMALIZER).await.unwrap(), 1);
    ingress.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_that_a_server_has_lost_stay_cached() {
    let mut installation = Installation::start().await;
    let ingress = installation.ingress().await;
    forget(&mut installation, CHANNELS_BUCKET.stream).await;
    until_refused(&ingress.context, CHANNELS_BUCKET.stream).await;
    eventually("its webhooks are stored", || async {
        (Webhook::infobip(report(1)).post(ingress.address).await.status.as_u16() == 200).then_some(())
    })
    .await;
    installation.apply_channels(crate::harness::CHANNELS).await;
    let name = CHANNELS_BUCKET.stream;
    repaired(&installation, &["--yes", "--stream", name]).await;
    until_taken(&ingress.context).await;
    assert_eq!(Webhook::infobip(report(2)).post(ingress.address).await.status.as_u16(), 200);
    ingress.stop().await;
}

/// Services of this version before `setup` of this version: there is no bucket of marks yet.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_bucket_of_marks_everything_works_and_doctor_says_what_to_do() {
    let outbound = Outbound::start(&[100]).await;
    let client = async_nats::connect(outbound.installation.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    jetstream.delete_stream(MARKS_BUCKET.stream).await.unwrap();
    let sender = outbound.sender().await;
    let ingress = outbound.installation.ingress().await;
    outbound.publish(Priority::Interactive, &text(0, "c-1", "+4915112345", "Hello")).await;
    assert_eq!(outcome(&outbound.result("c-1").await), SendOutcome::Accepted);
    until_taken(&sender.context).await;
    until_taken(&ingress.context).await;
    let doctor = run_cli(&outbound.installation, &["doctor", "--watch-for", "1s"]).await;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        doctor.contains("bucket imchannel_marks is missing") && doctor.contains("streams apply"),
        "{doctor}"
    );
    // Marks that are created then are used from then on.
    provision::apply(&outbound.installation.bus, &StreamSettings::default()).await.unwrap();
    until_marked(&outbound).await;
    sender.stop().await;
    ingress.stop().await;
}

async fn until_marked(outbound: &Outbound) {
    eventually("the mark is written", || async {
        let found = repair::inspect_all(&outbound.installation.bus).await.ok()?;
        found.iter().any(|found| found.is_ledger() && found.reached >= 2).then_some(())
    })
    .await;
}

/// A user that may write there, also by a reply subject, stores an invalid mark. Nothing is sent, and an operator's
/// repair fixes it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_in_the_place_of_a_mark_stops_sends_until_the_repair() {
    let outbound = Outbound::start(&[100]).await;
    let sender = outbound.sender().await;
    outbound.publish(Priority::Interactive, &text(0, "c-1", "+4915112345", "Hello")).await;
    outbound.result("c-1").await;
    until_marked(&outbound).await;
    let client = async_nats::connect(outbound.installation.nats.url()).await.unwrap();
    let subject = format!("$KV.{}.{}", MARKS_BUCKET.name, SENDS_BUCKET.stream);
    async_nats::jetstream::new(client).publish(subject, "{}".into()).await.unwrap().await.unwrap();
    until_refused(&sender.context, SENDS_BUCKET.stream).await;
    outbound.publish(Priority::Interactive, &text(0, "c-2", "+4915112345", "Hello")).await;
    repaired(&outbound.installation, &["--yes"]).await;
    assert_eq!(outcome(&outbound.result("c-2").await), SendOutcome::Accepted);
    until_taken(&sender.context).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provisioner_repairs_by_what_it_may_do() {
    let secured = Secured::start().await;
    let channels = secured.folder().join("channels.toml");
    std::fs::write(&channels, channels_file("https://127.0.0.1:1")).unwrap();
    secured.cli("provisioner", &["setup", "--channels", channels.to_str().unwrap()]).await;
    let names =
        [WEBHOOKS.name, EVENTS.name, COMMANDS.name, SENDS_BUCKET.stream, CHANNELS_BUCKET.stream].to_vec();
    let named = names.iter().flat_map(|name| ["--stream", name]);
    let args: Vec<&str> = ["streams", "repair", "--yes"].into_iter().chain(named).collect();
    let said = secured.cli("provisioner", &args).await;
    for name in names {
        assert!(said.contains(&format!("repaired {name}")), "{name}: {said}");
    }
    secured.cli("operator", &["streams", "check"]).await;
    assert_eq!(secured.refusals(), Vec::<String>::new());
}

async fn until_letters(installation: &Installation, count: u64) {
    eventually(&format!("{count} dead letters are stored"), || async {
        let found = bus::inspect::streams(&installation.bus).await.ok()?;
        found.iter().any(|seen| seen.id == DEADLETTERS.id && seen.messages == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_that_have_gone_back_hold_nothing_up_as_no_durable_reads_them() {
    let mut installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    for number in 1..=3 {
        let answer = Webhook::infobip(format!("no JSON {number}")).post(ingress.address).await;
        assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    }
    until_letters(&installation, 3).await;
    forget(&mut installation, DEADLETTERS.name).await;
    ingress.until_ready().await;
    let answer = Webhook::infobip("no JSON 4".to_owned()).post(ingress.address).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    until_letters(&installation, 1).await;
    normalizer.stop().await;
    ingress.stop().await;
}
