//! Everything that `up` was told, read and checked before anything starts, and the lock on its data folder.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use blob::settings::{MEDIA_PUBLIC_URL, REDIS_URL};
use bsp::SettingsContext;
use channel::CredentialKey;
use channel::file::ChannelSpec;
use service::admin::ADMIN_LISTEN;
use service::logging::LOG_FORMAT;
use service::secrets::CREDENTIAL_KEY;
use service::{ConfigReader, ProcessSettings, Setting, addresses, example_secrets, nats};

use super::Up;
use crate::commands::channel as channels;
use crate::output::Out;
use crate::target::{self, LOOPBACK_HOSTS, Target};

/// The settings that `up` passes on to the services; what it decides itself is not among them.
pub(crate) fn settings() -> Vec<&'static Setting> {
    let decided = [
        nats::NATS_URL.flag,
        nats::NATS_NKEY_FILE.flag,
        nats::NATS_CA_FILE.flag,
        example_secrets::PUBLIC_ADDRESS.flag,
        ADMIN_LISTEN.flag,
        ingress::settings::LISTEN.flag,
        timeline::http::settings::LISTEN.flag,
        timeline::settings::ADMIN_URLS.flag,
        CREDENTIAL_KEY.flag,
        REDIS_URL.flag,
    ];
    let mut all = ingress::settings::all();
    all.extend(normalizer::settings::all());
    all.extend(sender::settings::all());
    all.extend(media::settings::all());
    all.extend(timeline::settings::all());
    let mut seen = Vec::new();
    all.retain(|setting| {
        let is_new = !seen.contains(&setting.flag);
        seen.push(setting.flag);
        is_new && !decided.contains(&setting.flag)
    });
    all
}

/// Everything that `up` was told, read and checked before anything starts.
pub(super) struct Plan {
    pub(super) process: ProcessSettings,
    pub(super) ingress: ingress::Settings,
    pub(super) normalizer: normalizer::Settings,
    pub(super) sender: sender::Settings,
    pub(super) media: media::Settings,
    pub(super) timeline: timeline::Settings,
    /// Whether files' URLs begin with the gateway's own address, which is not known before its port is open.
    pub(super) is_own_media_url: bool,
    pub(super) key: CredentialKey,
    pub(super) channels: Vec<ChannelSpec>,
}

/// Reads settings and channels; `None` when something cannot be used, which is printed.
pub(super) fn plan(
    command: &Up,
    target: &Target,
    matches: &clap::ArgMatches,
    out: &Out,
) -> anyhow::Result<Option<Plan>> {
    let key_text = match (target.key_text()?, &target.nats_url) {
        (Some(key), _) => key,
        (None, None) => own_secret(&command.data_dir, CREDENTIAL_KEY_FILE)?,
        (None, Some(_)) => {
            out.faulty("with --nats-url, give that installation's IMCHANNEL_CREDENTIAL_KEY too");
            return Ok(None);
        }
    };
    let mut reader = ConfigReader::from_matches(matches, &settings());
    reader.provide(&ADMIN_LISTEN, command.admin.to_string());
    reader.provide(&ingress::settings::LISTEN, command.ingress.to_string());
    reader.provide(&CREDENTIAL_KEY, key_text);
    let store = command.data_dir.join(TIMELINE_FOLDER);
    reader.provide(&timeline::settings::DIR, store.to_string_lossy());
    reader.provide(
        &timeline::http::settings::LISTEN,
        command.console.unwrap_or(super::CONSOLE_DEFAULT).to_string(),
    );
    if command.ingress.ip().is_loopback() {
        // Everybody comes from this machine, and simulated BSPs all from one address.
        reader.provide(&addresses::CONNECTIONS_PER_ADDRESS_MAX, ingress::settings::CONNECTIONS_MAX.default);
    }
    let is_own_media_url = reader.optional_text(&MEDIA_PUBLIC_URL).is_none();
    // Until media has its port; 0 in `--media` is any.
    reader.provide(&MEDIA_PUBLIC_URL, "http://localhost");
    reader.provide(&media::settings::UPLOAD_TOKEN, own_secret(&command.data_dir, target::MEDIA_TOKEN_FILE)?);
    if out.is_json() {
        reader.provide(&LOG_FORMAT, "json");
    }
    let process = ProcessSettings::read(&mut reader);
    let ingress = ingress::Settings::read(&mut reader);
    let normalizer = normalizer::Settings::read(&mut reader);
    let sender = sender::Settings::read(&mut reader);
    let media = media::Settings::read(&mut reader);
    let timeline = timeline::Settings::read(&mut reader);
    let read = reader.finish(|| Some((process?, ingress?, normalizer?, sender?, media?, timeline?)));
    let (process, ingress, normalizer, sender, media, timeline) = match read {
        Ok(read) => read,
        Err(faults) => {
            service::process::print_errors("imchannel up", &faults);
            return Ok(None);
        }
    };
    let mut context = SettingsContext { extra_hosts: target.infobip_hosts.clone() };
    context.extra_hosts.extend(LOOPBACK_HOSTS.map(str::to_owned));
    let channels = match &command.channels {
        Some(file) => channels::read_file(file, &context, out)?,
        None => Some(Vec::new()),
    };
    let key = ingress.credential_key.clone();
    Ok(channels.map(|channels| Plan {
        process,
        ingress,
        normalizer,
        sender,
        media,
        timeline,
        is_own_media_url,
        key,
        channels,
    }))
}

/// Folder in the data folder with the store of the timeline.
const TIMELINE_FOLDER: &str = "timeline";
/// File in the data folder with the credential key.
const CREDENTIAL_KEY_FILE: &str = "credential.key";

/// A secret in the data folder, made at the first start.
fn own_secret(folder: &Path, file: &str) -> anyhow::Result<String> {
    let path = folder.join(file);
    if let Ok(key) = std::fs::read_to_string(&path) {
        return Ok(key.trim().to_owned());
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let key = hex::encode(bytes);
    write_private(&path, &key).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Takes the data folder for this process: two gateways on one would run two servers on the same streams.
pub(super) fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Without a process id in it, the way out is the same.
            let _ = file.read_to_string(&mut holder);
            bail!(taken(folder, holder.trim().parse().ok()));
        }
    }
    file.set_len(0)?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Which process has the folder, and what to do about it.
fn taken(folder: &Path, holder: Option<u32>) -> String {
    let (who, kill) = match holder {
        Some(id) => (format!(" (process {id})"), format!(", or `kill {id}`")),
        None => Default::default(),
    };
    format!(
        "another `imchannel up`{who} uses the folder {}\n\
         To use it, run the other commands in this folder, such as `imchannel top`: they find it.\n\
         To stop it, press Ctrl-C in its terminal{kill}.\n\
         To run a second one, give it a folder and ports of its own: --data-dir DIR --ingress 127.0.0.1:0 --media 127.0.0.1:0 \
         --admin 127.0.0.1:0",
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_names_its_process_and_three_ways_out() {
        let text = taken(Path::new(".imchannel"), Some(4711));
        for part in
            ["(process 4711)", ".imchannel", "imchannel top", "Ctrl-C", "`kill 4711`", "--data-dir DIR"]
        {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(!taken(Path::new("x"), None).contains("kill"));
    }
}
