//! The settings of media.

use std::net::SocketAddr;
use std::time::Duration;

use blob::RedisOptions;
use blob::settings::{MEDIA_PUBLIC_URL, REDIS_CA_FILE, REDIS_PASSWORD, REDIS_URL};
use blob::settings::{read_media_public_url, read_redis};
use channel::Secret;
use service::http;
use service::tls::{self, Transport};
use service::{
    Addresses, ConfigErrors, ConfigReader, ProcessSettings, Setting, example_secrets, process_settings,
};

use crate::tokens::{self, TokenFolder};

/// Address and port of uploads and downloads.
pub static LISTEN: Setting =
    Setting::new("media-listen", "0.0.0.0:8081", "Address that files are uploaded to and served from");
/// Token that allows uploads for every tenant.
pub static UPLOAD_TOKEN: Setting = Setting::new(
    "media-upload-token",
    "",
    "Bearer token of uploads for all tenants, at least 16 characters; this or media-upload-tokens-dir must be set",
)
.secret();
/// Folder of the tokens that allow uploads for one tenant.
pub static UPLOAD_TOKENS_DIR: Setting = Setting::new(
    "media-upload-tokens-dir",
    "",
    "Folder with one file per tenant, named like the tenant, with one or two bearer tokens of its uploads, one per line; reloaded when it changes",
);
/// TTL of a file.
pub static TTL: Setting = Setting::new("media-ttl", "24h", "TTL of a file after its upload");
/// TTL of a file after a complete download.
pub static FETCHED_TTL: Setting = Setting::new(
    "media-fetched-ttl",
    "1h",
    "TTL of a file after it was fetched; it ends at most 7 days after the upload",
);
/// Tenant of the files that were stored without one.
pub static LEGACY_TENANT: Setting = Setting::new(
    "media-legacy-tenant",
    "",
    "Tenant of the files that an older IMChannel stored; without it they are not served",
);
/// Most downloads at once.
pub static DOWNLOADS_MAX: Setting = Setting::new(
    "media-downloads-max",
    "256",
    "Maximum downloads in progress; further ones are answered 503",
);
/// Most uploads at once.
pub static UPLOADS_MAX: Setting =
    Setting::new("media-uploads-max", "32", "Maximum uploads in progress; further ones are answered 503");

/// Every setting that only media has.
static OWN: [&Setting; 18] = [
    &LISTEN,
    &REDIS_URL,
    &REDIS_PASSWORD,
    &REDIS_CA_FILE,
    &MEDIA_PUBLIC_URL,
    &UPLOAD_TOKEN,
    &UPLOAD_TOKENS_DIR,
    &TTL,
    &FETCHED_TTL,
    &LEGACY_TENANT,
    &DOWNLOADS_MAX,
    &UPLOADS_MAX,
    Addresses::SETTINGS[0],
    Addresses::SETTINGS[1],
    Addresses::SETTINGS[2],
    &http::DRAIN_DELAY,
    &tls::CERTIFICATE_FILE,
    &tls::KEY_FILE,
];

/// Every setting of the program, those of every service first.
pub fn all() -> Vec<&'static Setting> {
    process_settings::ALL.into_iter().chain(OWN).collect()
}

