//! `imchannel lanes`: pending commands, and why they wait.

use std::time::Duration;

use anyhow::bail;
use bsp::ChannelId;
use bus::inspect::{self, ConsumerInfo};
use bus::{Bus, Priority, registry};
use channel::Channel;
use clap::Subcommand;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use lane_state::{CrowdedRecipient, HaltReason, LaneState};
use serde_json::json;

use crate::exit::Exit;
use crate::output::{ODD, Out, Text, styled};
use crate::target::Target;
use crate::words::{pluralize, span};

/// Most lanes that are read concurrently.
const LANES_AT_ONCE: usize = 16;

#[derive(Debug, Subcommand)]
pub(crate) enum Lanes {
    /// Show for each channel the pending commands, the owner of its lane, and why nothing is sent.
    List {
        /// Only this channel.
        #[arg(long)]
        channel: Option<String>,
    },
}

pub(crate) async fn run(command: Lanes, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let bus = target.connect().await?;
    match command {
        Lanes::List { channel } => waiting(&bus, channel.as_deref(), out).await?,
    }
    Ok(Exit::Ok)
}

/// The commands of a lane. All commands without a call in flight are pending.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    agents_waiting: u64,
    campaigns_waiting: u64,
    in_progress: u64,
    /// When the oldest command that is not acked was stored.
    oldest: Option<Timestamp>,
    is_missing: bool,
}

impl Lane {
    /// Computes it from the consumers and from the calls that the owner reports.
    fn of(durables: &[ConsumerInfo], state: Option<&LaneState>) -> Self {
        let in_progress = state.map_or(0, |state| state.in_progress as u64);
        let campaigns = state.map_or(0, |state| state.campaigns_in_progress as u64);
        let waiting = |queue: Priority, calls: u64| {
            let of_queue = durables.iter().filter(|durable| durable.queue == Some(queue));
            of_queue.map(|durable| durable.pending + durable.held.saturating_sub(calls)).sum::<u64>()
        };
        let held: u64 = durables.iter().map(|durable| durable.held).sum();
        Self {
            agents_waiting: waiting(Priority::Interactive, in_progress.saturating_sub(campaigns)),
            campaigns_waiting: waiting(Priority::Bulk, campaigns),
            in_progress: in_progress.min(held),
            oldest: durables.iter().filter_map(|durable| durable.oldest).min(),
            is_missing: durables.len() < Priority::ALL.len(),
        }
    }

    fn waiting(&self) -> u64 {
        self.agents_waiting + self.campaigns_waiting
    }
}

/// Returns the channels that can send, or the requested one.
async fn sending(bus: &Bus, only: Option<&str>) -> anyhow::Result<Vec<Channel>> {
    let stored = registry::list(bus).await?.into_iter();
    let channels = stored.filter_map(|stored| stored.record.and_then(|record| record.to_channel()).ok());
    let is_asked = |channel: &Channel| only.is_none_or(|only| only == channel.id.as_str());
    Ok(channels.filter(|channel| channel.bsp.sending().is_some() && is_asked(channel)).collect())
}

async fn waiting(bus: &Bus, only: Option<&str>, out: &Out) -> anyhow::Result<()> {
    let leases = inspect::leases(bus).await?;
    let channels = sending(bus, only).await?;
    let durables = stream::iter(&channels).map(|channel| inspect::lane_durables(bus, &channel.id));
    let durables: Vec<_> = durables.buffered(LANES_AT_ONCE).try_collect().await?;
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for (channel, durables) in channels.iter().zip(&durables) {
        let name = lane_state::lane_lease(channel.id.as_str());
        let state = leases.iter().find(|lease| lease.name == name);
        let state = state.and_then(|lease| LaneState::from_bytes(&lease.value));
        let lane = Lane::of(durables, state.as_ref());
        let why = why(&channel.id, &lane, channel.is_paused, state.as_ref());
        let crowded = state.as_ref().map(|state| state.crowded).unwrap_or_default();
        let owner = state.map(|state| state.owner).unwrap_or_default();
        let oldest = lane.oldest.filter(|_| lane.waiting() > 0);
        let age = oldest.map(|oldest| Duration::try_from(now.duration_since(oldest)).unwrap_or_default());
        out.object(&json!({
            "channel": channel.id.as_str(), "send_waiting": lane.agents_waiting,
            "bulk_waiting": lane.campaigns_waiting, "oldest_waiting_age_s": age.map(|age| age.as_secs()),
            "in_progress": lane.in_progress, "paused": channel.is_paused, "owner": owner, "reason": why,
            "behind": crowded.behind, "full_recipients": crowded.full_recipients,
        }));
        rows.push([
            Text::of(&channel.id),
            Text::of(lane.agents_waiting),
            Text::of(lane.campaigns_waiting),
            Text::of(age.map(span).unwrap_or_default()),
            Text::of(lane.in_progress),
            Text::of(owner),
            if why.is_empty() { Text::default() } else { styled(ODD, &why) },
        ]);
    }
    if let (Some(only), true) = (only, rows.is_empty()) {
        bail!("channel {only} cannot send, or does not exist");
    }
    let columns =
        ["Channel", "Agents", "Campaigns", "Oldest waits", "In progress", "Worked by", "Why it waits"];
    out.table(&columns, &rows);
    Ok(())
}

