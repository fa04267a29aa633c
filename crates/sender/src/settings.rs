//! The settings of the sender.

use std::path::PathBuf;
use std::time::Duration;

use blob::RedisOptions;
use blob::settings::{MEDIA_PUBLIC_URL, REDIS_CA_FILE, REDIS_PASSWORD, REDIS_URL};
use blob::settings::{read_media_public_url, read_redis};
use channel::Secrets;
use service::{ConfigErrors, ConfigReader, ProcessSettings, Setting};
use service::{example_secrets, nats, process_settings, secrets, tls, units};

/// Timeout of one call of the BSP.
pub static SEND_TIMEOUT: Setting =
    Setting::new("send-timeout", "10s", "Timeout of a call to the BSP; after it the outcome is looked up");
/// Delays after which the BSP's message log is asked.
pub static LOOKUP_DELAYS: Setting = Setting::new(
    "lookup-delays",
    "5s,15s,30s,1m,2m,5m",
    "Delays after the start of a send at which the BSP's message log is queried for a message with an unknown outcome",
);

/// Timeout of an idle connection to the BSP.
pub static BSP_IDLE_TIMEOUT: Setting = Setting::new(
    "bsp-idle-timeout",
    "4s",
    "Timeout of an idle connection to the BSP; keep it below the BSP's own timeout; 0s opens a new connection for every call",
);
/// PEM file of CA certificates that are trusted for the BSP, in addition to those of the system.
pub static INFOBIP_CA_FILE: Setting = Setting::new(
    "infobip-ca-file",
    "",
    "PEM file of CA certificates that are trusted for the BSP in addition to the system's, for a simulated BSP or a proxy that terminates TLS",
);

/// Every setting that only the sender has.
static OWN: [&Setting; 10] = [
    &REDIS_URL,
    &REDIS_PASSWORD,
    &REDIS_CA_FILE,
    &MEDIA_PUBLIC_URL,
    &secrets::SECRETS_DIR,
    &nats::PURGE_INTERVAL,
    &SEND_TIMEOUT,
    &LOOKUP_DELAYS,
    &BSP_IDLE_TIMEOUT,
    &INFOBIP_CA_FILE,
];

/// Every setting of the program, those of every service first.
pub fn all() -> Vec<&'static Setting> {
    process_settings::ALL.into_iter().chain(OWN).collect()
}

/// Most requests to the message log for one message.
const LOOKUPS_MAX: usize = 20;

/// Settings of the sender.
#[derive(Clone)]
pub struct Settings {
    /// Options of the connection to Redis.
    pub redis: RedisOptions,
    /// URL of media for the BSP, without a trailing slash.
    pub media_public_url: String,
    /// Source of referenced secrets.
    pub secrets: Secrets,
    /// Interval of the purger's checks.
    pub purge_interval: Duration,
    /// Timeout of one call of the BSP.
    pub send_timeout: Duration,
    /// Delays after the intent at which the BSP's message log is asked, ascending.
    pub lookup_delays: Vec<Duration>,
    /// Timeout of an idle connection to the BSP; zero for a new connection for each call.
    pub bsp_idle_timeout: Duration,
    /// PEM file of CA certificates that are trusted for the BSP, in addition to those of the system.
    pub bsp_ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("send_timeout", &self.send_timeout).finish_non_exhaustive()
    }
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
    /// Reads the settings that only the sender has. If one is invalid, adds the error to `reader` and returns
    /// `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let redis = read_redis(reader);
        let media_public_url = read_media_public_url(reader);
        let secrets = secrets::read_secrets(reader);
        let purge_interval = nats::read_purge_interval(reader);
        let send_timeout =
            reader.duration(&SEND_TIMEOUT, Duration::from_millis(100)..=Duration::from_secs(60));
        let delays = reader.text(&LOOKUP_DELAYS);
        let lookup_delays = delays.as_deref().and_then(read_delays);
        if delays.is_some() && lookup_delays.is_none() {
            let rule = format!(
                "must be 1 to {LOOKUPS_MAX} increasing durations from 100ms to 1h, separated by commas, such as 5s,15s,1m"
            );
            reader.fault_of(&LOOKUP_DELAYS, delays.as_deref().unwrap_or_default(), &rule);
        }
        let bsp_idle_timeout = reader.duration(&BSP_IDLE_TIMEOUT, Duration::ZERO..=Duration::from_secs(600));
        example_secrets::reject_on_public_address(reader, None, &[&REDIS_PASSWORD]);
        let bsp_ca_file = tls::read_authority(reader, &INFOBIP_CA_FILE);
        Some(Self {
            redis: redis?,
            media_public_url: media_public_url?,
            secrets,
            purge_interval: purge_interval?,
            send_timeout: send_timeout?,
            lookup_delays: lookup_delays?,
            bsp_idle_timeout: bsp_idle_timeout?,
            bsp_ca_file,
        })
    }
}

fn read_delays(text: &str) -> Option<Vec<Duration>> {
    let delays: Option<Vec<Duration>> =
        text.split(',').map(|delay| units::parse_duration(delay).ok()).collect();
    let delays = delays.filter(|delays| (1..=LOOKUPS_MAX).contains(&delays.len()))?;
    let grows = delays.windows(2).all(|pair| pair[0] < pair[1]);
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    let fits = delays.iter().all(|delay| range.contains(delay));
    (grows && fits).then_some(delays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow() {
        assert_eq!(read_delays("100ms, 1s").map(|delays| delays.len()), Some(2));
        for bad in ["", "200ms,100ms", "1s,1000ms", "50ms", "100,200", "a", "61m"] {
            assert_eq!(read_delays(bad), None, "{bad}");
        }
    }
}
