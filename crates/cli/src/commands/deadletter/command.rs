//! Publishes the dead letter of a command again, as a command.
//!
//! It is not sent twice. The sender reads the ledger entry of the command's id, so a command that was or may have been
//! sent is not sent again. The ledger keeps entries for longer than the oldest dead letter that is accepted here, so a
//! dead letter that is published twice is recognized as the same command. The REJECTED result stays published; the new
//! result is published in addition.

use std::time::Duration;

use bsp::ChannelId;
use bsp::command::{self, ReceivedCommand};
use bus::replay::ReplayRun;
use bus::streams::{COMMANDS, SENDS_BUCKET};
use bus::{Bus, Delivery, Headers, Priority, Subject, fill, headers, message_store};
use jiff::Timestamp;
use sender::IdUse;
use tokio::time::Instant;

use crate::commands::send::{SendSupport, check_channel};
use crate::repair::refuse_gone_back;

/// Highest age of a dead letter that is published again. Until then the ledger still has the entry of its command.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Timeout of storing the command.
const STORE_LIMIT: Duration = Duration::from_secs(10);
// The time for which the command may have waited before it became a dead letter.
const _: () = assert!(AGE_MAX.as_secs() < SENDS_BUCKET.max_age.as_secs());

/// A command that can be published again.
#[derive(Debug)]
pub(super) struct Again {
    subject: Subject,
}

/// Result of checking the dead letter of a command.
#[derive(Debug)]
pub(super) enum Checked {
    /// The command can be published again.
    Publishable(Again),
    /// It is not published, for this reason.
    Refused(String),
}

impl Checked {
    fn refused(reason: &str) -> Self {
        Self::Refused(reason.to_owned())
    }
}

/// Parses the dead letter of a command with this version.
pub(super) async fn read(bus: &Bus, letter: &Delivery) -> anyhow::Result<Checked> {
    let subject = match subject(letter) {
        Ok(subject) => subject,
        Err(reason) => return Ok(Checked::Refused(reason)),
    };
    let Some(channel) = subject.channel() else {
        return Ok(Checked::refused("its subject names no channel"));
    };
    let message = match command::decode(letter.headers.get(headers::CONTENT_TYPE), &letter.payload) {
        Ok(message) => message,
        Err(undecodable) => {
            let fault = &undecodable.fault;
            return Ok(Checked::Refused(format!(
                "cannot decode it as SendCommand: {} {}",
                fault.field, fault.rule
            )));
        }
    };
    let command = match command::check(ReceivedCommand { channel, command: &message }) {
        Ok(command) => command,
        Err(refused) => {
            let faults: Vec<_> =
                refused.faults.iter().map(|fault| format!("{} {}", fault.field, fault.rule)).collect();
            return Ok(Checked::Refused(faults.join("; ")));
        }
    };
    if command.not_after.is_some_and(|not_after| not_after <= Timestamp::now()) {
        return Ok(Checked::refused("its deadline 'not_after' has passed"));
    }
    if let SendSupport::Unsupported(reason) = check_channel(bus, channel).await? {
        return Ok(Checked::Refused(reason));
    }
    Ok(match sender::used(bus, channel, &message).await? {
        IdUse::NotYet => Checked::Publishable(Again { subject }),
        IdUse::ForThis => {
            Checked::refused("the ledger of sends has an entry for it: it was or may have been sent")
        }
        IdUse::ForAnother => {
            Checked::refused("its command_id was used for another message; publish it under a new command_id")
        }
    })
}

/// Returns the subject to publish to: the original one, or the channel's queue of agents.
fn subject(letter: &Delivery) -> Result<Subject, String> {
    let Some(Subject::DeadLetter(_, Some(channel))) = letter.address() else {
        return Err("no lane reads the subject to which it was published".to_owned());
    };
    if letter.headers.get(headers::MAY_BE_SENT).is_some() {
        return Err("it may have been sent: its result is UNKNOWN".to_owned());
    }
    if letter.headers.get(headers::PART) == Some(headers::PART_CUT) {
        return Err("the dead letter is truncated: the command was too large".to_owned());
    }
    let age = Timestamp::now().duration_since(letter.stored_at);
    if Duration::try_from(age).unwrap_or_default() >= AGE_MAX {
        let hours = AGE_MAX.as_secs() / 3600;
        return Err(format!(
            "it is older than {hours} h, and the ledger of sends removes old entries; publish it under a new command_id"
        ));
    }
    Ok(queue_of(letter, &channel))
}

fn queue_of(letter: &Delivery, channel: &ChannelId) -> Subject {
    match letter.headers.get(headers::SUBJECT).and_then(Subject::parse) {
        Some(Subject::Command(queue, of)) if of == *channel => Subject::Command(queue, of),
        _ => Subject::Command(Priority::Interactive, channel.clone()),
    }
}

/// Checks whether COMMANDS has room, and can be read.
pub(super) async fn require_room(bus: &Bus) -> anyhow::Result<()> {
    refuse_gone_back(bus, &COMMANDS).await?;
    fill::refresh(bus, COMMANDS.id).await?;
    Ok(())
}

/// Publishes the command again, and removes its dead letter.
pub(super) async fn publish(
    bus: &Bus,
    letter: &Delivery,
    again: &Again,
    run: &ReplayRun,
) -> anyhow::Result<()> {
    require_room(bus).await?;
    // The stream recognizes the same dead letter for its duplicate window, and the ledger does so after that.
    let id = format!("deadletter-{}", letter.sequence);
    let headers = || {
        Headers::new()
            .with(headers::MESSAGE_ID, &id)
            .with_replay(Some(run))
            .with_optional(headers::CONTENT_TYPE, letter.headers.get(headers::CONTENT_TYPE))
            .with_optional(headers::TRACEPARENT, letter.headers.get(headers::TRACEPARENT))
    };
    bus.store(&again.subject, headers, &letter.payload, Instant::now() + STORE_LIMIT).await?;
    message_store::drop_dead_letter(bus, letter.sequence).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_published_again_for_a_day() {
        let letter = |age: Duration| Delivery {
            subject: "imchannel.deadletter.command.c".to_owned(),
            headers: Headers::new().with(headers::SUBJECT, "imchannel.command.bulk.c"),
            payload: "{}".into(),
            sequence: 1,
            attempt: 0,
            stored_at: Timestamp::now() - age,
        };
        let own = Subject::Command(Priority::Bulk, ChannelId::parse("c").unwrap());
        assert_eq!(subject(&letter(AGE_MAX - Duration::from_secs(60))), Ok(own));
        assert!(subject(&letter(AGE_MAX)).unwrap_err().contains("older than 24 h"));
        // A dead letter without the subject of its channel goes to the queue of agents.
        let mut other = letter(Duration::ZERO);
        other.subject = "imchannel.deadletter.command.d".to_owned();
        assert_eq!(subject(&other).unwrap().to_text(), "imchannel.command.send.d");
    }
}
