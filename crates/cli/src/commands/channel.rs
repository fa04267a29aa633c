//! `imchannel channel`: the registry of channels.

mod change;

use std::path::{Path, PathBuf};

use anyhow::bail;
use bsp::SettingsContext;
use bus::Bus;
use bus::registry::{self, StoredChannel};
use channel::Record;
use channel::file::ChannelSpec;
use clap::Subcommand;
use serde_json::json;
use service::example_secrets;

pub(crate) use self::change::{ApplyOptions, apply};
use self::change::{Removal, remove, set_paused};
use crate::exit::Exit;
use crate::output::{BAD, ODD, Out, Text, styled, text};
use crate::target::Target;
use crate::words::{causes, pluralize};

/// Digits of the fingerprint of a stored credential. It identifies the credential and reveals nothing else.
const FINGERPRINT_DIGITS: usize = 8;

#[derive(Debug, Subcommand)]
pub(crate) enum Channel {
    /// Store the channels of a file. Running services read the changes within a second.
    Apply {
        /// The channels file (TOML).
        #[arg(short, long)]
        file: PathBuf,
        /// Also remove stored channels that are not in the file, after asking.
        #[arg(long)]
        prune: bool,
        /// Do not ask before channels are removed.
        #[arg(long, requires = "prune")]
        yes: bool,
        /// Only show what would change.
        #[arg(long)]
        dry_run: bool,
        /// Store channels again that were stored under another credential key.
        #[arg(long)]
        rekey: bool,
    },
    /// List the stored channels.
    List,
    /// Show one stored channel. Credentials are shown by fingerprints.
    Show {
        /// The channel's id.
        id: String,
    },
    /// Remove stored channels, after asking. From then on ingress answers their webhooks 401, and no commands are sent
    /// through them.
    Remove {
        /// The channels' ids.
        #[arg(required = true)]
        ids: Vec<String>,
        /// Remove even if commands are pending; they are dead-lettered.
        #[arg(long)]
        force: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Pause channels: their commands wait until the channel is resumed, or until they expire.
    Pause {
        /// The channels' ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Resume paused channels.
    Resume {
        /// The channels' ids.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

pub(crate) async fn run(command: Channel, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    match command {
        Channel::Apply { file, prune, yes, dry_run, rekey } => {
            let context = SettingsContext { extra_hosts: target.infobip_hosts.clone() };
            let Some(channels) = read_file(&file, &context, out)? else { return Ok(Exit::InvalidInput) };
            if let Some(refused) = refuse_examples(&channels, target, out) {
                return Ok(refused);
            }
            let key = match target.key() {
                Ok(key) => key,
                Err(error) => return Ok(out.faulty(&causes(&error))),
            };
            let records: Vec<Record> = channels.iter().map(|channel| channel.to_record(&key)).collect();
            let options = ApplyOptions { prune, yes, dry_run, rekey };
            return apply(&target.connect().await?, &records, options, out).await;
        }
        Channel::List => list(&target.connect().await?, out).await?,
        Channel::Show { id } => show(&target.connect().await?, &id, out).await?,
        Channel::Remove { ids, force, yes } => {
            let bus = target.connect().await?;
            return remove(&bus, &ids, Removal { force, yes }, out).await;
        }
        Channel::Pause { ids } => set_paused(&target.connect().await?, &ids, true, out).await?,
        Channel::Resume { ids } => set_paused(&target.connect().await?, &ids, false, out).await?,
    }
    Ok(Exit::Ok)
}

/// Reads a channels file. Returns `None` if it has errors, which are printed.
pub(crate) fn read_file(
    path: &Path,
    context: &SettingsContext,
    out: &Out,
) -> anyhow::Result<Option<Vec<ChannelSpec>>> {
    let source = match std::fs::read_to_string(path) {
        Ok(source) => source,
        Err(error) => {
            out.faulty(&format!("cannot read {}: {error}", path.display()));
            return Ok(None);
        }
    };
    match channel::file::parse(&source, context) {
        Ok(channels) => Ok(Some(channels)),
        Err(faults) => {
            let count = pluralize(faults.len(), "fault");
            out.print(&text!("{} {} has {count}:", styled(BAD, "error:"), path.display()));
            for fault in &faults {
                out.print(&format!("  {}:{}: {}", path.display(), fault.line, fault.message));
                out.object(&json!({ "file": path, "line": fault.line, "fault": fault.message }));
            }
            Ok(None)
        }
    }
}

/// Rejects example passwords, which are public, unless the installation is on this machine or `--public-address` is a
/// loopback
/// address.
pub(crate) fn refuse_examples(channels: &[ChannelSpec], target: &Target, out: &Out) -> Option<Exit> {
    if target.is_on_loopback() {
        return None;
    }
    let has_example = |channel: &&ChannelSpec| {
        channel
            .credentials()
            .iter()
            .any(|login| login.password.expose().starts_with(example_secrets::PREFIX.as_bytes()))
    };
    let channel = channels.iter().find(has_example)?;
    Some(out.faulty(&format!(
        "channel {} has an example password (it begins with {}): examples are public and are accepted only on an installation with a \
         loopback address (IMCHANNEL_PUBLIC_ADDRESS); set another password",
        channel.id(),
        example_secrets::PREFIX
    )))
}

/// Whether a channel sends, and how fast.
enum Sending {
    /// Commands a second.
    At(u32),
    /// Its settings have no account.
    NoAccount,
    /// Imchannel only receives from its BSP.
    OnlyReceives,
}

impl Sending {
    fn of(channel: &channel::Channel) -> Self {
        let Some(sending) = channel.bsp.sending() else { return Self::OnlyReceives };
        sending
            .account(&channel.settings)
            .map_or(Self::NoAccount, |account| Self::At(account.sends_per_second))
    }

    fn per_second(&self) -> Option<u32> {
        if let Self::At(rate) = self { Some(*rate) } else { None }
    }

    fn words(&self, is_paused: bool) -> Text {
        match self {
            Self::At(rate) if is_paused => styled(ODD, &format!("paused ({rate}/s)")),
            Self::At(rate) => text!("{rate}/s"),
            Self::NoAccount => text!("no account"),
            Self::OnlyReceives => text!("only receives"),
        }
    }
}

async fn list(bus: &Bus, out: &Out) -> anyhow::Result<()> {
    let stored = registry::list(bus).await?;
    if stored.is_empty() {
        out.print(
            "There are no channels. Define channels in a file and run `imchannel channel apply -f FILE`.",
        );
        return Ok(());
    }
    let mut rows = Vec::new();
    for StoredChannel { id, record, .. } in stored {
        let read = record.and_then(|record| Ok((record.to_channel()?, record)));
        let (channel, record) = match read {
            Ok(read) => read,
            Err(error) => {
                out.object(&json!({ "id": id, "invalid": error.to_string() }));
                let none = Text::default;
                let invalid = styled(BAD, "invalid");
                rows.push([Text::of(id), invalid, none(), none(), none(), none(), none()]);
                continue;
            }
        };
        let sending = Sending::of(&channel);
        out.object(&json!({
            "id": id, "bsp": record.bsp, "tenant": record.tenant, "credentials": record.webhook.len(),
            "signature": record.signature.is_some(), "paused": record.paused,
            "spools": channel.spools(),
            "can_send": sending.per_second().is_some(), "sends_per_second": sending.per_second(),
        }));
        let signature = if record.signature.is_some() { "checked" } else { "-" };
        let spools = if channel.spools() { "yes" } else { "-" };
        rows.push([
            Text::of(id),
            Text::of(&record.bsp),
            Text::of(&record.tenant),
            Text::of(record.webhook.len()),
            Text::of(signature),
            Text::of(spools),
            sending.words(record.paused),
        ]);
    }
    out.table(&["Id", "BSP", "Tenant", "Credentials", "Signature", "Spools", "Sends"], &rows);
    Ok(())
}

async fn show(bus: &Bus, id: &str, out: &Out) -> anyhow::Result<()> {
    let Some(found) = registry::read(bus, id).await? else {
        bail!("channel {id} does not exist; `imchannel channel list` shows all channels")
    };
    let record = found.record?;
    // A record that this version cannot use is shown anyway.
    let spools = record.to_channel().ok().map(|channel| channel.spools());
    let fingerprints: Vec<_> =
        record.webhook.iter().map(|digest| digest.get(..FINGERPRINT_DIGITS).unwrap_or_default()).collect();
    let shown = json!({
        "id": record.id,
        "bsp": record.bsp,
        "tenant": record.tenant,
        "credentials": fingerprints,
        "key_fingerprint": record.key_fingerprint,
        "signature": record.signature,
        "spool": record.spool,
        "spools": spools,
        "report_after_s": record.report_after_s,
        "reconcile": record.reconcile,
        "settings": record.settings,
        "paused": record.paused,
        "report_path": format!("/social/on/whatsapp/{}/report/{}", record.bsp, record.id),
        "message_path": format!("/social/on/whatsapp/{}/message/{}", record.bsp, record.id),
    });
    out.object(&shown);
    out.lines(&serde_json::to_string_pretty(&shown)?);
    Ok(())
}
