//! An upgrade from the previous version under load, and back: ingress, normalizers and senders, two of each.
//!
//! The order is that of docs/operations.md: the programs first and the streams after them, and on the way back the
//! streams first. A version up to 81bee835cf70 is ready only on streams that are exactly as it defines them, a later
//! one on streams with at least what it needs. The `streams check` of the previous version on this version's streams
//! shows which of the two it is.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::streams::WEBHOOKS;
use bus::{Headers, Priority, Subject, headers};
use prost::Message;
use tokio::task::JoinHandle;

use crate::harness::outbound::{Outbound, channel, outcome, text};
use crate::harness::{CHANNELS, Installation, Program, run_cli_with, within};
use crate::proxy::{Place, Proxy, has_older_names};
use crate::{PART_LIMIT, all_was_kept_or_is_understood_now, until_stored};

/// The folder with the programs of the previous version.
const PREVIOUS: &str = "IMCHANNEL_TEST_PREVIOUS_PROGRAMS";
/// Webhooks per second.
const RATE: u64 = 100;
/// Webhooks of the run, which takes longer than twelve replacements, each ingress with its drain.
const COUNT: u64 = 16_000;
/// Number of webhooks after which each service has checked its streams again. It does so every 10 s while they are
/// good.
const LOOKED_AGAIN: u64 = RATE * 15;
/// Exit code of `streams check` if something differs.
const DIFFERENT: i32 = 3;
/// Interval of the commands.
const COMMAND_EVERY: Duration = Duration::from_millis(100);
/// Interval of the checks of `/ready`.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The programs of a version.
#[derive(Clone)]
pub(crate) struct Version {
    /// Ends with a slash; empty for this version.
    folder: String,
}

impl Version {
    pub(crate) fn previous() -> Self {
        let folder = std::env::var(PREVIOUS).unwrap_or_default();
        assert!(
            Path::new(&folder).join("imchannel-sender").exists(),
            "{PREVIOUS} must name the folder with the programs of the version before: ci/rolling.sh builds them"
        );
        Self { folder: format!("{folder}/") }
    }

    pub(crate) fn this() -> Self {
        Self { folder: String::new() }
    }

    pub(crate) fn program(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// Whether the version has a program.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.folder.is_empty() || Path::new(&self.program(name)).exists()
    }

    /// Runs the command line of this version.
    pub(crate) async fn cli(&self, installation: &Installation, args: &[&str]) {
        let output = self.output(installation, args).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
    }

    /// Whether the streams are as this version defines them, by its own check.
    async fn has_its_streams(&self, installation: &Installation) -> bool {
        let output = self.output(installation, &["streams", "check"]).await;
        match output.status.code() {
            Some(0) => true,
            Some(DIFFERENT) => false,
            _ => panic!("{output:?}"),
        }
    }

    /// Changes the streams back to what this version defines. Newer buckets deny purges, which a server does not undo:
    /// then the command changes the streams and fails with an error that names a bucket.
    pub(crate) async fn change_streams_back(&self, installation: &Installation) {
        let are_its_own = self.has_its_streams(installation).await;
        let output = self.output(installation, &["streams", "apply"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), are_its_own, "{output:?}");
        assert!(are_its_own || said.contains("bucket"), "{output:?}");
    }

    async fn output(&self, installation: &Installation, args: &[&str]) -> std::process::Output {
        let variables = [("IMCHANNEL_INFOBIP_HOSTS", "127.0.0.1")];
        run_cli_with(&installation.nats.url(), &self.program("imchannel"), args, &variables).await
    }
}

