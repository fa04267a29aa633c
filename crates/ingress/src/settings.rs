//! The settings of ingress.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use channel::{CredentialKey, Secrets};
use service::http::{self, HttpLimits};
use service::nats;
use service::secrets::{self, CREDENTIAL_KEY, SECRETS_DIR};
use service::tls::{self, Transport};
use service::{
    Addresses, ConfigErrors, ConfigReader, ProcessSettings, Setting, example_secrets, process_settings,
};

/// Address and port that webhooks are posted to.
pub static LISTEN: Setting =
    Setting::new("ingress-listen", "0.0.0.0:8080", "Address that webhooks are received on");
/// Largest body.
pub static BODY_LIMIT: Setting =
    Setting::new("body-limit", "960KiB", "Largest body of a webhook; larger ones are answered 413");
/// Timeout of reading a body.
pub static BODY_TIMEOUT: Setting =
    Setting::new("body-timeout", "10s", "Timeout of a webhook's body; then the answer is 408");
/// Timeout of reading a request's head.
pub static HEADER_TIMEOUT: Setting = Setting::new(
    "header-timeout",
    "10s",
    "Timeout from the first to the last byte of a request's head; then the connection is closed",
);
/// Timeout of an idle connection.
pub static IDLE_TIMEOUT: Setting = Setting::new(
    "idle-timeout",
    "75s",
    "Timeout of a connection without a request; choose more than the load balancer's timeout",
);
/// Most open connections.
pub static CONNECTIONS_MAX: Setting = Setting::new(
    "connections-max",
    "4096",
    "Maximum open connections; for a further one, the connection that is idle for longest is closed",
);
/// Most requests in flight.
pub static REQUESTS_MAX: Setting =
    Setting::new("requests-max", "4096", "Maximum webhooks in progress; further ones are answered 503");
/// Memory for bodies.
pub static BODY_MEMORY: Setting = Setting::new(
    "body-memory",
    "64MiB",
    "Memory for all bodies in progress; further webhooks are answered 503",
);

/// Share of that memory for the bodies of one channel, in percent.
pub static BODY_MEMORY_CHANNEL_PERCENT: Setting = Setting::new(
    "body-memory-channel-percent",
    "25",
    "Share of IMCHANNEL_BODY_MEMORY for the bodies of one channel, in percent, but at least one body of the largest size; further webhooks of the channel are answered 503",
);

/// Folder of the spool.
pub static SPOOL_DIR: Setting = Setting::new(
    "spool-dir",
    "",
    "Folder on a disk that survives a restart, for webhooks that NATS does not store: those of channels that spool are answered 200 when they are on the disk, and published later; without it they are answered 503. Several processes may share it",
);
/// Largest size of the spool.
pub static SPOOL_MAX_SIZE: Setting = Setting::new(
    "spool-max-size",
    "1GiB",
    "Maximum size of the spool of one process on the disk; when it is full, webhooks are answered 503",
);
/// Rate of publishing what is spooled.
pub static SPOOL_DRAIN_RATE: Setting = Setting::new(
    "spool-drain-rate",
    "2000",
    "Maximum rate at which the webhooks of one spool are published when NATS is back, in webhooks a second",
);

/// Every setting that only ingress has.
static OWN: [&Setting; 21] = [
    &LISTEN,
    &CREDENTIAL_KEY,
    &SECRETS_DIR,
    &BODY_LIMIT,
    &BODY_TIMEOUT,
    &HEADER_TIMEOUT,
    &IDLE_TIMEOUT,
    &CONNECTIONS_MAX,
    Addresses::SETTINGS[0],
    Addresses::SETTINGS[1],
    Addresses::SETTINGS[2],
    &REQUESTS_MAX,
    &BODY_MEMORY,
    &BODY_MEMORY_CHANNEL_PERCENT,
    &SPOOL_DIR,
    &SPOOL_MAX_SIZE,
    &SPOOL_DRAIN_RATE,
    &nats::PURGE_INTERVAL,
    &http::DRAIN_DELAY,
    &tls::CERTIFICATE_FILE,
    &tls::KEY_FILE,
];

/// Every setting of the program, those of every service first.
pub fn all() -> Vec<&'static Setting> {
    process_settings::ALL.into_iter().chain(OWN).collect()
}

/// Highest limit of a body, in bytes: a NATS message has at most 1 MiB, and headers need a part of it.
const BODY_LIMIT_BYTES_MAX: u64 = 1_000_000;

/// Smallest limit of the spool, in bytes: a webhook of the largest size has room.
const SPOOL_BYTES_MIN: u64 = 2 * 1024 * 1024;

/// Settings of the spool.
#[derive(Debug, Clone)]
pub struct SpoolSettings {
    /// Its folder.
    pub folder: PathBuf,
    /// Most bytes of this process's sub-folder.
    pub max_bytes: u64,
    /// Webhooks a second that are published from each sub-folder.
    pub drain_rate: u32,
}

