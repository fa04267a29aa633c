//! Changes of the registry: applying a file, pausing and resuming, removing.
//!
//! Every write names the revision of the channel that it is based on. If another operator has changed the channel in
//! between, a change that does not overlap is made again on the new state, and any other fails. So two operators cannot
//! undo each other's changes unnoticed.

use anyhow::bail;
use bsp::ChannelId;
use bus::registry::{RegistryError, StoredChannel};
use bus::{Bus, Priority, command_consumers, registry};
use channel::Record;
use serde_json::json;

use crate::confirm::is_confirmed;
use crate::exit::Exit;
use crate::output::{GOOD, ODD, Out, styled, text};
use crate::words::{self, pluralize};

/// Most attempts of a change that conflicts with changes of others.
const ATTEMPTS_MAX: usize = 20;

/// Options of applying channels.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ApplyOptions {
    pub(crate) prune: bool,
    /// Whether to remove channels without asking.
    pub(crate) yes: bool,
    pub(crate) dry_run: bool,
    pub(crate) rekey: bool,
}

/// Options of removing channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removal {
    /// Remove even if commands are pending.
    pub(super) force: bool,
    /// Remove without asking.
    pub(super) yes: bool,
}

/// Returns the question before channels are removed.
fn question(ids: &[&str]) -> String {
    format!(
        "Remove {}: {}? Ingress will answer their webhooks 401.",
        pluralize(ids.len(), "channel"),
        ids.join(", ")
    )
}

const NOT_REMOVED: &str = "no channel was removed; use --yes to remove without asking";

/// Stores the channels that differ, and prints for each channel what was done.
pub(crate) async fn apply(
    bus: &Bus,
    records: &[Record],
    options: ApplyOptions,
    out: &Out,
) -> anyhow::Result<Exit> {
    let stored = registry::list(bus).await?;
    let find = |id: &str| stored.iter().find(|found| found.id == id);
    for record in records {
        if let Some(StoredChannel { record: Ok(found), .. }) = find(&record.id)
            && found.key_fingerprint != record.key_fingerprint
            && !options.rekey
        {
            let id = &record.id;
            return Ok(out.faulty(&format!(
                "channel {id} was stored under another IMCHANNEL_CREDENTIAL_KEY; services with that key would reject all its webhooks. \
                 Use the key of the services, or --rekey if the services get this key"
            )));
        }
    }
    for record in records {
        let found = find(&record.id);
        let wanted = Record { paused: is_paused(found), ..record.clone() };
        let action = match found.map(|found| &found.record) {
            Some(Ok(found)) if *found == wanted => "unchanged",
            Some(_) => "changed",
            None => "created",
        };
        if !options.dry_run {
            // First, so that no sender finds a channel without them.
            make_lanes(bus, &wanted).await?;
        }
        if action != "unchanged" && !options.dry_run {
            store(bus, wanted, found).await?;
        }
        say_applied(&record.id, action, options, out);
    }
    let superfluous: Vec<&StoredChannel> = stored
        .iter()
        .filter(|found| options.prune && records.iter().all(|record| record.id != found.id))
        .collect();
    let ids: Vec<&str> = superfluous.iter().map(|found| found.id.as_str()).collect();
    if !ids.is_empty() && !options.dry_run && !is_confirmed(options.yes, &question(&ids))? {
        return Ok(
            out.faulty(&format!("the file's channels are applied; {NOT_REMOVED} ({})", ids.join(", ")))
        );
    }
    for found in superfluous {
        if !options.dry_run {
            remove_one(bus, found, false).await?;
        }
        say_applied(&found.id, "removed", options, out);
    }
    Ok(Exit::Ok)
}

fn say_applied(id: &str, action: &str, options: ApplyOptions, out: &Out) {
    let style = if action == "unchanged" { ODD } else { GOOD };
    let note = if options.dry_run { " (dry run)" } else { "" };
    out.print(&text!("{} channel {id}{note}", styled(style, action)));
    out.object(&json!({ "channel": id, "action": action, "dry_run": options.dry_run }));
}

/// A file does not say whether a channel is paused, so the stored state is kept.
fn is_paused(found: Option<&StoredChannel>) -> bool {
    matches!(found, Some(StoredChannel { record: Ok(Record { paused: true, .. }), .. }))
}

/// Stores a channel of a file over the one that was read. If it was paused or resumed in between, that state is kept.
async fn store(bus: &Bus, wanted: Record, found: Option<&StoredChannel>) -> anyhow::Result<()> {
    let mut wanted = wanted;
    let mut revision = found.map(|found| found.revision);
    for _ in 0..ATTEMPTS_MAX {
        match registry::replace(bus, &wanted, revision).await {
            Err(RegistryError::Changed { .. }) => {}
            Err(error) => return Err(error.into()),
            // Again: an operator who removed the channel right before may have deleted its consumers since.
            Ok(()) => return make_lanes(bus, &wanted).await,
        }
        let now = registry::read(bus, &wanted.id).await?;
        let (Some(found), Some(now)) = (found, now) else { return Err(changed(&wanted.id)) };
        if !differ_in_pause_alone(found, &now) {
            return Err(changed(&wanted.id));
        }
        wanted.paused = is_paused(Some(&now));
        revision = Some(now.revision);
    }
    Err(changed(&wanted.id))
}

