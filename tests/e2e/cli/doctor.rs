//! `imchannel doctor`: it finds nothing wrong with a working installation, and only the broken part of one that is
//! broken in one place.

use std::process::Output;
use std::time::Duration;

use axum::Json;
use axum::routing::get;
use bus::streams::{NORMALIZER, StreamSettings};
use bus::{Bus, Headers, Priority, Subject, provision};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::cluster::Cluster;
use crate::harness::outbound::{Outbound, channel, load_functions, text};
use crate::harness::{Installation, TIMEOUT, bus_options, eventually, run_cli_with};

/// A running installation with one channel, and what is passed to the command.
struct Patient {
    outbound: Outbound,
    variables: Vec<(&'static str, String)>,
}

impl Patient {
    async fn new() -> Self {
        let outbound = Outbound::start(&[50]).await;
        let variables = vec![
            ("IMCHANNEL_REDIS_URL", outbound.redis.url()),
            ("IMCHANNEL_MEDIA_PUBLIC_URL", outbound.media_url.clone()),
            ("IMCHANNEL_SECRETS_DIR", outbound.installation.folder().to_string_lossy().into_owned()),
        ];
        Self { outbound, variables }
    }

    fn installation(&self) -> &Installation {
        &self.outbound.installation
    }

    /// With another value of a variable.
    async fn seen_with(&self, name: &'static str, value: &str) -> Report {
        let mut variables = self.variables.clone();
        variables.retain(|(found, _)| *found != name);
        variables.push((name, value.to_owned()));
        run_doctor(&self.installation().nats.url(), &variables).await
    }

    async fn seen(&self) -> Report {
        run_doctor(&self.installation().nats.url(), &self.variables).await
    }

    async fn until_worked(&self) {
        let lease = lane_state::lane_lease(channel(0).as_str());
        eventually("a sender works the lane", || async {
            let leases = bus::inspect::leases(&self.installation().bus).await.ok()?;
            leases.iter().any(|found| found.name == lease).then_some(())
        })
        .await;
    }

