//! The check of commands that expire in the stream, before they are delivered (`Backlog::answer` in the sender). A command whose customer
//! is erased is answered in the same way.

use sender::protocol::{Writer, owed_result};

use crate::action::{Action, At};
use crate::bounds::Bounds;
use crate::command::Verdict;
use crate::entry::{self, Progress, Written};
use crate::job::{Then, Write};
use crate::ledger;
use crate::mutant::Mutant;
use crate::next::Next;
use crate::outcomes::store;
use crate::replica::Expiry;
use crate::world::World;

/// Adds the steps of a replica's check.
pub(crate) fn steps(world: &World, bounds: &Bounds, replica: u8, next: &mut Next<'_>) {
    match world.replicas[usize::from(replica)].expiry {
        Expiry::Idle => {
            for (number, command) in (0..).zip(&world.commands) {
                let without_ledger = bounds.has(Mutant::ExpiryWithoutLedger);
                let is_due = command
                    .is_some_and(|command| !command.is_acked && (!command.was_delivered || without_ledger));
                if is_due && world.time_left == 0 && world.is_owner(replica) {
                    let at = At { replica, command: number };
                    next.step(Action::FindExpired(at), |world| {
                        world.replica(replica).expiry =
                            Expiry::Write { command: number, verdict: Verdict::Expired };
                    });
                }
            }
        }
        Expiry::Write { command, verdict } => {
            write_steps(world, bounds, At { replica, command }, verdict, next);
        }
        Expiry::Publish { command, revision, verdict } => {
            next.step(Action::ExpirePublish(replica), |world| {
                store(world, bounds, command, verdict);
                world.replica(replica).expiry = Expiry::Mark { command, revision, verdict };
            });
        }
        Expiry::Mark { command, revision, verdict } => {
            next.step(Action::ExpireMark(replica), |world| {
                let record = done(world, command, Progress::Done { verdict, is_answered: true });
                let writer = Writer::Caller;
                let then = Then::Publish;
                let write = Write { by: replica, expected: revision, record, writer, then };
                // A failure is ignored: the result is stored again with the same id.
                if !bounds.has(Mutant::ExpiryWithoutLedger) {
                    let _ = ledger::apply(world, bounds, write);
                }
                world.replica(replica).expiry = Expiry::Idle;
            });
        }
    }
}

fn write_steps(world: &World, bounds: &Bounds, at: At, verdict: Verdict, next: &mut Next<'_>) {
    next.step(Action::Expire(at), |world| {
        world.replica(at.replica).expiry = write(world, bounds, at, verdict);
    });
    if world.left.lost_acks > 0 {
        next.step(Action::ExpireUnacked(at), |world| {
            world.left.lost_acks -= 1;
            let _ = write(world, bounds, at, verdict);
            world.replica(at.replica).expiry = Expiry::Idle;
        });
    }
}

/// Writes the entry. Returns what the check does next.
fn write(world: &mut World, bounds: &Bounds, at: At, verdict: Verdict) -> Expiry {
    let command = at.command;
    if bounds.has(Mutant::ExpiryWithoutLedger) {
        return Expiry::Publish { command, revision: 0, verdict };
    }
    let asks_for_lease = !bounds.has(Mutant::NoLease) && !bounds.has(Mutant::DecisionWithoutLease);
    if asks_for_lease && !Writer::Owner.may_write(world.is_owner(at.replica)) {
        return Expiry::Idle;
    }
    let record = done(world, command, Progress::Done { verdict, is_answered: false });
    let (writer, then) = (Writer::Owner, Then::Publish);
    let write = Write { by: at.replica, expected: 0, record, writer, then };
    if let Ok(entry) = ledger::apply(world, bounds, write) {
        return Expiry::Publish { command, revision: entry.revision, verdict };
    }
    let found = entry::stored(world.entry, bounds.second);
    let owed = found.and_then(|found| owed_result(&found, entry::key(command, bounds.second)));
    match (owed, world.entry) {
        (Some(result), Some(entry)) => {
            Expiry::Publish { command, revision: entry.revision, verdict: entry::verdict_of(&result) }
        }
        _ => Expiry::Idle,
    }
}

fn done(world: &mut World, command: u8, state: Progress) -> Written {
    Written { command, attempts: 0, token: world.new_token(), state }
}
