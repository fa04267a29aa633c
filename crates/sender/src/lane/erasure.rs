//! Settles the commands of a customer who is being erased, when the eraser asks the owner of their lane. Only the owner is asked, and
//! it changes the ledger in the same way and under the same conditions as always, so that nothing is sent twice:
//!
//! | the ledger has | what is done |
//! |---|---|
//! | no entry, and the command has no result | it is answered REJECTED `CUSTOMER_ERASED`: in the stream as a command that expires, in this process before its next call |
//! | an entry without a call | the same |
//! | the intent of a call | nothing: the call ends as always, and its result is the truth |
//! | a result that is stored in EVENTS | the entry is replaced by one that says "answered", without result and context |
//! | a result that is not stored yet | nothing: it is published as always |
//! | the entry of another command with the same id | nothing: the command is answered by the worker of the lane first |
//!
//! What an entry needs is decided by [`judge`], which the model of the send protocol calls too. No entry is deleted: it shows that the
//! command was processed, until it is 26 hours old.

pub(crate) mod judge;

use std::sync::Arc;
use std::time::Duration;

use bsp::{ChannelId, CommandId};
use bus::erasure::{self, LaneRequests};
use bus::ledger::{Entry, LedgerKey};
use bus::rate_limited_log::RateLimitedLog;
use bus::streams::COMMANDS;
use bus::{Delivery, Priority, Subject, command_consumers, message_store};
use lane_state::erasure::{AskedCommand, CommandToErase, ErasureAnswer, ErasureRequest, ErasureState};
use tokio::time::Instant;

use crate::command;
use crate::context::LaneContext;
use crate::context::erased_commands::customer_erased;
use crate::lane::erasure::judge::{EntryNeeds, ErasedCommand, StoredContent};
use crate::lane::expiry;
use crate::lane::expiry::segment::Delivered;
use crate::ledger::record::Record;

/// Pause after a failed attempt to listen.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Timeout of one ledger write.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(3);

static FAILED: RateLimitedLog = RateLimitedLog::new();

/// A command that is asked for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    asked: &'a CommandToErase,
    /// The command, if the stream still holds it.
    stored: Option<&'a Delivery>,
}

impl Asked<'_> {
    fn judge(self, channel: &ChannelId, record: &Record) -> EntryNeeds {
        let digest = self.stored.and_then(|stored| digest(channel, stored));
        let content = match (self.stored, digest.as_deref()) {
            (_, Some(digest)) => StoredContent::Digest(digest),
            (Some(_), None) => StoredContent::Invalid,
            (None, None) => StoredContent::Gone,
        };
        let CommandToErase { sequence, is_result_stored, .. } = *self.asked;
        ErasedCommand { sequence, content, is_result_stored }.judge(record)
    }
}

/// The hash of a stored command; `None` if it is invalid, so that no entry is of it.
fn digest(channel: &ChannelId, stored: &Delivery) -> Option<String> {
    command::read(channel, &Arc::new(stored.clone())).ok().map(|command| command.digest)
}

/// The bus is unreachable or refuses something, or the lane may be lost: the eraser asks again.
struct NotNow;

/// Answers the requests of erasures until the lane is closed.
pub(super) async fn watch(lane: LaneContext) {
    let closing = lane.closing.clone();
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            listened = erasure::lane_requests(&lane.shared.bus, &lane.account.channel) => match listened {
                Ok(requests) => serve(&lane, requests).await,
                Err(error) => tracing::debug!(function = "sender", "{error}"),
            }
        }
        if !lane.pause(RETRY_PAUSE).await {
            return;
        }
    }
}

async fn serve(lane: &LaneContext, mut requests: LaneRequests) {
    loop {
        let request = tokio::select! {
            () = lane.closing.cancelled() => return,
            request = requests.next() => request,
        };
        let Some(request) = request else { return };
        // The new owner of the lane is asked next time.
        if !lane.lease.is_valid() {
            continue;
        }
        let Some(asked) = ErasureRequest::from_bytes(&request.payload) else {
            if let Some(turn) = FAILED.next() {
                tracing::warn!(
                    function = "sender",
                    "a request of an erasure cannot be read; update the timeline and the senders to one version{turn}"
                );
            }
            continue;
        };
        let mut answer = ErasureAnswer::default();
        for command in asked.commands {
            // On the heap, because a lane mostly waits for requests.
            let state = Box::pin(settle(lane, &command)).await.unwrap_or(ErasureState::Waits);
            let (sequence, stored_at_us) = (command.sequence, command.stored_at_us);
            answer.commands.push(AskedCommand { sequence, stored_at_us, state });
        }
        request.answer(answer.to_bytes().into()).await;
    }
}

