//! Checks of the public URL of media: requests a file that does not exist, like a BSP, from the machine of this
//! command.

use std::net::IpAddr;
use std::time::Duration;

use bsp::media::{self, MediaId, MediaKind};
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, DATE, LOCATION};

use super::clock::{Reading, http_date};
use super::finding::{Check, Finding};
use super::probe::{Probe, reason};

const URL: Check = Check("media.url");
const ANSWER: Check = Check("media.answer");

/// Timeout of one request to media.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Header that every response of media has.
const NOSNIFF: &str = "x-content-type-options";
/// Most bytes of a response body that are read. Media's response has none.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Response to the request.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) is_nosniff: bool,
    pub(super) body_bytes: usize,
    pub(super) content_type: String,
    pub(super) location: String,
    pub(super) clock: Option<Reading>,
}

/// Requests a file that does not exist.
pub(super) async fn ask(client: &reqwest::Client, base: &str, tenant: &str) -> Probe<Answer> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| error.to_string())?;
    let path = media::path(tenant, MediaKind::Image, &MediaId::from_random(bits));
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let asked_at = Timestamp::now();
    let mut answer = client.get(url).timeout(TIMEOUT).send().await.map_err(|error| reason(&error))?;
    let heard_at = Timestamp::now();
    let text = |name| {
        let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let date = http_date(&text(DATE.as_str()));
    let clock = date.map(|said| Reading::of_seconds("media", asked_at, said, heard_at));
    let (status, is_nosniff) = (answer.status().as_u16(), text(NOSNIFF) == "nosniff");
    let (content_type, location) = (text(CONTENT_TYPE.as_str()), text(LOCATION.as_str()));
    let mut body_bytes = 0;
    while let Ok(Some(piece)) = answer.chunk().await {
        body_bytes += piece.len();
        if body_bytes > BODY_BYTES_MAX {
            break;
        }
    }
    Ok(Answer { status, is_nosniff, body_bytes, content_type, location, clock })
}

/// Returns findings about media; `asked` is `None` if its URL was not given.
pub(super) fn evaluate(asked: Option<&(String, Probe<Answer>)>) -> Vec<Finding> {
    let Some((url, answer)) = asked else {
        let why = "The URL of every file begins with it. If the BSP cannot fetch from it, no customer receives a file.";
        let remedy =
            "Give --media-public-url (IMCHANNEL_MEDIA_PUBLIC_URL), with the value of sender and media.";
        return vec![URL.unknown("the public URL of media was not given", why, remedy)];
    };
    vec![evaluate_url(url), evaluate_answer(url, answer)]
}

fn evaluate_url(text: &str) -> Finding {
    let remedy = "Set IMCHANNEL_MEDIA_PUBLIC_URL of sender and media to the https URL at which media is reachable from the internet.";
    let Ok(url) = Url::parse(text) else {
        return URL.error(format!("'{text}' is not a URL"), "The BSP cannot fetch any file.", remedy);
    };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if let Some(place) = private_place(host) {
        let what = format!("the host of {text} is {place}");
        return URL.warning(what, "A BSP on the internet cannot fetch files there.", remedy);
    }
    if url.scheme() != "https" {
        let why = "Files are sent over the internet unencrypted, and a BSP may refuse such a URL.";
        return URL.warning(format!("{text} is not https"), why, remedy);
    }
    URL.ok(format!("{text} is an https URL and not a private address"))
}

/// Returns why a host is unreachable from the internet, or `None` if it may be reachable.
fn private_place(host: &str) -> Option<&'static str> {
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => Some("this machine"),
        Ok(ip) if ip.is_unspecified() => Some("not an address"),
        Ok(IpAddr::V4(ip)) if ip.is_private() || ip.is_link_local() => Some("a private address"),
        Ok(IpAddr::V6(ip)) if ip.is_unique_local() || ip.is_unicast_link_local() => Some("a private address"),
        Ok(_) => None,
        Err(_) if host == "localhost" || host.ends_with(".localhost") => Some("this machine"),
        Err(_) if !host.contains('.') => Some("a host of a private network"),
        Err(_) if [".local", ".internal", ".svc"].iter().any(|end| host.ends_with(end)) => {
            Some("a host of a private network")
        }
        Err(_) => None,
    }
}

fn evaluate_answer(url: &str, answer: &Probe<Answer>) -> Finding {
    let why =
        "The BSP fetches every file from this URL. If that fails, the customer does not receive the file.";
    let route = "Configure the load balancer to forward /{tenant}/imchannel/ of this host to imchannel-media, unchanged.";
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let what = format!("no response from {url}: {error}");
            return ANSWER.error(
                what,
                why,
                "Start imchannel-media, or correct the name, port or certificate.",
            );
        }
    };
    let kind = if answer.content_type.is_empty() { "no type" } else { &answer.content_type };
    match answer.status {
        404 if answer.is_nosniff && answer.body_bytes == 0 => {
            ANSWER.ok("media answers 404 for a random id")
        }
        404 => ANSWER.error(
            format!(
                "{url} answers 404 with {} bytes ({kind}), which is not a response of media",
                answer.body_bytes
            ),
            why,
            route,
        ),
        503 if answer.is_nosniff => ANSWER.error(
            format!("media answers 503 at {url}"),
            why,
            "Redis is unreachable, or too many files are being served: see redis.connection and media's /ready.",
        ),
        301 | 302 | 303 | 307 | 308 => ANSWER.error(
            format!("{url} redirects to {}", answer.location),
            "A BSP may not follow the redirect, and the response may not be the file.",
            "Set IMCHANNEL_MEDIA_PUBLIC_URL to the target of the redirect, or serve media at this URL.",
        ),
        status => ANSWER.error(
            format!(
                "{url} answers {status} ({kind}) to a request for a file that does not exist; media would answer 404"
            ),
            why,
            route,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn the_url_must_be_reachable_from_the_internet() {
        for (url, level) in [
            ("https://media.example", Level::Ok),
            ("https://198.51.100.7:8443", Level::Ok),
            ("http://media.example", Level::Warning),
            ("http://127.0.0.1:8081", Level::Warning),
            ("https://localhost", Level::Warning),
            ("https://10.1.2.3", Level::Warning),
            ("https://[::1]:8081", Level::Warning),
            ("https://media:8081", Level::Warning),
            ("https://media.imchannel.svc", Level::Warning),
            ("media", Level::Error),
        ] {
            assert_eq!(evaluate_url(url).level, level, "{url}");
        }
    }

    #[test]
    fn responses_of_other_servers_are_told_from_those_of_media() {
        let level = |status, is_nosniff, body_bytes| {
            let (content_type, location) = ("text/html".to_owned(), String::new());
            let answer = Answer { status, is_nosniff, body_bytes, content_type, location, clock: None };
            evaluate_answer("https://media.example", &Ok(answer)).level
        };
        assert_eq!(level(404, true, 0), Level::Ok);
        // A web server's own 404 page, and a page that is served for every path.
        assert_eq!(level(404, false, 153), Level::Error);
        assert_eq!(level(200, false, 5_000), Level::Error);
        assert_eq!(level(302, false, 0), Level::Error);
        assert_eq!(level(503, true, 0), Level::Error);
        assert_eq!(evaluate(None)[0].level, Level::Unknown);
    }
}
