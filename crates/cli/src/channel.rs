//! `imchannel channel`: the registry of channels.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bsp::SettingsContext;
use bus::{Bus, registry};
use channel::Record;
use channel::file::Described;
use clap::Subcommand;
use serde_json::json;

use crate::Done;
use crate::out::{BAD, GOOD, ODD, Out, styled};
use crate::target::Target;

/// Digits of a stored credential that tell it from another, and tell nothing else.
const FINGERPRINT_DIGITS: usize = 8;

#[derive(Debug, Subcommand)]
pub(crate) enum Channel {
    /// Store the channels of a file. Running services follow within a second.
    Apply {
        /// The channels file (TOML).
        #[arg(short, long)]
        file: PathBuf,
        /// Also remove stored channels that the file does not have.
        #[arg(long)]
        prune: bool,
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// List the stored channels.
    List,
    /// Show one stored channel. Credentials are shown by fingerprints.
    Show {
        /// The channel's id.
        id: String,
    },
    /// Remove stored channels; their webhooks are answered 401 from then on.
    Remove {
        /// The channels' ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

pub(crate) async fn run(command: Channel, target: &Target, out: &Out) -> anyhow::Result<Done> {
    match command {
        Channel::Apply { file, prune, dry_run } => {
            let context = SettingsContext { extra_hosts: target.infobip_hosts.clone() };
            let Some(channels) = read_file(&file, &context, out)? else {
                return Ok(Done::Faulty);
            };
            let key = target.key()?;
            let records: Vec<Record> = channels.iter().map(|channel| channel.to_record(&key)).collect();
            apply(&target.connect().await?, &records, prune, dry_run, out).await?;
        }
        Channel::List => list(&target.connect().await?, out).await?,
        Channel::Show { id } => show(&target.connect().await?, &id, out).await?,
        Channel::Remove { ids } => remove(&target.connect().await?, &ids, out).await?,
    }
    Ok(Done::Well)
}

/// Reads a channels file; `None` when it has faults, which are printed.
pub(crate) fn read_file(
    path: &Path,
    context: &SettingsContext,
    out: &Out,
) -> anyhow::Result<Option<Vec<Described>>> {
    let source = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    match channel::file::parse(&source, context) {
        Ok(channels) => Ok(Some(channels)),
        Err(faults) => {
            out.say(&format!("{} {} has {} faults:", styled(BAD, "error:"), path.display(), faults.len()));
            for fault in &faults {
                out.say(&format!("  {}:{}: {}", path.display(), fault.line, fault.message));
                out.object(&json!({ "file": path, "line": fault.line, "fault": fault.message }));
            }
            Ok(None)
        }
    }
}

/// Stores what differs, and says for each channel what was done.
pub(crate) async fn apply(
    bus: &Bus,
    records: &[Record],
    prune: bool,
    dry_run: bool,
    out: &Out,
) -> anyhow::Result<()> {
    let stored = registry::list(bus).await?;
    let mut done: Vec<(&str, &str)> = Vec::new();
    for record in records {
        let action = match stored.iter().find(|stored| stored.id == record.id) {
            Some(stored) if stored == record => "unchanged",
            Some(_) => "changed",
            None => "created",
        };
        if action != "unchanged" && !dry_run {
            registry::put(bus, record).await?;
        }
        done.push((&record.id, action));
    }
    let superfluous =
        stored.iter().filter(|stored| prune && records.iter().all(|record| record.id != stored.id));
    for record in superfluous {
        if !dry_run {
            registry::remove(bus, &record.id).await?;
        }
        done.push((&record.id, "removed"));
    }
    for (id, action) in done {
        let style = if action == "unchanged" { ODD } else { GOOD };
        let note = if dry_run { " (dry run)" } else { "" };
        out.say(&format!("{} channel {id}{note}", styled(style, action)));
        out.object(&json!({ "channel": id, "action": action, "dry_run": dry_run }));
    }
    Ok(())
}

async fn list(bus: &Bus, out: &Out) -> anyhow::Result<()> {
    let records = registry::list(bus).await?;
    if records.is_empty() {
        out.say("There are no channels. Describe some in a file and run `imchannel channel apply -f FILE`.");
        return Ok(());
    }
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            let signature = if record.signature.is_some() { "checked" } else { "-" };
            let credentials = record.webhook.len().to_string();
            vec![
                record.id.clone(),
                record.bsp.clone(),
                record.tenant.clone(),
                credentials,
                signature.to_owned(),
            ]
        })
        .collect();
    out.rows(&["Id", "BSP", "Tenant", "Credentials", "Signature"], &rows);
    Ok(())
}

async fn show(bus: &Bus, id: &str, out: &Out) -> anyhow::Result<()> {
    let Some(record) = find(bus, id).await? else { bail!("there is no channel {id}") };
    let fingerprints: Vec<_> =
        record.webhook.iter().map(|digest| digest.get(..FINGERPRINT_DIGITS).unwrap_or_default()).collect();
    let shown = json!({
        "id": record.id,
        "bsp": record.bsp,
        "tenant": record.tenant,
        "credentials": fingerprints,
        "signature": record.signature,
        "settings": record.settings,
        "report_path": format!("/social/on/whatsapp/{}/report/{}", record.bsp, record.id),
        "message_path": format!("/social/on/whatsapp/{}/message/{}", record.bsp, record.id),
    });
    out.object(&shown);
    out.say(&serde_json::to_string_pretty(&shown)?);
    Ok(())
}

async fn remove(bus: &Bus, ids: &[String], out: &Out) -> anyhow::Result<()> {
    for id in ids {
        if find(bus, id).await?.is_none() {
            bail!("there is no channel {id}");
        }
        registry::remove(bus, id).await?;
        out.say(&format!("{} channel {id}", styled(GOOD, "removed")));
        out.object(&json!({ "channel": id, "action": "removed" }));
    }
    Ok(())
}

async fn find(bus: &Bus, id: &str) -> anyhow::Result<Option<Record>> {
    Ok(registry::list(bus).await?.into_iter().find(|record| record.id == id))
}