    async fn store_webhook(&self) {
        let subject = Subject::Webhook(bsp::registry::find("infobip").unwrap().profile().id, channel(0));
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let body = br#"{"results":[]}"#.to_vec().into();
        self.installation().bus.store(&subject, Headers::new, &body, deadline).await.unwrap();
    }
}

/// Output of the command.
struct Report {
    code: Option<i32>,
    text: String,
    findings: Vec<Value>,
}

async fn run_doctor(nats_url: &str, variables: &[(&'static str, String)]) -> Report {
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let args = ["--json", "doctor", "--watch-for", "1s"];
    let Output { status, stdout, .. } = run_cli_with(nats_url, "imchannel", &args, &variables).await;
    let text = String::from_utf8(stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let findings = lines.filter(|line| line["check"].is_string()).collect();
    Report { code: status.code(), text, findings }
}

impl Report {
    /// The checks that found something of a level, each once.
    fn of_level(&self, level: &str) -> Vec<&str> {
        let found = self.findings.iter().filter(|found| found["level"] == level);
        let mut checks: Vec<&str> = found.map(|found| found["check"].as_str().unwrap()).collect();
        checks.dedup();
        checks
    }

    /// Checks that this is the only error. Returns its objects.
    fn only_wrong(&self, check: &str) -> Vec<String> {
        assert_eq!(self.of_level("error"), vec![check], "{}", self.text);
        assert_eq!(self.code, Some(3), "{}", self.text);
        let wrong = self.findings.iter().filter(|found| found["level"] == "error");
        for found in wrong.clone() {
            assert!(
                !found["impact"].as_str().unwrap().is_empty()
                    && !found["remedy"].as_str().unwrap().is_empty()
            );
        }
        let names = wrong.flat_map(|found| found["subjects"].as_array().unwrap());
        names.map(|name| name.as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_installation_has_nothing_wrong() {
    let patient = Patient::new().await;
    let _normalizer = patient.installation().normalizer().await;
    let _sender = patient.outbound.sender().await;
    let _media = patient.outbound.media().await;
    patient.until_worked().await;
    patient.store_webhook().await;
    patient.installation().until_processed().await;
    let seen = patient.seen().await;
    assert_eq!(seen.of_level("error"), Vec::<String>::new(), "{}", seen.text);
    assert_eq!(seen.code, Some(0), "{}", seen.text);
    let well = seen.of_level("ok");
    for check in [
        "nats.connection",
        "nats.account",
        "streams.definition",
        "durables.definition",
        "streams.duplicate_window",
        "streams.replicas",
        "streams.copies",
        "streams.fill",
        "streams.rate",
        "durables.normalizer",
        "deadletters.present",
        "channels.records",
        "channels.key",
        "channels.webhooks",
        "channels.references",
        "channels.hosts",
        "lanes.owner",
        "lanes.halted",
        "lanes.progress",
        "redis.connection",
        "redis.version",
        "redis.role",
        "redis.policy",
        "redis.functions",
        "media.answer",
        "clock.skew",
    ] {
        assert!(well.contains(&check), "{check} is not ok:\n{}", seen.text);
    }
    // A URL of this machine, and no reader of events.
    for check in ["media.url", "durables.aicc"] {
        assert!(seen.of_level("warning").contains(&check), "{}", seen.text);
    }
    // Their URLs were not given.
    for check in ["nats.monitor", "services.ready"] {
        assert!(seen.of_level("unknown").contains(&check), "{}", seen.text);
    }
    let key = std::fs::read_to_string(patient.installation().folder().join("api.key")).unwrap();
    assert!(!seen.text.contains(&key), "the secret was printed");

    // The output for people has the same.
    let variables: Vec<_> = patient.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (url, args) = (patient.installation().nats.url(), ["doctor", "--watch-for", "1s"]);
    let output = run_cli_with(&url, "imchannel", &args, &variables).await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("durables.normalizer") && !shown.starts_with('{'), "{shown}");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_break_is_found_and_no_other() {
    let mut patient = Patient::new().await;
    let normalizer = patient.installation().normalizer().await;
    let _sender = patient.outbound.sender().await;
    let _media = patient.outbound.media().await;
    patient.until_worked().await;

    redis(&patient, "CONFIG SET maxmemory-policy allkeys-lru").await;
    patient.seen().await.only_wrong("redis.policy");
    redis(&patient, "CONFIG SET maxmemory-policy noeviction").await;
    redis(&patient, "FUNCTION FLUSH").await;
    let seen = patient.seen().await;
    seen.only_wrong("redis.functions");
    assert!(seen.text.contains("the Redis user `provisioner`"), "{}", seen.text);
    load_functions(&patient.outbound.redis.url()).await;
    patient.seen_with("IMCHANNEL_REDIS_URL", "redis://127.0.0.1:1").await.only_wrong("redis.connection");

    patient.seen_with("IMCHANNEL_MEDIA_PUBLIC_URL", "http://127.0.0.1:1").await.only_wrong("media.answer");
    // A server responds there that is not media.
    let other = patient.outbound.account_url.clone();
    patient.seen_with("IMCHANNEL_MEDIA_PUBLIC_URL", &other).await.only_wrong("media.answer");

    let key = patient.installation().folder().join("api.key");
    let secret = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let seen = patient.seen().await;
    assert_eq!(seen.only_wrong("channels.references"), ["file:api.key"]);
    std::fs::write(&key, &secret).unwrap();

    let seen = patient.seen_with("IMCHANNEL_CREDENTIAL_KEY", "another key of more than 32 characters").await;
    assert_eq!(seen.only_wrong("channels.key"), ["channel-0"]);

    change_stream(&patient, "EVENTS", |config| config["max_msgs"] = json!(5)).await;
    assert_eq!(patient.seen().await.only_wrong("streams.definition"), ["EVENTS"]);
    let streams = StreamSettings::default();
    provision::apply(&patient.installation().bus, &streams).await.unwrap();

    normalizer.stop().await;
    // The server detects the closed connection a moment later.
    eventually("no normalizer asks for webhooks", || async {
        let durables = bus::inspect::durables(&patient.installation().bus).await.ok()?;
        durables.iter().any(|seen| seen.name == NORMALIZER.name && seen.requests == 0).then_some(())
    })
    .await;
    patient.store_webhook().await;
    patient.seen().await.only_wrong("durables.normalizer");

    patient.installation().bus.delete_durable(&NORMALIZER).await.unwrap();
    assert_eq!(patient.seen().await.only_wrong("durables.definition"), ["normalizer"]);

    // NATS is unreachable: the other checks still run.
    patient.outbound.installation.nats.stop().await;
    let seen = patient.seen().await;
    assert_eq!(seen.of_level("error"), vec!["nats.connection"], "{}", seen.text);
    assert_eq!(seen.code, Some(3), "{}", seen.text);
    assert!(seen.of_level("ok").contains(&"redis.policy"), "{}", seen.text);
    // Nothing responds.
    let seen = run_doctor("nats://127.0.0.1:1", &[]).await;
    assert_eq!(seen.of_level("error"), vec!["nats.connection"], "{}", seen.text);
    assert_eq!(seen.code, Some(1), "{}", seen.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_without_a_sender_are_reported() {
    let patient = Patient::new().await;
    let _normalizer = patient.installation().normalizer().await;
    let _media = patient.outbound.media().await;
    let seen = patient.seen().await;
    assert_eq!(seen.of_level("error"), Vec::<String>::new(), "{}", seen.text);
    assert_eq!(seen.code, Some(0), "{}", seen.text);
    assert!(seen.of_level("warning").contains(&"lanes.owner"), "{}", seen.text);

    patient.outbound.publish(Priority::Interactive, &text(0, "waits", "4917612345678", "hello")).await;
    assert_eq!(patient.seen().await.only_wrong("lanes.owner"), ["channel-0"]);
    patient.outbound.set_paused(0, true).await;
    assert!(patient.seen().await.of_level("warning").contains(&"lanes.paused"), "a command waits there");
    patient.outbound.set_paused(0, false).await;

    // A sender owns the lane, and reports why nothing is sent.
    let key = patient.installation().folder().join("api.key");
    std::fs::remove_file(&key).unwrap();
    let _sender = patient.outbound.sender().await;
    patient.until_worked().await;
    eventually("the lane says that it is halted", || async {
        let seen = patient.seen().await;
        let is_said = seen.of_level("error").contains(&"lanes.halted") && seen.text.contains("api.key");
        is_said.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_asked_is_unknown_and_what_a_monitor_says_counts() {
    let patient = Patient::new().await;
    let _normalizer = patient.installation().normalizer().await;
    let _sender = patient.outbound.sender().await;
    let _media = patient.outbound.media().await;
    patient.until_worked().await;

    redis(&patient, "ACL SETUSER probe on nopass resetkeys -@all +ping").await;
    let place = patient.outbound.redis.url().replace("redis://", "redis://probe:x@");
    let seen = patient.seen_with("IMCHANNEL_REDIS_URL", &place).await;
    assert_eq!(seen.of_level("error"), Vec::<String>::new(), "{}", seen.text);
    assert_eq!(seen.code, Some(0), "{}", seen.text);
    assert!(seen.of_level("unknown").contains(&"redis.policy"), "{}", seen.text);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let monitor = format!("http://{}", listener.local_addr().unwrap());
    let config =
        json!({ "max_storage": 1_000_000, "store_dir": "/data", "sync_interval": 120_000_000_000_u64 });
    let varz = json!({ "server_name": "n1", "jetstream": { "config": config, "stats": { "storage": 10 } } });
    let routes = axum::Router::new()
        .route("/varz", get(|| async { Json(varz) }))
        .route("/jsz", get(|| async { Json(json!({})) }))
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let seen = patient.seen_with("IMCHANNEL_NATS_MONITOR_URL", &monitor).await;
    seen.only_wrong("nats.durability");
    for check in ["nats.monitor", "nats.storage"] {
        assert!(seen.of_level("ok").contains(&check), "{}", seen.text);
    }
}

/// Runs a command on Redis.
async fn redis(patient: &Patient, command: &str) {
    let url = patient.outbound.redis.url();
    let mut stream = TcpStream::connect(url.trim_start_matches("redis://")).await.unwrap();
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("+OK"), "{answer}");
}

/// Changes a stream without imchannel, by NATS's own protocol.
async fn change_stream(patient: &Patient, name: &str, change: impl FnOnce(&mut Value)) {
    let address = format!("127.0.0.1:{}", patient.installation().nats.port());
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("INFO"), "{line}");
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nSUB answers 1\r\n").await.unwrap();
    let info = ask(&mut stream, &format!("$JS.API.STREAM.INFO.{name}"), "").await;
    let mut config = info["config"].clone();
    change(&mut config);
    let answer = ask(&mut stream, &format!("$JS.API.STREAM.UPDATE.{name}"), &config.to_string()).await;
    assert!(answer["error"].is_null(), "{answer}");
}

async fn ask(stream: &mut BufReader<TcpStream>, subject: &str, body: &str) -> Value {
    let request = format!("PUB {subject} answers {}\r\n{body}\r\n", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = async {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if line.starts_with("MSG") {
                let length: usize = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                return serde_json::from_slice(&body).unwrap();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap()
}

/// The version of the oldest server decides how a stream is purged, so every server is queried, even if only one is in
/// the settings.
#[tokio::test(flavor = "multi_thread")]
async fn every_server_of_a_cluster_is_asked_for_its_version() {
    let cluster = Cluster::start().await;
    let url = cluster.servers[0].url();
    let bus = Bus::connect_now(&bus_options("test", &url)).await.unwrap();
    let settings = StreamSettings { replicas: 3, ..StreamSettings::default() };
    // JetStream is unavailable until the servers have formed a cluster.
    eventually("streams are made", || async { provision::apply(&bus, &settings).await.ok() }).await;
    let seen = run_doctor(&url, &[]).await;
    let version = servers::nats::version().await.unwrap();
    let found = seen.findings.iter().filter(|found| found["check"] == "nats.version").collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{}", seen.text);
    assert_eq!(found[0]["subjects"], json!(["n0", "n1", "n2"]), "{}", seen.text);
    assert!(found[0]["message"].as_str().unwrap().contains(&version), "{}", seen.text);
    if version.starts_with("2.9.") {
        assert_eq!(found[0]["level"], "warning", "{}", seen.text);
        assert!(found[0]["impact"].as_str().unwrap().contains("deleted one at a time"), "{}", seen.text);
    }
}
