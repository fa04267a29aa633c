//! Checks streams, consumers and buckets against their definitions. Sizes and replicas are chosen by the operator, and
//! checked
//! elsewhere.

use bus::StreamId;
use bus::inspect::StreamInfo;
use bus::provision::{Difference, Object, Setting};
use bus::streams::NORMALIZER;

use super::finding::{Check, Finding, span};
use super::probe::Probe;

const STREAMS: Check = Check("streams.definition");
const DURABLES: Check = Check("durables.definition");
const WINDOW: Check = Check("streams.duplicate_window");

pub(super) fn evaluate(
    differences: &Probe<Vec<Difference>>,
    streams: &Probe<Vec<StreamInfo>>,
) -> Vec<Finding> {
    let differences = match differences {
        Ok(differences) => differences,
        Err(error) => return vec![STREAMS.unseen(error), DURABLES.unseen(error)],
    };
    let mut findings = Vec::new();
    for (check, is_durable) in [(STREAMS, false), (DURABLES, true)] {
        let mut of_kind = differences.iter().filter(|found| found.object.is_durable() == is_durable);
        let before = findings.len();
        findings.extend(of_kind.by_ref().map(|difference| evaluate_difference(check, difference)));
        if findings.len() == before {
            findings.push(check.ok(if is_durable {
                "the durables are as defined"
            } else {
                "the streams and buckets are as defined"
            }));
        }
    }
    if let Ok(streams) = streams {
        findings.extend(streams.iter().find(|stream| stream.id == StreamId::Events).map(evaluate_window));
    }
    findings
}

fn evaluate_difference(check: Check, difference: &Difference) -> Finding {
    let Difference { object, setting, found, wanted } = difference;
    let is_lane = matches!(object, Object::LaneConsumer(_));
    let remedy = if is_lane {
        "Run `imchannel streams apply` or `imchannel channel apply -f channels.toml`: both create the consumers of every channel that sends."
    } else {
        "Run `imchannel streams apply` with the sizes of this installation; it creates missing objects and changes those that differ. During an upgrade, replace every service first."
    };
    if *setting == Setting::Description {
        // Only the ledger's is compared.
        let what = format!("{object} is described as {found:?}, not {wanted:?}");
        let why = "Senders write entries of the form that earlier versions read, and the ledger is full with fewer sends.";
        return check.warning(what, why, remedy).about([object.name()]);
    }
    if *setting == Setting::MaxConsumers {
        let what = format!("{object}: {setting} is {found}, not {wanted}");
        let why = "From version 2.15 on, nats-server gives a stream without a limit of its own room for 1,000 consumers. COMMANDS has two of each channel.";
        return check
            .warning(what, why, "Run `imchannel setup`, as after every upgrade of nats-server.")
            .about([object.name()]);
    }
    let (what, why) = if difference.is_missing() {
        let why = match object {
            Object::LaneConsumer(_) => "Nothing is sent from this queue of the channel.",
            Object::Durable(_) => "Its service cannot read the stream and is not ready.",
            Object::Stream(StreamId::Marks) => {
                "Services work without it, but one that starts later cannot detect that the ledger has lost entries."
            }
            Object::Stream(_) => "Services are not ready without it, and publishes to it are refused.",
        };
        (format!("{object} is missing"), why)
    } else {
        let why = "Services are not ready if it is less than they need. If it is more than defined, it was changed by hand or by another version.";
        (format!("{object}: {setting} is {found}, not {wanted}"), why)
    };
    check.error(what, why, remedy).about([object.name()])
}

/// A normalizer that died may have published events of a webhook. They are published again after the ack wait, and the
/// stream should still recognize their ids then.
fn evaluate_window(events: &StreamInfo) -> Finding {
    let (window, wait) = (events.duplicate_window, NORMALIZER.ack_wait);
    let what = format!("EVENTS recognizes a repeated id for {}", span(window));
    if window >= wait {
        return WINDOW.ok(what);
    }
    WINDOW.warning(
        format!("{what}, and the webhooks in flight of a dead normalizer are redelivered after {}", span(wait)),
        "Then their events are stored twice, with the same event_id. Readers that do not deduplicate process them twice.",
        "Run `imchannel streams apply --duplicate-window 40s` (with the other sizes of this installation).",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::capacity::tests::stream;
    use crate::doctor::finding::Level;

    #[test]
    fn every_difference_is_a_finding_of_its_kind() {
        let lane = Object::LaneConsumer("send-c-1".to_owned());
        let events = Difference {
            object: Object::Stream(StreamId::Events),
            setting: Setting::MaxAge,
            found: "1h".to_owned(),
            wanted: "72h".to_owned(),
        };
        let ledger = Difference {
            object: Object::Stream(StreamId::Sends),
            setting: Setting::Description,
            found: "ledger of sends".to_owned(),
            wanted: "ledger of sends, compact entries".to_owned(),
        };
        let all = vec![Difference::missing(lane), events, ledger];
        let findings = evaluate(&Ok(all), &Ok(Vec::new()));
        let seen: Vec<_> =
            findings.iter().map(|found| (found.check, found.level, &*found.subjects[0])).collect();
        assert_eq!(
            seen,
            [
                ("streams.definition", Level::Error, "EVENTS"),
                ("streams.definition", Level::Warning, "imchannel_sends"),
                ("durables.definition", Level::Error, "send-c-1"),
            ]
        );
        assert!(evaluate(&Ok(Vec::new()), &Ok(Vec::new())).iter().all(|found| found.level == Level::Ok));
        assert!(
            evaluate(&Err("no".to_owned()), &Ok(Vec::new()))
                .iter()
                .all(|found| found.level == Level::Unknown)
        );
    }

    #[test]
    fn a_window_shorter_than_the_ack_wait_is_a_warning() {
        let level = |seconds| {
            let window = std::time::Duration::from_secs(seconds);
            evaluate_window(&StreamInfo { duplicate_window: window, ..stream(StreamId::Events, 0, 1) }).level
        };
        assert_eq!((level(40), level(5)), (Level::Ok, Level::Warning));
    }
}
