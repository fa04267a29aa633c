//! The server of the ledger: a conditional write to one subject ([`bus::Bus::ledger_write`]).

use crate::bounds::Bounds;
use crate::entry::Entry;
use crate::job::{Job, Write};
use crate::mutant::Mutant;
use crate::property::Property;
use crate::time::SEND_TIMEOUT;
use crate::world::World;

/// The entry has another revision than expected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conflict;

/// Applies a write, and returns the entry with its revision.
///
/// # Errors
/// [`Conflict`].
pub(crate) fn apply(world: &mut World, bounds: &Bounds, write: Write) -> Result<Entry, Conflict> {
    let revision = world.entry.map_or(0, |entry| entry.revision);
    if revision != write.expected && !bounds.has(Mutant::NoExpectation) {
        return Err(Conflict);
    }
    if is_called_by_another(world, write.by) {
        world.breaks(bounds, Property::CallIsLeftAlone);
    }
    let entry = Entry { revision: world.new_revision(), record: write.record };
    world.entry = Some(entry);
    Ok(entry)
}

/// Whether another replica is making the call of the current intent, and its timeout has not passed.
fn is_called_by_another(world: &World, by: u8) -> bool {
    let Some(entry) = world.entry else { return false };
    let others = world.replicas.iter().enumerate().filter(|(number, _)| *number != usize::from(by));
    others.flat_map(|(_, replica)| replica.jobs).any(|job| {
        matches!(job, Job::InCall { known } if known.revision == entry.revision
            && known.record.intent_age().is_some_and(|age| age < SEND_TIMEOUT))
    })
}
