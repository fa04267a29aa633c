//! Checks by the monitoring ports of the NATS servers. Only there a server reports how often it syncs and its storage
//! limit.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::clock::Reading;
use super::finding::{Check, Finding, bytes, percent};
use super::probe::Probe;

const ANSWER: Check = Check("nats.monitor");
const STORAGE: Check = Check("nats.storage");

/// Used share of a server's storage from which it is a warning.
const SHARE_WARNING: f64 = 0.70;
/// Used share of a server's storage from which it is an error.
const SHARE_WRONG: f64 = 0.90;
/// Timeout of one response of the monitoring port.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Requests to an unhealthy server before it is reported.
const HEALTH_LOOKS: usize = 3;
/// Delay between these requests.
const HEALTH_PAUSE: Duration = Duration::from_secs(1);

/// When a server syncs messages to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    /// Before it acknowledges.
    Always,
    /// At this interval.
    Every(Duration),
    /// It does not report it: before 2.10 the interval is two minutes.
    Unsaid,
}

/// State of a server, from its monitoring port.
#[derive(Debug, Clone)]
pub(super) struct Monitor {
    pub(super) name: String,
    pub(super) sync: Sync,
    pub(super) folder: String,
    pub(super) used: u64,
    pub(super) storage_max: Option<u64>,
    /// GOMEMLIMIT in bytes; only servers from 2.11 report it.
    pub(super) memory_limit: Option<u64>,
    /// Number of servers of its JetStream cluster.
    pub(super) cluster_size: Option<u64>,
    /// The error that `/healthz` reports, if any.
    pub(super) ailment: Option<String>,
    pub(super) clock: Option<Reading>,
}

/// Reads a monitoring port.
pub(super) async fn ask(client: &reqwest::Client, url: &str) -> Probe<Monitor> {
    let get = async |path: &str| {
        let answer = client.get(format!("{}{path}", url.trim_end_matches('/'))).timeout(TIMEOUT).send();
        let answer = answer.await.map_err(|error| super::probe::reason(&error))?;
        let text = answer.text().await.map_err(|error| super::probe::reason(&error))?;
        serde_json::from_str::<Value>(&text)
            .map_err(|_| format!("the response of {path} is not that of a nats-server"))
    };
    let asked_at = Timestamp::now();
    let varz = get("/varz").await?;
    let heard_at = Timestamp::now();
    let jsz = get("/jsz?config=1").await?;
    // Servers report different parts of their health, and one without this page is not unhealthy. A consumer that is
    // just being created or deleted is reported for a moment, so an error that passes is ignored.
    let mut health = get("/healthz").await.unwrap_or(Value::Null);
    for _ in 0..HEALTH_LOOKS {
        if ailment(&health).is_none() {
            break;
        }
        tokio::time::sleep(HEALTH_PAUSE).await;
        health = get("/healthz").await.unwrap_or(Value::Null);
    }
    let monitor = read(&varz, &jsz, &health)
        .ok_or_else(|| "the server does not report JetStream; check that it is enabled".to_owned())?;
    let said = varz["now"].as_str().and_then(|now| now.parse().ok());
    let clock = said.map(|said| Reading::new(&format!("NATS at {url}"), asked_at, said, heard_at));
    Ok(Monitor { clock, ..monitor })
}

