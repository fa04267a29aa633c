//! Checks the spools of ingress: what waits in them and since when, how full they are, and folders with webhooks that no process
//! holds. The processes report the first by their metrics; the folder is read only if it is on this machine.

use std::time::Duration;

use super::finding::{Check, Finding, bytes, count, names, percent, span};
use super::probe::Probe;
use crate::spooled::{Folder, Spooled};

const SPOOL: Check = Check("ingress.spool");
const FOLDERS: Check = Check("ingress.spool_folders");

/// Used share of a spool from which it is a warning, as in the alert.
const SHARE_WARNING: f64 = 0.70;

/// What is known about the spools.
#[derive(Debug, Default)]
pub(super) struct Spools {
    /// The spool of each ingress, by the URL of its admin port.
    pub(super) of_services: Vec<(String, Spooled)>,
    /// The folder on this machine; `None` if none was named.
    pub(super) folders: Option<Probe<Vec<Folder>>>,
}

/// Returns no finding about an installation without a spool.
pub(super) fn evaluate(spools: &Spools) -> Vec<Finding> {
    let of_services = spools.of_services.iter().map(|(url, spooled)| evaluate_service(url, *spooled));
    of_services.chain(spools.folders.as_ref().map(evaluate_folders)).collect()
}

fn evaluate_service(url: &str, spooled: Spooled) -> Finding {
    let Spooled { entries, oldest_age_s, size_bytes, limit_bytes, .. } = spooled;
    let share = size_bytes as f64 / limit_bytes.max(1) as f64;
    let waiting = match entries {
        0 => format!("nothing is spooled at {url}"),
        entries => {
            let oldest = span(Duration::from_secs(oldest_age_s));
            format!("{} at {url}, the oldest for {oldest}", count(entries, "spooled webhook"))
        }
    };
    let what = format!("{waiting}; {} of {} ({})", bytes(size_bytes), bytes(limit_bytes), percent(share));
    let full = "A webhook that does not fit is answered 503, and BSPs that do not retry lose it.";
    let finding = if !spooled.is_usable {
        SPOOL.error(
            format!("the spool takes no webhooks: {what}"),
            full,
            "It is full, or its disk fails: the log of that ingress has the error. Restore NATS first, so that it drains; then free or repair the disk.",
        )
    } else if share > SHARE_WARNING {
        SPOOL.warning(
            what,
            full,
            "Restore NATS, so that it drains. Raise IMCHANNEL_SPOOL_MAX_SIZE if the disk has room.",
        )
    } else if entries > 0 {
        SPOOL.warning(
            what,
            "Until NATS stores them, their events do not come, and they are on this disk only.",
            "Check NATS and WEBHOOKS (nats.connection, streams.fill). If NATS stores webhooks, the number falls by IMCHANNEL_SPOOL_DRAIN_RATE a second.",
        )
    } else if spooled.aside > 0 {
        SPOOL.warning(
            format!("{} at {url} kept aside", count(spooled.aside, "record")),
            "They could not be read or published, and their events are missing.",
            "See the folder `aside` in the sub-folders of the spool (docs/runbook.md, ImchannelSpoolRecordsAside).",
        )
    } else {
        SPOOL.ok(what)
    };
    finding.about([url])
}

