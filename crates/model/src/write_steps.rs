//! Writes of the ledger (`Work::write` in the sender).

use sender::protocol::{ReadBack, read_back};

use crate::action::{Action, At};
use crate::bounds::Bounds;
use crate::entry::{self, Entry, Progress};
use crate::job::{Job, Then, Write};
use crate::ledger;
use crate::mutant::Mutant;
use crate::next::Next;
use crate::world::World;

pub(crate) fn write(world: &World, bounds: &Bounds, at: At, write: Write, next: &mut Next<'_>) {
    let asks_for_lease = match write.then {
        Then::Check | Then::Attempt => !bounds.has(Mutant::NoLease),
        Then::Publish => !bounds.has(Mutant::NoLease) && !bounds.has(Mutant::DecisionWithoutLease),
    };
    if asks_for_lease && !write.writer.may_write(world.is_owner(at.replica)) {
        next.step(Action::GiveUp(at), |world| *world.job(at.replica, at.command) = Job::Read);
        return;
    }
    next.step(Action::Write(at), |world| {
        let applied = ledger::apply(world, bounds, write);
        *world.job(at.replica, at.command) = match (applied, world.entry) {
            (Ok(entry), _) => written(write, entry),
            (Err(_), Some(entry))
                if bounds.has(Mutant::ConflictIsWritten) && entry.record.intent_age().is_some() =>
            {
                written(write, entry)
            }
            (Err(_), _) => Job::ReadBack { write, is_conflict: true },
        };
    });
    if world.left.lost_acks == 0 {
        return;
    }
    next.step(Action::WriteUnacked(at), |world| {
        world.left.lost_acks -= 1;
        let _ = ledger::apply(world, bounds, write);
        *world.job(at.replica, at.command) = Job::ReadBack { write, is_conflict: false };
    });
    if world.delayed.is_none() {
        next.step(Action::WriteDelayed(at), |world| {
            world.left.lost_acks -= 1;
            world.delayed = Some(write);
            *world.job(at.replica, at.command) = Job::ReadBack { write, is_conflict: false };
        });
    }
}

/// Returns the place after a write that is in the ledger.
fn written(write: Write, entry: Entry) -> Job {
    match (write.then, entry.record.state) {
        (Then::Check, _) => Job::Check { known: entry },
        (Then::Attempt, _) => Job::Attempt { known: Some(entry) },
        (Then::Publish, Progress::Done { verdict, .. }) => Job::Publish { verdict },
        (Then::Publish, _) => Job::Read,
    }
}

pub(crate) fn read_back_write(bounds: &Bounds, at: At, write: Write, is_conflict: bool, next: &mut Next<'_>) {
    let set = |world: &mut World, job| *world.job(at.replica, at.command) = job;
    let found = |world: &World| {
        let found = entry::stored(world.entry, bounds.second);
        let expected = bus::ledger::Revision::of_sequence(write.expected.into());
        read_back(found.as_ref(), expected, &write.record.record(bounds.second))
    };
    next.step(Action::ReadBack(at), |world| match (found(world), world.entry) {
        (ReadBack::Other, Some(entry))
            if bounds.has(Mutant::NoToken) && entry.record.intent_age().is_some() =>
        {
            set(world, written(write, entry));
        }
        (ReadBack::Written(view), _) => {
            set(world, written(write, entry::known(&view).expect("it was found")));
        }
        (ReadBack::Other, _) => set(world, Job::Read),
        (ReadBack::Missing, _) if is_conflict => set(world, Job::Read),
        (ReadBack::Missing, _) => {}
    });
    if is_conflict {
        return;
    }
    next.step(Action::WriteAgain(at), |world| {
        if found(world) == ReadBack::Missing {
            set(world, Job::Write(write));
        }
    });
    next.step(Action::GiveUp(at), |world| set(world, Job::Read));
}
