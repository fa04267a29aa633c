//! A rolling restart under load: two ingress and two normalizer processes behind haproxy with
//! `deploy/haproxy/haproxy.cfg`, replaced one after the other. No attempt of a BSP may fail, and exactly the expected
//! events must come out. The same for an upgrade from the previous version, and back (`upgrade.rs`). Senders of both
//! versions share a ledger (`ledger.rs`). A timeline takes over the folder of the version before (`timeline.rs`), and a sender of that
//! version works beside an erasure (`erasure.rs`).
//!
//! It needs haproxy and the programs of the previous version, so it is not part of `cargo test`: `./dev check-deploy`
//! runs it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

#[allow(dead_code, unused_imports, reason = "this test uses a part of it")]
#[path = "../e2e/harness/mod.rs"]
mod harness;
mod callers;
mod erasure;
mod ledger;
mod proxy;
mod timeline;
mod upgrade;

use std::time::Duration;

use serde_json::Value;

use crate::harness::{CHANNELS, Installation, Program, within};
use crate::proxy::{Place, Proxy};

/// Webhooks per second.
const RATE: u64 = 200;
/// Webhooks of the run, which takes longer than four restarts with their drains.
const COUNT: u64 = 12_000;
/// Timeout of one part of the run.
const PART_LIMIT: Duration = Duration::from_secs(300);

async fn until_stored(installation: &Installation, count: u64) {
    within(PART_LIMIT, &format!("{count} webhooks are stored"), || async {
        let last = bus::read::last_sequence(&installation.bus, &bus::streams::WEBHOOKS).await;
        (last.ok()? >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_fails_while_ingress_and_normalizer_are_replaced() {
    service::process::install_crypto_provider();
    let installation = Installation::start().await;
    let channels = installation.folder().join("channels.toml");
    std::fs::write(&channels, CHANNELS).unwrap();
    let places = [Place::new("a"), Place::new("b")];
    let proxy = Proxy::start(installation.folder(), &places);
    let mut replicas = [0, 1].map(|number: usize| places[number].ingress("imchannel-ingress", &installation));
    let normalizer = || Program::start("imchannel-normalizer", &installation, &[]);
    let mut normalizers = [normalizer(), normalizer()];
    for place in &places {
        proxy.until(place, true).await;
    }

    let gateway = format!("http://{}", proxy.webhooks);
    let (rate, count) = (RATE.to_string(), COUNT.to_string());
    let args =
        ["--json", "simulate", "webhooks", "--channels", channels.to_str().unwrap(), "--gateway", &gateway];
    let run = ["--count", &count, "--rate", &rate, "--settle", "120s"];
    let args: Vec<&str> = args.into_iter().chain(run).collect();
    let mut simulation = Program::start_with_args("imchannel", &installation.nats.url(), &args, &[]);
    until_stored(&installation, COUNT / 20).await;
    for number in 0..places.len() {
        assert!(normalizers[number].stop().await, "a stopped normalizer exits with success");
        normalizers[number] = normalizer();
        let place = &places[number];
        assert!(replicas[number].stop().await, "a stopped ingress exits with success");
        proxy.until(place, false).await;
        replicas[number] = place.ingress("imchannel-ingress", &installation);
        proxy.until(place, true).await;
    }
    let stored = bus::read::last_sequence(&installation.bus, &bus::streams::WEBHOOKS).await.unwrap();
    assert!(stored < COUNT, "the load ended before the last restart did");

    all_was_kept(&mut simulation).await;
}

/// Waits for the end of the simulation: every attempt was answered 200, and all expected events came out once.
async fn all_was_kept(simulation: &mut Program) {
    let ledger = ledger_of(simulation).await;
    assert_eq!(ledger["clean"], true, "{ledger:#}");
    assert_eq!(ledger["ledger"]["unacknowledged"], 0, "{ledger:#}");
    assert!(simulation.ended_well().await);
}

/// The same for a simulator of the previous version, which expects some messages as `unsupported` that this version can
/// parse.
async fn all_was_kept_or_is_understood_now(simulation: &mut Program) {
    let said = ledger_of(simulation).await;
    let ledger = &said["ledger"];
    // Older versions call two of the counts otherwise.
    for names in
        [["missing"; 2], ["unexpected", "invented"], ["wrong_ids"; 2], ["unacknowledged", "unpromised"]]
    {
        let count = names.iter().find_map(|name| ledger.get(name));
        assert_eq!(count, Some(&Value::from(0)), "{said:#}");
    }
    let faults = said["faults"].as_array().unwrap();
    let is_understood = |fault: &Value| fault.as_str().unwrap().contains("not as expected: unsupported: ");
    assert!(faults.iter().all(is_understood), "{said:#}");
    assert_eq!(said["clean"] == true, ledger["different"] == 0, "{said:#}");
}

/// Checks that every attempt was answered 200; returns the simulator's result.
async fn ledger_of(simulation: &mut Program) -> Value {
    for _ in 0..4 {
        let line = simulation.line_within(PART_LIMIT, "\"target\"").await;
        let target: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(target["answered_200"], target["posted"], "{target}");
        assert!(target["refused"].as_object().unwrap().is_empty(), "{target}");
        assert_eq!(
            (&target["repeated"], &target["given_up"]),
            (&Value::from(0), &Value::from(0)),
            "{target}"
        );
    }
    let line = simulation.line_within(PART_LIMIT, "\"ledger\"").await;
    serde_json::from_str(&line).unwrap()
}
