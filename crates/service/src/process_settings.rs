//! The settings that every service has. Each is declared beside what it sets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::admin::ADMIN_LISTEN;
use crate::example_secrets::PUBLIC_ADDRESS;
use crate::logging::{LOG_FORMAT, LOG_LEVEL, LOG_PAYLOADS, LogSettings};
use crate::nats::{GROUP_COMMIT, NATS_CA_FILE, NATS_NKEY_FILE, NATS_URL, NatsSettings};
use crate::settings::{ConfigReader, Setting};
use crate::trace::OTLP_ENDPOINT;

/// Time to finish work in progress after a stop.
pub static SHUTDOWN_GRACE_PERIOD: Setting =
    Setting::new("shutdown-grace-period", "10s", "Time to finish work in progress after a stop");

/// The settings that every service has.
pub static ALL: [&Setting; 11] = [
    &NATS_URL,
    &NATS_NKEY_FILE,
    &NATS_CA_FILE,
    &GROUP_COMMIT,
    &PUBLIC_ADDRESS,
    &ADMIN_LISTEN,
    &LOG_FORMAT,
    &LOG_PAYLOADS,
    &LOG_LEVEL,
    &OTLP_ENDPOINT,
    &SHUTDOWN_GRACE_PERIOD,
];

/// The settings that every service has.
#[derive(Clone)]
pub struct ProcessSettings {
    /// The settings of the connection to NATS.
    pub nats: NatsSettings,
    /// Address and port of probes and metrics.
    pub admin_listen: SocketAddr,
    /// The settings of the log.
    pub log: LogSettings,
    /// URL to which traces are exported; `None` for no traces.
    pub otlp_endpoint: Option<String>,
    /// Time to finish work in progress after a stop.
    pub grace: Duration,
}

impl std::fmt::Debug for ProcessSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessSettings").field("admin_listen", &self.admin_listen).finish_non_exhaustive()
    }
}

impl ProcessSettings {
    /// Reads the settings. If one is invalid, adds the error to `reader` and returns `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let nats = NatsSettings::read(reader);
        if reader.optional_text(&PUBLIC_ADDRESS).is_some() {
            // Only record an error here: `example_secrets` reads the value itself.
            let _ = reader.value::<IpAddr>(&PUBLIC_ADDRESS);
        }
        let admin_listen = reader.value(&ADMIN_LISTEN);
        let log = LogSettings::read(reader);
        let otlp_endpoint = reader.optional_text(&OTLP_ENDPOINT);
        let grace =
            reader.duration(&SHUTDOWN_GRACE_PERIOD, Duration::from_millis(100)..=Duration::from_secs(300));
        Some(Self { nats: nats?, admin_listen: admin_listen?, log: log?, otlp_endpoint, grace: grace? })
    }
}
