//! The settings that every service has.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use blob::RedisOptions;
use bus::{BusOptions, NkeySeed};

use crate::example_secrets;
use crate::log::LogFormat;
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
/// Public IP address of the process, if it differs from its listen address.
pub static PUBLIC_ADDRESS: Setting = Setting::new(
    "public-address",
    "",
    "Public IP address, if it differs from the listen address. Example secrets are rejected unless it is a loopback address",
);
/// Address and port of probes and metrics.
pub static ADMIN_LISTEN: Setting =
    Setting::new("admin-listen", "0.0.0.0:9090", "Address of /live, /ready and /metrics");
/// Format of the log lines.
pub static LOG_FORMAT: Setting = Setting::new(
    "log-format",
    "imchannel",
    "Format of the log lines: 'imchannel' ([IMCHANNEL] [function] text) or 'json'",
);
/// How much of message contents is logged.
pub static LOG_PAYLOADS: Setting = Setting::new(
    "log-payloads",
    "masked",
    "Bodies in the log: 'masked' (no numbers, names or texts), 'full' or 'off'",
);
/// Least severe level that is logged.
pub static LOG_LEVEL: Setting =
    Setting::new("log-level", "info", "Least severe level that is logged: error, warn, info or debug");
/// URL to which traces are exported.
pub static OTLP_ENDPOINT: Setting = Setting::new(
    "otlp-endpoint",
    "",
    "URL to which traces are exported by OTLP over HTTP, such as http://collector:4318; without it there are no traces",
)
.from_variable("OTEL_EXPORTER_OTLP_ENDPOINT");
/// Time to finish work in progress after a stop.
pub static SHUTDOWN_GRACE_PERIOD: Setting =
    Setting::new("shutdown-grace-period", "10s", "Time to finish work in progress after a stop");

/// Time for which requests are still accepted after a stop; for services behind a load balancer.
pub static DRAIN_DELAY: Setting = Setting::new(
    "drain-delay",
    "0s",
    "Time for which requests are still accepted after a stop while /ready answers 503, so that load balancers notice",
);

/// Folder of secrets; for services that resolve references to them.
pub static SECRETS_DIR: Setting =
    Setting::new("secrets-dir", "", "Folder of the secrets that channels refer to as file:NAME");

/// URL of Redis; for services that store files.
pub static REDIS_URL: Setting = Setting::new(
    "redis-url",
    "redis://127.0.0.1:6379",
    "URL of Redis: redis://host:port, or rediss:// for TLS; with a user, redis://user@host:port",
);
/// Password of the Redis user.
pub static REDIS_PASSWORD: Setting =
    Setting::new("redis-password", "", "Password of the Redis user, if it is not in the URL").secret();
/// PEM file of CA certificates that are trusted for Redis.
pub static REDIS_CA_FILE: Setting = Setting::new(
    "redis-ca-file",
    "",
    "PEM file of the CA that signed the certificate of a rediss:// server, if the system does not trust it",
);
/// URL of media for the BSP; for services that build URLs of files.
pub static MEDIA_PUBLIC_URL: Setting = Setting::new(
    "media-public-url",
    "",
    "Scheme and host under which the BSP reaches media, such as https://gateway.example; the URL of every file begins with it",
);

/// Interval of the checks for processed messages that can be purged; only for services that purge
/// streams.
pub static PURGE_INTERVAL: Setting = Setting::new(
    "purge-interval",
    "500ms",
    "Interval of the checks for processed messages that can be purged",
);

/// The settings that every service has.
pub static ALL: [&Setting; 10] = [
    &NATS_URL,
    &NATS_NKEY_FILE,
    &NATS_CA_FILE,
    &PUBLIC_ADDRESS,
    &ADMIN_LISTEN,
    &LOG_FORMAT,
    &LOG_PAYLOADS,
    &LOG_LEVEL,
    &OTLP_ENDPOINT,
    &SHUTDOWN_GRACE_PERIOD,
];

/// How much of a message appears in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPayloads {
    /// Its structure, and values that are not personal.
    Masked,
    /// Everything.
    Full,
    /// Only that a message arrived, and its id.
    Off,
}

impl FromStr for LogPayloads {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "masked" => Ok(Self::Masked),
            "full" => Ok(Self::Full),
            "off" => Ok(Self::Off),
            _ => Err("must be 'masked', 'full' or 'off'"),
        }
    }
}

/// The settings of the connection to NATS.
#[derive(Debug, Clone)]
pub struct Nats(BusOptions);