/// Settles one command, as far as that is possible now.
async fn settle(lane: &LaneContext, asked: &CommandToErase) -> Result<ErasureState, NotNow> {
    let (bus, channel) = (&lane.shared.bus, &lane.account.channel);
    // A ledger that lost entries says of a command that was sent that it was not.
    if !bus.is_ledger_intact() {
        return Err(NotNow);
    }
    let stored = message_store::get(bus, &COMMANDS, asked.sequence).await.map_err(|_| NotNow)?;
    let stored = stored.filter(|delivery| is_asked_for(delivery, asked, channel));
    let Some(id) = command_id(asked, stored.as_ref()) else {
        return Ok(match stored {
            None => ErasureState::Unknown,
            // It is answered as a command that cannot be sent, without an entry.
            Some(_) if asked.is_result_stored => ErasureState::Settled,
            Some(_) => ErasureState::Waits,
        });
    };
    let key = LedgerKey::new(channel, &id);
    let entry = bus.ledger_read(&key).await.map_err(|_| NotNow)?;
    let state = match entry {
        Some(entry) => settle_entry(lane, Asked { asked, stored: stored.as_ref() }, &key, entry).await?,
        None if asked.is_result_stored => ErasureState::Settled,
        None => ErasureState::Waits,
    };
    if state != ErasureState::Waits {
        lane.shared.erased.remove(asked.sequence);
        return Ok(state);
    }
    let Some(delivery) = stored.filter(|_| !asked.is_result_stored) else {
        // Without the command there is nothing to answer. Its entry waits for a result that is being published.
        return Ok(ErasureState::Waits);
    };
    lane.shared.erased.add(asked.sequence, Instant::now());
    answer_in_stream(lane, &delivery).await?;
    Ok(ErasureState::Waits)
}

/// Whether a stored command is the one that is asked for. A stream that was created again has another one at its sequence.
fn is_asked_for(delivery: &Delivery, asked: &CommandToErase, channel: &ChannelId) -> bool {
    let id = CommandId::parse(&command::summarize(delivery).command_id);
    delivery.stored_at.as_microsecond() == asked.stored_at_us
        && queue_of(delivery, channel).is_some()
        && asked.command_id.as_ref().is_none_or(|asked| id.is_some_and(|id| id.as_str() == asked))
}

/// The command's id, as the request or the stored command has it.
fn command_id(asked: &CommandToErase, stored: Option<&Delivery>) -> Option<CommandId> {
    match &asked.command_id {
        Some(id) => CommandId::parse(id),
        None => CommandId::parse(&command::summarize(stored?).command_id),
    }
}

/// The queue of a command of this channel.
fn queue_of(delivery: &Delivery, channel: &ChannelId) -> Option<Priority> {
    match Subject::parse(&delivery.subject)? {
        Subject::Command(queue, of) if of == *channel => Some(queue),
        _ => None,
    }
}

async fn settle_entry(
    lane: &LaneContext,
    command: Asked<'_>,
    key: &LedgerKey,
    entry: Entry,
) -> Result<ErasureState, NotNow> {
    // Another version has written it, and that version is asked when it has the lane.
    let record = Record::from_bytes(&entry.value).ok_or(NotNow)?;
    match command.judge(&lane.account.channel, &record) {
        EntryNeeds::Nothing => Ok(ErasureState::Settled),
        EntryNeeds::Answer => Ok(ErasureState::Waits),
        EntryNeeds::Blanking => {
            if !lane.lease.is_valid() {
                return Err(NotNow);
            }
            let deadline = Instant::now() + LEDGER_TIMEOUT;
            let answered = record.answered().to_bytes();
            let written = lane.shared.bus.ledger_write(key, entry.revision, answered, deadline).await;
            written.map(|_| ErasureState::Blanked).map_err(|_| NotNow)
        }
    }
}

