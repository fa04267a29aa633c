//! From a stage that the sender's functions return to the place of a replica.

use std::time::Duration;

use sender::protocol::{Completion, LedgerView, LookedUpCall, Stage, due};

use crate::bounds::Bounds;
use crate::entry::{self, Entry};
use crate::job::{Job, QUERIES_MAX, Queries};
use crate::mutant::Mutant;
use crate::time::{self, LOOKUP_DELAY, SEND_TIMEOUT};

/// Returns the place of a stage.
pub(crate) fn job(stage: Stage, bounds: &Bounds, has_called: bool) -> Job {
    match stage {
        Stage::Read => Job::Read,
        Stage::Attempt(view) => Job::Attempt { known: entry::known(&view) },
        Stage::LookUp { known, ended_at } => {
            let is_mistaken =
                bounds.has(Mutant::NoTimeoutOfOthers) || bounds.has(Mutant::EndOfAnotherCall) && has_called;
            let is_own = ended_at.is_some() || is_mistaken;
            look_up(&known, is_own.then_some(Duration::ZERO))
        }
        Stage::Decide(view, outcome) => {
            Job::Decide { known: entry::known(&view), verdict: entry::verdict(&outcome) }
        }
        Stage::Publish(result) => Job::Publish { verdict: entry::verdict_of(&result) },
        Stage::IdConflict => Job::IdConflict,
        Stage::End(Completion::Done | Completion::Duplicate) => Job::Acknowledge,
        Stage::End(Completion::Released | Completion::Failed) => Job::Idle,
    }
}

fn look_up(view: &LedgerView, since_end: Option<Duration>) -> Job {
    let known = entry::known(view).expect("a call that is looked up has an intent");
    let age = known.record.intent_age().expect("a call that is looked up has an intent");
    let call = LookedUpCall { timeout: time::duration(SEND_TIMEOUT), age: time::duration(age), since_end };
    let mut queries = Queries { waits: [0; QUERIES_MAX], count: 0, has_responded: false };
    for wait in due(&[time::duration(LOOKUP_DELAY)], call) {
        queries.waits[usize::from(queries.count)] = time::ticks(wait);
        queries.count += 1;
    }
    Job::LookUp { known, queries }
}

impl Queries {
    /// Whether the next query is due.
    pub(crate) fn is_due(&self) -> bool {
        self.waits[0] == 0
    }

    /// Removes the next query. Returns `None` if it was the last one.
    pub(crate) fn rest(self, has_responded: bool) -> Option<Self> {
        let has_responded = self.has_responded || has_responded;
        let waits = [self.waits[1], 0];
        (self.count > 1).then_some(Self { waits, count: self.count - 1, has_responded })
    }
}

/// Returns the intent of an entry that must have one.
pub(crate) fn intent_age(known: &Entry) -> time::Ticks {
    known.record.intent_age().expect("a call has an intent")
}