impl Nats {
    /// Reads the settings. If one is invalid, adds the error to `reader` and returns `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let url = reader.text(&NATS_URL);
        let mut is_faulty = false;
        let nkey = reader.optional_text(&NATS_NKEY_FILE).and_then(|file| {
            let seed = std::fs::read_to_string(file).map_err(|error| error.to_string());
            let seed = seed.and_then(|text| NkeySeed::parse(&text).map_err(|error| error.to_string()));
            seed.map_err(|error| {
                is_faulty = true;
                reader.error(&NATS_NKEY_FILE, &format!("is invalid: {error}"));
            })
            .ok()
        });
        if let Some(seed) = &nkey {
            example_secrets::refuse_nkey(reader, seed, &NATS_NKEY_FILE);
        }
        let ca_file = tls::read_authority(reader, &NATS_CA_FILE);
        if is_faulty {
            return None;
        }
        Some(Self(BusOptions { nkey, ca_file, ..BusOptions::new("imchannel", url?) }))
    }

    /// Connection options of a client with that name.
    pub fn named(&self, name: &'static str) -> BusOptions {
        BusOptions { name, ..self.0.clone() }
    }
}

/// The settings that every service has.
#[derive(Clone)]
pub struct Common {
    /// The settings of the connection to NATS.
    pub nats: Nats,
    /// Address and port of probes and metrics.
    pub admin_listen: SocketAddr,
    /// Format of the log lines.
    pub log_format: LogFormat,
    /// How much of message contents is logged.
    pub log_payloads: LogPayloads,
    /// Least severe level that is logged.
    pub log_level: tracing::Level,
    /// URL to which traces are exported; `None` for no traces.
    pub otlp_endpoint: Option<String>,
    /// Time to finish work in progress after a stop.
    pub grace: Duration,
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Common").field("admin_listen", &self.admin_listen).finish_non_exhaustive()
    }
}

/// Reads for how long requests are still accepted after a stop. If it is invalid, adds the error to `reader` and
/// returns `None`.
pub fn read_drain_delay(reader: &mut ConfigReader) -> Option<Duration> {
    reader.duration(&DRAIN_DELAY, Duration::ZERO..=Duration::from_secs(300))
}

/// Reads the options of the connection to Redis. If one is invalid, adds the error to `reader` and returns `None`.
pub fn read_redis(reader: &mut ConfigReader) -> Option<RedisOptions> {
    let url = reader.text(&REDIS_URL);
    let password = reader.optional_text(&REDIS_PASSWORD);
    let ca_file = tls::read_authority(reader, &REDIS_CA_FILE);
    if ca_file.is_some() && url.as_ref().is_some_and(|url| !url.starts_with("rediss://")) {
        reader.error(
            &REDIS_CA_FILE,
            "needs a Redis URL that begins with rediss://; change the URL or remove this setting",
        );
    }
    Some(RedisOptions { url: url?, password, ca_file })
}

/// Reads the URL of media for the BSP, without a trailing slash. If it is invalid, adds the error to `reader` and
/// returns `None`.
pub fn read_media_public_url(reader: &mut ConfigReader) -> Option<String> {
    let url = reader.text(&MEDIA_PUBLIC_URL)?;
    match bsp::web_url::parse(&url) {
        Ok(uri) if uri.query().is_none() && !url.contains('#') => {}
        Ok(_) => {
            reader.error(&MEDIA_PUBLIC_URL, "contains a query or a fragment; remove it");
            return None;
        }
        Err(fault) => {
            reader.error(&MEDIA_PUBLIC_URL, &fault.to_string());
            return None;
        }
    }
    Some(url.trim_end_matches('/').to_owned())
}

impl Common {
    /// Reads the settings. If one is invalid, adds the error to `reader` and returns `None`.
    pub fn read(reader: &mut ConfigReader) -> Option<Self> {
        let nats = Nats::read(reader);
        if reader.optional_text(&PUBLIC_ADDRESS).is_some() {
            // Only record an error here: `examples` reads the value itself.
            let _ = reader.value::<IpAddr>(&PUBLIC_ADDRESS);
        }
        let admin_listen = reader.value(&ADMIN_LISTEN);
        let log_format = reader.value(&LOG_FORMAT);
        let log_payloads = reader.value(&LOG_PAYLOADS);
        let log_level = reader.value(&LOG_LEVEL);
        let otlp_endpoint = reader.optional_text(&OTLP_ENDPOINT);
        let grace =
            reader.duration(&SHUTDOWN_GRACE_PERIOD, Duration::from_millis(100)..=Duration::from_secs(300));
        Some(Self {
            nats: nats?,
            admin_listen: admin_listen?,
            log_format: log_format?,
            log_payloads: log_payloads?,
            log_level: log_level?,
            otlp_endpoint,
            grace: grace?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_media_is_a_valid_http_url() {
        let read = |url: &str| {
            let mut reader = ConfigReader::from_values([("media-public-url", url)]);
            let url = read_media_public_url(&mut reader);
            reader.finish(|| url).ok()
        };
        assert_eq!(read("https://media.example/files/").as_deref(), Some("https://media.example/files"));
        assert_eq!(read("http://10.0.0.1:8081").as_deref(), Some("http://10.0.0.1:8081"));
        for bad in [
            "https://media.example:99999",
            "https://media..example",
            "https://anna@media.example",
            "https://media.example?x=1",
            "https://media.example#x",
            "media.example",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
