//! One call to a BSP: the bytes go out, an answer comes back or does not, and what is certain about it is said.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bsp::mask::{self, Readable};
use bsp::sending::{Answer, NotSent, Request, Response};
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
/// Most bytes of a response that are read. It is about one message.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of a response of the message log that are read. It has a thousand entries at most.
const LOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Content type of requests.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is certain after a call.
#[derive(Debug)]
pub(crate) enum CallEnd {
    /// The BSP answered.
    Answered(Box<Answer>),
    /// It answered that there were too many calls. Nothing was sent.
    Limited {
        /// When it wants to be asked again, where it says so.
        after: Option<Duration>,
    },
    /// The account, or something in front of the BSP, refused the call. Nothing was sent.
    Refused {
        /// What was answered.
        why: NotSent,
        /// When it wants to be asked again, where it says so.
        after: Option<Duration>,
    },
    /// There was no connection, or it ended before a byte of the call was written. Nothing was sent.
    NotConnected,
    /// Something may have been sent, and no answer came.
    NoAnswer(&'static str),
}

/// The client for all accounts. A connection that rested for `idle_timeout` is closed, so that the BSP's side does not close
/// it under a call that is just written, whose outcome nobody would know; zero gives every call a connection of its own.
///
/// A call is written once. Below this client, hyper takes a call back that it has not begun to write when its connection
/// ends, and hyper-util gives it to another connection; nothing else is repeated, which `retry::never` and HTTP/1.1 alone
/// make sure of (sources of hyper 1.12, hyper-util 0.1.21 and reqwest 0.13.5).
///
/// # Errors
/// When none can be made, or the file of the authority cannot be used.
pub(crate) fn client(ca_file: Option<&Path>, idle_timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder();
    if let Some(file) = ca_file {
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        builder = builder.add_root_certificate(reqwest::Certificate::from_pem(&pem)?);
    }
    let client = builder
        // A message goes where the channel's settings say, and nowhere else.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(idle_timeout)
        .pool_max_idle_per_host(if idle_timeout.is_zero() { 0 } else { IDLE_CONNECTIONS_MAX })
        .retry(reqwest::retry::never())
        .http1_only()
        .tcp_nodelay(true)
        .user_agent(concat!("imchannel/", env!("CARGO_PKG_VERSION")))
        .build();
    client.context("no HTTP client")
}

/// Sends a message. The call ends at `deadline` whatever happens.
pub(crate) async fn send(
    client: &reqwest::Client,
    account: &Account,
    authorization: HeaderValue,
    request: Request,
    (message_id, deadline): (&str, Instant),
    payloads: LogPayloads,
) -> CallEnd {
    let function = request.function;
    let url = format!("{}{}", account.details.base_url, request.path);
    let channel = account.channel.as_str();
    let data = shown(&request.body, Readable { keys: request.logged_keys, texts: &[] }, payloads);
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
    // The deadline is looked at first: a process that slept must not hand the request on after it.
    let exchanged = tokio::select! {
        biased;
        () = sleep_until(deadline) => Err(CallEnd::NoAnswer("timed_out")),
        exchanged = exchange(call) => exchanged,
    };
    let (status, after, body) = match exchanged {
        Ok(answer) => answer,
        Err(end) => return said(end, function, channel, message_id, &url),
    };
    let readable =
        Readable { keys: account.sending.answer_logged_keys(), texts: account.sending.answer_error_texts() };
    let text = shown(&body, readable, payloads);
    tracing::info!(
        function,
        channel,
        message_id,
        status,
        "response of [{url}]: {}",
        text.unwrap_or_else(|| format!("{status} {message_id}"))
    );
    match account.sending.answer(Response { status, retry_after: after, body: &body }, message_id) {
        Answer::Limited => CallEnd::Limited { after },
        Answer::NotSent(why) => CallEnd::Refused { why, after },
        answer => CallEnd::Answered(answer.into()),
    }
}

fn shown(body: &[u8], readable: Readable, payloads: LogPayloads) -> Option<String> {
    match payloads {
        LogPayloads::Masked => Some(mask::body("application/json", body, readable)),
        LogPayloads::Full => Some(mask::unmasked(body)),
        LogPayloads::Off => None,
    }
}

fn said(end: CallEnd, function: &'static str, channel: &str, message_id: &str, url: &str) -> CallEnd {
    let what = match &end {
        CallEnd::NotConnected => "there is no connection",
        CallEnd::NoAnswer("timed_out") => "it did not come in time",
        _ => "the connection broke",
    };
    tracing::info!(function, channel, message_id, "no response of [{url}] to message {message_id}: {what}");
    end
}

type Exchanged = (u16, Option<Duration>, Vec<u8>);

async fn exchange(call: reqwest::RequestBuilder) -> Result<Exchanged, CallEnd> {
    let mut answer = call.send().await.map_err(|error| ended(&error))?;
    let status = answer.status().as_u16();
    let after = when_to_come_back(answer.headers());
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES_MAX {
        match answer.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break,
            // Without its body nothing is certain of a success, nor of who answered a 503; the others need none.
            Err(_) if (200..300).contains(&status) || status >= 500 => {
                return Err(CallEnd::NoAnswer("broken"));
            }
            Err(_) => break,
        }
    }
    Ok((status, after, body))
}

/// Only a connection that was never there, or a call that was not begun to be written, makes it certain that nothing was
/// sent.
fn ended(error: &reqwest::Error) -> CallEnd {
    if error.is_connect() || is_unwritten(error) {
        CallEnd::NotConnected
    } else if error.is_timeout() {
        CallEnd::NoAnswer("timed_out")
    } else {
        CallEnd::NoAnswer("broken")
    }
}

/// Whether the connection ended before a byte of the call was written: hyper's dispatcher says "canceled" of calls that it
/// has not taken from its queue, and of nothing else.
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

/// What the BSP's log was answered with.
#[derive(Debug)]
pub(crate) struct LogAnswer {
    pub(crate) status: u16,
    /// When it wants to be asked again, where it says so.
    pub(crate) after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

/// Asks the BSP's log.
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