/// Settings of media.
#[derive(Clone)]
pub struct Settings {
    /// Address and port of uploads and downloads.
    pub listen: SocketAddr,
    /// Options of the connection to Redis.
    pub redis: RedisOptions,
    /// URL of this service for the BSP, without a trailing slash.
    pub public_url: String,
    /// Bearer token of uploads for every tenant.
    pub upload_token: Option<Secret>,
    /// Bearer tokens of single tenants. At least one of the two is set.
    pub upload_tokens: Option<TokenFolder>,
    /// TTL of a file after its upload.
    pub ttl: Duration,
    /// TTL of a file after a complete download.
    pub fetched_ttl: Duration,
    /// Tenant of the files that were stored without one.
    pub legacy_tenant: Option<String>,
    /// Most downloads at once.
    pub downloads_max: usize,
    /// Most uploads at once.
    pub uploads_max: usize,
    /// The proxies in front, and limits of each address.
    pub addresses: Addresses,
    /// Time for which requests are still accepted after a stop.
    pub drain_delay: Duration,
    /// HTTP, or HTTPS with a certificate and its key.
    pub transport: Transport,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("listen", &self.listen).finish_non_exhaustive()
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
    /// Reads the settings that only media has. If one is invalid, adds the error to `reader` and returns
    /// `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let listen = reader.value(&LISTEN);
        let redis = read_redis(reader);
        let public_url = read_media_public_url(reader);
        let (upload_token, upload_tokens) = read_upload_tokens(reader);
        let range = Duration::from_secs(1)..=blob::meta::TTL_MAX;
        let ttl = reader.duration(&TTL, range.clone());
        let fetched_ttl = reader.duration(&FETCHED_TTL, range);
        let legacy_tenant = reader.optional_text(&LEGACY_TENANT);
        let downloads_max = reader.number(&DOWNLOADS_MAX, 1..=100_000);
        let uploads_max = reader.number(&UPLOADS_MAX, 1..=10_000);
        let addresses = Addresses::read(reader);
        let drain_delay = http::read_drain_delay(reader);
        let transport = Transport::read(reader);
        example_secrets::reject_on_public_address(reader, Some(&LISTEN), &[&UPLOAD_TOKEN, &REDIS_PASSWORD]);
        Some(Self {
            listen: listen?,
            redis: redis?,
            public_url: public_url?,
            upload_token,
            upload_tokens,
            ttl: ttl?,
            fetched_ttl: fetched_ttl?,
            legacy_tenant,
            downloads_max: usize::try_from(downloads_max?).ok()?,
            uploads_max: usize::try_from(uploads_max?).ok()?,
            addresses: addresses?,
            drain_delay: drain_delay?,
            transport: transport?,
        })
    }
}

/// Reads the upload tokens. If no token is set, adds an error.
fn read_upload_tokens(reader: &mut ConfigReader) -> (Option<Secret>, Option<TokenFolder>) {
    let general = reader.optional_text(&UPLOAD_TOKEN);
    if general.as_ref().is_some_and(|token| token.len() < tokens::LENGTH_MIN) {
        reader.error(&UPLOAD_TOKEN, &format!("must have at least {} characters", tokens::LENGTH_MIN));
    }
    let path = reader.optional_text(&UPLOAD_TOKENS_DIR);
    if general.is_none() && path.is_none() {
        let message =
            format!("is not set, and neither is {}; set at least one of them", UPLOAD_TOKENS_DIR.variable());
        reader.error(&UPLOAD_TOKEN, &message);
    }
    let takes_examples = example_secrets::is_loopback_only(reader, Some(&LISTEN));
    let folder = match path.map(|path| TokenFolder::open(path.into(), takes_examples)) {
        None => None,
        Some(Ok((_, 0))) if general.is_none() => {
            let message = format!(
                "contains no file, and {} is not set; add a file or set the token",
                UPLOAD_TOKEN.variable()
            );
            reader.error(&UPLOAD_TOKENS_DIR, &message);
            None
        }
        Some(Ok((folder, _))) => Some(folder),
        Some(Err(fault)) => {
            reader.error(&UPLOAD_TOKENS_DIR, &fault);
            None
        }
    };
    (general.map(|token| Secret::new(token.into_bytes())), folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(values: &[(&'static str, &str)]) -> Vec<String> {
        let mut reader = ConfigReader::from_values(values.iter().copied());
        let _ = read_upload_tokens(&mut reader);
        match reader.finish(|| Some(())) {
            Ok(()) => Vec::new(),
            Err(faults) => faults.to_string().lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn at_least_one_upload_token_must_be_set() {
        let folder = tempfile::TempDir::new().unwrap();
        let dir = folder.path().to_str().unwrap().to_owned();
        let token = ("media-upload-token", "0123456789abcdef");
        let of_tenants = ("media-upload-tokens-dir", dir.as_str());
        assert!(faults(&[])[0].contains("is not set, and neither is IMCHANNEL_MEDIA_UPLOAD_TOKENS_DIR"));
        assert!(faults(&[of_tenants])[0].contains("contains no file"));
        assert_eq!(faults(&[token, of_tenants]), Vec::<String>::new());
        std::fs::write(folder.path().join("tenant"), "fedcba9876543210\n").unwrap();
        for values in [vec![of_tenants], vec![token], vec![token, of_tenants]] {
            assert_eq!(faults(&values), Vec::<String>::new());
        }
        std::fs::write(folder.path().join("tenant"), "example-fedcba9876543210\n").unwrap();
        assert!(
            faults(&[of_tenants])[0].contains("file tenant: is a published example"),
            "{:?}",
            faults(&[of_tenants])
        );
        assert_eq!(faults(&[of_tenants, ("media-listen", "127.0.0.1:1")]), Vec::<String>::new());
    }
}
