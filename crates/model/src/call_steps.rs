//! Calls of the BSP: the last check, the request, and its end (`Attempt::may_call` and `Attempt::call` in the sender).

use std::time::Duration;

use bsp::sending::SendResponse;
use sender::protocol::{may_call, must_read_back};

use crate::action::{Action, At};
use crate::bounds::Bounds;
use crate::bsp_side::MESSAGE_ID;
use crate::entry::{self, Entry, Progress};
use crate::job::Job;
use crate::mutant::Mutant;
use crate::next::Next;
use crate::outcomes::unsent;
use crate::property::Property;
use crate::stages::{self, intent_age};
use crate::time::{self, Clocks, RESEND_AFTER, SEND_TIMEOUT, Ticks};
use crate::world::{REQUESTS_MAX, Request, World};

pub(crate) fn check(world: &mut World, bounds: &Bounds, at: At, known: Entry) {
    let age = Clocks::of(intent_age(&known), world.replica(at.replica).suspended).age();
    let mut certain_for = age;
    if must_read_back(age, time::duration(SEND_TIMEOUT))
        && world.entry.is_some_and(|entry| entry.revision == known.revision)
    {
        certain_for = Some(Duration::ZERO);
    }
    if bounds.has(Mutant::NoIntentAge) {
        certain_for = Some(Duration::ZERO);
    }
    let is_owner = world.is_owner(at.replica) || bounds.has(Mutant::NoLease);
    *world.job(at.replica, at.command) =
        if may_call(certain_for, is_owner) { Job::Call { known } } else { unsent(bounds, known, at.replica) };
}

/// Whether the timeout of a call has passed for its process.
fn has_timed_out(world: &World, bounds: &Bounds, at: At, age: Ticks) -> bool {
    let suspended = world.replicas[usize::from(at.replica)].suspended;
    let mut clocks = Clocks::of(age, suspended);
    if bounds.has(Mutant::CallByOneClock) {
        clocks.now.unix_ms = clocks.begun.unix_ms;
    }
    clocks.begun.plus(time::duration(SEND_TIMEOUT)).has_come_at(clocks.now)
}

pub(crate) fn call(world: &World, bounds: &Bounds, at: At, known: Entry, next: &mut Next<'_>) {
    let age = intent_age(&known);
    next.step(Action::Request(at), |world| {
        if has_timed_out(world, bounds, at, age) && !bounds.has(Mutant::NoIntentAge) {
            unanswered(world, bounds, at, known);
        } else {
            request(world, bounds, at, known);
        }
    });
    if world.left.refusals > 0 {
        next.step(Action::NotConnected(at), |world| {
            world.left.refusals -= 1;
            *world.job(at.replica, at.command) = unsent(bounds, known, at.replica);
        });
    }
}

/// Writes the request.
fn request(world: &mut World, bounds: &Bounds, at: At, known: Entry) {
    if world.entry.is_none_or(|entry| entry.revision != known.revision) {
        world.breaks(bounds, Property::CallHasIntent);
    }
    if let Progress::Intent { unknown_for, is_resent: true, .. } = known.record.state {
        let is_in_time = bounds.may_resend && unknown_for >= RESEND_AFTER;
        if !is_in_time || world.requests.iter().any(Option::is_some) {
            world.breaks(bounds, Property::ResentByTheRule);
        }
    }
    let request = Request { command: at.command, by: at.replica, token: known.record.token, age: 0 };
    let place = world.requests.iter().position(Option::is_none);
    // More requests than that at the same time are beyond what is explored.
    if let Some(place) = place {
        world.requests[place] = Some(request);
    }
    debug_assert!(place.is_some(), "more than {REQUESTS_MAX} requests at the same time");
    *world.job(at.replica, at.command) = Job::InCall { known };
}

/// Moves a call without a response to its look-up.
fn unanswered(world: &mut World, bounds: &Bounds, at: At, known: Entry) {
    if bounds.has(Mutant::UnknownIsNotSent) {
        *world.job(at.replica, at.command) = unsent(bounds, known, at.replica);
        return;
    }
    let view = entry::view(Some(known), bounds.second);
    // What the sender makes of a response that does not tell whether the message was accepted.
    let unclear = SendResponse::Indeterminate { what: "no response" };
    let stage = view.after_answer(unclear, MESSAGE_ID, tokio::time::Instant::now());
    world.replica(at.replica).has_called[usize::from(at.command)] |= bounds.has(Mutant::EndOfAnotherCall);
    *world.job(at.replica, at.command) = stages::job(stage, bounds, false);
}

pub(crate) fn in_call(world: &World, bounds: &Bounds, at: At, known: Entry, next: &mut Next<'_>) {
    // A mutant whose timeout does not count from the intent waits until its request is gone.
    let is_gone = || !world.requests.iter().flatten().any(|request| request.token == known.record.token);
    let age = intent_age(&known);
    if has_timed_out(world, bounds, at, age) && (!bounds.has(Mutant::NoIntentAge) || is_gone()) {
        next.step(Action::TimedOut(at), |world| unanswered(world, bounds, at, known));
    }
    if world.left.lost_answers > 0 {
        next.step(Action::ConnectionLost(at), |world| {
            world.left.lost_answers -= 1;
            unanswered(world, bounds, at, known);
        });
    }
}
