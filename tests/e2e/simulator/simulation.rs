//! All four BSPs against programs that stop, crash and are added, and a NATS server that is restarted: exactly the
//! events of the webhooks that were answered 200 come out.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bus::Delivery;
use bus::streams::EVENTS;
use prost::Message;
use proto::v1::{AccountEvent, CustomerEvent};
use serde_json::Value;

use crate::harness::{CHANNELS, Installation, Program, Webhook, exclusive, run_cli, within};

/// Webhooks of the long run, unless `IMCHANNEL_TEST_WEBHOOKS` is set.
const WEBHOOKS: u64 = 20_000;
/// Webhooks a second: the rate that debug builds reach on a small machine.
const RATE: u64 = 800;
/// Timeout of one part of the long run.
pub(crate) const PART_LIMIT: std::time::Duration = std::time::Duration::from_secs(300);

pub(crate) struct Gateway {
    pub(crate) installation: Installation,
    pub(crate) url: String,
    channels: String,
    pub(crate) ingress: Program,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let installation = Installation::start().await;
        let channels = installation.folder().join("channels.toml");
        std::fs::write(&channels, CHANNELS).unwrap();
        // All BSPs post from one address here, and simultaneously after an outage.
        let variables =
            [("IMCHANNEL_INGRESS_LISTEN", "127.0.0.1:0"), ("IMCHANNEL_CONNECTIONS_PER_ADDRESS_MAX", "4096")];
        let mut ingress = Program::start("imchannel-ingress", &installation, &variables);
        let address = ingress.address_after("accepts webhooks on").await;
        // Until it has read the channels it answers 503.
        let stranger = Webhook::koomessage("{}").without("authorization");
        within(PART_LIMIT, "ingress has read the channels", || async {
            let answer = stranger.try_post(address.parse().unwrap()).await.ok()?;
            (answer.status.as_u16() == 401).then_some(())
        })
        .await;
        let channels = channels.to_string_lossy().into_owned();
        Self { installation, url: format!("http://{address}"), channels, ingress }
    }

    fn normalizer(&self) -> Program {
        Program::start("imchannel-normalizer", &self.installation, &[])
    }

    pub(crate) fn simulation(&self, args: &[&str]) -> Program {
        let common = ["--json", "simulate", "webhooks", "--channels", &self.channels, "--gateway", &self.url];
        let args: Vec<&str> = common.iter().chain(args).copied().collect();
        Program::start_with_args("imchannel", &self.installation.nats.url(), &args, &[])
    }

    /// Waits until the stream has stored this number of webhooks. Returns how many it has.
    async fn until_stored(&self, count: u64) -> u64 {
        within(PART_LIMIT, &format!("{count} webhooks are stored"), || async {
            let last = bus::read::last_sequence(&self.installation.bus, &bus::streams::WEBHOOKS).await;
            last.ok().filter(|last| *last >= count)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_stays_clean_while_normalizers_stop_die_and_multiply_and_nats_restarts() {
    let _alone = exclusive().await;
    let count = std::env::var("IMCHANNEL_TEST_WEBHOOKS").map_or(WEBHOOKS, |count| count.parse().unwrap());
    let mut gateway = Gateway::start().await;
    let mut first = gateway.normalizer();
    let (count_text, rate) = (count.to_string(), RATE.to_string());
    let args = ["--count", &count_text, "--rate", &rate, "--speed", "600", "--settle", "120s"];
    let mut simulation = gateway.simulation(&args);

    gateway.until_stored(count / 10).await;
    assert!(first.stop().await, "a stopped normalizer exits with success");
    gateway.until_stored(count * 2 / 10).await;
    let mut second = gateway.normalizer();
    gateway.until_stored(count * 3 / 10).await;
    second.kill().await;
    let _more = [gateway.normalizer(), gateway.normalizer(), gateway.normalizer()];
    gateway.until_stored(count * 5 / 10).await;
    gateway.installation.nats.kill().await;
    gateway.installation.nats.start_again().await.unwrap();
    let after_restart = gateway.until_stored(count * 5 / 10).await;

    let ledger = ledger_of(&mut simulation).await;
    assert!(simulation.ended_well().await, "a clean ledger is exit code 0");
    assert_eq!(ledger["clean"], true, "{ledger:#}");
    assert_eq!(ledger["ledger"]["foreign"], 0, "{ledger:#}");
    // KooMessage retries nothing, so some of its webhooks were refused while the server was down, and no events are
    // expected of them. How many depends on the machine.
    let stored = bus::read::last_sequence(&gateway.installation.bus, &bus::streams::WEBHOOKS).await.unwrap();
    assert!(stored > after_restart, "nothing was stored after the server was down: {ledger:#}");
    let promised = ledger["ledger"]["expected"].as_u64().unwrap();
    assert!(promised > stored, "Infobip's batches make more events than webhooks: {ledger:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_or_invented_event_makes_the_ledger_unclean() {
    let gateway = Gateway::start().await;
    let _normalizer = gateway.normalizer();
    let mut simulation = gateway.simulation(&["--count", "300", "--rate", "60", "--settle", "60s"]);
    // An event of the run is stored a second time: with another id, as another message, with another status.
    let forged = within(PART_LIMIT, "an event comes out", || async {
        let reports = gateway.installation.stored(&bus::streams::EVENTS, "imchannel.event.report.*.*").await;
        reports.into_iter().next()
    })
    .await;
    gateway.installation.forge(&forged, |event| event.event_id = "0".repeat(32)).await;
    gateway.installation.forge(&forged, |event| event.message_id.push('0')).await;
    gateway.installation.forge(&forged, |event| event.sender.push('0')).await;

    let ledger = ledger_of(&mut simulation).await;
    assert!(!simulation.ended_well().await, "an unclean ledger is no success");
    assert_eq!(ledger["clean"], false);
    assert_eq!(ledger["ledger"]["wrong_ids"], 1, "{ledger:#}");
    assert_eq!(ledger["ledger"]["unexpected"], 1, "{ledger:#}");
    assert_eq!(ledger["ledger"]["different"], 1, "{ledger:#}");
    assert_eq!(ledger["ledger"]["missing"], 0, "{ledger:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_and_never_comes_out_is_missing() {
    // No normalizer turns the webhooks into events.
    let gateway = Gateway::start().await;
    let mut simulation = gateway.simulation(&["--count", "20", "--rate", "200", "--settle", "1s"]);
    let ledger = ledger_of(&mut simulation).await;
    assert_eq!(ledger["clean"], false);
    assert_eq!(ledger["ledger"]["missing"], ledger["ledger"]["expected"]);
    assert!(!ledger["faults"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_and_tag_post_the_same_choices() {
    let gateway = Gateway::start().await;
    let args = [
        "--json",
        "simulate",
        "webhooks",
        "--channels",
        &gateway.channels,
        "--gateway",
        &gateway.url,
        "--no-check",
    ];
    let run = ["--count", "60", "--rate", "500", "--run", "0000abcd", "--bsp", "koomessage"];
    let mut runs = Vec::new();
    for seed in ["7", "7", "8"] {
        let seed = ["--seed", seed];
        let before = gateway.installation.webhooks().await.len();
        let output = run_cli(&gateway.installation, &[&args[..], &run[..], &seed[..]].concat()).await;
        assert!(output.status.success(), "{output:?}");
        let reported: Vec<Value> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(reported.last().unwrap()["answered_200"], 60, "{reported:?}");
        // KooMessage's reports contain no time, so they are the same whenever they are posted; the second run's may be
        // recognized as repeats.
        let webhooks = gateway.installation.webhooks().await;
        let reports =
            webhooks.iter().filter(|webhook| webhook.headers.get(bus::headers::ROUTE) == Some("report"));
        let bodies: HashSet<_> = reports.map(|webhook| webhook.payload.clone()).collect();
        assert!(bodies.len() > 30 && webhooks.len() >= before);
        runs.push(bodies);
    }
    assert_eq!(runs[0], runs[1], "the second run had something that the first had not");
    assert!(runs[2].len() > runs[1].len() + 30, "another seed makes other choices");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_takes_nothing_is_no_success() {
    let gateway = Gateway::start().await;
    let wrong = std::fs::read_to_string(&gateway.channels).unwrap().replace("koomessage-secret", "another");
    std::fs::write(&gateway.channels, wrong).unwrap();
    let mut simulation = gateway.simulation(&["--count", "5", "--rate", "100", "--bsp", "koomessage"]);
    let ledger = ledger_of(&mut simulation).await;
    assert_eq!(ledger["ledger"]["expected"], 0);
    assert!(!simulation.ended_well().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bsp_tells_what_it_can_about_the_account_and_customers_and_each_event_is_as_expected() {
    let gateway = Gateway::start().await;
    let _normalizer = gateway.normalizer();
    let args = ["--count", "300", "--rate", "100", "--notices-pct", "100", "--settle", "60s"];
    let args = [&args[..], &["--admin-listen", "127.0.0.1:0"]].concat();
    let mut simulation = gateway.simulation(&args);
    let admin: Value = serde_json::from_str(&simulation.line_with("\"admin\"").await).unwrap();
    let health = ["health", "--admin-listen", admin["admin"].as_str().unwrap()];
    within(PART_LIMIT, "the gateway accepts webhooks, and the simulation is ready", || async {
        run_cli(&gateway.installation, &health).await.status.success().then_some(())
    })
    .await;
    let ledger = ledger_of(&mut simulation).await;
    assert!(simulation.ended_well().await, "{ledger:#}");
    assert_eq!(ledger["clean"], true, "{ledger:#}");

    let account = gateway.installation.stored(&EVENTS, "imchannel.event.account.*.*").await;
    let account = kinds_by_bsp(account, |event| {
        let event = AccountEvent::decode(event.payload).unwrap();
        (event.bsp.clone(), event.kind().as_str_name().trim_start_matches("ACCOUNT_EVENT_KIND_").to_owned())
    });
    let template = ["OTHER", "TEMPLATE_CATEGORY", "TEMPLATE_QUALITY", "TEMPLATE_STATUS"];
    let expected = [("gupshup", &["TEMPLATE_STATUS"][..]), ("infobip", &template)];
    assert_eq!(account, named(&expected), "Twilio and KooMessage say nothing about the account");

    let customers = gateway.installation.stored(&EVENTS, "imchannel.event.customer.*.*").await;
    let customers = kinds_by_bsp(customers, |event| {
        let event = CustomerEvent::decode(event.payload).unwrap();
        (event.bsp.clone(), event.kind().as_str_name().trim_start_matches("CUSTOMER_EVENT_KIND_").to_owned())
    });
    let (all, wishes) = (["OPTED_IN", "OPTED_OUT", "PAYMENT"], ["OPTED_IN", "OPTED_OUT"]);
    assert_eq!(customers, named(&[("gupshup", &all), ("infobip", &all), ("twilio", &wishes)]));
}

type Kinds = BTreeMap<String, BTreeSet<String>>;

fn kinds_by_bsp(events: Vec<Delivery>, read: impl Fn(Delivery) -> (String, String)) -> Kinds {
    let mut kinds = Kinds::new();
    for (bsp, kind) in events.into_iter().map(read) {
        kinds.entry(bsp).or_default().insert(kind);
    }
    kinds
}

fn named(kinds: &[(&str, &[&str])]) -> Kinds {
    let of = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
    kinds.iter().map(|(bsp, kinds)| ((*bsp).to_owned(), of(kinds))).collect()
}

/// The last line of a simulation.
async fn ledger_of(simulation: &mut Program) -> Value {
    let line = simulation.line_within(PART_LIMIT, "\"ledger\"").await;
    serde_json::from_str(&line).unwrap()
}