fn read(varz: &Value, jsz: &Value, health: &Value) -> Option<Monitor> {
    let config = &varz["jetstream"]["config"];
    config.as_object()?;
    let sync = match config["sync_interval"].as_u64() {
        _ if config["sync_always"] == true => Sync::Always,
        Some(nanos) => Sync::Every(Duration::from_nanos(nanos)),
        None => Sync::Unsaid,
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(Monitor {
        name: text(&varz["server_name"]).unwrap_or_default(),
        sync,
        folder: text(&config["store_dir"]).unwrap_or_default(),
        used: varz["jetstream"]["stats"]["storage"].as_u64().unwrap_or(0),
        storage_max: config["max_storage"].as_u64().filter(|max| *max > 0),
        memory_limit: varz["gomemlimit"].as_u64().filter(|limit| *limit > 0),
        cluster_size: jsz["meta_cluster"]["cluster_size"].as_u64(),
        ailment: ailment(health),
        clock: None,
    })
}

/// Returns the error of `/healthz`, or `None` if the server is healthy.
fn ailment(health: &Value) -> Option<String> {
    let status = health["status"].as_str().filter(|status| *status != "ok")?;
    Some(health["error"].as_str().unwrap_or(status).to_owned())
}

/// Returns all findings but those of the durability, which has a separate file.
pub(super) fn evaluate(monitors: &[(String, Probe<Monitor>)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if monitors.is_empty() {
        findings.push(ANSWER.unknown(
            "no monitoring port of NATS was given",
            "Only there a server reports how often it syncs and its storage limit.",
            "Give --nats-monitor-url http://nats:8222 (IMCHANNEL_NATS_MONITOR_URL), one for each server.",
        ));
    }
    for (url, monitor) in monitors {
        let monitor = match monitor {
            Ok(monitor) => monitor,
            Err(error) => {
                let what = format!("the monitoring port {url} could not be read: {error}");
                let remedy = "Check that http_port is set on the server and reachable from this machine.";
                findings.push(ANSWER.unknown(what, "", remedy).about([url]));
                continue;
            }
        };
        findings.push(match &monitor.ailment {
            Some(ailment) => ANSWER.error(
                format!("server {} reports that it is unhealthy: {ailment}", monitor.name),
                "It may refuse messages, or have stopped a stream.",
                "Read that server's log.",
            ),
            None => ANSWER.ok(format!("server {} is healthy", monitor.name)),
        });
        findings.push(evaluate_storage(monitor));
    }
    findings
}

fn evaluate_storage(monitor: &Monitor) -> Finding {
    let Some(max) = monitor.storage_max else {
        return STORAGE.unknown(format!("server {} does not report its storage limit", monitor.name), "", "");
    };
    let share = monitor.used as f64 / max as f64;
    let (used, max, folder) = (bytes(monitor.used), bytes(max), &monitor.folder);
    let what = format!("server {} stores {used} of {max} in {folder} ({})", monitor.name, percent(share));
    let why = "At its limit the server refuses messages, and ingress answers 503.";
    let remedy =
        "Give the server a larger disk and raise max_file_store, or reduce the limits of the streams.";
    match share {
        _ if share > SHARE_WRONG => STORAGE.error(what, why, remedy),
        _ if share > SHARE_WARNING => STORAGE.warning(what, why, remedy),
        _ => STORAGE.ok(what),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::finding::Level;

    fn varz(config: Value, used: u64) -> Value {
        json!({ "server_name": "n1", "jetstream": { "config": config, "stats": { "storage": used } } })
    }

    /// A server with this memory limit, in bytes.
    pub(in crate::doctor) fn with_memory(limit: Option<u64>) -> Monitor {
        let mut varz = varz(json!({ "store_dir": "/data" }), 0);
        if let Some(limit) = limit {
            varz["gomemlimit"] = limit.into();
        }
        read(&varz, &Value::Null, &Value::Null).unwrap()
    }

    #[test]
    fn a_server_says_how_often_it_syncs() {
        let sync = |config| read(&varz(config, 0), &Value::Null, &Value::Null).unwrap().sync;
        assert_eq!(sync(json!({ "sync_always": true, "sync_interval": 120_000_000_000_u64 })), Sync::Always);
        assert_eq!(
            sync(json!({ "sync_interval": 120_000_000_000_u64 })),
            Sync::Every(Duration::from_secs(120))
        );
        assert_eq!(sync(json!({ "store_dir": "/data" })), Sync::Unsaid);
        assert!(read(&json!({ "server_name": "n1" }), &Value::Null, &Value::Null).is_none());
    }

    #[test]
    fn storage_and_health_are_evaluated() {
        let level = |used, health: Value| {
            let read =
                read(&varz(json!({ "max_storage": 100 }), used), &json!({ "meta_cluster": {} }), &health);
            let findings = evaluate(&[("http://n1:8222".to_owned(), Ok(read.unwrap()))]);
            (findings[0].level, findings[1].level)
        };
        assert_eq!(level(10, json!({ "status": "ok" })), (Level::Ok, Level::Ok));
        assert_eq!(level(75, Value::Null), (Level::Ok, Level::Warning));
        let ill = json!({ "status": "unavailable", "error": "JetStream stream is not current" });
        assert_eq!(level(95, ill), (Level::Error, Level::Error));
        assert_eq!(evaluate(&[])[0].level, Level::Unknown);
        assert_eq!(evaluate(&[("x".to_owned(), Err("refused".to_owned()))])[0].level, Level::Unknown);
    }
}
