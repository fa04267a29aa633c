//! One call to a BSP: sends the request, reads the response, and returns what is certain about the outcome.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bsp::mask::{self, Unmasked};
use bsp::sending::{NotSent, Request, Response, SendResponse};
use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use service::LogPayloads;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::account::Account;
use crate::retry_after;

/// Most idle connections to one host.
const IDLE_CONNECTIONS_MAX: usize = 1024;
/// Timeout of a new connection to a BSP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of a response to a send that are read. It is about one message.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of a response of the message log that are read. It has a thousand entries at most.
const LOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Content type of requests.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is certain after a call.
#[derive(Debug)]
pub(crate) enum CallResult {
    /// The BSP answered.
    Answered(Box<SendResponse>),
    /// The BSP answered 429 (too many calls). Nothing was sent.
    Limited {
        /// The `Retry-After` of the response, if there is one.
        after: Option<Duration>,
    },
    /// The account, or a proxy in front of the BSP, refused the call. Nothing was sent.
    Refused {
        /// Kind of the refusal.
        why: NotSent,
        /// The `Retry-After` of the response, if there is one.
        after: Option<Duration>,
    },
    /// The connection failed, or it ended before a byte of the call was written. Nothing was sent.
    NotConnected,
    /// The message may have been sent, and no response came.
    NoAnswer(&'static str),
}

/// Creates the HTTP client for all accounts. It closes a connection after `idle_timeout`, so that the BSP does not
/// close it while a call is being written, which would make the outcome unknown. Zero gives every call a new
/// connection.
///
/// A call is written once. Below this client, hyper takes a call back that it has not begun to write when its
/// connection ends, and hyper-util gives it to another connection. Nothing else is retried: `retry::never` and HTTP/1.1
/// make sure of that (sources of hyper 1.12, hyper-util 0.1.21 and reqwest 0.13.5).
///
/// # Errors
/// When the client cannot be created or the CA file cannot be used.
pub(crate) fn client(ca_file: Option<&Path>, idle_timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder();
    if let Some(file) = ca_file {
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        builder = builder.add_root_certificate(reqwest::Certificate::from_pem(&pem)?);
    }
    let client = builder
        // A message goes only to the host in the channel's settings.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(idle_timeout)
        .pool_max_idle_per_host(if idle_timeout.is_zero() { 0 } else { IDLE_CONNECTIONS_MAX })
        .retry(reqwest::retry::never())
        .http1_only()
        .tcp_nodelay(true)
        .user_agent(concat!("imchannel/", env!("CARGO_PKG_VERSION")))
        .build();
    client.context("cannot create the HTTP client")
}

/// Sends a message. The call always ends by `deadline`.
pub(crate) async fn send(
    client: &reqwest::Client,
    account: &Account,
    authorization: HeaderValue,
    request: Request,
    (message_id, deadline): (&str, Instant),
    payloads: LogPayloads,
) -> CallResult {
    let function = request.function;
    let url = format!("{}{}", account.details.base_url, request.path);
    let channel = account.channel.as_str();
    let data = printable(&request.body, Unmasked { keys: request.logged_keys, texts: &[] }, payloads);
    tracing::info!(
        function,
        channel,
        message_id,
        "request to [{url}] Data [{}] with api key header",
        data.unwrap_or_else(|| message_id.to_owned())
    );
    let call = client
        .post(&url)
        .header(CONTENT_TYPE, JSON)
        .header(ACCEPT, JSON)
        .header(AUTHORIZATION, authorization)
        .body(request.body);
    // The deadline is polled first: a process that was suspended must not write the request after it.
    let exchanged = tokio::select! {
        biased;
        () = sleep_until(deadline) => Err(CallResult::NoAnswer("timed_out")),
        exchanged = exchange(call) => exchanged,
    };
    let (status, after, body) = match exchanged {
        Ok(answer) => answer,
        Err(end) => return log_result(end, function, channel, message_id, &url),
    };
    let readable =
        Unmasked { keys: account.sending.answer_logged_keys(), texts: account.sending.answer_error_texts() };
    let text = printable(&body, readable, payloads);
    tracing::info!(
        function,
        channel,
        message_id,
        status,
        "response of [{url}]: {}",
        text.unwrap_or_else(|| format!("{status} {message_id}"))
    );
    match account.sending.answer(Response { status, retry_after: after, body: &body }, message_id) {
        SendResponse::Limited => CallResult::Limited { after },
        SendResponse::NotSent(why) => CallResult::Refused { why, after },
        answer => CallResult::Answered(answer.into()),
    }
}

fn printable(body: &[u8], readable: Unmasked, payloads: LogPayloads) -> Option<String> {
    match payloads {
        LogPayloads::Masked => Some(mask::body("application/json", body, readable)),
        LogPayloads::Full => Some(mask::unmasked(body)),
        LogPayloads::Off => None,
    }
}

fn log_result(
    end: CallResult,
    function: &'static str,
    channel: &str,
    message_id: &str,
    url: &str,
) -> CallResult {
    let what = match &end {
        CallResult::NotConnected => "cannot connect",
        CallResult::NoAnswer("timed_out") => "timed out",
        _ => "connection lost",
    };
    tracing::info!(function, channel, message_id, "no response of [{url}] to message {message_id}: {what}");
    end
}

type Exchanged = (u16, Option<Duration>, Vec<u8>);

async fn exchange(call: reqwest::RequestBuilder) -> Result<Exchanged, CallResult> {
    let mut answer = call.send().await.map_err(|error| to_result(&error))?;
    let status = answer.status().as_u16();
    let after = when_to_come_back(answer.headers());
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES_MAX {
        match answer.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break,
            // Without the body of a success the outcome is unknown, and without that of a 503 its sender. Other
            // statuses need no body.
            Err(_) if (200..300).contains(&status) || status >= 500 => {
                return Err(CallResult::NoAnswer("broken"));
            }
            Err(_) => break,
        }
    }
    Ok((status, after, body))
}

