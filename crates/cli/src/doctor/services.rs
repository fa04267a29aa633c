//! Checks of the services by their admin ports: whether they are ready, and which versions run at the same time.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::DATE;
use serde_json::Value;

use super::clock::{Reading, http_date};
use super::finding::{Check, Finding, count, names};
use super::probe::{Probe, reason};
use crate::refusals::{self, Counts, Refused};
use crate::spooled::{self, Spooled};

const READY: Check = Check("services.ready");
const VERSION: Check = Check("services.version");
const REFUSALS: Check = Check("ingress.refusals");

/// Timeout of one request to an admin port.
const TIMEOUT: Duration = Duration::from_secs(3);

/// State of a service, from its admin port.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// Readiness conditions that do not hold; empty if it is ready.
    pub(super) lacks: Vec<String>,
    /// Program and version, if it reports them.
    pub(super) build: Option<(String, String)>,
    /// Requests that it has refused since it started, if it is ingress.
    pub(super) refusals: Counts,
    /// Its spool, if it is ingress and has one.
    pub(super) spooled: Option<Spooled>,
    pub(super) clock: Option<Reading>,
}

/// Reads an admin port.
pub(super) async fn ask(client: &reqwest::Client, url: &str) -> Probe<Service> {
    let base = url.trim_end_matches('/');
    let asked_at = Timestamp::now();
    let answer = client.get(format!("{base}/ready")).timeout(TIMEOUT).send().await;
    let answer = answer.map_err(|error| reason(&error))?;
    let date = answer.headers().get(DATE).and_then(|value| http_date(value.to_str().ok()?));
    let clock = date.map(|said| Reading::of_seconds(base, asked_at, said, Timestamp::now()));
    let status = answer.status().as_u16();
    let ready: Value = serde_json::from_slice(&answer.bytes().await.map_err(|error| reason(&error))?)
        .map_err(|_| format!("/ready answers {status} and is not an endpoint of an imchannel service"))?;
    let metrics = client.get(format!("{base}/metrics")).timeout(TIMEOUT).send().await;
    let metrics = match metrics {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    };
    let refusals = refusals::counts(&metrics);
    let (lacks, build, spooled) = (read_lacks(&ready), read_build(&metrics), spooled::read(&metrics));
    Ok(Service { lacks, build, refusals, spooled, clock })
}

fn read_lacks(ready: &Value) -> Vec<String> {
    if ready["ready"] == true {
        return Vec::new();
    }
    let conditions = ready["conditions"].as_object().into_iter().flatten();
    let lacks = conditions.filter(|(_, state)| *state != "ok");
    let lacks: Vec<String> =
        lacks.map(|(name, state)| format!("{name}: {}", state.as_str().unwrap_or_default())).collect();
    if lacks.is_empty() { vec!["it reports no reason".to_owned()] } else { lacks }
}

/// Parses program and version of `imchannel_build_info{program="…",version="…"} 1`.
fn read_build(metrics: &str) -> Option<(String, String)> {
    let line = metrics.lines().find_map(|line| line.strip_prefix("imchannel_build_info{"))?;
    let label = |name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    Some((label("program").unwrap_or_default(), label("version")?))
}

/// `own` is the version of this command line.
pub(super) fn evaluate(services: &[(String, Probe<Service>)], own: &str) -> Vec<Finding> {
    if services.is_empty() {
        let remedy = "Give --admin http://ingress:9090,http://normalizer:9090,… of every replica.";
        return vec![READY.unknown(
            "no admin port was given, so no service was checked",
            "Only a service itself reports whether it is ready, and its version.",
            remedy,
        )];
    }
    let mut findings: Vec<Finding> =
        services.iter().filter_map(|(url, service)| evaluate_ready(url, service)).collect();
    if findings.is_empty() {
        findings.push(READY.ok(format!("{} checked, all ready", count(services.len(), "service"))));
    }
    findings.push(evaluate_versions(services, own));
    findings.extend(evaluate_refusals(services));
    findings
}

