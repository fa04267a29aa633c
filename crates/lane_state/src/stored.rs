//! The stored form of a lane's state. Two versions of the sender and of the command line read each other's.
//!
//! Version 0.1.0 stored the reason of a halted lane as text alone (`halted`). The text is still written, and
//! `halt_reason` beside it, which those versions ignore. A value without `halt_reason` has one of the texts below.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};

use crate::{CrowdedRecipient, HaltReason, LaneBacklog, LaneState};

/// The stored form.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredLaneState {
    owner: String,
    account: String,
    /// The reason as text; empty while the lane sends.
    #[serde(default)]
    halted: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    halt_reason: Option<StoredReason>,
    #[serde(default)]
    next_try_s: Option<u64>,
    #[serde(default)]
    in_progress: usize,
    /// Older senders leave it out, and what follows too.
    #[serde(default)]
    campaigns_in_progress: usize,
    #[serde(default)]
    waits: LaneBacklog,
    #[serde(default)]
    crowded: CrowdedRecipient,
}

/// A stored reason.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum StoredReason {
    Known(HaltReason),
    /// A later version has more reasons. Its text is shown.
    Later(IgnoredAny),
}

impl Serialize for StoredReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(reason) => reason.serialize(serializer),
            Self::Later(_) => serializer.serialize_none(),
        }
    }
}

impl From<StoredLaneState> for LaneState {
    fn from(stored: StoredLaneState) -> Self {
        let halted = match stored.halt_reason {
            Some(StoredReason::Known(reason)) => Some(reason),
            Some(StoredReason::Later(_)) => Some(HaltReason::Other { text: stored.halted }),
            None => of_text(&stored.halted),
        };
        Self {
            owner: stored.owner,
            account: stored.account,
            halted,
            next_try_s: stored.next_try_s,
            in_progress: stored.in_progress,
            campaigns_in_progress: stored.campaigns_in_progress,
            waits: stored.waits,
            crowded: stored.crowded,
        }
    }
}

impl From<LaneState> for StoredLaneState {
    fn from(state: LaneState) -> Self {
        let halted = state.halted.as_ref().map(ToString::to_string).unwrap_or_default();
        let typed = state.halted.filter(|reason| !matches!(reason, HaltReason::Other { .. }));
        Self {
            owner: state.owner,
            account: state.account,
            halted,
            halt_reason: typed.map(StoredReason::Known),
            next_try_s: state.next_try_s,
            in_progress: state.in_progress,
            campaigns_in_progress: state.campaigns_in_progress,
            waits: state.waits,
            crowded: state.crowded,
        }
    }
}

/// Texts of version 0.1.0, which stored no typed reason. They are part of the stored form and never change.
static TEXTS: [(&str, HaltReason); 7] = [
    ("begins", HaltReason::Starting),
    ("paused by an operator", HaltReason::Paused),
    (
        "its durables are missing: run `imchannel channel apply` or `streams apply`",
        HaltReason::ConsumerMissing,
    ),
    (
        "the ledger of sends may have lost entries: see /ready, and run `imchannel streams repair`",
        HaltReason::LedgerNotIntact,
    ),
    ("the ledger of sends is full", HaltReason::LedgerFull),
    ("the BSP limits the rate", HaltReason::RateLimited),
    ("waits for what the last owner held", HaltReason::AwaitingRedelivery),
];

