//! State of a command when the time to watch it is over.

use bsp::ChannelId;
use bus::{Bus, inspect, registry};
use lane_state::LaneState;

use super::Until;

/// Last state of the command that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has no result.
    Nothing,
    /// It has reached this state.
    Reached(Until),
    /// Its outcome is UNKNOWN.
    Unknown,
}

/// Returns what did not happen in time.
pub(super) fn wanted(until: Until) -> &'static str {
    match until {
        Until::Stored => "was not stored",
        Until::Accepted => "was not accepted by the BSP",
        Until::Delivered => "was not reported as delivered",
        Until::Read => "was not reported as read",
    }
}

/// Returns the state as text: the last state that was seen, or why the command waits.
pub(super) async fn words(bus: &Bus, channel: &ChannelId, progress: Progress) -> String {
    match progress {
        Progress::Unknown => "its outcome is UNKNOWN, and no report has resolved it yet".to_owned(),
        Progress::Reached(Until::Accepted | Until::Stored) => {
            "the BSP has accepted it, and no later report has arrived".to_owned()
        }
        Progress::Reached(Until::Delivered) => "it was delivered, and has not been read yet".to_owned(),
        Progress::Reached(Until::Read) => "it was read".to_owned(),
        Progress::Nothing => {
            let why = why_it_waits(bus, channel).await;
            format!("it is stored and has no result: {}", why.unwrap_or_else(|error| format!("{error}")))
        }
    }
}

async fn why_it_waits(bus: &Bus, channel: &ChannelId) -> anyhow::Result<String> {
    let Some(found) = registry::read(bus, channel.as_str()).await? else {
        return Ok(format!("channel {channel} was removed"));
    };
    if found.record?.paused {
        return Ok(format!(
            "an operator paused the channel (resume it with `imchannel channel resume {channel}`)"
        ));
    }
    let name = lane_state::lane_lease(channel.as_str());
    let lease = inspect::leases(bus).await?.into_iter().find(|lease| lease.name == name);
    let Some(state) = lease.and_then(|lease| LaneState::from_bytes(&lease.value)) else {
        return Ok("its lane has no owner: check whether a sender runs and is ready".to_owned());
    };
    Ok(match state.why() {
        why if !why.is_empty() => why,
        _ if state.in_progress > 0 => {
            "the sender's call is in flight, or its outcome is being looked up".to_owned()
        }
        _ => "it waits for its turn (`imchannel lanes list` shows the channel)".to_owned(),
    })
}
