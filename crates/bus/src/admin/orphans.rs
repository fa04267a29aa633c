//! Commands in COMMANDS under subjects that no lane reads, for the sender, which makes dead letters of them.

use std::collections::HashSet;
use std::pin::pin;

use async_nats::jetstream::stream::InfoError;
use futures_util::TryStreamExt;

use crate::admin::command_consumers::next_stored;
use crate::client::connect::Bus;
use crate::consume::delivery::Delivery;
use crate::purge;
use crate::read::ReadError;
use crate::schema::streams::COMMANDS;
use crate::schema::subject::covers;

/// Subject of COMMANDS before its subjects were restricted to those that lanes read. Commands that were published to it
/// are still stored.
const FORMER_SUBJECT: &str = "imchannel.command.>";
/// Most subjects that one check returns. The rest is found once some of these are gone.
pub const SUBJECTS_MAX: usize = 100_000;

fn fail(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ReadError {
    ReadError::new(COMMANDS.name, error)
}

/// Returns the subjects under which COMMANDS has messages ([`SUBJECTS_MAX`] at most), including those that it no longer
/// accepts. Subjects of its configuration that this version does not define are left out: lanes of a newer version read
/// them.
///
/// # Errors
/// [`ReadError`] when stream COMMANDS is unavailable.
pub async fn subjects(bus: &Bus) -> Result<HashSet<String>, ReadError> {
    let stream = bus.jetstream.get_stream(COMMANDS.name).await.map_err(fail)?;
    let taken = stream.cached_info().config.subjects.iter();
    let newer: Vec<&String> = taken.filter(|subject| !is_ours(subject)).collect();
    let counts = stream.info_with_subjects(">").await.map_err(|error: InfoError| fail(error))?;
    let mut counts = pin!(counts);
    let mut found = HashSet::new();
    while let Some((subject, _)) = counts.try_next().await.map_err(fail)? {
        if !newer.iter().any(|pattern| covers(pattern, &subject)) {
            found.insert(subject);
        }
        if found.len() == SUBJECTS_MAX {
            break;
        }
    }
    Ok(found)
}

fn is_ours(subject: &str) -> bool {
    subject == FORMER_SUBJECT || COMMANDS.subjects.contains(&subject)
}

/// The first command that is stored under exactly this subject with a sequence of at least `from`; `None` if there is
/// none.
///
/// A publisher may use `*` and `>` as ordinary characters, and nats-server stores that. A request for such a subject
/// returns what the wildcard matches, so commands of other subjects are skipped.
///
/// # Errors
/// [`ReadError`] when stream COMMANDS is unavailable.
pub async fn next(bus: &Bus, subject: &str, mut from: u64) -> Result<Option<Delivery>, ReadError> {
    while let Some(delivery) = next_stored(bus, subject, from).await? {
        if delivery.subject == subject {
            return Ok(Some(delivery));
        }
        from = delivery.sequence + 1;
    }
    Ok(None)
}

/// Deletes a command that no lane reads.
///
/// # Errors
/// [`ReadError`] when stream COMMANDS is unavailable.
pub async fn remove(bus: &Bus, sequence: u64) -> Result<(), ReadError> {
    // If another replica was faster, that is not an error.
    purge::delete(bus, COMMANDS.name, sequence)
        .await
        .map_err(|error| ReadError::new(COMMANDS.name, error))?;
    Ok(())
}
