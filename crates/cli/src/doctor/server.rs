//! Checks of the NATS server: its version, its largest message, and the limits of the account.

use std::collections::BTreeMap;

use bus::inspect::ServerInfo;
use bus::purge::PURGE_IS_SAFE_FROM;
use bus::versions::ServerVersion;
use serde_json::Value;

use super::finding::{Check, Finding, bytes, names, percent};
use super::probe::Probe;

const VERSION: Check = Check("nats.version");
const PAYLOAD: Check = Check("nats.max_payload");
const ACCOUNT: Check = Check("nats.account");

/// Smallest `max_payload` of a server in bytes: the default limit of bodies in ingress, and room for the headers that
/// it adds.
const PAYLOAD_NEEDED: usize = 960 * 1024 + 16 * 1024;
/// Used share of the account's storage from which it is a warning.
const SHARE_WARNING: f64 = 0.70;
/// Used share of the account's storage from which it is an error.
const SHARE_WRONG: f64 = 0.90;

/// Servers by name, each with its version if it is known.
pub(super) type Versions = BTreeMap<String, Option<ServerVersion>>;

pub(super) fn evaluate(
    server: &ServerInfo,
    versions: &Probe<Versions>,
    account: &Probe<Value>,
) -> Vec<Finding> {
    let mut findings = match versions {
        Ok(versions) if !versions.is_empty() => evaluate_versions(versions),
        _ => vec![evaluate_version(&server.version)],
    };
    findings.extend([evaluate_payload(server.payload_max), evaluate_account(account)]);
    findings
}

/// Returns the finding about the servers with the worst version, and one about servers whose version is unknown.
fn evaluate_versions(versions: &Versions) -> Vec<Finding> {
    let known = versions
        .iter()
        .filter_map(|(name, version)| Some((name, evaluate_version(&version.as_ref()?.to_string()))));
    let known: Vec<(&String, Finding)> = known.collect();
    let worst = known.iter().map(|(_, finding)| finding).max_by_key(|finding| finding.level).cloned();
    let mut findings = Vec::new();
    if let Some(worst) = worst {
        let of: Vec<&String> = known
            .iter()
            .filter(|(_, finding)| finding.message == worst.message)
            .map(|(name, _)| *name)
            .collect();
        findings.push(worst.about(of));
    }
    let unknown: Vec<String> =
        versions.iter().filter(|(_, version)| version.is_none()).map(|(name, _)| name.clone()).collect();
    if !unknown.is_empty() {
        let what = format!("the version of {} is unknown", names(&unknown));
        let why = "Until it is known, the server is treated as older than 2.10, and messages are deleted one at a time.";
        let remedy = "Check that IMCHANNEL_NATS_URL has the address of every server, and that all are reachable from this machine.";
        findings.push(VERSION.unknown(what, why, remedy).about(unknown));
    }
    findings
}

fn evaluate_version(text: &str) -> Finding {
    let upgrade = "Upgrade nats-server to a current version, one server after the other.";
    let what = format!("nats-server {text}");
    let Some(version) = ServerVersion::parse(text) else {
        return VERSION.unknown(format!("cannot parse the server's version '{text}'"), "", "");
    };
    if version < ServerVersion::new(2, 9, 10) {
        return VERSION.error(
            format!("{what} is older than 2.9.10"),
            "No earlier version was tested: their JetStream lacks features that the gateway relies on.",
            upgrade,
        );
    }
    if (ServerVersion::new(2, 10, 20)..=ServerVersion::new(2, 10, 22)).contains(&version) {
        return VERSION.error(
            what,
            "2.10.20 to 2.10.22 can lose whole streams when the server's process is killed; 2.10.23 fixed it.",
            upgrade,
        );
    }
    if version < PURGE_IS_SAFE_FROM {
        return VERSION.warning(
            what,
            "It has no sync_interval: if it loses power, the messages of the last two minutes are lost. A purge makes it drop \
             its list of messages in flight, so processed messages are deleted one at a time, which is slower.",
            upgrade,
        );
    }
    VERSION.ok(what)
}

fn evaluate_payload(payload_max: usize) -> Finding {
    let what = format!("the server accepts messages of up to {}", bytes(payload_max as u64));
    if payload_max >= PAYLOAD_NEEDED {
        return PAYLOAD.ok(what);
    }
    PAYLOAD.warning(
        format!("{what}, and ingress accepts bodies of up to 960 KiB by default"),
        "A webhook that is larger than the server's limit cannot be stored.",
        "Set `max_payload: 1MB` in the server's configuration, or lower IMCHANNEL_BODY_LIMIT.",
    )
}

