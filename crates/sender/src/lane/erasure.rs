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
//!
//! No entry is deleted: it shows that the command was processed, until it is 26 hours old.

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
use crate::lane::expiry;
use crate::lane::expiry::segment::Delivered;
use crate::ledger::record::{NextStep, Record};

/// Pause after a failed attempt to listen.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Timeout of one ledger write.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(3);

static FAILED: RateLimitedLog = RateLimitedLog::new();

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
            let state = settle(lane, &command).await.unwrap_or(ErasureState::Waits);
            answer.commands.push(AskedCommand { sequence: command.sequence, state });
        }
        request.answer(answer.to_bytes().into()).await;
    }
}

/// Settles one command, as far as that is possible now.
async fn settle(lane: &LaneContext, asked: &CommandToErase) -> Result<ErasureState, NotNow> {
    let (bus, channel) = (&lane.shared.bus, &lane.account.channel);
    let stored = message_store::get(bus, &COMMANDS, asked.sequence).await.map_err(|_| NotNow)?;
    // A stream that was created again has another command there.
    let stored = stored.filter(|delivery| queue_of(delivery, channel).is_some());
    let Some(id) = command_id(asked, stored.as_ref()) else {
        // It is answered as a command that cannot be sent, without an entry.
        return Ok(if stored.is_none() || asked.is_result_stored {
            ErasureState::Settled
        } else {
            ErasureState::Waits
        });
    };
    let key = LedgerKey::new(channel, &id);
    let entry = bus.ledger_read(&key).await.map_err(|_| NotNow)?;
    let state = match entry {
        Some(entry) => settle_entry(lane, asked, &key, entry).await?,
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

/// The command's id, as the request or the stored command has it.
fn command_id(asked: &CommandToErase, stored: Option<&Delivery>) -> Option<CommandId> {
    match &asked.command_id {
        Some(id) => CommandId::parse(id),
        None => CommandId::parse(&command::decode(stored?).ok()?.command_id),
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
    asked: &CommandToErase,
    key: &LedgerKey,
    entry: Entry,
) -> Result<ErasureState, NotNow> {
    // Another version has written it, and that version is asked when it has the lane.
    let record = Record::from_bytes(&entry.value).ok_or(NotNow)?;
    let digest = record.digest.clone();
    match record.clone().next(asked.sequence, &digest) {
        // The entry is of another command, which is asked for itself if it is the customer's.
        NextStep::Duplicate | NextStep::IdConflict | NextStep::AlreadyPublished => Ok(ErasureState::Settled),
        NextStep::Attempt(_) | NextStep::LookUp(_) => Ok(ErasureState::Waits),
        NextStep::Publish(_) if !asked.is_result_stored => Ok(ErasureState::Waits),
        NextStep::Publish(_) => {
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
    let Ok(job) = command::read(channel, delivery) else { return Ok(()) };
    expiry::answer(lane, &job, &customer_erased()).await.map_err(|_| NotNow)
}
