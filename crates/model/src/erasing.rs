//! Erasing the customer of the commands: what the owner of the lane does when the eraser asks it (`lane::erasure::settle` in the sender).
//!
//! The eraser asks at any time, as often as it likes, and learns of a stored result at any time after that. A process drops what it was
//! asked for when it is killed or the eraser stops asking. A lost acknowledgement of the blanking is no step of its own: the
//! process drops the write then, and is asked again.

use sender::protocol::{EntryNeeds, ErasedCommand, StoredContent, Writer, customer_erased};

use crate::action::{Action, At};
use crate::bounds::Bounds;
use crate::command::Verdict;
use crate::entry::{self, Entry, Progress, Written};
use crate::job::{Then, Write};
use crate::ledger;
use crate::mutant::Mutant;
use crate::next::Next;
use crate::replica::Expiry;
use crate::stages;
use crate::world::World;

/// Adds the steps of erasing in a replica.
pub(crate) fn steps(world: &World, bounds: &Bounds, replica: u8, next: &mut Next<'_>) {
    if !bounds.may_erase {
        return;
    }
    let erasing = world.replicas[usize::from(replica)];
    if let Some(known) = erasing.blanking {
        next.step(Action::Blank(replica), |world| blank(world, bounds, replica, known));
    }
    for (number, command) in (0..).zip(&world.commands) {
        let Some(command) = command else { continue };
        let at = At { replica, command: number };
        if world.is_owner(replica) && erasing.blanking.is_none() {
            next.step(Action::AskToErase(at), |world| asked(world, bounds, at));
        }
        if !erasing.is_erased[usize::from(number)] {
            continue;
        }
        next.step(Action::StopAsking(at), |world| *is_erased(world, at) = false);
        if !command.is_acked && !command.was_delivered && erasing.expiry == Expiry::Idle {
            next.step(Action::FindErased(at), |world| {
                world.replica(replica).expiry = Expiry::Write { command: number, verdict: refusal() };
            });
        }
    }
}

/// Ends an attempt of a command whose customer is erased, before a call.
pub(crate) fn refuse(world: &mut World, bounds: &Bounds, at: At, known: Option<Entry>) {
    let stage = entry::view(known, bounds.second).fail_before_call(customer_erased());
    *world.job(at.replica, at.command) = stages::job(stage, bounds, false);
}

/// What the result of a command says whose customer was erased before a call.
fn refusal() -> Verdict {
    entry::verdict(&customer_erased())
}

/// Whether a replica answers a command instead of sending it.
fn is_erased(world: &mut World, at: At) -> &mut bool {
    &mut world.replica(at.replica).is_erased[usize::from(at.command)]
}

/// Reads the entry of a command, and notes what it needs.
fn asked(world: &mut World, bounds: &Bounds, at: At) {
    let command = *world.command(at.command);
    let key = entry::key(at.command, bounds.second);
    let is_result_stored = command.result.is_some();
    let content = if command.is_acked { StoredContent::Gone } else { StoredContent::Digest(key.digest) };
    let asked = ErasedCommand {
        sequence: key.sequence,
        content,
        is_result_stored: is_result_stored || bounds.has(Mutant::BlankBeforeResult),
    };
    let needs = match world.entry {
        Some(entry) => asked.judge(&entry.record.record(bounds.second)),
        None if is_result_stored => EntryNeeds::Nothing,
        None => EntryNeeds::Answer,
    };
    if needs == EntryNeeds::Blanking {
        world.replica(at.replica).blanking = world.entry;
    }
    // Without the command, or with its result, there is nothing to answer.
    let is_to_be_answered = needs == EntryNeeds::Answer && !command.is_acked && !is_result_stored;
    match needs {
        EntryNeeds::Answer => *is_erased(world, at) |= is_to_be_answered,
        EntryNeeds::Nothing | EntryNeeds::Blanking => *is_erased(world, at) = false,
    }
}

/// Replaces an entry by one without result and context, if the lane is still this replica's.
fn blank(world: &mut World, bounds: &Bounds, replica: u8, known: Entry) {
    world.replica(replica).blanking = None;
    if !Writer::Owner.may_write(world.is_owner(replica)) {
        return;
    }
    if bounds.has(Mutant::ErasedEntry) {
        world.entry = None;
        return;
    }
    let Progress::Done { verdict, .. } = known.record.state else { return };
    let record = Written { state: Progress::Done { verdict, is_answered: true }, ..known.record };
    let (writer, then) = (Writer::Owner, Then::Publish);
    let write = Write { by: replica, expected: known.revision, record, writer, then };
    // After a conflict it is asked again.
    let _ = ledger::apply(world, bounds, write);
}
