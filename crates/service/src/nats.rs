//! The settings of NATS: how a process connects to it, and how often a service that purges streams checks them.

use std::time::Duration;

use bus::{BusOptions, GroupCommit, NkeySeed};
use prometheus_client::metrics::gauge::Gauge;

use crate::example_secrets;
use crate::settings::{ConfigReader, Setting};
use crate::tls;

/// URLs of the NATS servers.
pub static NATS_URL: Setting = Setting::new(
    "nats-url",
    "nats://127.0.0.1:4222",
    "URL of NATS: nats://host:port; several URLs are separated by commas",
);
/// File with the seed of the NATS user.
pub static NATS_NKEY_FILE: Setting = Setting::new(
    "nats-nkey-file",
    "",
    "File with the nkey seed of the process's NATS user; without it the process connects without a user",
);
/// PEM file of CA certificates that are trusted for NATS.
pub static NATS_CA_FILE: Setting = Setting::new(
    "nats-ca-file",
    "",
    "PEM file of the CA that signed the certificate of a tls:// NATS server, if the system does not trust it",
);
/// Whether messages are stored in batches.
pub static GROUP_COMMIT: Setting = Setting::new(
    "group-commit",
    GroupCommit::DEFAULT.name(),
    "auto: messages that come while others are being stored are stored as one batch, where the NATS servers sync a batch once (2.15) and it is quicker; on: also where it is not quicker; off: every message alone",
);
/// Interval of the checks for processed messages that can be purged; only for services that purge
/// streams.
pub static PURGE_INTERVAL: Setting = Setting::new(
    "purge-interval",
    "500ms",
    "Interval of the checks for processed messages that can be purged",
);

/// The settings of the connection to NATS.
#[derive(Debug, Clone)]
pub struct NatsSettings(BusOptions);

impl NatsSettings {
    /// Reads the settings. If one is invalid, adds the error to `reader` and returns `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let url = reader.text(&NATS_URL);
        let nkey = read_seed(reader, &NATS_NKEY_FILE);
        let ca_file = tls::read_authority(reader, &NATS_CA_FILE);
        let group_commit = read_group_commit(reader);
        let options = BusOptions::new("imchannel", url?);
        Some(Self(BusOptions { nkey: nkey?, ca_file, group_commit: group_commit?, ..options }))
    }

    /// Connection options of a client with that name.
    pub fn named(&self, name: &'static str) -> BusOptions {
        BusOptions { name, ..self.0.clone() }
    }

    /// Options of one more connection of a process. The metric that says whether the process is connected is of the first one alone.
    pub fn further(&self, name: &'static str) -> BusOptions {
        BusOptions { connected: Gauge::default(), ..self.named(name) }
    }

    /// The same as another user.
    pub fn of_user(&self, name: &'static str, nkey: NkeySeed) -> BusOptions {
        BusOptions { nkey: Some(nkey), ..self.further(name) }
    }
}

fn read_group_commit(reader: &mut ConfigReader) -> Option<GroupCommit> {
    let choice = GroupCommit::parse(&reader.text(&GROUP_COMMIT)?);
    if choice.is_none() {
        reader.error(&GROUP_COMMIT, "must be auto, on or off");
    }
    choice
}

/// Reads the seed of a NATS user from the file that a setting names; `Some(None)` if it names none. If it is invalid, adds the error
/// to `reader` and returns `None`.
pub fn read_seed(reader: &mut ConfigReader, setting: &'static Setting) -> Option<Option<NkeySeed>> {
    let Some(file) = reader.optional_text(setting) else { return Some(None) };
    let seed = std::fs::read_to_string(file).map_err(|error| error.to_string());
    match seed.and_then(|text| NkeySeed::parse(&text).map_err(|error| error.to_string())) {
        Ok(seed) => {
            example_secrets::refuse_nkey(reader, &seed, setting);
            Some(Some(seed))
        }
        Err(error) => {
            reader.error(setting, &format!("is invalid: {error}"));
            None
        }
    }
}

/// Reads the interval of the purger's checks. If it is invalid, adds the error to `reader` and returns `None`.
pub fn read_purge_interval(reader: &mut ConfigReader) -> Option<Duration> {
    reader.duration(&PURGE_INTERVAL, Duration::from_millis(50)..=Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_connection_does_not_say_whether_the_process_is_connected() {
        let settings = NatsSettings(BusOptions::new("first", "nats://127.0.0.1:4222"));
        settings.named("first").connected.set(1);
        for further in [settings.further("second"), settings.of_user("third", NkeySeed::generate())] {
            further.connected.set(0);
            assert_eq!(settings.named("first").connected.get(), 1, "{}", further.name);
        }
    }
}
