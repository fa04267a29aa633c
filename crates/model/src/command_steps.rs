//! The steps of one command in one replica: what `send::process` and its stages do, and the faults that they meet.

use sender::protocol::{AttemptCheck, Outcome, Stage, Writer, after_read, at_delivery, check_attempt};

use crate::action::{Action, At};
use crate::bounds::Bounds;
use crate::command::Verdict;
use crate::entry::{self, Entry, Progress, Written};
use crate::erasing;
use crate::job::{Job, Then, Write};
use crate::mutant::Mutant;
use crate::next::Next;
use crate::outcomes::store;
use crate::stages;
use crate::time;
use crate::world::World;
use crate::{call_steps, look_up_steps, write_steps};

/// Adds the steps of a command in a replica.
pub(crate) fn steps(world: &World, bounds: &Bounds, at: At, next: &mut Next<'_>) {
    let Some(command) = world.commands[usize::from(at.command)] else { return };
    let job = world.replicas[usize::from(at.replica)].jobs[usize::from(at.command)];
    if job.may_be_released() && !world.is_owner(at.replica) {
        next.step(Action::Release(at), |world| *world.job(at.replica, at.command) = Job::Idle);
    }
    match job {
        Job::Idle if !command.is_acked => deliver(world, at, next),
        Job::Idle => {}
        Job::Read => next.step(Action::Read(at), |world| read(world, bounds, at)),
        Job::Attempt { known } => begin(world, bounds, at, known, next),
        Job::Intend { known } => next.step(Action::Intend(at), |world| intend(world, bounds, at, known)),
        Job::Write(write) => write_steps::write(world, bounds, at, write, next),
        Job::ReadBack { write, is_conflict } => {
            write_steps::read_back_write(bounds, at, write, is_conflict, next)
        }
        Job::Check { known } => {
            next.step(Action::Check(at), |world| call_steps::check(world, bounds, at, known))
        }
        Job::Call { known } => call_steps::call(world, bounds, at, known, next),
        Job::InCall { known } => call_steps::in_call(world, bounds, at, known, next),
        Job::LookUp { known, queries } if queries.is_due() => {
            look_up_steps::look_up(world, bounds, at, (known, queries), next)
        }
        Job::LastQuery { known, wait: 0, has_responded } => {
            look_up_steps::last_query(world, bounds, at, (known, has_responded), next);
        }
        Job::LookUp { .. } | Job::LastQuery { .. } => {}
        Job::Decide { known, verdict } => {
            next.step(Action::Decide(at), |world| decide(world, bounds, at, known, verdict));
        }
        Job::Publish { verdict } => {
            let is_early = bounds.has(Mutant::AckBeforeResult) && !command.is_acked;
            let action = if is_early { Action::Acknowledge(at) } else { Action::Publish(at) };
            next.step(action, |world| publish(world, bounds, at, verdict));
        }
        Job::IdConflict => next.step(Action::Publish(at), |world| {
            store(world, bounds, at.command, Verdict::Rejected);
            *world.job(at.replica, at.command) = Job::Acknowledge;
        }),
        Job::Acknowledge => {
            next.step(Action::Acknowledge(at), |world| {
                world.command(at.command).is_acked = true;
                *world.job(at.replica, at.command) = Job::Idle;
            });
            if world.left.lost_acks > 0 {
                next.step(Action::AckLost(at), |world| {
                    world.left.lost_acks -= 1;
                    *world.job(at.replica, at.command) = Job::Idle;
                });
            }
        }
    }
}

fn deliver(world: &World, at: At, next: &mut Next<'_>) {
    let is_held = world.replicas.iter().any(|replica| replica.jobs[usize::from(at.command)] != Job::Idle);
    if world.owner != Some(at.replica) || is_held && world.left.redeliveries == 0 {
        return;
    }
    next.step(Action::Deliver(at), |world| {
        if is_held {
            world.left.redeliveries -= 1;
        }
        let was_delivered = std::mem::replace(&mut world.command(at.command).was_delivered, true);
        let attempt = if was_delivered { 2 } else { 1 };
        *world.job(at.replica, at.command) = match at_delivery(attempt) {
            Stage::Attempt(view) => Job::Attempt { known: entry::known(&view) },
            _ => Job::Read,
        };
    });
}