fn evaluate_folders(folders: &Probe<Vec<Folder>>) -> Finding {
    let folders = match folders {
        Ok(folders) => folders,
        Err(error) => {
            return FOLDERS.unknown(
                format!("the folder of the spool could not be read: {error}"),
                "",
                "Check IMCHANNEL_SPOOL_DIR, and whether this user may read the folder.",
            );
        }
    };
    let why = "These webhooks were answered 200, and their events come only when a process drains them.";
    let remedy = "Start an ingress of this version on the folder; it drains what has no process within seconds (docs/runbook.md, \
                  ImchannelSpoolAbandoned).";
    let abandoned: Vec<&Folder> = folders.iter().filter(|folder| folder.is_abandoned()).collect();
    if !abandoned.is_empty() {
        let text = |folder: &&Folder| {
            let oldest =
                folder.oldest.map_or_else(String::new, |age| format!(", the oldest for {}", span(age)));
            let entries = count(folder.entries, "webhook");
            format!("{} ({entries}, {}{oldest})", folder.number, bytes(folder.bytes))
        };
        let what = names(&abandoned.iter().map(text).collect::<Vec<_>>());
        let numbers = abandoned.iter().map(|folder| folder.number.to_string());
        return FOLDERS
            .error(format!("spooled webhooks without a process: sub-folder {what}"), why, remedy)
            .about(numbers);
    }
    let others: Vec<String> = folders
        .iter()
        .filter(|folder| folder.is_of_another_version && !folder.has_owner)
        .map(|folder| folder.number.to_string())
        .collect();
    if !others.is_empty() {
        let what = format!(
            "written by another version of imchannel, without a process: sub-folder {}",
            names(&others)
        );
        return FOLDERS
            .error(what, why, "Run ingress of that version on the folder until it has drained it.")
            .about(others);
    }
    let entries: u64 = folders.iter().map(|folder| folder.entries).sum();
    let held = folders.iter().filter(|folder| folder.has_owner).count();
    FOLDERS.ok(format!(
        "{} of the spool, {held} held by a process, with {}",
        count(folders.len(), "sub-folder"),
        count(entries, "webhook")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    fn spooled() -> Spooled {
        Spooled { limit_bytes: 1 << 30, is_usable: true, ..Spooled::default() }
    }

    #[test]
    fn what_waits_is_a_warning_and_a_spool_that_takes_nothing_an_error() {
        assert!(evaluate(&Spools::default()).is_empty(), "an installation without a spool");
        let level = |spooled| {
            let spools = Spools { of_services: vec![("http://i:9090".to_owned(), spooled)], folders: None };
            let findings = evaluate(&spools);
            assert_eq!(findings.len(), 1);
            findings[0].level
        };
        assert_eq!(level(spooled()), Level::Ok);
        assert_eq!(level(Spooled { entries: 3, ..spooled() }), Level::Warning);
        assert_eq!(level(Spooled { size_bytes: 800 << 20, ..spooled() }), Level::Warning);
        assert_eq!(level(Spooled { aside: 1, ..spooled() }), Level::Warning);
        assert_eq!(level(Spooled { is_usable: false, ..spooled() }), Level::Error);
        let found = evaluate_service("http://i:9090", Spooled { entries: 3, oldest_age_s: 95, ..spooled() });
        assert!(
            found.message.contains("3 spooled webhooks at http://i:9090, the oldest for 95 s"),
            "{found:?}"
        );
    }

    #[test]
    fn a_folder_with_webhooks_and_no_process_is_named() {
        let folder = |number, has_owner, entries| Folder {
            number,
            has_owner,
            entries,
            bytes: 1000 * entries,
            oldest: (entries > 0).then_some(Duration::from_secs(7200)),
            is_of_another_version: false,
        };
        let found = evaluate_folders(&Ok(vec![folder(0, true, 9), folder(1, false, 0)]));
        assert_eq!(found.level, Level::Ok, "{found:?}");
        let found = evaluate_folders(&Ok(vec![folder(0, true, 9), folder(2, false, 5)]));
        assert_eq!((found.level, found.subjects.clone()), (Level::Error, vec!["2".to_owned()]));
        assert!(found.message.contains("2 (5 webhooks, 4.9 KiB, the oldest for 2.0 h)"), "{found:?}");
        let newer = Folder { is_of_another_version: true, ..folder(3, false, 0) };
        let found = evaluate_folders(&Ok(vec![newer]));
        assert_eq!((found.level, found.subjects), (Level::Error, vec!["3".to_owned()]));
        assert_eq!(evaluate_folders(&Err("no such folder".to_owned())).level, Level::Unknown);
    }
}
