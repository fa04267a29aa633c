//! Ledger entries: the small form of a state, and the sender's own form, which its decisions take and return.

use std::sync::LazyLock;

use bsp::ChannelId;
use bus::ledger::{Entry as StoredEntry, Revision};
use proto::v1::{SendOutcome, SendResult};
use sender::protocol::{CommandIdentity, CommandKey, LedgerView, NextStep, Outcome, Record, State};

use crate::bounds::Second;
use crate::command::Verdict;
use crate::time::{self, Ticks};

/// Number of attempts that are told apart: none, one, and more.
const ATTEMPTS_MAX: u8 = 2;

/// An entry of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    /// Its revision. Only equality matters; zero is that of no entry.
    pub(crate) revision: u8,
    pub(crate) record: Written,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Written {
    /// Number of the command that it belongs to.
    pub(crate) command: u8,
    pub(crate) attempts: u8,
    /// Identifies the write. Only equality matters.
    pub(crate) token: u8,
    pub(crate) state: Progress,
}

/// Progress of a command, with ages in place of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Progress {
    Intent { age: Ticks, unknown_for: Ticks, is_resent: bool },
    NotSent,
    Done { verdict: Verdict, is_answered: bool },
}

/// Returns the key of a command. The digest of the second one depends on its content.
pub(crate) fn key(command: u8, second: Option<Second>) -> CommandKey<'static> {
    let digest = if command > 0 && second == Some(Second::Other) { "other" } else { "first" };
    CommandKey { sequence: u64::from(command) + 1, digest, identity: identity() }
}

/// What results repeat of a command. The model's entries hold whole results, so it is the same for all.
fn identity() -> CommandIdentity<'static> {
    static CHANNEL: LazyLock<ChannelId> = LazyLock::new(|| ChannelId::parse("model").expect("it is an id"));
    CommandIdentity { channel: &CHANNEL, command_id: "", msg_id: "" }
}

/// Returns what an outcome says in a result.
pub(crate) fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Accepted { .. } => Verdict::Accepted,
        Outcome::Rejected { .. } | Outcome::Refused { .. } | Outcome::Dead { .. } => Verdict::Rejected,
        Outcome::Expired { .. } => Verdict::Expired,
        Outcome::Unknown => Verdict::Unknown,
    }
}

/// Returns what a result says.
pub(crate) fn verdict_of(result: &SendResult) -> Verdict {
    match result.outcome() {
        SendOutcome::Accepted => Verdict::Accepted,
        SendOutcome::Rejected => Verdict::Rejected,
        SendOutcome::Expired => Verdict::Expired,
        SendOutcome::Unknown | SendOutcome::Unspecified => Verdict::Unknown,
    }
}

/// Returns a result that says this.
pub(crate) fn result(verdict: Verdict, attempts: u8) -> SendResult {
    let mut result = SendResult { attempts: attempts.into(), ..SendResult::default() };
    result.set_outcome(match verdict {
        Verdict::Accepted => SendOutcome::Accepted,
        Verdict::Rejected => SendOutcome::Rejected,
        Verdict::Expired => SendOutcome::Expired,
        Verdict::Unknown => SendOutcome::Unknown,
    });
    result
}

impl Written {
    /// Returns the sender's form.
    pub(crate) fn record(self, second: Option<Second>) -> Record {
        let CommandKey { sequence, digest, .. } = key(self.command, second);
        let record = Record::new(sequence, digest.to_owned(), self.token.to_string());
        let attempts = self.attempts.into();
        match self.state {
            Progress::Intent { age, unknown_for, is_resent } => {
                let (at_ms, unknown_since_ms) = (time::unix_ms(age), time::unix_ms(unknown_for));
                record.called(attempts, State::Intent { at_ms, unknown_since_ms, is_resent })
            }
            Progress::NotSent => record.called(attempts, State::NotSent),
            Progress::Done { verdict, is_answered } => {
                let record = record.called(attempts, State::NotSent);
                let result = result(verdict, self.attempts);
                if is_answered { record.answered() } else { record.decided(&result) }
            }
        }
    }

    /// Returns the small form.
    pub(crate) fn of(record: &Record) -> Self {
        let state = match &record.state {
            State::Intent { at_ms, unknown_since_ms, is_resent } => Progress::Intent {
                age: time::age(*at_ms),
                unknown_for: time::age(*unknown_since_ms),
                is_resent: *is_resent,
            },
            State::NotSent => Progress::NotSent,
            State::Done(_) => match record.clone().next(record.sequence, &record.digest) {
                NextStep::Publish(owed) => {
                    Progress::Done { verdict: verdict_of(&owed.of(identity())), is_answered: false }
                }
                step => panic!("the model writes no such entry: {step:?}"),
            },
        };
        let command = u8::try_from(record.sequence - 1).expect("there are two commands");
        let attempts = u8::try_from(record.attempts).unwrap_or(u8::MAX).min(ATTEMPTS_MAX);
        let token = record.token.parse().expect("tokens of the model are numbers");
        Self { command, attempts, token, state }
    }

    /// The ages of the intent, if it is one.
    pub(crate) fn intent_age(&self) -> Option<Ticks> {
        match self.state {
            Progress::Intent { age, .. } => Some(age),
            Progress::NotSent | Progress::Done { .. } => None,
        }
    }

    /// Makes it a tick older.
    pub(crate) fn age(&mut self) {
        if let Progress::Intent { age, unknown_for, .. } = &mut self.state {
            (*age, *unknown_for) = (time::older(*age), time::older(*unknown_for));
        }
    }
}

/// Returns the entry as the ledger returns it.
pub(crate) fn stored(entry: Option<Entry>, second: Option<Second>) -> Option<StoredEntry> {
    let entry = entry?;
    let revision = Revision::of_sequence(entry.revision.into());
    Some(StoredEntry { revision, value: entry.record.record(second).to_bytes() })
}

/// Returns what a process knows of the ledger, in the sender's form.
pub(crate) fn view(known: Option<Entry>, second: Option<Second>) -> LedgerView {
    known.map_or(LedgerView::NOTHING, |entry| LedgerView {
        revision: Revision::of_sequence(entry.revision.into()),
        record: Some(entry.record.record(second)),
    })
}

/// Returns it in the small form.
pub(crate) fn known(view: &LedgerView) -> Option<Entry> {
    let record = Written::of(view.record.as_ref()?);
    let revision = u8::try_from(view.revision.sequence()).expect("revisions of the model are small");
    Some(Entry { revision, record })
}