fn differ_in_pause_alone(before: &StoredChannel, now: &StoredChannel) -> bool {
    let (Ok(before), Ok(now)) = (&before.record, &now.record) else { return false };
    Record { paused: now.paused, ..before.clone() } == *now
}

fn changed(id: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "another operator changed channel {id} at the same time, and it is as they left it; the changes printed above were made. Check \
         it with `imchannel channel show {id}`, and run this command again if you still want it"
    )
}

/// Creates the consumers of a channel that can send.
async fn make_lanes(bus: &Bus, record: &Record) -> anyhow::Result<()> {
    let channel = record.to_channel()?;
    if channel.bsp.sending().is_some() {
        command_consumers::apply(bus, &channel.id).await?;
    }
    Ok(())
}

/// Removes a channel and its consumers, unless commands are pending.
async fn remove_one(bus: &Bus, found: &StoredChannel, force: bool) -> anyhow::Result<()> {
    let id = found.id.as_str();
    let Ok(channel) = ChannelId::parse(id) else { return remove_entry(bus, found).await };
    let mut waiting = 0;
    let mut given_to = [0; 2];
    for queue in Priority::ALL {
        let found = command_consumers::lag(bus, queue, &channel).await?.unwrap_or_default();
        waiting += found.num_pending + found.num_ack_pending;
        given_to[queue as usize] = found.delivered_seq;
    }
    if waiting > 0 && !force {
        bail!(
            "{} for channel {id}; remove it later, or use --force to make dead letters of them",
            words::waiting(waiting, "command", None)
        );
    }
    remove_entry(bus, found).await?;
    command_consumers::remove(bus, &channel).await?;
    // Another operator may have created the channel again, and it needs the consumers.
    if let Some(StoredChannel { record: Ok(record), .. }) = registry::read(bus, id).await? {
        return make_lanes(bus, &record).await;
    }
    for queue in Priority::ALL.into_iter().filter(|_| waiting == 0) {
        command_consumers::purge_acked(bus, queue, &channel, given_to[queue as usize]).await?;
    }
    Ok(())
}

async fn remove_entry(bus: &Bus, found: &StoredChannel) -> anyhow::Result<()> {
    match registry::remove(bus, &found.id, found.revision).await {
        Ok(()) => Ok(()),
        Err(RegistryError::Changed { id }) => Err(changed(&id)),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn remove(bus: &Bus, ids: &[String], options: Removal, out: &Out) -> anyhow::Result<Exit> {
    let mut all = Vec::new();
    for id in ids {
        let Some(found) = registry::read(bus, id).await? else {
            bail!("channel {id} does not exist; `imchannel channel list` shows all channels")
        };
        all.push(found);
    }
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    if !is_confirmed(options.yes, &question(&names))? {
        return Ok(out.faulty(NOT_REMOVED));
    }
    for found in all {
        let id = &found.id;
        remove_one(bus, &found, options.force).await?;
        out.print(&text!("{} channel {id}", styled(GOOD, "removed")));
        out.object(&json!({ "channel": id, "action": "removed" }));
    }
    Ok(Exit::Ok)
}

/// Pauses or resumes channels. Other changes that are made at the same time are kept.
pub(super) async fn set_paused(bus: &Bus, ids: &[String], paused: bool, out: &Out) -> anyhow::Result<()> {
    for id in ids {
        let action = set_one_paused(bus, id, paused).await?;
        out.print(&text!("{} channel {id}", styled(GOOD, action)));
        out.object(&json!({ "channel": id, "action": action }));
    }
    Ok(())
}

async fn set_one_paused(bus: &Bus, id: &str, paused: bool) -> anyhow::Result<&'static str> {
    for _ in 0..ATTEMPTS_MAX {
        let Some(StoredChannel { revision, record: Ok(record), .. }) = registry::read(bus, id).await? else {
            bail!("channel {id} does not exist; `imchannel channel list` shows all channels");
        };
        if record.to_channel()?.bsp.sending().is_none() {
            bail!("channel {id} cannot send: imchannel only receives from its BSP");
        }
        if record.paused == paused {
            return Ok("unchanged");
        }
        match registry::replace(bus, &Record { paused, ..record }, Some(revision)).await {
            Ok(()) => return Ok(if paused { "paused" } else { "resumed" }),
            Err(RegistryError::Changed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(changed(id))
}