/// Answers a command that was not delivered to this lane. One that was is answered by the worker of the lane.
async fn answer_in_stream(lane: &LaneContext, delivery: &Delivery) -> Result<(), NotNow> {
    let (bus, channel) = (&lane.shared.bus, &lane.account.channel);
    let Some(queue) = queue_of(delivery, channel) else { return Ok(()) };
    let lag = command_consumers::lag(bus, queue, channel).await.map_err(|_| NotNow)?;
    let mut delivered = Delivered::default();
    delivered.set(queue, lag.ok_or(NotNow)?.delivered_seq);
    if delivery.sequence <= delivered.up_to(queue) {
        return Ok(());
    }
    // An invalid one is answered when it is delivered.
    let Ok(job) = command::read(channel, &Arc::new(delivery.clone())) else { return Ok(()) };
    expiry::answer(lane, &job, &customer_erased()).await.map_err(|_| NotNow)
}

#[cfg(test)]
mod tests {
    use bus::Headers;
    use jiff::Timestamp;
    use prost::Message;
    use proto::v1::send_command::Content;
    use proto::v1::{OutboundText, SendCommand, SendResult};

    use super::*;

    fn channel() -> ChannelId {
        ChannelId::parse("sales").unwrap()
    }

    fn stored(id: &str, text: &str) -> Delivery {
        let content = Some(Content::Text(OutboundText { body: text.to_owned(), ..OutboundText::default() }));
        let recipient = "4915112345678".to_owned();
        let channel_id = "sales".to_owned();
        let command_id = id.to_owned();
        let command = SendCommand { command_id, channel_id, recipient, content, ..SendCommand::default() };
        Delivery {
            subject: Subject::Command(Priority::ALL[0], channel()).to_text(),
            headers: Headers::new(),
            payload: command.encode_to_vec().into(),
            sequence: 7,
            attempt: 1,
            stored_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn asked(is_result_stored: bool) -> CommandToErase {
        CommandToErase { sequence: 7, stored_at_us: 0, command_id: Some("c".to_owned()), is_result_stored }
    }

    #[test]
    fn only_the_command_that_is_meant_is_settled() {
        let (channel, delivery) = (channel(), stored("c", "hello"));
        assert!(is_asked_for(&delivery, &asked(false), &channel));
        let later = Delivery { stored_at: Timestamp::from_microsecond(1).unwrap(), ..delivery.clone() };
        assert!(!is_asked_for(&later, &asked(false), &channel));
        assert!(!is_asked_for(&stored("d", "hello"), &asked(false), &channel));
        assert!(!is_asked_for(&delivery, &asked(false), &ChannelId::parse("support").unwrap()));
        let masked = CommandToErase { command_id: None, ..asked(false) };
        assert!(is_asked_for(&delivery, &masked, &channel));
    }

    #[test]
    fn a_command_with_a_used_id_is_answered_before_it_is_settled() {
        let delivery = stored("c", "hello");
        let own = digest(&channel(), &delivery).unwrap();
        let judge = |asked: &CommandToErase, stored, record: &Record| {
            Asked { asked, stored }.judge(&channel(), record)
        };
        let record = |sequence, digest: &str| Record::new(sequence, digest.to_owned(), String::new());
        let of_other = record(5, "other").answered();
        assert_eq!(judge(&asked(false), Some(&delivery), &of_other), EntryNeeds::Answer);
        assert_eq!(judge(&asked(true), Some(&delivery), &of_other), EntryNeeds::Nothing);
        assert_eq!(judge(&asked(false), None, &of_other), EntryNeeds::Nothing);
        // The same command was published twice.
        assert_eq!(judge(&asked(false), Some(&delivery), &record(5, &own)), EntryNeeds::Nothing);
        let invalid = stored("c", "");
        assert_eq!(judge(&asked(false), Some(&invalid), &record(5, &own)), EntryNeeds::Answer);
    }

    #[test]
    fn a_result_is_replaced_once_it_is_stored() {
        let delivery = stored("c", "hello");
        let own = digest(&channel(), &delivery).unwrap();
        let open = Record::new(7, own, String::new());
        let owed = open.clone().decided(&SendResult::default());
        let judge = |asked: &CommandToErase, record: &Record| {
            Asked { asked, stored: Some(&delivery) }.judge(&channel(), record)
        };
        assert_eq!(judge(&asked(false), &open), EntryNeeds::Answer);
        assert_eq!(judge(&asked(false), &owed), EntryNeeds::Answer);
        assert_eq!(judge(&asked(true), &owed), EntryNeeds::Blanking);
        assert_eq!(judge(&asked(true), &owed.answered()), EntryNeeds::Nothing);
    }
}
