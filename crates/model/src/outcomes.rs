//! What several steps have in common: calls without an effect, and results.

use sender::protocol::{LedgerView, State, Writer};

use crate::bounds::Bounds;
use crate::command::Verdict;
use crate::entry::{self, Entry};
use crate::job::{Job, Then, Write};
use crate::property::Property;
use crate::world::World;

/// Returns the place after a call that certainly had no effect.
pub(crate) fn unsent(bounds: &Bounds, known: Entry, by: u8) -> Job {
    let view = entry::view(Some(known), bounds.second);
    let Some(record) = view.unsent() else { return Job::Attempt { known: Some(known) } };
    let record = entry::Written::of(&record);
    Job::Write(Write { by, expected: known.revision, record, writer: Writer::Caller, then: Then::Attempt })
}

/// Returns the view without what makes a call one of a message that is sent again. Only mutants use it.
pub(crate) fn as_first_call(view: LedgerView) -> LedgerView {
    let record = view.record.map(|record| {
        let state = match record.state.clone() {
            State::Intent { at_ms, unknown_since_ms, .. } => {
                State::Intent { at_ms, unknown_since_ms, is_resent: false }
            }
            state => state,
        };
        let attempts = record.attempts;
        record.called(attempts, state)
    });
    LedgerView { record, ..view }
}

/// Stores the result of a command.
pub(crate) fn store(world: &mut World, bounds: &Bounds, command: u8, verdict: Verdict) {
    let result = &mut world.command(command).result;
    let is_other = result.is_some_and(|stored| stored != verdict);
    *result = Some(verdict);
    if is_other {
        world.breaks(bounds, Property::OneResult);
    }
}
