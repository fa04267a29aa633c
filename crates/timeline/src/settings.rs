//! The settings of the timeline.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use channel::Secret;
use service::{ConfigErrors, ConfigReader, ProcessSettings, Setting, process_settings};

use crate::admin::urls::AdminUrls;
use crate::erasure::ErasureSettings;
use crate::extract::Bodies;
use crate::http;
use crate::http::settings::HttpSettings;
use crate::rules::RuleTimes;

/// Folder of the embedded store.
pub static DIR: Setting =
    Setting::new("timeline-dir", "", "Folder of the timeline's store; one process uses it at a time");
/// The shared store.
pub static URL: Setting = Setting::new(
    "timeline-url",
    "",
    "PostgreSQL that keeps the rows, as postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=require; timeline-dir is not needed if timeline-key is given too",
)
.secret();
/// How long rows are kept.
pub static RETENTION: Setting = Setting::new("timeline-retention", "30d", "How long the timeline keeps rows");
/// What rows keep of messages.
pub static BODIES: Setting = Setting::new(
    "timeline-bodies",
    "masked",
    "What rows keep of small messages: masked, or full with customers' numbers and texts",
);
/// Time after which a missing report is a problem.
pub static REPORT_AFTER: Setting = Setting::new(
    "timeline-report-after",
    "15m",
    "Time after which an accepted message without a report is a problem, in channels without report_after",
);
/// Time after which a file that was not fetched is a problem.
pub static FETCH_AFTER: Setting = Setting::new(
    "timeline-fetch-after",
    "10m",
    "Time after which a message's file that no client fetched is a problem",
);
/// Time after which a command without a result is a problem.
pub static RESULT_AFTER: Setting = Setting::new(
    "timeline-result-after",
    "60s",
    "Time after which a command without a result is a problem; longer in lanes that usually take longer",
);
/// The secret of the hashes.
pub static KEY: Setting = Setting::new(
    "timeline-key",
    "",
    "Secret of the timeline's hashes, 64 hexadecimal digits; without it ids.key in the store's folder, made when it is missing",
)
.secret();

/// The admin ports of the services.
pub static ADMIN_URLS: Setting = Setting::new(
    "timeline-admin-urls",
    "",
    "Admin ports of ingress and sender, and of other services, as http://HOST:PORT separated by commas; each address of a name is read every 5 s",
);

/// Whether customers may be erased.
pub static ERASURE: Setting = Setting::new(
    "timeline-erasure",
    "off",
    "Whether operators may erase customers with POST /v1/erasures: on or off",
);
/// The seed of the user that erases.
pub static ERASER_NKEY_FILE: Setting = Setting::new(
    "timeline-eraser-nkey-file",
    "",
    "File with the nkey seed of the NATS user eraser; only for timeline-erasure=on, without it the timeline's own user must have its rights",
);

/// Every setting that only the timeline has.
static OWN: [&Setting; 11] = [
    &DIR,
    &URL,
    &RETENTION,
    &BODIES,
    &REPORT_AFTER,
    &FETCH_AFTER,
    &RESULT_AFTER,
    &KEY,
    &ADMIN_URLS,
    &ERASURE,
    &ERASER_NKEY_FILE,
];
/// The settings of Redis, of which erasing removes files.
static REDIS: [&Setting; 3] =
    [&blob::settings::REDIS_URL, &blob::settings::REDIS_PASSWORD, &blob::settings::REDIS_CA_FILE];

/// The shortest retention: messages are in the streams for up to 3 days.
const RETENTION_MIN: Duration = Duration::from_secs(24 * 3600);
/// The longest retention: 10 years.
const RETENTION_MAX: Duration = Duration::from_secs(3650 * 24 * 3600);

/// The times that rules may have.
const RULE_TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// Every setting of the program, those of every service first.
pub fn all() -> Vec<&'static Setting> {
    process_settings::ALL.into_iter().chain(OWN).chain(REDIS).chain(http::settings::ALL).collect()
}

/// Settings of the timeline.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Settings of the HTTP port.
    pub http: HttpSettings,
    /// Folder of the embedded store.
    pub folder: PathBuf,
    /// URL of the shared store; `None` for the embedded one.
    pub url: Option<Secret>,
    /// How long rows are kept.
    pub retention: Duration,
    /// What rows keep of messages.
    pub bodies: Bodies,
    /// Times of the rules.
    pub times: RuleTimes,
    /// The secret of the hashes; `None` for the folder's own.
    pub key: Option<Secret>,
    /// The admin ports that are read.
    pub admin_urls: AdminUrls,
    /// What erasing needs; `None` where it is switched off.
    pub erasure: Option<ErasureSettings>,
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
    /// Reads the settings that only the timeline has. If one is invalid, adds the error to `reader` and returns `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let http = HttpSettings::read(reader);
        let times = read_times(reader);
        let url = reader.optional_text(&URL).map(|url| Secret::new(url.into_bytes()));
        let retention = reader.duration(&RETENTION, RETENTION_MIN..=RETENTION_MAX);
        let bodies = read_bodies(reader);
        let key = reader.optional_text(&KEY).map(|key| Secret::new(key.into_bytes()));
        let admin_urls = read_admin_urls(reader);
        let erasure = read_erasure(reader);
        // It is not used where a database has the rows, the secret is given, and no erasure keeps its state there.
        let folder = match (&url, &key, &erasure) {
            (Some(_), Some(_), Some(None)) => Some(reader.optional_text(&DIR).unwrap_or_default()),
            _ => reader.text(&DIR),
        };
        Some(Self {
            http: http?,
            times: times?,
            folder: folder?.into(),
            url,
            retention: retention?,
            bodies: bodies?,
            key,
            admin_urls: admin_urls?,
            erasure: erasure?,
        })
    }
}

/// `Some(None)` where erasing is switched off.
fn read_erasure(reader: &mut ConfigReader) -> Option<Option<ErasureSettings>> {
    let text = reader.text(&ERASURE)?;
    match text.as_str() {
        "off" => return Some(None),
        "on" => {}
        _ => {
            reader.error(&ERASURE, "must be on or off");
            return None;
        }
    }
    let redis = blob::settings::read_redis(reader);
    let nkey = service::nats::read_seed(reader, &ERASER_NKEY_FILE);
    Some(Some(ErasureSettings { nkey: nkey?, redis: redis? }))
}

fn read_times(reader: &mut ConfigReader) -> Option<RuleTimes> {
    let report_after = reader.duration(&REPORT_AFTER, RULE_TIMES);
    let fetch_after = reader.duration(&FETCH_AFTER, RULE_TIMES);
    let result_after = reader.duration(&RESULT_AFTER, RULE_TIMES);
    Some(RuleTimes { report_after: report_after?, fetch_after: fetch_after?, result_after: result_after? })
}

fn read_admin_urls(reader: &mut ConfigReader) -> Option<AdminUrls> {
    if reader.optional_text(&ADMIN_URLS).is_none() {
        return Some(AdminUrls::default());
    }
    reader.value(&ADMIN_URLS)
}

fn read_bodies(reader: &mut ConfigReader) -> Option<Bodies> {
    let text = reader.text(&BODIES)?;
    match text.as_str() {
        "masked" => Some(Bodies::Masked),
        "full" => Some(Bodies::Full),
        _ => {
            reader.error(&BODIES, "must be masked or full");
            None
        }
    }
}
