//! Collects the steps of a state.

use crate::action::Action;
use crate::world::World;

/// Collects the steps of a state.
pub(crate) struct Next<'a> {
    pub(crate) world: &'a World,
    pub(crate) steps: &'a mut Vec<(Action, World)>,
}

impl Next<'_> {
    /// Adds a step, unless it changes nothing.
    pub(crate) fn step(&mut self, action: Action, change: impl FnOnce(&mut World)) {
        let mut world = *self.world;
        change(&mut world);
        world.normalize();
        if world != *self.world {
            self.steps.push((action, world));
        }
    }
}
