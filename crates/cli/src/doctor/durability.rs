//! Check of the durability: how often the servers sync, and how many replicas there are.

use bus::versions::ServerVersion;

use super::finding::{Check, Finding, span};
use super::monitor::{Monitor, Sync};
use super::probe::Probe;

const DURABILITY: Check = Check("nats.durability");

const REMEDY: &str =
    "Set `jetstream { sync_interval: always }` on every server and restart one server after the other.";

/// `replicas` is the lowest number of any stream.
pub(super) fn evaluate(
    monitors: &[(String, Probe<Monitor>)],
    version: Option<ServerVersion>,
    replicas: Option<usize>,
) -> Finding {
    let copies = replicas.map_or_else(|| "an unknown number of replicas".to_owned(), |n| format!("R{n}"));
    let seen: Vec<&Monitor> = monitors.iter().filter_map(|(_, monitor)| monitor.as_ref().ok()).collect();
    let loss = if replicas.is_some_and(|replicas| replicas >= 3) {
        "If all servers lose power at the same time, webhooks that were answered 200 and stored commands are lost. If one server loses power, nothing is lost."
    } else {
        "If the server loses power, webhooks that were answered 200, stored commands and the last outcomes of sends are lost. If its process is killed, nothing is lost."
    };
    let rarest = seen.iter().map(|monitor| monitor.sync).find(|sync| *sync != Sync::Always);
    match rarest {
        Some(Sync::Every(interval)) => {
            let what = format!("the servers sync every {}, with {copies}", span(interval));
            if replicas.is_some_and(|replicas| replicas >= 3) {
                DURABILITY.warning(what, loss, REMEDY)
            } else {
                DURABILITY.error(what, loss, REMEDY)
            }
        }
        _ if version.is_some_and(|version| version < ServerVersion::new(2, 10, 0)) => DURABILITY.warning(
            format!("the servers sync every two minutes, with {copies}; this version has no setting for it"),
            loss,
            "Upgrade nats-server to a current version and set `jetstream { sync_interval: always }`.",
        ),
        None if !seen.is_empty() => {
            let known = seen.iter().filter_map(|monitor| monitor.cluster_size).max().unwrap_or(1);
            let what = format!("{} sync before they acknowledge, with {copies}", of_all(seen.len(), known));
            if (seen.len() as u64) < known {
                DURABILITY.unknown(
                    what,
                    loss,
                    "Give the URL of every server of the cluster to --nats-monitor-url.",
                )
            } else {
                DURABILITY.ok(what)
            }
        }
        _ => DURABILITY.unknown(
            format!("cannot determine how often the servers sync, with {copies}"),
            &format!("Without `sync_interval: always` they sync every two minutes. {loss}"),
            "Give --nats-monitor-url http://nats:8222, or check sync_interval in the servers' configuration.",
        ),
    }
}

fn of_all(seen: usize, known: u64) -> String {
    if seen as u64 >= known { "all servers".to_owned() } else { format!("{seen} of {known} servers") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::Level;

    fn monitor(sync: Sync, cluster_size: Option<u64>) -> (String, Probe<Monitor>) {
        let monitor = Monitor {
            name: "n1".to_owned(),
            sync,
            folder: String::new(),
            used: 0,
            storage_max: None,
            memory_limit: None,
            cluster_size,
            ailment: None,
            clock: None,
        };
        ("http://n1:8222".to_owned(), Ok(monitor))
    }

    #[test]
    fn one_copy_that_is_not_synced_is_wrong() {
        let (new, old) = (Some(ServerVersion::new(2, 14, 2)), Some(ServerVersion::new(2, 9, 10)));
        let rarely = Sync::Every(Duration::from_secs(120));
        let level = |monitors: &[_], version, replicas| evaluate(monitors, version, Some(replicas)).level;
        assert_eq!(level(&[monitor(Sync::Always, None)], new, 1), Level::Ok);
        assert_eq!(level(&[monitor(rarely, None)], new, 1), Level::Error);
        assert_eq!(level(&[monitor(rarely, Some(3))], new, 3), Level::Warning);
        assert_eq!(
            level(&[monitor(Sync::Always, Some(3)), monitor(rarely, Some(3))], new, 3),
            Level::Warning
        );
        // The state of the others is unknown.
        assert_eq!(level(&[monitor(Sync::Always, Some(3))], new, 3), Level::Unknown);
        assert_eq!(level(&[], new, 1), Level::Unknown);
        assert_eq!(level(&[monitor(Sync::Unsaid, None)], old, 1), Level::Warning);
        assert_eq!(level(&[], old, 1), Level::Warning);
        let unanswered = [("http://n1:8222".to_owned(), Err("refused".to_owned()))];
        assert_eq!(level(&unanswered, new, 1), Level::Unknown);
    }
}
