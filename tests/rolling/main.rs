//! A rolling restart under load: two ingress and two normalizer processes behind haproxy with `deploy/haproxy/haproxy.cfg`,
//! replaced one after the other. No attempt of a BSP may fail, and the ledger of what was promised must be clean.
//!
//! It needs haproxy, so it is no part of `cargo test`: `./dev check-deploy` runs it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may")]

#[allow(dead_code, unused_imports, reason = "this test uses a part of it")]
#[path = "../e2e/harness/mod.rs"]
mod harness;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::harness::secured::root;
use crate::harness::{CHANNELS, Installation, Program, within};

/// Webhooks a second, and how many of them: longer than four restarts take, each with its drain.
const RATE: u64 = 200;
const COUNT: u64 = 12_000;
/// For one part of the run.
const PART_LIMIT: Duration = Duration::from_secs(300);

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// One replica's two ports, which its successor has too.
struct Place {
    name: &'static str,
    listen: String,
    admin: SocketAddr,
}

impl Place {
    fn new(name: &'static str) -> Self {
        Self { name, listen: free_address().to_string(), admin: free_address() }
    }

    fn ingress(&self, installation: &Installation) -> Program {
        let admin = self.admin.to_string();
        let variables = [
            ("IMCHANNEL_LISTEN", self.listen.as_str()),
            ("IMCHANNEL_ADMIN_LISTEN", &admin),
            // As docker-compose.yml has it: more than haproxy needs to notice.
            ("IMCHANNEL_DRAIN_DELAY_MS", "5000"),
        ];
        Program::start("imchannel-ingress", installation, &variables)
    }
}

/// haproxy with the file of `deploy/`, where names that only a container knows are replaced by addresses.
struct Proxy {
    webhooks: SocketAddr,
    admin: SocketAddr,
    _child: Child,
}

impl Proxy {
    fn start(folder: &Path, places: &[Place]) -> Self {
        let (webhooks, files, admin) = (free_address(), free_address(), free_address());
        let mut file = std::fs::read_to_string(root().join("deploy/haproxy/haproxy.cfg")).unwrap();
        let server = |place: &Place| {
            format!("  server {} {} check port {}", place.name, place.listen, place.admin.port())
        };
        let servers: Vec<String> = places.iter().map(server).collect();
        for (found, wanted) in [
            ("bind :8080", format!("bind {webhooks}")),
            ("bind :8081", format!("bind {files}")),
            ("bind :8404", format!("bind {admin}")),
            ("  server-template ingress 1-32 ingress:8080", servers.join("\n")),
            ("  server-template media 1-32 media:8081", "  server media 127.0.0.1:1".to_owned()),
        ] {
            assert_eq!(file.matches(found).count(), 1, "{found} in haproxy.cfg");
            file = file.replace(found, &wanted);
        }
        let path = folder.join("haproxy.cfg");
        std::fs::write(&path, file).unwrap();
        let search = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new("haproxy")
            .arg("-f")
            .arg(&path)
            .env("PATH", search)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Self { webhooks, admin, _child: child.expect("haproxy is installed") }
    }

    /// Waits until it sends requests to a replica, or sends it none.
    async fn until(&self, place: &Place, is_up: bool) {
        let url = format!("http://{}/metrics", self.admin);
        let wanted = format!(
            "haproxy_server_status{{proxy=\"ingress\",server=\"{}\",state=\"UP\"}} {}",
            place.name,
            u8::from(is_up)
        );
        within(PART_LIMIT, &wanted, || async {
            let metrics = reqwest::get(&url).await.ok()?.text().await.ok()?;
            metrics.contains(&wanted).then_some(())
        })
        .await;
    }
}

async fn until_stored(installation: &Installation, count: u64) {
    within(PART_LIMIT, &format!("{count} webhooks are stored"), || async {
        let last = bus::read::last_sequence(&installation.bus, &bus::streams::WEBHOOKS).await;
        (last.ok()? >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_fails_while_ingress_and_normalizer_are_replaced() {
    service::process::install_tls();
    let installation = Installation::start().await;
    let channels = installation.folder().join("channels.toml");
    std::fs::write(&channels, CHANNELS).unwrap();
    let places = [Place::new("a"), Place::new("b")];
    let proxy = Proxy::start(installation.folder(), &places);
    let mut replicas = [places[0].ingress(&installation), places[1].ingress(&installation)];
    let normalizer = || Program::start("imchannel-normalizer", &installation, &[]);
    let mut normalizers = [normalizer(), normalizer()];
    for place in &places {
        proxy.until(place, true).await;
    }

    let gateway = format!("http://{}", proxy.webhooks);
    let (rate, count) = (RATE.to_string(), COUNT.to_string());
    let args = ["--json", "simulate", "--channels", channels.to_str().unwrap(), "--gateway", &gateway];
    let run = ["--count", &count, "--rate", &rate, "--settle", "120s"];
    let args: Vec<&str> = args.into_iter().chain(run).collect();
    let mut simulation = Program::start_with_args("imchannel", &installation.nats.url(), &args, &[]);
    until_stored(&installation, COUNT / 20).await;
    for number in 0..places.len() {
        assert!(normalizers[number].stop().await, "a normalizer that is told to stop ends well");
        normalizers[number] = normalizer();
        let place = &places[number];
        assert!(replicas[number].stop().await, "ingress that is told to stop ends well");
        proxy.until(place, false).await;
        replicas[number] = place.ingress(&installation);
        proxy.until(place, true).await;
    }
    let stored = bus::read::last_sequence(&installation.bus, &bus::streams::WEBHOOKS).await.unwrap();
    assert!(stored < COUNT, "the load ended before the last restart did");

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
    let ledger: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ledger["clean"], true, "{ledger:#}");
    assert_eq!(ledger["ledger"]["unpromised"], 0, "{ledger:#}");
    assert!(simulation.ended_well().await);
}