/// Returns why a lane does not send; empty while it sends.
fn why(channel: &ChannelId, lane: &Lane, is_paused: bool, state: Option<&LaneState>) -> String {
    if lane.is_missing {
        return format!(
            "its durables are missing: run `imchannel channel apply` (send-{channel}, bulk-{channel})"
        );
    }
    if is_paused {
        return "paused by an operator".to_owned();
    }
    let Some(state) = state else { return "the lane has no owner".to_owned() };
    match &state.halted {
        // The owner of the lane renews its lease every few seconds. This one is older than the change of the channel.
        Some(HaltReason::Paused) => return "resuming".to_owned(),
        Some(_) => return state.why(),
        None => {}
    }
    // Commands behind an earlier one have a separate reason.
    let waiting = lane.waiting().saturating_sub(state.crowded.behind as u64);
    let recipients = of_recipients(state.crowded);
    let is_rate = waiting > 0 && !state.crowded.is_lane_full;
    match recipients {
        Some(recipients) if is_rate => format!("the channel's rate; {recipients}"),
        Some(recipients) => recipients,
        None if waiting > 0 => "the channel's rate".to_owned(),
        None if state.in_progress > 0 => "calls and look-ups in progress".to_owned(),
        None => String::new(),
    }
}

/// Describes the commands that wait behind an earlier one to the same recipient; `None` without such commands.
fn of_recipients(crowded: CrowdedRecipient) -> Option<String> {
    let CrowdedRecipient { behind, recipients, full_recipients, .. } = crowded;
    if behind == 0 {
        return None;
    }
    let (commands, of) = (pluralize(behind, "command"), pluralize(recipients, "recipient"));
    let waits = if behind == 1 { "waits" } else { "wait" };
    let mut text = format!("{commands} to {of} {waits} behind an earlier one");
    if full_recipients > 0 {
        let full = pluralize(full_recipients, "recipient");
        text.push_str(&format!("; more to {full} are rejected (RECIPIENT_QUEUE_FULL)"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_channel_is_resuming_until_its_lease_says_so() {
        let channel = ChannelId::parse("c").unwrap();
        let why = |is_paused, halted| {
            let state = LaneState { halted, ..LaneState::default() };
            super::why(&channel, &Lane::default(), is_paused, Some(&state))
        };
        let paused = || Some(HaltReason::Paused);
        assert_eq!(why(true, paused()), "paused by an operator");
        assert_eq!(why(true, None), "paused by an operator");
        assert_eq!(why(false, paused()), "resuming");
        assert_eq!(why(false, Some(HaltReason::RateLimited)), "the BSP limits the rate");
        assert_eq!(why(false, None), "");
    }

    #[test]
    fn pending_recipients_are_named_as_the_reason() {
        let channel = ChannelId::parse("c").unwrap();
        let why = |waiting: u64, crowded: CrowdedRecipient| {
            let state = LaneState { in_progress: 1, crowded, ..LaneState::default() };
            let lane = Lane { campaigns_waiting: waiting + crowded.behind as u64, ..Lane::default() };
            super::why(&channel, &lane, false, Some(&state))
        };
        let crowded =
            CrowdedRecipient { behind: 500, recipients: 1, full_recipients: 1, is_lane_full: false };
        assert_eq!(why(20, CrowdedRecipient::default()), "the channel's rate");
        assert_eq!(
            why(0, crowded),
            "500 commands to 1 recipient wait behind an earlier one; \
             more to 1 recipient are rejected (RECIPIENT_QUEUE_FULL)"
        );
        assert!(why(20, crowded).starts_with("the channel's rate; 500 commands to 1 recipient wait"));
        let crowded =
            CrowdedRecipient { behind: 4000, recipients: 900, full_recipients: 0, is_lane_full: true };
        assert_eq!(why(20, crowded), "4000 commands to 900 recipients wait behind an earlier one");
        assert_eq!(why(0, CrowdedRecipient::default()), "calls and look-ups in progress");
    }
}
