//! The settings of the services that store files: Redis, and the URL under which the BSP fetches the files.

use service::settings::{ConfigReader, Setting};
use service::tls;

use crate::options::RedisOptions;

/// URL of Redis.
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
/// URL of media for the BSP.
pub static MEDIA_PUBLIC_URL: Setting = Setting::new(
    "media-public-url",
    "",
    "Scheme and host under which the BSP reaches media, such as https://gateway.example; the URL of every file begins with it",
);

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
