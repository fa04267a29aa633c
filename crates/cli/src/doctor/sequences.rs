//! Checks whether a stream's sequence has gone back, so that new messages are below the positions of its readers.

use bus::repair::StreamPosition;

use super::finding::{Check, Finding, names};
use super::probe::Probe;

const SEQUENCES: Check = Check("streams.sequences");

pub(super) fn evaluate(found: &Probe<Vec<StreamPosition>>) -> Finding {
    let found = match found {
        Ok(found) => found,
        Err(error) => return SEQUENCES.unseen(error),
    };
    let gone: Vec<&StreamPosition> = found.iter().filter(|found| found.has_gone_back()).collect();
    if gone.is_empty() {
        return SEQUENCES.ok("no stream ends below the position of a reader");
    }
    let of: Vec<String> = gone.iter().map(|found| found.stream.to_owned()).collect();
    let why = if gone.iter().any(|found| found.is_ledger()) {
        "The server has lost entries. The ledger may be incomplete, so no channel sends anything."
    } else {
        "The server has lost the sequences of these streams: new messages would be below the positions of their readers and never \
         be delivered. Publishes to these streams are refused until they are repaired."
    };
    let what = format!("the sequence has gone back: {}", names(&of));
    SEQUENCES
        .error(what, why, "Run `imchannel streams repair`; docs/runbook.md says what to check before.")
        .about(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn a_stream_that_ends_below_its_readers_is_wrong() {
        let found = |reached, last| {
            let durables = vec!["normalizer".to_owned()];
            Ok(vec![StreamPosition { stream: "WEBHOOKS", reached, last, is_replaced: false, durables }])
        };
        assert_eq!(evaluate(&found(5, 5)).level, Level::Ok);
        let finding = evaluate(&found(16_599, 40));
        assert_eq!((finding.level, finding.subjects), (Level::Error, vec!["WEBHOOKS".to_owned()]));
        let replaced = StreamPosition { is_replaced: true, ..found(0, 0).unwrap().remove(0) };
        assert_eq!(evaluate(&Ok(vec![replaced])).level, Level::Error);
        assert_eq!(evaluate(&Err("no".to_owned())).level, Level::Unknown);
    }
}
