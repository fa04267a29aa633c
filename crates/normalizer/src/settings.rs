//! The settings of the normalizer.

use std::time::Duration;

use service::{ConfigErrors, ConfigReader, ProcessSettings, Setting, nats, process_settings};

/// Webhooks in progress at once.
pub static CONCURRENCY: Setting =
    Setting::new("normalizer-concurrency", "1024", "Maximum webhooks in progress in this replica");
/// Interval of updating the metrics of lag.
pub static LAG_INTERVAL: Setting =
    Setting::new("lag-interval", "5s", "Interval of updating the metrics of lag");

/// Every setting that only the normalizer has.
static OWN: [&Setting; 3] = [&CONCURRENCY, &nats::PURGE_INTERVAL, &LAG_INTERVAL];

/// Every setting of the program, those of every service first.
pub fn all() -> Vec<&'static Setting> {
    process_settings::ALL.into_iter().chain(OWN).collect()
}

/// Settings of the normalizer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most webhooks in flight.
    pub concurrency: usize,
    /// Interval of the purger's checks.
    pub purge_interval: Duration,
    /// Interval of updating the metrics of lag.
    pub lag_interval: Duration,
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
    /// Reads the settings that only the normalizer has. If one is invalid, adds the error to `reader` and returns
    /// `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let concurrency = reader.number(&CONCURRENCY, 1..=10_000);
        let purge_interval = nats::read_purge_interval(reader);
        let lag_interval =
            reader.duration(&LAG_INTERVAL, Duration::from_millis(100)..=Duration::from_secs(60));
        Some(Self {
            concurrency: usize::try_from(concurrency?).ok()?,
            purge_interval: purge_interval?,
            lag_interval: lag_interval?,
        })
    }
}
