//! Queries of the BSP's message log (`Work::resolve` in the sender).

use std::time::Duration;

use sender::protocol::{AfterQueries, LastQuery, LookupResult, ResendRule, after_last_query, after_queries};

use crate::action::{Action, At};
use crate::bounds::Bounds;
use crate::bsp_side::{MESSAGE_ID, accepted, rejected};
use crate::entry::{self, Entry, Progress};
use crate::job::{Job, Queries};
use crate::mutant::Mutant;
use crate::next::Next;
use crate::outcomes::{as_first_call, unsent};
use crate::stages;
use crate::time::{self, RESEND_AFTER};
use crate::world::{Shown, World};

/// Returns what the message log shows now.
fn log_shows(world: &World) -> LookupResult {
    if world.message_log.accepted == Shown::Yes {
        LookupResult::Found(accepted().into())
    } else if world.message_log.is_rejected {
        LookupResult::Found(rejected().into())
    } else {
        LookupResult::NotFound
    }
}

pub(crate) fn look_up(world: &World, bounds: &Bounds, at: At, job: (Entry, Queries), next: &mut Next<'_>) {
    let (known, queries) = job;
    let after = |world: &mut World, found: LookupResult| {
        let is_over = matches!(found, LookupResult::Found(_));
        let has_responded = !matches!(found, LookupResult::Failed);
        *world.job(at.replica, at.command) = match queries.rest(has_responded) {
            Some(queries) if !is_over => Job::LookUp { known, queries },
            _ if !is_over && queries.has_responded => queried(world, bounds, known, LookupResult::NotFound),
            _ => queried(world, bounds, known, found),
        };
    };
    next.step(Action::Query(at), |world| after(world, log_shows(world)));
    if world.left.failed_queries > 0 {
        next.step(Action::QueryFailed(at), |world| {
            world.left.failed_queries -= 1;
            after(world, LookupResult::Failed);
        });
    }
}

/// Returns the place after all queries.
fn queried(world: &World, bounds: &Bounds, known: Entry, found: LookupResult) -> Job {
    let is_found = matches!(found, LookupResult::Found(_));
    if bounds.has(Mutant::NotFoundIsNotSent) && !is_found {
        return unsent(bounds, known, 0);
    }
    if bounds.has(Mutant::LookUpWithoutEnd) && !is_found {
        return Job::Read;
    }
    let mut view = entry::view(Some(known), bounds.second);
    if bounds.has(Mutant::RejectedAfterResend) {
        view = as_first_call(view);
    }
    let Progress::Intent { unknown_for, .. } = known.record.state else { return Job::Read };
    let unknown_for = if bounds.has(Mutant::ResendWithoutTime) { RESEND_AFTER } else { unknown_for };
    let rule = ResendRule {
        resend_after: bounds.may_resend.then_some(time::duration(RESEND_AFTER)),
        unknown_for: time::duration(unknown_for),
        time_left: time::duration(world.time_left),
    };
    match after_queries(view, found, MESSAGE_ID, rule) {
        AfterQueries::Decided(stage) => stages::job(stage, bounds, false),
        AfterQueries::LastQuery(LastQuery { wait, has_responded, .. }) => {
            Job::LastQuery { known, wait: time::ticks(wait), has_responded }
        }
    }
}

pub(crate) fn last_query(world: &World, bounds: &Bounds, at: At, job: (Entry, bool), next: &mut Next<'_>) {
    let (known, has_responded) = job;
    let after = |world: &mut World, found: LookupResult| {
        let view = entry::view(Some(known), bounds.second);
        let last = LastQuery { known: view, wait: Duration::ZERO, has_responded };
        let stage = after_last_query(last, found, MESSAGE_ID);
        *world.job(at.replica, at.command) = stages::job(stage, bounds, false);
    };
    next.step(Action::Query(at), |world| after(world, log_shows(world)));
    if world.left.failed_queries > 0 {
        next.step(Action::QueryFailed(at), |world| {
            world.left.failed_queries -= 1;
            after(world, LookupResult::Failed);
        });
    }
}