/// Returns the reason that version 0.1.0 stored as this text; `None` for a lane that sends.
fn of_text(text: &str) -> Option<HaltReason> {
    if text.is_empty() {
        return None;
    }
    let fixed = TEXTS.iter().find(|(stored, _)| *stored == text).map(|(_, reason)| reason.clone());
    let no_key = || Some(HaltReason::NoKey { error: text.strip_prefix("no key: ")?.to_owned() });
    let account_fails = || {
        let error = text.strip_prefix("the account fails (")?.strip_suffix(')')?.to_owned();
        Some(HaltReason::AccountFails { error })
    };
    let other = || Some(HaltReason::Other { text: text.to_owned() });
    fixed.or_else(no_key).or_else(account_fails).or_else(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(halted: Option<HaltReason>) -> LaneState {
        LaneState { owner: "o".to_owned(), account: "a".to_owned(), halted, ..LaneState::default() }
    }

    /// Every reason, with the text that version 0.1.0 stored for it and the typed form that is stored beside it.
    fn reasons() -> Vec<(HaltReason, &'static str, &'static str)> {
        let no_key = HaltReason::NoKey { error: "cannot read file:k".to_owned() };
        let fails = HaltReason::AccountFails { error: "401 UNAUTHORIZED".to_owned() };
        let ledger =
            "the ledger of sends may have lost entries: see /ready, and run `imchannel streams repair`";
        let consumer = "its durables are missing: run `imchannel channel apply` or `streams apply`";
        vec![
            (HaltReason::Starting, "begins", r#"{"kind":"starting"}"#),
            (HaltReason::Paused, "paused by an operator", r#"{"kind":"paused"}"#),
            (HaltReason::ConsumerMissing, consumer, r#"{"kind":"consumer_missing"}"#),
            (HaltReason::LedgerNotIntact, ledger, r#"{"kind":"ledger_not_intact"}"#),
            (HaltReason::LedgerFull, "the ledger of sends is full", r#"{"kind":"ledger_full"}"#),
            (no_key, "no key: cannot read file:k", r#"{"kind":"no_key","error":"cannot read file:k"}"#),
            (HaltReason::RateLimited, "the BSP limits the rate", r#"{"kind":"rate_limited"}"#),
            (
                fails,
                "the account fails (401 UNAUTHORIZED)",
                r#"{"kind":"account_fails","error":"401 UNAUTHORIZED"}"#,
            ),
            (
                HaltReason::AwaitingRedelivery,
                "waits for what the last owner held",
                r#"{"kind":"awaiting_redelivery"}"#,
            ),
        ]
    }

    /// What version 0.1.0 wrote for a lane that is halted by this text, letter by letter.
    fn old(text: &str) -> String {
        format!(
            r#"{{"owner":"o","account":"a","halted":"{text}","next_try_s":3,"in_progress":1,"campaigns_in_progress":0,"waits":{{"commands":2,"oldest_ms":5}},"crowded":{{"behind":0,"recipients":0,"full_recipients":0,"is_lane_full":false}}}}"#
        )
    }

    #[test]
    fn what_a_sender_without_typed_reasons_wrote_is_read() {
        for (reason, text, _) in reasons() {
            let read = LaneState::from_bytes(old(text).as_bytes()).unwrap();
            let waits = LaneBacklog { commands: 2, oldest_ms: Some(5) };
            let expected = LaneState { next_try_s: Some(3), in_progress: 1, waits, ..state(Some(reason)) };
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(LaneState::from_bytes(old("").as_bytes()).unwrap().halted, None);
        // The first senders stored no more than this.
        let first = r#"{"owner":"o","account":"a"}"#;
        assert_eq!(LaneState::from_bytes(first.as_bytes()), Some(state(None)));
        let text = "something else".to_owned();
        let unknown = LaneState::from_bytes(old(&text).as_bytes()).unwrap();
        assert_eq!(unknown.halted, Some(HaltReason::Other { text }));
    }

    /// The form that version 0.1.0 read: its fields, by which it decided nothing but on the text.
    #[derive(Debug, Deserialize)]
    struct ReadByOld {
        owner: String,
        account: String,
        halted: String,
        next_try_s: Option<u64>,
        in_progress: usize,
        campaigns_in_progress: usize,
        waits: LaneBacklog,
        crowded: CrowdedRecipient,
    }

    #[test]
    fn a_sender_without_typed_reasons_reads_what_is_written() {
        for (reason, text, typed) in reasons() {
            let written = serde_json::to_string(&state(Some(reason))).unwrap();
            let expected = format!(
                r#"{{"owner":"o","account":"a","halted":"{text}","halt_reason":{typed},"next_try_s":null,"in_progress":0,"campaigns_in_progress":0,"waits":{{"commands":0,"oldest_ms":null}},"crowded":{{"behind":0,"recipients":0,"full_recipients":0,"is_lane_full":false}}}}"#
            );
            assert_eq!(written, expected);
            let read: ReadByOld = bsp::json::from_slice(written.as_bytes()).unwrap();
            assert_eq!((read.owner.as_str(), read.account.as_str(), read.halted.as_str()), ("o", "a", text));
            let numbers = (read.next_try_s, read.in_progress, read.campaigns_in_progress);
            assert_eq!(numbers, (None, 0, 0));
            let lists = (read.waits, read.crowded);
            assert_eq!(lists, (LaneBacklog::default(), CrowdedRecipient::default()));
        }
        let sends = serde_json::to_string(&state(None)).unwrap();
        assert!(sends.contains(r#""halted":"","next_try_s""#), "{sends}");
    }

    #[test]
    fn what_is_written_is_read_and_the_reason_of_a_later_version_is_its_text() {
        let all = reasons().into_iter().map(|(reason, ..)| reason);
        let other = HaltReason::Other { text: "the moon is full".to_owned() };
        for reason in all.map(Some).chain([Some(other.clone()), None]) {
            let state = state(reason);
            assert_eq!(LaneState::from_bytes(&serde_json::to_vec(&state).unwrap()), Some(state));
        }
        for later in [r#"{"kind":"moon","phase":4}"#, r#"{"kind":"no_key"}"#, r#"["moon"]"#] {
            let stored = format!(
                r#"{{"owner":"o","account":"a","halted":"the moon is full","halt_reason":{later},"later":1}}"#
            );
            let read = LaneState::from_bytes(stored.as_bytes());
            assert_eq!(read, Some(state(Some(other.clone()))), "{later}");
        }
    }

    #[test]
    fn a_lease_holds_an_object() {
        for other in [r#"["o","a","",0]"#, r#"{"owner":"o","account":"a","crowded":[1,2,3,true]}"#] {
            assert_eq!(LaneState::from_bytes(other.as_bytes()), None, "{other}");
        }
    }
}
