//! `imchannel sends`: what waits to be sent, and why.

use anyhow::bail;
use bsp::ChannelId;
use bus::{Bus, Queue, lanes, lease, registry};
use clap::Subcommand;
use sender::{Crowded, LaneState};
use serde_json::json;

use crate::Done;
use crate::out::{ODD, Out, Text, styled};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub(crate) enum Sends {
    /// Say per channel what waits, who works its lane, and why nothing is sent.
    Waiting {
        /// Only this channel.
        #[arg(long)]
        channel: Option<String>,
    },
}

pub(crate) async fn run(command: Sends, target: &Target, out: &Out) -> anyhow::Result<Done> {
    let bus = target.connect().await?;
    match command {
        Sends::Waiting { channel } => waiting(&bus, channel.as_deref(), out).await?,
    }
    Ok(Done::Well)
}

async fn waiting(bus: &Bus, only: Option<&str>, out: &Out) -> anyhow::Result<()> {
    let leases = lease::list(bus).await?;
    let mut rows = Vec::new();
    for (id, record) in registry::list(bus).await? {
        let Ok(channel) = record.and_then(|record| record.to_channel()) else { continue };
        if channel.bsp.sending().is_none() || only.is_some_and(|only| only != id) {
            continue;
        }
        let name = sender::lane_lease(&id);
        let state = leases.iter().find(|(key, _)| *key == name);
        let state = state.and_then(|(_, value)| LaneState::from_bytes(value));
        let mut counts = Vec::new();
        for queue in Queue::ALL {
            counts.push(lanes::waiting(bus, queue, &channel.id).await?);
        }
        let missing = counts.iter().any(Option::is_none);
        let [send, bulk] = [0, 1].map(|place| counts[place].unwrap_or_default());
        let why =
            why(&channel.id, (send.in_stream + bulk.in_stream, missing), channel.is_paused, state.as_ref());
        let crowded = state.as_ref().map(|state| state.crowded).unwrap_or_default();
        let owner = state.map(|state| state.owner).unwrap_or_default();
        out.object(&json!({
            "channel": id, "send_waiting": send.in_stream, "bulk_waiting": bulk.in_stream,
            "in_progress": send.held + bulk.held, "paused": channel.is_paused, "owner": owner, "why": why,
            "behind": crowded.behind, "full_recipients": crowded.full_recipients,
        }));
        rows.push([
            Text::of(id),
            Text::of(send.in_stream),
            Text::of(bulk.in_stream),
            Text::of(send.held + bulk.held),
            Text::of(owner),
            if why.is_empty() { Text::default() } else { styled(ODD, &why) },
        ]);
    }
    if let (Some(only), true) = (only, rows.is_empty()) {
        bail!("nothing is sent through a channel {only}");
    }
    out.table(&["Channel", "Agents", "Campaigns", "In progress", "Worked by", "Why it waits"], &rows);
    Ok(())
}

/// Why a lane does not send, in words; empty while it does.
fn why(
    channel: &ChannelId,
    (waiting, is_missing): (u64, bool),
    is_paused: bool,
    state: Option<&LaneState>,
) -> String {
    if is_missing {
        return format!(
            "its durables are missing: run `imchannel channel apply` (send-{channel}, bulk-{channel})"
        );
    }
    if is_paused {
        return "paused by an operator".to_owned();
    }
    let Some(state) = state else { return "no sender works it".to_owned() };
    if !state.halted.is_empty() {
        return state.halted.clone();
    }
    let recipients = of_recipients(state.crowded);
    let is_rate = waiting > 0 && !state.crowded.is_lane_full;
    match recipients {
        Some(recipients) if is_rate => format!("the channel's rate; {recipients}"),
        Some(recipients) => recipients,
        None if waiting > 0 => "the channel's rate".to_owned(),
        None if state.in_progress > 0 => "calls and look-ups under way".to_owned(),
        None => String::new(),
    }
}

/// What waits for recipients whose earlier message is not decided, in words; `None` where nothing does.
fn of_recipients(crowded: Crowded) -> Option<String> {
    let Crowded { behind, recipients, full_recipients, .. } = crowded;
    if behind == 0 {
        return None;
    }
    let (commands, of) = (counted(behind, "command"), counted(recipients, "recipient"));
    let waits = if behind == 1 { "waits" } else { "wait" };
    let mut text = format!("{commands} to {of} {waits} behind an earlier one");
    if full_recipients > 0 {
        let full = counted(full_recipients, "recipient");
        text.push_str(&format!("; more to {full} are refused (RECIPIENT_QUEUE_FULL)"));
    }
    Some(text)
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_recipients_where_it_is() {
        let channel = ChannelId::parse("c").unwrap();
        let why = |waiting: u64, crowded: Crowded| {
            let state = LaneState {
                owner: String::new(),
                account: String::new(),
                halted: String::new(),
                in_progress: 1,
                crowded,
            };
            super::why(&channel, (waiting, false), false, Some(&state))
        };
        let crowded = Crowded { behind: 500, recipients: 1, full_recipients: 1, is_lane_full: false };
        assert_eq!(why(20, Crowded::default()), "the channel's rate");
        assert_eq!(
            why(0, crowded),
            "500 commands to 1 recipient wait behind an earlier one; \
             more to 1 recipient are refused (RECIPIENT_QUEUE_FULL)"
        );
        assert!(why(20, crowded).starts_with("the channel's rate; 500 commands to 1 recipient wait"));
        let crowded = Crowded { behind: 4000, recipients: 900, full_recipients: 0, is_lane_full: true };
        assert_eq!(why(20, crowded), "4000 commands to 900 recipients wait behind an earlier one");
        assert_eq!(why(0, Crowded::default()), "calls and look-ups under way");
    }
}