fn read(world: &mut World, bounds: &Bounds, at: At) {
    let found = entry::stored(world.entry, bounds.second);
    let has_called = world.replica(at.replica).has_called[usize::from(at.command)];
    let stage = after_read(found.as_ref(), entry::key(at.command, bounds.second));
    let stage = stage.expect("the entries of the model are readable");
    *world.job(at.replica, at.command) = if bounds.has(Mutant::EveryoneIsDuplicate) && found.is_some() {
        Job::Acknowledge
    } else {
        stages::job(stage, bounds, has_called)
    };
}

fn begin(world: &World, bounds: &Bounds, at: At, known: Option<Entry>, next: &mut Next<'_>) {
    if world.replicas[usize::from(at.replica)].is_erased[usize::from(at.command)] {
        next.step(Action::RefuseErased(at), |world| erasing::refuse(world, bounds, at, known));
        return;
    }
    next.step(Action::Begin(at), |world| {
        let view = entry::view(known, bounds.second);
        let check = check_attempt(time::duration(world.time_left), world.is_owner(at.replica));
        *world.job(at.replica, at.command) = match check {
            AttemptCheck::Begin => Job::Intend { known },
            AttemptCheck::NotOwner => Job::Read,
            AttemptCheck::DeadlinePassed => stages::job(view.deadline_passed(None), bounds, false),
        };
    });
    if world.left.refusals > 0 {
        next.step(Action::Unsendable(at), |world| {
            world.left.refusals -= 1;
            let view = entry::view(known, bounds.second);
            let outcome = Outcome::Refused { faults: Vec::new() };
            *world.job(at.replica, at.command) = stages::job(view.fail_before_call(outcome), bounds, false);
        });
    }
}

fn intend(world: &mut World, bounds: &Bounds, at: At, known: Option<Entry>) {
    let token = world.new_token().to_string();
    let view = entry::view(known, bounds.second);
    let record = view.intent(entry::key(at.command, bounds.second), time::unix_ms(0), token);
    let mut record = Written::of(&record);
    if bounds.has(Mutant::ResendTwice)
        && let Progress::Intent { is_resent, .. } = &mut record.state
    {
        *is_resent = false;
    }
    let expected = known.map_or(0, |entry| entry.revision);
    *world.job(at.replica, at.command) = if bounds.has(Mutant::CallBeforeIntent) {
        Job::Call { known: Entry { revision: expected, record } }
    } else {
        Job::Write(Write { by: at.replica, expected, record, writer: Writer::Owner, then: Then::Check })
    };
}

fn decide(world: &mut World, bounds: &Bounds, at: At, known: Option<Entry>, verdict: Verdict) {
    let view = entry::view(known, bounds.second);
    let attempts = known.map_or(0, |entry| entry.record.attempts);
    if bounds.has(Mutant::ResultBeforeLedger) {
        store(world, bounds, at.command, verdict);
    }
    let token = world.new_token().to_string();
    let result = entry::result(verdict, attempts);
    let writer = view.outcome_writer();
    let record = view.decided(entry::key(at.command, bounds.second), token, &result);
    let expected = known.map_or(0, |entry| entry.revision);
    let record = Written::of(&record);
    *world.job(at.replica, at.command) =
        Job::Write(Write { by: at.replica, expected, record, writer, then: Then::Publish });
}

fn publish(world: &mut World, bounds: &Bounds, at: At, verdict: Verdict) {
    if bounds.has(Mutant::AckBeforeResult) && !world.command(at.command).is_acked {
        world.command(at.command).is_acked = true;
        return;
    }
    store(world, bounds, at.command, verdict);
    *world.job(at.replica, at.command) = Job::Acknowledge;
}