/// Checks repeatedly whether a replica is ready, and records each time when it should have been and was not.
struct Watched {
    admin: String,
    should_be_ready: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Watched {
    fn new(name: String, admin: String, faults: Arc<Mutex<Vec<String>>>) -> Self {
        let should_be_ready = Arc::new(AtomicBool::new(false));
        let (expected, url) = (Arc::clone(&should_be_ready), format!("http://{admin}/ready"));
        let task = tokio::spawn(async move {
            loop {
                let was_expected = expected.load(Ordering::SeqCst);
                let said = ready(&url).await;
                // Only what was expected before and after the request.
                if was_expected && expected.load(Ordering::SeqCst) && said != "ready" {
                    faults.lock().unwrap().push(format!("{name}: {said}"));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { admin, should_be_ready, task }
    }

    async fn until_ready(&self) {
        let url = format!("http://{}/ready", self.admin);
        within(PART_LIMIT, "it is ready", || async { (ready(&url).await == "ready").then_some(()) }).await;
        self.should_be_ready.store(true, Ordering::SeqCst);
    }

    fn goes(&self) {
        self.should_be_ready.store(false, Ordering::SeqCst);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `ready`, or its other response.
async fn ready(url: &str) -> String {
    match reqwest::get(url).await {
        Ok(answer) if answer.status() == 200 => "ready".to_owned(),
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(error) => error.to_string(),
    }
}

/// One replica of a service.
struct Replica {
    name: &'static str,
    place: Place,
    watched: Watched,
    program: Program,
}

/// Two replicas of each service behind a proxy.
struct Gateway<'a> {
    outbound: &'a Outbound,
    proxy: Proxy,
    replicas: Vec<Replica>,
    faults: Arc<Mutex<Vec<String>>>,
}

fn start(outbound: &Outbound, version: &Version, name: &str, place: &Place) -> Program {
    let (program, admin) = (version.program(name), place.admin.to_string());
    let variables = [("IMCHANNEL_ADMIN_LISTEN", admin.as_str())];
    match name {
        "imchannel-ingress" => place.ingress(&program, &outbound.installation),
        "imchannel-sender" => outbound.sender_program_of(&program, &variables),
        _ => Program::start(&program, &outbound.installation, &variables),
    }
}

impl<'a> Gateway<'a> {
    async fn start(outbound: &'a Outbound, version: &Version) -> Self {
        let places = [Place::new("a"), Place::new("b")];
        let proxy = Proxy::start(outbound.installation.folder(), &places);
        let mut gateway = Self { outbound, proxy, replicas: Vec::new(), faults: Arc::default() };
        for (number, place) in places.into_iter().enumerate() {
            let others = ["imchannel-normalizer", "imchannel-sender"];
            let mut of_number = vec![("imchannel-ingress", place)];
            of_number.extend(others.map(|name| (name, Place::new("none"))));
            for (name, place) in of_number {
                let label = format!("{name} {number}");
                let watched = Watched::new(label, place.admin.to_string(), Arc::clone(&gateway.faults));
                let program = start(outbound, version, name, &place);
                watched.until_ready().await;
                gateway.replicas.push(Replica { name, place, watched, program });
            }
        }
        for replica in gateway.replicas.iter().filter(|replica| replica.name == "imchannel-ingress") {
            gateway.proxy.until(&replica.place, true).await;
        }
        gateway
    }

    /// Replaces every replica, one after the other, each ready before the next.
    async fn replace(&mut self, version: &Version) {
        for replica in &mut self.replicas {
            let is_behind_proxy = replica.name == "imchannel-ingress";
            replica.watched.goes();
            assert!(replica.program.stop().await, "stopped {} did not exit with success", replica.name);
            if is_behind_proxy {
                self.proxy.until(&replica.place, false).await;
            }
            replica.program = start(self.outbound, version, replica.name, &replica.place);
            replica.watched.until_ready().await;
            if is_behind_proxy {
                self.proxy.until(&replica.place, true).await;
            }
        }
    }

    /// Applies a version's streams, and waits until every replica has checked them.
    async fn apply(&self, version: &Version) {
        version.cli(&self.outbound.installation, &["streams", "apply"]).await;
        self.is_looked_at().await;
    }

    /// Waits until every replica has checked the streams again.
    async fn is_looked_at(&self) {
        let stored = bus::read::last_sequence(&self.outbound.installation.bus, &WEBHOOKS).await.unwrap();
        until_stored(&self.outbound.installation, stored + LOOKED_AGAIN).await;
        self.was_ready();
    }

    fn was_ready(&self) {
        assert_eq!(*self.faults.lock().unwrap(), Vec::<String>::new(), "a replica was not ready");
    }
}

/// Publishes commands until it is stopped; returns their number.
fn publish_commands(bus: bus::Bus, is_over: Arc<AtomicBool>) -> JoinHandle<u64> {
    let published = AtomicU64::new(0);
    tokio::spawn(async move {
        while !is_over.load(Ordering::SeqCst) {
            let number = published.fetch_add(1, Ordering::SeqCst);
            let queue = if number.is_multiple_of(2) { Priority::Interactive } else { Priority::Bulk };
            let id = format!("c-{number}");
            let command = text(0, &id, &format!("4915112{:04}", number % 50), "Hello");
            let headers = || Headers::new().with(headers::MESSAGE_ID, &id);
            let deadline = tokio::time::Instant::now() + PART_LIMIT;
            let (subject, payload) = (Subject::Command(queue, channel(0)), command.encode_to_vec().into());
            bus.store(&subject, headers, &payload, deadline).await.unwrap();
            tokio::time::sleep(COMMAND_EVERY).await;
        }
        published.into_inner()
    })
}

/// Each command has one result, and the customer one message.
async fn all_were_sent(outbound: &Outbound, count: u64) {
    let results = within(PART_LIMIT, "every command has its result", || async {
        let results = outbound.results().await;
        (results.len() as u64 >= count).then_some(results)
    })
    .await;
    assert_eq!(results.len() as u64, count);
    for number in 0..count {
        let id = format!("c-{number}");
        let result = results.iter().find(|result| result.command_id == id).unwrap();
        assert_eq!(outcome(result).as_str_name(), "SEND_OUTCOME_ACCEPTED", "{id}");
    }
    assert_eq!(outbound.account.received_count() as u64, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_replaces_the_one_before_and_the_other_way_without_unready_time() {
    service::process::install_crypto_provider();
    let (previous, this) = (Version::previous(), Version::this());
    let installation = Installation::start_bare().await;
    previous.cli(&installation, &["streams", "apply"]).await;
    let outbound = Outbound::on(installation, &[100], None).await;
    let installation = &outbound.installation;
    let channels = installation.folder().join("channels.toml");
    std::fs::write(&channels, CHANNELS).unwrap();
    let channels = channels.to_str().unwrap();
    previous.cli(installation, &["channel", "apply", "-f", channels]).await;

    let mut gateway = Gateway::start(&outbound, &previous).await;
    let url = format!("http://{}", gateway.proxy.webhooks);
    let (rate, count) = (RATE.to_string(), COUNT.to_string());
    // The simulator of this version would miss new events of the older one.
    let simulator = previous.program("imchannel");
    let simulate = if has_older_names(&simulator) { &["simulate"][..] } else { &["simulate", "webhooks"] };
    let options = ["--channels", channels, "--gateway", &url];
    let run = ["--count", &count, "--rate", &rate, "--settle", "120s"];
    let args = [&["--json"], simulate, &options, &run].concat();
    let mut simulation = Program::start_with_args(&simulator, &installation.nats.url(), &args, &[]);
    let is_over = Arc::new(AtomicBool::new(false));
    let commands = publish_commands(installation.bus.clone(), Arc::clone(&is_over));
    until_stored(installation, RATE).await;

    gateway.replace(&this).await;
    gateway.was_ready();
    gateway.apply(&this).await;
    // Back.
    previous.change_streams_back(installation).await;
    gateway.is_looked_at().await;
    gateway.replace(&previous).await;
    gateway.was_ready();

    let stored = bus::read::last_sequence(&installation.bus, &WEBHOOKS).await.unwrap();
    assert!(stored < COUNT, "the load ended before the last replacement did");
    is_over.store(true, Ordering::SeqCst);
    all_were_sent(&outbound, commands.await.unwrap()).await;
    all_was_kept_or_is_understood_now(&mut simulation).await;
    gateway.was_ready();

    this.cli(installation, &["streams", "apply"]).await;
    if previous.has_its_streams(installation).await {
        // Both versions have the same definitions, so the order makes no difference.
        return;
    }
    // The reason for the order: the previous version is not ready on this one's streams.
    for replica in &gateway.replicas {
        replica.watched.goes();
        let url = format!("http://{}/ready", replica.watched.admin);
        within(PART_LIMIT, "it says what differs", || async {
            ready(&url).await.contains("subjects is").then_some(())
        })
        .await;
    }
}