/// Nothing was sent only if the connection failed or the call was not yet being written.
fn to_result(error: &reqwest::Error) -> CallResult {
    if error.is_connect() || is_unwritten(error) {
        CallResult::NotConnected
    } else if error.is_timeout() {
        CallResult::NoAnswer("timed_out")
    } else {
        CallResult::NoAnswer("broken")
    }
}

/// Whether the connection ended before a byte of the call was written. hyper's dispatcher reports "canceled" only for
/// calls that it has not taken from its queue.
fn is_unwritten(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_canceled();
        }
        source = error.source();
    }
    false
}

fn when_to_come_back(headers: &HeaderMap) -> Option<Duration> {
    retry_after::parse(headers.get(RETRY_AFTER)?, Timestamp::now())
}

/// Response of the BSP's message log.
#[derive(Debug)]
pub(crate) struct LogAnswer {
    pub(crate) status: u16,
    /// The `Retry-After` of the response, if there is one.
    pub(crate) after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

/// Queries the BSP's message log.
///
/// # Errors
/// When no answer came by `deadline`.
pub(crate) async fn look_up(
    client: &reqwest::Client,
    url: String,
    authorization: HeaderValue,
    deadline: Instant,
) -> Result<LogAnswer, ()> {
    let call = client.get(url).header(ACCEPT, JSON).header(AUTHORIZATION, authorization);
    let exchange = async {
        let mut answer = call.send().await.map_err(drop)?;
        let status = answer.status().as_u16();
        let after = when_to_come_back(answer.headers());
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(drop)? {
            body.extend_from_slice(&piece);
            if body.len() > LOG_BYTES_MAX {
                return Err(());
            }
        }
        Ok(LogAnswer { status, after, body })
    };
    timeout_at(deadline, exchange).await.map_err(drop)?
}

#[cfg(test)]
mod tests;
