//! `imchannel sends`: what waits to be sent, and why.

use anyhow::bail;
use bsp::ChannelId;
use bus::{Bus, Queue, lanes, lease, registry};
use clap::Subcommand;
use sender::LaneState;
use serde_json::json;

use crate::Done;
use crate::out::{ODD, Out, styled};
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
        let state = state.and_then(|(_, value)| serde_json::from_slice::<LaneState>(value).ok());
        let mut counts = Vec::new();
        for queue in Queue::ALL {
            counts.push(lanes::waiting(bus, queue, &channel.id).await?);
        }
        let missing = counts.iter().any(Option::is_none);
        let [send, bulk] = [0, 1].map(|place| counts[place].unwrap_or_default());
        let why =
            why(&channel.id, (send.in_stream + bulk.in_stream, missing), channel.is_paused, state.as_ref());
        let owner = state.map(|state| state.owner).unwrap_or_default();
        out.object(&json!({
            "channel": id, "send_waiting": send.in_stream, "bulk_waiting": bulk.in_stream,
            "in_progress": send.held + bulk.held, "paused": channel.is_paused, "owner": owner, "why": why,
        }));
        rows.push([
            id,
            send.in_stream.to_string(),
            bulk.in_stream.to_string(),
            (send.held + bulk.held).to_string(),
            owner,
            if why.is_empty() { why } else { styled(ODD, &why) },
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
    match state {
        None => "no sender works it".to_owned(),
        Some(state) if !state.halted.is_empty() => state.halted.clone(),
        Some(_) if waiting > 0 => "the channel's rate".to_owned(),
        Some(state) if state.in_progress > 0 => "calls and look-ups under way".to_owned(),
        Some(_) => String::new(),
    }
}