/// Returns `None` if no ingress was checked.
fn evaluate_refusals(services: &[(String, Probe<Service>)]) -> Option<Finding> {
    let mut counts = Counts::new();
    for service in services.iter().filter_map(|(_, service)| service.as_ref().ok()) {
        for (refused, number) in &service.refusals {
            *counts.entry(refused.clone()).or_default() += number;
        }
    }
    if counts.is_empty() {
        return None;
    }
    counts.retain(|_, number| *number > 0);
    let text = |(Refused { bsp, channel, cause }, number): (&Refused, &u64)| {
        let place = if channel.is_empty() { String::new() } else { format!(" to channel {channel}") };
        format!("{number} of {bsp}{place}: {cause}")
    };
    let (strangers, known): (Vec<_>, Vec<_>) =
        counts.iter().partition(|(refused, _)| refused.channel.is_empty());
    let strangers = names(&strangers.into_iter().map(text).collect::<Vec<_>>());
    if known.is_empty() {
        let rest = if strangers.is_empty() { String::new() } else { format!(" (and {strangers})") };
        return Some(
            REFUSALS.ok(format!("no webhook of a known channel was refused since ingress started{rest}")),
        );
    }
    let channels: Vec<String> = known.iter().map(|(refused, _)| refused.channel.clone()).collect();
    let what = format!(
        "webhooks were refused since ingress started: {}",
        names(&known.into_iter().map(text).collect::<Vec<_>>())
    );
    let remedy = "other_bsp: the URL at that BSP names a channel of another BSP. wrong_credential, no_credential: the BSP does not \
                  send the password of the channels file. wrong_signature: check public_url and the signing key. The log of ingress names the channel.";
    Some(
        REFUSALS
            .warning(what, "Refused webhooks are not stored, and BSPs stop retrying after a while.", remedy)
            .about(channels),
    )
}

/// Returns `None` if it is ready.
fn evaluate_ready(url: &str, service: &Probe<Service>) -> Option<Finding> {
    let finding = match service {
        Ok(service) if service.lacks.is_empty() => return None,
        Ok(service) => READY.error(
            format!("the service at {url} is not ready ({})", service.lacks.join("; ")),
            "Load balancers send it no requests until it is ready.",
            "Fix the cause that the condition names. The log of the service has details.",
        ),
        Err(error) => READY.error(
            format!("no response from {url}: {error}"),
            "It is not running, or its admin port is not reachable from this machine.",
            "Start it, or check IMCHANNEL_ADMIN_LISTEN and the network.",
        ),
    };
    Some(finding.about([url]))
}

fn evaluate_versions(services: &[(String, Probe<Service>)], own: &str) -> Finding {
    let builds = services.iter().filter_map(|(url, service)| {
        let (program, version) = service.as_ref().ok()?.build.as_ref()?;
        Some((url, program, version))
    });
    let builds: Vec<_> = builds.collect();
    let others: Vec<String> = builds
        .iter()
        .filter(|(_, _, version)| *version != own)
        .map(|(url, program, version)| format!("{program} {version} at {url}"))
        .collect();
    if builds.is_empty() {
        return VERSION.unknown("no service reports its version", "", "");
    }
    if others.is_empty() {
        return VERSION.ok(format!("all services that report a version are {own}, like this command line"));
    }
    VERSION.warning(
        format!("this command line is {own}, but there is {}", names(&others)),
        "Different versions are intended only during an upgrade: their parsers may produce different events.",
        "Finish the upgrade, or use the command line of the version of the services.",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::finding::Level;

    fn service(ready: &Value, version: Option<&str>) -> (String, Probe<Service>) {
        let metrics = version.map(|version| {
            format!("# TYPE imchannel_build info\nimchannel_build_info{{program=\"ingress\",version=\"{version}\"}} 1\n")
        });
        let build = read_build(&metrics.unwrap_or_default());
        (
            "http://i:9090".to_owned(),
            Ok(Service {
                lacks: read_lacks(ready),
                build,
                refusals: Counts::new(),
                spooled: None,
                clock: None,
            }),
        )
    }

    #[test]
    fn a_service_says_what_it_lacks_and_which_version_it_is() {
        let levels = |services: &[_]| -> Vec<_> {
            evaluate(services, "0.2.0").iter().map(|found| (found.check, found.level)).collect()
        };
        let ready = json!({ "ready": true, "conditions": { "nats": "ok" } });
        let not = json!({ "ready": false, "conditions": { "nats": "not connected", "started": "ok" } });
        let all = levels(&[service(&ready, Some("0.2.0"))]);
        assert_eq!(all, [("services.ready", Level::Ok), ("services.version", Level::Ok)]);
        let mixed = levels(&[service(&ready, Some("0.2.0")), service(&not, Some("0.1.0"))]);
        assert_eq!(mixed, [("services.ready", Level::Error), ("services.version", Level::Warning)]);
        assert_eq!(levels(&[service(&ready, None)])[1].1, Level::Unknown);
        assert_eq!(levels(&[]), [("services.ready", Level::Unknown)]);
        assert_eq!(read_lacks(&not), ["nats: not connected"]);
    }
}
