//! Requests to the timeline, for the commands that ask it. What the answers mean is left to them; where the timeline is and the
//! token are options ([`crate::timeline_target`]).

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use timeline::http::ErasureBody;
use timeline::http::answer::{SearchAnswer, SearchRequest, TimelineRequest, UnmaskRequest};

/// Timeout of a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of the next bytes of an answer. A live stream has a comment every 15 s.
const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// Digits of the id of an erasure. They are hexadecimal.
const ERASURE_ID_DIGITS: usize = 18;
/// Largest answer, in bytes: a thousand rows with their bodies.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What was found.
pub(crate) enum Found {
    /// The body of the answer.
    Body(Value),
    /// Nothing: the body of the 404, which says up to when each stream was read.
    Nothing(Value),
}

/// A timeline.
pub(crate) struct Client {
    client: reqwest::Client,
    url: Url,
    token: Option<HeaderValue>,
}

impl Client {
    /// A client. The token is a secret and in no error.
    pub(crate) fn new(url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let form = "the URL of the timeline (--console-url) is not an HTTP URL such as http://127.0.0.1:8082";
        let parsed = Url::parse(url).context(form)?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.cannot_be_a_base() {
            bail!("{form}");
        }
        let token = token.map(|token| {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
            let mut value = value
                .map_err(|_| anyhow::anyhow!("the token of the timeline has characters that no token has"))?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        // Certificates of the system take longer to read than the whole answer takes.
        let builder = if parsed.scheme() == "http" { builder.tls_certs_only([]) } else { builder };
        let client = builder.connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build()?;
        Ok(Self { client, url: parsed, token: token.transpose()? })
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Percent-encodes what an id may contain.
            segments.pop_if_empty().extend(path);
        }
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        }
    }

    /// A POST of JSON, as a client that is no browser sends it.
    fn post(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<RequestBuilder> {
        let request = self.request(Method::POST, path).header("sec-fetch-site", "none");
        Ok(request.header(CONTENT_TYPE, "application/json").body(serde_json::to_vec(body)?))
    }

    /// Everything about an id.
    pub(crate) async fn timeline(&self, id: &str) -> anyhow::Result<Found> {
        // In a body: WhatsApp's own ids contain the customer's number, and logs of proxies have URLs.
        self.find(self.post(&["v1", "timeline"], &TimelineRequest { id: id.to_owned() })?).await
    }

    /// The messages behind an id, with numbers and texts. The audit log gets an entry.
    pub(crate) async fn unmask(&self, request: &UnmaskRequest) -> anyhow::Result<Found> {
        self.find(self.post(&["v1", "unmask"], request)?).await
    }

    async fn find(&self, request: RequestBuilder) -> anyhow::Result<Found> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        if answer.status() == StatusCode::NOT_FOUND {
            let body = self.body(answer).await?;
            // Another service, or an older one, answers 404 without it.
            if !body["read_until"].is_array() {
                bail!("{} is not a timeline; pass its URL with --console-url", self.place());
            }
            return Ok(Found::Nothing(body));
        }
        Ok(Found::Body(self.accepted(answer).await?))
    }

    /// Starts an erasure: its state. The number is in a body, never in a URL.
    pub(crate) async fn erase(&self, request: &ErasureBody) -> anyhow::Result<Value> {
        self.send(self.post(&["v1", "erasures"], request)?).await
    }

    /// How far an erasure is. [`is_away`] says whether an error is worth another attempt.
    pub(crate) async fn erasure(&self, id: &str) -> anyhow::Result<Value> {
        self.send(self.request(Method::GET, &["v1", "erasures", id])).await
    }

    /// The messages of a number. The number is in a body, never in a URL.
    pub(crate) async fn messages_of(
        &self,
        number: &str,
        since: Option<Timestamp>,
        limit: usize,
    ) -> anyhow::Result<Value> {
        let search = SearchRequest { number: number.to_owned(), since, until: None };
        let kept: SearchAnswer = self.parsed(self.send(self.post(&["v1", "searches"], &search)?).await?)?;
        let (client, request) = self.request(Method::GET, &["v1", "searches", &kept.id]).build_split();
        let mut request = request?;
        request.url_mut().query_pairs_mut().append_pair("limit", &limit.to_string());
        let answer = client.execute(request).await.map_err(|error| self.unreachable(error))?;
        self.accepted(answer).await
    }

    /// What is missing.
    pub(crate) async fn problems(&self, limit: usize) -> anyhow::Result<Value> {
        let (client, request) = self.request(Method::GET, &["v1", "problems"]).build_split();
        let mut request = request?;
        request.url_mut().query_pairs_mut().append_pair("limit", &limit.to_string());
        let answer = client.execute(request).await.map_err(|error| self.unreachable(error))?;
        self.accepted(answer).await
    }

