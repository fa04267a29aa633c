//! The steps that can be taken in a state.

use crate::action::{Action, At};
use crate::bounds::{Bounds, Second};
use crate::command::{Command, Verdict};
use crate::erasing;
use crate::expiry;
use crate::ledger;
use crate::mutant::Mutant;
use crate::next::Next;
use crate::property::Property;
use crate::replica::Replica;
use crate::search::Model;
use crate::time::AGE_MAX;
use crate::world::World;
use crate::{bsp_side, command_steps};

/// The protocol within its bounds.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// What is explored.
    pub bounds: Bounds,
}

impl Model for Protocol {
    type State = World;
    type Action = Action;
    type Property = Property;

    fn initial(&self) -> World {
        World::initial(&self.bounds)
    }

    fn steps(&self, state: &World, steps: &mut Vec<(Action, World)>) {
        let mut next = Next { world: state, steps };
        let bounds = &self.bounds;
        time_steps(state, bounds, &mut next);
        lane_steps(state, bounds, &mut next);
        for replica in (0..).take(state.replicas.len()) {
            if state.replicas[usize::from(replica)].is_suspended {
                continue;
            }
            for command in (0..).take(state.commands.len()) {
                command_steps::steps(state, bounds, At { replica, command }, &mut next);
            }
            expiry::steps(state, bounds, replica, &mut next);
            erasing::steps(state, bounds, replica, &mut next);
        }
        if let Some(write) = state.delayed {
            next.step(Action::ApplyDelayed, |world| {
                world.delayed = None;
                // Its writer does not wait for the answer any more.
                let _ = ledger::apply(world, bounds, write);
            });
            next.step(Action::DropDelayed, |world| world.delayed = None);
        }
        bsp_side::steps(state, bounds, &mut next);
    }

    fn violated(&self, state: &World) -> Option<Property> {
        let is_checked = |property: &Property| self.bounds.only.is_none_or(|only| only == *property);
        state.broken.or_else(|| self.broken_state(state)).filter(is_checked)
    }

    fn is_final(&self, state: &World) -> bool {
        state.is_settled()
    }

    fn is_fault(&self, action: Action) -> bool {
        matches!(
            action,
            Action::TakeOverLost(_)
                | Action::Crash(_)
                | Action::Suspend(_)
                | Action::Day
                | Action::Unsendable(_)
                | Action::WriteUnacked(_)
                | Action::WriteDelayed(_)
                | Action::NotConnected(_)
                | Action::ConnectionLost(_)
                | Action::QueryFailed(_)
                | Action::AckLost(_)
                | Action::ExpireUnacked(_)
                | Action::AskToErase(_)
                | Action::AcceptUnanswered(_)
                | Action::Reject(_)
                | Action::RejectUnanswered(_)
                | Action::Limit(_)
        )
    }

    fn can_end(&self) -> Property {
        Property::CanEnd
    }
}

impl Protocol {
    /// Returns a property of states that does not hold.
    fn broken_state(&self, state: &World) -> Option<Property> {
        let is_checked = |property| self.bounds.only.is_none_or(|only| only == property);
        for (number, command) in state.commands.iter().enumerate() {
            let Some(command) = command else { continue };
            if is_checked(Property::NeverLost) && self.is_lost(state, number, command) {
                return Some(Property::NeverLost);
            }
            let is_true = match command.result {
                Some(Verdict::Accepted) => command.accepted > 0,
                Some(Verdict::Rejected | Verdict::Expired) => command.accepted == 0,
                Some(Verdict::Unknown) | None => true,
            };
            if is_checked(Property::TrueResult) && !is_true {
                return Some(Property::TrueResult);
            }
        }
        None
    }

    fn is_lost(&self, state: &World, number: usize, command: &Command) -> bool {
        if !command.is_acked || command.result.is_some() {
            return false;
        }
        let other = state.commands[1 - number].filter(|_| self.bounds.second == Some(Second::Same));
        other.is_none_or(|other| other.is_acked && other.result.is_none())
    }
}

fn time_steps(state: &World, bounds: &Bounds, next: &mut Next<'_>) {
    next.step(Action::Tick, |world| world.tick(bounds));
    let is_over = state.commands.iter().flatten().all(|command| command.is_acked);
    if bounds.may_sleep_a_day && !state.is_next_day && is_over && !state.is_settled() {
        next.step(Action::Day, |world| a_day_passes(world, bounds));
    }
}

fn a_day_passes(world: &mut World, bounds: &Bounds) {
    let owner = world.owner.take();
    (world.entry, world.delayed, world.requests) = (None, None, Default::default());
    (world.is_next_day, world.time_left) = (true, 0);
    for _ in 0..AGE_MAX {
        world.tick(bounds);
    }
    for (number, replica) in (0..).zip(&mut world.replicas) {
        let trusts = owner == Some(number) || replica.is_mistaken;
        replica.is_mistaken = trusts && replica.is_suspended && bounds.has(Mutant::LeaseByOneClock);
    }
}

fn lane_steps(state: &World, bounds: &Bounds, next: &mut Next<'_>) {
    for (number, replica) in (0..).zip(&state.replicas) {
        if replica.is_suspended {
            next.step(Action::Resume(number), |world| world.replica(number).is_suspended = false);
            continue;
        }
        if state.owner != Some(number) && replica.is_idle() {
            next.step(Action::TakeOver(number), |world| take_over(world, bounds, number));
            if let Some(former) = state.owner.filter(|_| state.left.lost_leases > 0) {
                next.step(Action::TakeOverLost(number), |world| {
                    world.left.lost_leases -= 1;
                    world.replica(former).is_mistaken = true;
                    world.owner = Some(number);
                });
            }
        }
        if state.left.crashes > 0 && !replica.is_idle() {
            next.step(Action::Crash(number), |world| {
                world.left.crashes -= 1;
                *world.replica(number) = Replica::default();
            });
        }
        if state.left.suspensions > 0 && !replica.is_idle() {
            next.step(Action::Suspend(number), |world| {
                world.left.suspensions -= 1;
                world.replica(number).is_suspended = true;
            });
        }
    }
}

fn take_over(world: &mut World, bounds: &Bounds, number: u8) {
    if let Some(former) = world.owner.replace(number) {
        let is_mistaken = bounds.has(Mutant::LeaseByOneClock);
        let former = world.replica(former);
        former.is_mistaken |= is_mistaken && former.is_suspended;
    }
}
