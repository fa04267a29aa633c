//! Sizes of streams: there is room for the runbook's commands by default, `streams apply` changes only what is named,
//! and an error about a stream that does not fit names the server's limit.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Config;
use bus::Bus;
use bus::inspect::StreamInfo;
use futures_util::StreamExt;
use servers::{NatsOptions, NatsServer};
use tokio::net::TcpListener;

use crate::harness::cluster::Cluster;
use crate::harness::{Installation, bus_options, run_cli_with};

const MIB: u64 = 1024 * 1024;

async fn cli(url: &str, args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run_cli_with(url, "imchannel", args, variables).await;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), text)
}

async fn streams(url: &str) -> Vec<StreamInfo> {
    let bus = Bus::connect(&bus_options("test", url)).await.unwrap();
    bus::inspect::streams(&bus).await.unwrap()
}

fn size(streams: &[StreamInfo], name: &str) -> Option<u64> {
    streams.iter().find(|stream| stream.name() == name)?.max_bytes
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// The commands of the runbook that give a stream more room.
fn runbook() -> Vec<Vec<String>> {
    let runbook = read("docs/runbook.md");
    let lines = runbook.lines().filter_map(|line| line.strip_prefix("imchannel streams apply --"));
    let words = lines.map(|line| {
        let args = line.split_whitespace().take_while(|word| !word.starts_with('#')).map(str::to_owned);
        let mut all = vec!["streams".to_owned(), "apply".to_owned()];
        all.extend(args);
        all[2].insert_str(0, "--");
        all
    });
    words.collect()
}

/// `max_file_store` of the configuration of compose and the development overlay.
fn limit_of_deploy() -> String {
    let config = read("deploy/nats/nats.conf");
    let line = config.lines().find_map(|line| line.trim().strip_prefix("max_file_store:"));
    line.unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runbook_makes_room_on_the_default_limit() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nats.conf");
    let store = folder.path().join("store");
    let text = format!("jetstream {{ store_dir: {store:?}, max_file_store: {} }}\n", limit_of_deploy());
    std::fs::write(&config, text).unwrap();
    let options = NatsOptions { config: Some(config), ..NatsOptions::open(folder.path().join("nats")) };
    let server = NatsServer::start(options).await.unwrap();
    let url = server.url();
    // An installation with a different size.
    let (code, text) = cli(&url, &["streams", "apply", "--deadletters-max-size", "100MiB"], &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let commands = runbook();
    assert!(commands.len() >= 2, "{commands:?}");
    for command in &commands {
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        let (code, text) = cli(&url, &args, &[]).await;
        assert_eq!(code, Some(0), "{command:?}: {text}");
    }
    // What was not named is unchanged.
    let found = streams(&url).await;
    assert_eq!(size(&found, "DEADLETTERS"), Some(100 * MIB));
    assert_eq!(size(&found, "COMMANDS"), Some(1024 * MIB));
    for (enlarged, mib) in [("WEBHOOKS", 8192), ("EVENTS", 8192), ("KV_imchannel_sends", 4096)] {
        assert_eq!(size(&found, enlarged), Some(mib * MIB), "{enlarged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_and_setup_change_what_is_named_and_nothing_else() {
    let installation = Installation::start_bare().await;
    let url = installation.nats.url();
    let chosen = ["streams", "apply", "--webhooks-max-size", "200MiB", "--sends-max-size", "300MiB"];
    let (code, text) = cli(&url, &[&chosen[..], &["--duplicate-window", "1m"]].concat(), &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let shape = |streams: Vec<StreamInfo>| {
        let shape =
            |stream: StreamInfo| (stream.name(), stream.max_bytes, stream.replicas, stream.duplicate_window);
        streams.into_iter().map(shape).collect::<Vec<_>>()
    };
    let before = shape(streams(&url).await);
    for args in [&["streams", "apply"][..], &["setup"], &["streams", "check"]] {
        let (code, text) = cli(&url, args, &[]).await;
        assert_eq!(code, Some(0), "{args:?}: {text}");
        assert_eq!(shape(streams(&url).await), before, "{args:?} changed what it was not told");
    }
    // A variable has the same effect as an option.
    let (code, text) = cli(&url, &["setup"], &[("IMCHANNEL_EVENTS_MAX_SIZE", "400MiB")]).await;
    assert_eq!(code, Some(0), "{text}");
    let found = streams(&url).await;
    assert_eq!(size(&found, "EVENTS"), Some(400 * MIB));
    assert_eq!(size(&found, "WEBHOOKS"), Some(200 * MIB));
    // A check compares what is named.
    let (code, text) = cli(&url, &["streams", "check", "--events-max-size", "1GiB"], &[]).await;
    assert!(code == Some(3) && text.contains("max_bytes"), "{text}");
}

/// From nats-server 2.15 on, a stream without a limit of its own has room for 1,000 consumers: COMMANDS, of 500 channels.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_room_for_more_than_a_thousand_consumers_after_setup() {
    let installation = Installation::start_bare().await;
    let url = installation.nats.url();
    let setup = async || {
        let (code, text) = cli(&url, &["setup"], &[]).await;
        assert_eq!(code, Some(0), "{text}");
    };
    setup().await;
    // As an older version made it.
    let jetstream = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
    let made = jetstream.get_stream("COMMANDS").await.unwrap().cached_info().config.clone();
    jetstream.update_stream(Config { max_consumers: -1, ..made.clone() }).await.unwrap();
    if made.max_consumers > 0 {
        let (code, text) = cli(&url, &["streams", "check"], &[]).await;
        assert!(code == Some(3) && text.contains("max_consumers"), "{code:?} {text}");
        let (_, text) = cli(&url, &["doctor"], &[]).await;
        assert!(text.contains("stream COMMANDS: max_consumers is -1, not 1000000"), "{text}");
    }
    setup().await;
    let stream = jetstream.get_stream("COMMANDS").await.unwrap();
    let threshold = Duration::from_secs(60);
    let created = futures_util::stream::iter(0..1_001).map(|_| {
        let config = pull::Config { inactive_threshold: threshold, ..pull::Config::default() };
        stream.create_consumer(config)
    });
    let refused: Vec<String> = created
        .buffer_unordered(16)
        .filter_map(async |created| created.err().map(|error| error.to_string()))
        .collect()
        .await;
    assert_eq!(refused, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_said_with_the_limit_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nats.conf");
    let store = folder.path().join("store");
    // Three are 2.5 GiB, and the fourth would not fit.
    let text = format!("server_name: small\njetstream {{ store_dir: {store:?}, max_file_store: 3GB }}\n");
    std::fs::write(&config, text).unwrap();
    let options = NatsOptions { config: Some(config), ..NatsOptions::open(folder.path().join("nats")) };
    let server = NatsServer::start(options).await.unwrap();
    let url = server.url();
    let small = |name: &'static str| [name, "512MiB"];
    let sizes =
        ["--webhooks-max-size", "--events-max-size", "--commands-max-size", "--sends-max-size"].map(small);
    let args = [&["streams", "apply"][..], &sizes.concat()].concat();
    let (code, text) = cli(&url, &args, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let monitor = monitor_of_3_gib().await;
    let variables = [("IMCHANNEL_NATS_MONITOR_URL", monitor.as_str())];
    for command in ["streams", "setup"] {
        let named = if command == "streams" { &["streams", "apply"][..] } else { &["setup"] };
        for (option, of) in
            [("--events-max-size", "stream EVENTS"), ("--sends-max-size", "bucket imchannel_sends")]
        {
            let (code, text) = cli(&url, &[named, &[option, "2GiB"]].concat(), &variables).await;
            assert_eq!(code, Some(1), "{text}");
            for part in [
                of,
                "cannot have 2.0 GiB",
                "max_file_store",
                "reserve 2.5 GiB",
                "would reserve 4.0 GiB",
                "small is 3.0 GiB",
            ] {
                assert!(text.contains(part), "no {part} in {text}");
            }
        }
    }
    assert_eq!(size(&streams(&url).await, "EVENTS"), Some(512 * MIB));
}

/// The monitoring port of a server with the same limit.
async fn monitor_of_3_gib() -> String {
    let varz = serde_json::json!({
        "server_name": "small",
        "jetstream": { "config": { "max_storage": 3221225472_u64, "store_dir": "/data" }, "stats": { "storage": 0 } },
    });
    let router = axum::Router::new()
        .route("/varz", axum::routing::get(move || async move { axum::Json(varz) }))
        .route("/jsz", axum::routing::get(|| async { axum::Json(serde_json::json!({})) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Every server stores a copy of everything, so the same limit is enough for three copies.
#[tokio::test(flavor = "multi_thread")]
async fn the_runbook_makes_room_in_a_cluster_and_copies_stay_three() {
    let cluster = Cluster::start().await;
    let url = cluster.servers[0].url();
    let (code, text) = cli(&url, &["setup", "--replicas", "5"], &[]).await;
    assert!(
        code == Some(1)
            && text.contains(
                "stream WEBHOOKS cannot have 5 replicas: the cluster does not have that many servers"
            ),
        "{text}"
    );
    let (code, text) = cli(&url, &["setup", "--replicas", "3"], &[]).await;
    assert_eq!(code, Some(0), "{text}");
    for command in runbook() {
        let args: Vec<&str> = command.iter().map(String::as_str).collect();
        let (code, text) = cli(&url, &args, &[]).await;
        assert_eq!(code, Some(0), "{command:?}: {text}");
    }
    let found = streams(&url).await;
    assert!(found.iter().all(|stream| stream.replicas == 3), "{found:?}");
    assert_eq!(size(&found, "WEBHOOKS"), Some(8192 * MIB));
    assert_eq!(size(&found, "COMMANDS"), Some(1024 * MIB));
    let (code, text) = cli(&url, &["streams", "apply", "--events-max-size", "32GiB"], &[]).await;
    assert!(code == Some(1) && text.contains("stream EVENTS cannot have 32.0 GiB"), "{text}");
}
