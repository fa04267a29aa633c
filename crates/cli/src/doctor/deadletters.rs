//! Check for dead letters: webhooks and commands that could not be processed and wait for an operator.

use bus::inspect::StreamInfo;
use bus::streams::DEADLETTERS;
use jiff::Timestamp;

use super::finding::{Check, Finding, count, span};
use super::probe::Probe;

const PRESENT: Check = Check("deadletters.present");

/// `reason` is that of the newest one.
pub(super) fn evaluate(
    streams: &Probe<Vec<StreamInfo>>,
    reason: Option<&str>,
    now: Timestamp,
) -> Option<Finding> {
    let streams = match streams {
        Ok(streams) => streams,
        Err(error) => return Some(PRESENT.unseen(error)),
    };
    // Another check reports a missing stream.
    let stream = streams.iter().find(|stream| stream.name == DEADLETTERS.name)?;
    if stream.messages == 0 {
        return Some(PRESENT.ok("there are no dead letters"));
    }
    let age = stream.last_time.and_then(|time| std::time::Duration::try_from(now.duration_since(time)).ok());
    let age = age.map_or_else(String::new, |age| format!(", the newest {} old", span(age)));
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    Some(PRESENT.warning(
        format!("{}{age}{reason}", count(usize::try_from(stream.messages).unwrap_or(usize::MAX), "dead letter")),
        "Each is a report, a message or a command that could not be processed. It is deleted after 14 days.",
        "Run `imchannel deadletter list`, then `imchannel deadletter replay --all` (it publishes nothing without --publish) or `imchannel deadletter drop`.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::capacity::tests::stream;
    use crate::doctor::finding::Level;

    #[test]
    fn dead_letters_are_a_warning() {
        let now = Timestamp::UNIX_EPOCH;
        let evaluated = |bytes| {
            let last_time = Some(now - jiff::SignedDuration::from_mins(9));
            let stream = StreamInfo { last_time, ..stream("DEADLETTERS", bytes, 1 << 20) };
            evaluate(&Ok(vec![stream]), Some("truncated"), now).unwrap()
        };
        assert_eq!(evaluated(0).level, Level::Ok);
        let found = evaluated(7_000);
        assert_eq!(found.level, Level::Warning);
        assert_eq!(found.message, "7 dead letters, the newest 9 min old (truncated)");
        assert_eq!(evaluate(&Ok(Vec::new()), None, now), None);
    }
}
