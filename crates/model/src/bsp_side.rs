//! The BSP: what it does with requests, and what its message log and its reports show.

use bsp::sending::SendResponse;
use proto::v1::{ProviderStatus, ReportError};
use tokio::time::Instant;

use crate::action::{Action, At};
use crate::bounds::Bounds;
use crate::entry;
use crate::job::Job;
use crate::mutant::Mutant;
use crate::next::Next;
use crate::outcomes::{as_first_call, unsent};
use crate::property::Property;
use crate::stages;
use crate::world::{Request, Shown, World};

/// Most accepted messages that are counted.
const ACCEPTED_MAX: u8 = 3;

/// The id that a command gives its message.
pub(crate) const MESSAGE_ID: &str = "m";

pub(crate) fn accepted() -> SendResponse {
    SendResponse::Accepted { message_id: MESSAGE_ID.to_owned(), status: ProviderStatus::default() }
}

pub(crate) fn rejected() -> SendResponse {
    SendResponse::Rejected { status: None, error: ReportError::default(), faults: Vec::new() }
}

/// What the BSP does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Accept,
    Reject,
    RejectUsedId,
    Limit,
}

/// Adds what the BSP can do.
pub(crate) fn steps(world: &World, bounds: &Bounds, next: &mut Next<'_>) {
    for (place, request) in world.requests.iter().enumerate() {
        if let Some(request) = request {
            serve(world, bounds, next, Place { place, request: *request });
        }
    }
    if world.message_log.accepted == Shown::NotYet {
        next.step(Action::Show, |world| world.message_log.accepted = Shown::Yes);
    }
    if world.message_log.accepted != Shown::None && !world.is_reported {
        next.step(Action::Report, |world| world.is_reported = true);
    }
}

/// A request and its place.
#[derive(Debug, Clone, Copy)]
struct Place {
    place: usize,
    request: Request,
}

fn serve(world: &World, bounds: &Bounds, next: &mut Next<'_>, at: Place) {
    let Request { command, by, .. } = at.request;
    let who = At { replica: by, command };
    // If the caller waits no more, whether the response arrives makes no difference.
    let is_awaited = caller(world, at.request).is_some();
    let is_used = world.commands.iter().flatten().any(|command| command.accepted > 0);
    if is_used && bounds.rejects_used_ids {
        next.step(Action::RejectUsedId(who), |world| take(world, bounds, at, Deed::RejectUsedId, true));
        return;
    }
    next.step(Action::Accept(who), |world| take(world, bounds, at, Deed::Accept, true));
    if is_awaited && world.left.lost_answers > 0 {
        next.step(Action::AcceptUnanswered(who), |world| {
            world.left.lost_answers -= 1;
            take(world, bounds, at, Deed::Accept, false);
        });
    }
    if world.left.refusals == 0 {
        return;
    }
    for (action, deed) in [(Action::Reject(who), Deed::Reject), (Action::Limit(who), Deed::Limit)] {
        next.step(action, |world| {
            world.left.refusals -= 1;
            take(world, bounds, at, deed, true);
        });
    }
    if is_awaited && world.left.lost_answers > 0 {
        next.step(Action::RejectUnanswered(who), |world| {
            world.left.refusals -= 1;
            world.left.lost_answers -= 1;
            take(world, bounds, at, Deed::Reject, false);
        });
    }
}

/// Returns the call that waits for the response to a request.
fn caller(world: &World, request: Request) -> Option<entry::Entry> {
    let replica = &world.replicas[usize::from(request.by)];
    match replica.jobs[usize::from(request.command)] {
        Job::InCall { known } if known.record.token == request.token && !replica.is_suspended => Some(known),
        _ => None,
    }
}

fn take(world: &mut World, bounds: &Bounds, at: Place, deed: Deed, is_answered: bool) {
    world.requests[at.place] = None;
    let Request { command, by, .. } = at.request;
    let answer = match deed {
        Deed::Accept => {
            let accepted_so_far = &mut world.command(command).accepted;
            *accepted_so_far = (*accepted_so_far + 1).min(ACCEPTED_MAX);
            let all: u8 = world.commands.iter().flatten().map(|command| command.accepted).sum();
            if all > bounds.accepted_max() {
                world.breaks(bounds, Property::NeverTwice);
            }
            if world.message_log.accepted == Shown::None {
                world.message_log.accepted = Shown::NotYet;
            }
            Some(accepted())
        }
        Deed::Reject => {
            world.message_log.is_rejected = true;
            Some(rejected())
        }
        Deed::RejectUsedId => Some(SendResponse::Duplicate { status: ProviderStatus::default() }),
        Deed::Limit => None,
    };
    if !is_answered {
        return;
    }
    let Some(known) = caller(world, at.request) else { return };
    let Some(answer) = answer else {
        *world.job(by, command) = unsent(bounds, known, by);
        return;
    };
    let mut view = entry::view(Some(known), bounds.second);
    if bounds.has(Mutant::RejectedAfterResend) {
        view = as_first_call(view);
    }
    let stage = view.after_answer(answer, MESSAGE_ID, Instant::now());
    *world.job(by, command) = stages::job(stage, bounds, false);
}