/// JetStream reports the limits of the account. With tiers, each tier has separate limits.
fn evaluate_account(account: &Probe<Value>) -> Finding {
    let account = match account {
        Ok(account) if account["error"].is_null() => account,
        Ok(account) => return ACCOUNT.unseen(&account["error"]["description"].to_string()),
        Err(error) => return ACCOUNT.unseen(error),
    };
    let tiers = account["tiers"].as_object().into_iter().flatten().map(|(_, tier)| tier);
    // With tiers, the numbers at the top level are not limits.
    let all: Vec<&Value> =
        if account["tiers"].is_object() { tiers.collect() } else { std::iter::once(account).collect() };
    let pairs = [("storage", "max_storage"), ("streams", "max_streams"), ("consumers", "max_consumers")];
    let mut fullest: Option<(f64, String)> = None;
    for part in all {
        for (used, limit) in pairs {
            let (Some(used_now), Some(max)) = (part[used].as_u64(), part["limits"][limit].as_u64()) else {
                continue; // -1: without a limit
            };
            let share = used_now as f64 / max.max(1) as f64;
            let numbers = if used == "storage" {
                format!("{} of {} of storage", bytes(used_now), bytes(max))
            } else {
                format!("{used_now} of {max} {used}")
            };
            if max > 0 && fullest.as_ref().is_none_or(|(most, _)| share > *most) {
                fullest = Some((share, numbers));
            }
        }
    }
    let why = "At its limit the account refuses messages, or new consumers.";
    let remedy = "Raise the limits of the account in the server's configuration.";
    match fullest {
        None => ACCOUNT.ok("the account has no limits"),
        Some((share, used)) => {
            let what = format!("the account uses {used} ({})", percent(share));
            match share {
                _ if share > SHARE_WRONG => ACCOUNT.error(what, why, remedy),
                _ if share > SHARE_WARNING => ACCOUNT.warning(what, why, remedy),
                _ => ACCOUNT.ok(what),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn versions_that_lose_data_are_errors() {
        let cases = [
            ("2.9.9", Level::Error),
            ("2.9.10", Level::Warning),
            ("2.10.19", Level::Ok),
            ("2.10.20", Level::Error),
            ("2.10.22", Level::Error),
            ("2.10.23", Level::Ok),
            ("2.14.2-preview.1", Level::Ok),
            ("v2.12.0", Level::Ok),
            ("latest", Level::Unknown),
            ("2.10", Level::Unknown),
        ];
        for (version, level) in cases {
            assert_eq!(evaluate_version(version).level, level, "{version}");
        }
    }

    #[test]
    fn old_and_unknown_servers_of_a_cluster_are_named() {
        let new = Some(ServerVersion::new(2, 12, 1));
        let old = Some(ServerVersion::new(2, 9, 25));
        let versions = |all: [Option<ServerVersion>; 3]| {
            ["n0", "n1", "n2"].map(str::to_owned).into_iter().zip(all).collect::<Versions>()
        };
        let seen =
            |all| evaluate_versions(&versions(all)).into_iter().map(|found| (found.level, found.subjects));
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found: Vec<_> = seen([new, old, new]).collect();
        assert_eq!(found, [(Level::Warning, names(&["n1"]))]);
        let found: Vec<_> = seen([new, None, new]).collect();
        assert_eq!(found, [(Level::Ok, names(&["n0", "n2"])), (Level::Unknown, names(&["n1"]))]);
    }

    #[test]
    fn a_small_payload_is_a_warning() {
        assert_eq!(evaluate_payload(1 << 20).level, Level::Ok);
        assert_eq!(evaluate_payload(512 << 10).level, Level::Warning);
    }

    #[test]
    fn the_fullest_limit_decides() {
        let account = |storage: u64, max: i64| json!({ "storage": storage, "streams": 7, "limits": { "max_storage": max, "max_streams": -1 } });
        let level = |account: Value| evaluate_account(&Ok(account)).level;
        assert_eq!(level(account(50, -1)), Level::Ok);
        assert_eq!(level(account(50, 100)), Level::Ok);
        assert_eq!(level(account(75, 100)), Level::Warning);
        assert_eq!(level(account(95, 100)), Level::Error);
        let tiers = json!({ "tiers": { "R3": account(95, 100) }, "limits": { "max_storage": 0 } });
        assert_eq!(level(tiers), Level::Error);
        assert_eq!(level(json!({ "error": { "description": "no" } })), Level::Unknown);
    }
}