    /// The stream of new rows.
    pub(crate) async fn live(&self) -> anyhow::Result<Response> {
        let request = self.request(Method::GET, &["v1", "live"]);
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(answer).await) }
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        self.accepted(answer).await
    }

    async fn accepted(&self, answer: Response) -> anyhow::Result<Value> {
        if answer.status().is_success() { self.body(answer).await } else { Err(self.refused(answer).await) }
    }

    async fn body(&self, mut answer: Response) -> anyhow::Result<Value> {
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(error))? {
            if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
                bail!("the answer of {} is larger than {ANSWER_BYTES_MAX} bytes", self.place());
            }
            bytes.extend_from_slice(&piece);
        }
        serde_json::from_slice(&bytes).with_context(|| self.not_one())
    }

    /// The body as a type.
    pub(crate) fn parsed<T: DeserializeOwned>(&self, body: Value) -> anyhow::Result<T> {
        serde_json::from_value(body).with_context(|| self.not_one())
    }

    fn not_one(&self) -> String {
        format!(
            "{} did not answer as a timeline of this version does; pass its URL with --console-url",
            self.place()
        )
    }

    /// Why a request was refused: the problem's own words (RFC 9457).
    async fn refused(&self, answer: Response) -> anyhow::Error {
        let status = answer.status();
        let problem = self.body(answer).await.unwrap_or_default();
        anyhow::Error::new(Refused::new(&self.place(), status, &problem))
    }

    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        let how = "`imchannel up` runs it; if it runs elsewhere, pass its URL with --console-url or IMCHANNEL_CONSOLE_URL";
        // The URL of the request may have an id; the place is said here.
        anyhow::Error::new(error.without_url())
            .context(format!("cannot reach the timeline at {}: {how}", self.place()))
    }

    /// Where it is, without a user or password that the URL may have.
    fn place(&self) -> String {
        let mut url = self.url.clone();
        // An HTTP URL has a host, so neither fails.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.to_string().trim_end_matches('/').to_owned()
    }
}

/// A request that was refused.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    /// Whether a proxy says that the timeline does not answer it.
    is_away: bool,
    message: String,
}

impl Refused {
    /// An answer of this status, with the problem that its body has, or with another body.
    fn new(place: &str, status: StatusCode, problem: &Value) -> Self {
        let why = problem["detail"].as_str();
        let is_away = match status {
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => true,
            // That of a timeline says why.
            StatusCode::SERVICE_UNAVAILABLE => why.is_none(),
            _ => false,
        };
        let why = why.unwrap_or("no reason is given");
        let hint = match status {
            StatusCode::UNAUTHORIZED => {
                ": pass a token with --console-token-file, --console-token or IMCHANNEL_CONSOLE_TOKEN"
                    .to_owned()
            }
            StatusCode::CONFLICT => running(why)
                .map(|id| format!("; `imchannel erase --watch {id}` follows it"))
                .unwrap_or_default(),
            _ => String::new(),
        };
        let message = format!("the timeline at {place} answered {status}: {why}{hint}");
        Self { status, is_away, message }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

/// Whether a text has the form of an erasure's id. No telephone number has.
pub(crate) fn is_erasure_id(text: &str) -> bool {
    text.len() == ERASURE_ID_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The id of the erasure that runs, from the words of a 409. It has none if another timeline runs it.
fn running(why: &str) -> Option<&str> {
    why.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| is_erasure_id(word))
}

/// Whether an error of [`Client`] is that the timeline does not answer now, or that a proxy before it says so.
pub(crate) fn is_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<reqwest::Error>().is_some()
        || error.downcast_ref::<Refused>().is_some_and(|refused| refused.is_away)
}

/// Whether an error of [`Client`] is that the timeline does not know what was asked for.
pub(crate) fn is_unknown(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.status == StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(status: StatusCode, problem: &Value) -> anyhow::Error {
        anyhow::Error::new(Refused::new("http://127.0.0.1:8082", status, problem))
    }

    #[test]
    fn a_proxy_before_a_timeline_that_restarts_says_that_it_is_away() {
        let (page, problem) = (Value::Null, json!({ "detail": "the store does not answer" }));
        for (status, body, away) in [
            (StatusCode::BAD_GATEWAY, &page, true),
            (StatusCode::SERVICE_UNAVAILABLE, &page, true),
            (StatusCode::GATEWAY_TIMEOUT, &problem, true),
            (StatusCode::SERVICE_UNAVAILABLE, &problem, false),
            (StatusCode::INTERNAL_SERVER_ERROR, &page, false),
            (StatusCode::NOT_FOUND, &problem, false),
        ] {
            let error = refused(status, body);
            assert_eq!(is_away(&error), away, "{error:#}");
            assert_eq!(is_unknown(&error), status == StatusCode::NOT_FOUND, "{error:#}");
        }
    }

    #[test]
    fn a_hint_to_follow_an_erasure_has_its_id_or_is_not_there() {
        let here = json!({ "detail": "0123456789abcdef01 is running; GET /v1/erasures/0123456789abcdef01" });
        let here = refused(StatusCode::CONFLICT, &here).to_string();
        assert!(here.ends_with("; `imchannel erase --watch 0123456789abcdef01` follows it"), "{here}");
        let elsewhere = json!({ "detail": "another timeline runs one" });
        let elsewhere = refused(StatusCode::CONFLICT, &elsewhere).to_string();
        assert!(elsewhere.ends_with("409 Conflict: another timeline runs one"), "{elsewhere}");
    }

    #[test]
    fn an_id_of_an_erasure_is_no_number() {
        assert!(is_erasure_id("0123456789abcdef01"));
        for text in ["", "4915112345678", "+49 151 12345678", "0123456789ABCDEF01", "0123456789abcdef0"] {
            assert!(!is_erasure_id(text), "{text}");
        }
    }
}