impl SpoolSettings {
    /// `Some(None)` without a folder.
    fn read(reader: &mut ConfigReader) -> Option<Option<Self>> {
        let folder = reader.optional_text(&SPOOL_DIR);
        let max_bytes = reader.size(&SPOOL_MAX_SIZE, SPOOL_BYTES_MIN..=1 << 50);
        let drain_rate = reader.number(&SPOOL_DRAIN_RATE, 1..=1_000_000);
        let (max_bytes, drain_rate) = (max_bytes?, u32::try_from(drain_rate?).ok()?);
        Some(folder.map(|folder| Self { folder: folder.into(), max_bytes, drain_rate }))
    }
}

/// Settings of ingress.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address and port that webhooks are posted to.
    pub listen: SocketAddr,
    /// Key of the hashes of the stored credentials.
    pub credential_key: CredentialKey,
    /// Where referenced secrets are read.
    pub secrets: Secrets,
    /// Largest body.
    pub body_limit_bytes: usize,
    /// Timeout of reading a body.
    pub body_timeout: Duration,
    /// Limits of the HTTP server.
    pub http: HttpLimits,
    /// The proxies in front, and limits of each address.
    pub addresses: Addresses,
    /// Most requests in flight.
    pub requests_max: usize,
    /// Memory for the bodies of all channels, in bytes.
    pub body_memory_bytes: usize,
    /// Memory for the bodies of one channel, in bytes.
    pub channel_memory_bytes: usize,
    /// The spool; `None` without one.
    pub spool: Option<SpoolSettings>,
    /// Interval of the purger's checks.
    pub purge_interval: Duration,
    /// Time for which webhooks are still accepted after a stop.
    pub drain_delay: Duration,
    /// HTTP, or HTTPS with a certificate and its key.
    pub transport: Transport,
}

/// Reads all settings.
///
/// # Errors
/// Every error of the settings.
pub fn read(mut reader: ConfigReader) -> Result<(ProcessSettings, Settings), ConfigErrors> {
    let process = ProcessSettings::read(&mut reader);
    let settings = Settings::read(&mut reader);
    reader.finish(|| Some((process?, settings?)))
}

impl Settings {
    /// Reads the settings that only ingress has. If one is invalid, adds the error to `reader` and returns
    /// `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let listen = reader.value(&LISTEN);
        let credential_key = secrets::read_credential_key(reader);
        let secrets = secrets::read_secrets(reader);
        let body_limit = reader.size(&BODY_LIMIT, 1..=BODY_LIMIT_BYTES_MAX);
        let body_timeout =
            reader.duration(&BODY_TIMEOUT, Duration::from_millis(100)..=Duration::from_secs(120));
        let head = reader.duration(&HEADER_TIMEOUT, Duration::from_millis(100)..=Duration::from_secs(120));
        let idle = reader.duration(&IDLE_TIMEOUT, Duration::from_secs(1)..=Duration::from_secs(3600));
        let connections = reader.number(&CONNECTIONS_MAX, 1..=1_000_000);
        let addresses = Addresses::read(reader);
        let requests_max = reader.number(&REQUESTS_MAX, 1..=1_000_000);
        let body_memory = reader.size(&BODY_MEMORY, BODY_LIMIT_BYTES_MAX..=1 << 40);
        let channel_percent = reader.number(&BODY_MEMORY_CHANNEL_PERCENT, 1..=100);
        let spool = SpoolSettings::read(reader);
        let purge_interval = nats::read_purge_interval(reader);
        let drain_delay = http::read_drain_delay(reader);
        let transport = Transport::read(reader);
        example_secrets::reject_on_public_address(reader, Some(&LISTEN), &[&CREDENTIAL_KEY]);
        Some(Self {
            listen: listen?,
            credential_key: credential_key?,
            secrets,
            body_limit_bytes: usize::try_from(body_limit?).ok()?,
            body_timeout: body_timeout?,
            http: HttpLimits { connections: usize::try_from(connections?).ok()?, head: head?, idle: idle? },
            addresses: addresses?,
            requests_max: usize::try_from(requests_max?).ok()?,
            body_memory_bytes: usize::try_from(body_memory?).ok()?,
            channel_memory_bytes: usize::try_from((body_memory? / 100 * channel_percent?).max(body_limit?))
                .ok()?,
            spool: spool?,
            purge_interval: purge_interval?,
            drain_delay: drain_delay?,
            transport: transport?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_all_reported() {
        let reader = ConfigReader::from_values([
            ("nats-url", ""),
            ("log-format", "xml"),
            ("ingress-listen", "nowhere"),
            ("credential-key", "short"),
            ("body-limit", "99999999B"),
            ("requests-max", "0"),
        ]);
        let faults = read(reader).unwrap_err();
        for flag in [
            "--nats-url",
            "--log-format",
            "--ingress-listen",
            "--credential-key",
            "--body-limit",
            "--requests-max",
        ] {
            assert!(faults.0.iter().any(|fault| fault.starts_with(flag)), "{flag} is not in {faults}");
        }
        assert_eq!(faults.0.len(), 6, "{faults}");
        assert!(!faults.to_string().contains("short\""), "{faults}");
    }

    #[test]
    fn only_the_key_has_no_default() {
        let key = "0123456789abcdef0123456789abcdef";
        let (_, settings) = read(ConfigReader::from_values([("credential-key", key)])).unwrap();
        assert_eq!(settings.body_limit_bytes, 960 * 1024);
        assert!(!format!("{settings:?}").contains(key));
    }
}
