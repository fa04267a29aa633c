//! Simulators stay within the memory of their containers in every state of the gateway, and report what they drop.

use serde_json::{Value, json};

use crate::harness::{Installation, Program, exclusive, run_cli};
use crate::simulator::simulation::{Gateway, PART_LIMIT};

/// Memory limit of a simulator's container in docker-compose.yml.
const CONTAINER_BYTES: u64 = 256 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_of_a_gateway_that_is_down_stays_small_and_says_what_it_drops() {
    let _alone = exclusive().await;
    let mut gateway = Gateway::start().await;
    gateway.ingress.kill().await;
    stays_small(&gateway, &NOTHING_TAKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_whose_events_never_come_out_stays_small_and_says_what_it_drops() {
    let _alone = exclusive().await;
    // No normalizer turns the webhooks into events.
    let gateway = Gateway::start().await;
    stays_small(&gateway, &NOTHING_OUT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulation_of_a_gateway_that_never_answers_stays_small_and_says_what_it_drops() {
    let _alone = exclusive().await;
    let mut gateway = Gateway::start().await;
    // It accepts every connection and never responds.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    gateway.url = format!("http://{}", silent.local_addr().unwrap());
    let holding = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            open.push(stream);
        }
    });
    stays_small(&gateway, &NOTHING_TAKEN).await;
    holding.abort();
}

/// Options of a simulation and its expected results.
struct Case {
    /// Webhooks a second.
    rate: &'static str,
    why: &'static str,
    /// Webhooks that must have been dropped before the memory is checked.
    drops: u64,
    /// The exit code of its health check.
    health: i32,
}

const NOTHING_TAKEN: Case =
    Case { rate: "3000", why: "too many are being posted or wait for a retry", drops: 20_000, health: 1 };
const NOTHING_OUT: Case =
    Case { rate: "1000", why: "too many expected events have not come out", drops: 2_000, health: 0 };

/// More webhooks than in the observed failure: 24,000 at 300 a second were more than the container's memory.
async fn stays_small(gateway: &Gateway, case: &Case) {
    // Infobip retries for 41 hours, so everything waits; its bodies are the largest.
    let args = ["--bsp", "infobip", "--rate", case.rate, "--speed", "1", "--admin-listen", "127.0.0.1:0"];
    let mut simulation = gateway.simulation(&args);
    let admin: Value = serde_json::from_str(&simulation.line_with("\"admin\"").await).unwrap();
    let asked = ["health", "--admin-listen", admin["admin"].as_str().unwrap()];
    let mut dropped = 0;
    // It is printed again at each tenfold.
    while dropped < case.drops {
        let line = simulation.line_within(PART_LIMIT, "webhooks were dropped").await;
        assert!(line.contains(case.why), "{line}");
        dropped = line.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap();
    }
    assert_eq!(run_cli(&gateway.installation, &asked).await.status.code(), Some(case.health));
    let (_, most) = simulation.resident_bytes();
    assert!(most < CONTAINER_BYTES * 3 / 4, "{} MiB", most / 1024 / 1024);
    simulation.signal("TERM").await;
    let counts: Value = serde_json::from_str(&simulation.line_with("\"target\"").await).unwrap();
    assert!(counts["dropped"].as_u64().unwrap() >= dropped, "{counts}");
    assert_eq!(counts["answered_200"] == 0, case.health == 1, "{counts}");
}

/// Messages per request to the simulated Infobip, and requests: more messages than it delivers concurrently or keeps.
const MESSAGES: usize = 100;
const REQUESTS: usize = 250;

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_infobip_whose_reports_are_not_accepted_stays_small_and_says_what_it_drops() {
    let _alone = exclusive().await;
    let installation = Installation::start().await;
    let channels = installation.folder().join("channels.toml");
    let text = "[[channel]]\nid = \"c\"\nbsp = \"infobip\"\ntenant = \"t\"\nwebhook = [{ password = \"p\" }]\n\
                [channel.infobip]\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"env:INFOBIP_API_KEY\"\nscenario_key = \"S\"\n\
                sends_per_second = 1\n";
    std::fs::write(&channels, text).unwrap();
    let channels = channels.to_string_lossy();
    let args = ["--json", "simulate", "infobip", "--channels", &*channels, "--listen", "127.0.0.1:0"];
    let more = ["--gateway", "http://127.0.0.1:1", "--latency", "0s", "--api-key", "key"];
    let admin = ["--admin-listen", "127.0.0.1:0"];
    let args = [&args[..], &more, &admin].concat();
    let mut infobip = Program::start_with_args("imchannel", &installation.nats.url(), &args, &[]);
    let admin: Value = serde_json::from_str(&infobip.line_with("\"admin\"").await).unwrap();
    let listen: Value = serde_json::from_str(&infobip.line_with("\"listen\"").await).unwrap();
    let url = format!("http://{}/omni/1/advanced", listen["listen"].as_str().unwrap());
    let client = reqwest::Client::new();
    for request in 0..REQUESTS {
        let of = |number| json!({ "messageId": format!("m-{request}-{number}"), "to": { "phoneNumber": "4915100000042" } });
        let destinations: Vec<Value> = (0..MESSAGES).map(of).collect();
        let body = json!({ "scenarioKey": "S", "destinations": destinations, "whatsApp": { "text": "x".repeat(1000) } });
        let post =
            client.post(&url).header("authorization", "App key").header("content-type", "application/json");
        assert_eq!(post.body(body.to_string()).send().await.unwrap().status(), 200);
    }
    let count = MESSAGES * REQUESTS;
    let counts = infobip.line_within(PART_LIMIT, &format!("\"received\":{count},")).await;
    let counts: Value = serde_json::from_str(&counts).unwrap();
    assert!(counts["unreported"].as_u64().unwrap() > 20_000, "{counts}");
    assert!(counts["forgotten"].as_u64().unwrap() > 4_000, "{counts}");
    let (_, most) = infobip.resident_bytes();
    assert!(most < CONTAINER_BYTES * 3 / 4, "{} MiB", most / 1024 / 1024);
    let asked = ["health", "--admin-listen", admin["admin"].as_str().unwrap()];
    assert!(run_cli(&installation, &asked).await.status.success(), "it listens");
}
