//! One call to a BSP: sends the request, reads the response, and returns what is certain about the outcome.

use std::task::Poll;
use std::time::Duration;

use bsp::sending::{NotSent, Request, Response, SendResponse};
use jiff::Timestamp;
use proto::v1::{Attempt, AttemptOutcome};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use service::LogPayloads;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::account::Account;
use crate::bsp_client::call_texts::{self, CallTexts};
use crate::bsp_client::retry_after;
use crate::moment::Moment;

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
    Indeterminate(Reason),
}

/// Why the outcome of a call is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The call did not end within its timeout.
    TimedOut,
    /// The connection ended before the whole response came.
    ConnectionLost,
}

impl Reason {
    /// Returns the reason as text for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::TimedOut => "timed out",
            Self::ConnectionLost => "connection lost",
        }
    }
}

impl CallResult {
    /// Whether certainly nothing was sent, for a reason other than the message.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Self::Limited { .. } | Self::Refused { .. } | Self::NotConnected)
    }

    /// Returns the value of a metric's label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Answered(answer) => match &**answer {
                SendResponse::Accepted { .. } => "accepted",
                SendResponse::Rejected { .. } => "rejected",
                SendResponse::Duplicate { .. } => "duplicate",
                SendResponse::Indeterminate { .. } => "unclear",
                SendResponse::Limited => "limited",
                SendResponse::NotSent(_) => "refused_account",
            },
            Self::Limited { .. } => "limited",
            Self::Refused { why, .. } if why.error.is_some() => "refused_account",
            Self::Refused { .. } => "refused_in_front",
            Self::NotConnected => "not_connected",
            Self::Indeterminate(Reason::TimedOut) => "timed_out",
            Self::Indeterminate(Reason::ConnectionLost) => "broken",
        }
    }

    /// Returns what a result says about the call.
    fn attempt_outcome(&self) -> AttemptOutcome {
        match self {
            Self::Answered(answer) => match &**answer {
                SendResponse::Accepted { .. } => AttemptOutcome::Accepted,
                SendResponse::Rejected { .. } => AttemptOutcome::Rejected,
                SendResponse::Duplicate { .. } => AttemptOutcome::Duplicate,
                SendResponse::Indeterminate { .. } => AttemptOutcome::Unclear,
                SendResponse::Limited => AttemptOutcome::Limited,
                SendResponse::NotSent(_) => AttemptOutcome::AccountRefused,
            },
            Self::Limited { .. } => AttemptOutcome::Limited,
            Self::Refused { why, .. } if why.error.is_some() => AttemptOutcome::AccountRefused,
            Self::Refused { .. } => AttemptOutcome::RefusedInFront,
            Self::NotConnected => AttemptOutcome::NotConnected,
            Self::Indeterminate(Reason::TimedOut) => AttemptOutcome::TimedOut,
            Self::Indeterminate(Reason::ConnectionLost) => AttemptOutcome::ConnectionLost,
        }
    }
}

/// What a call ended with, and how a result shows it.
#[derive(Debug)]
pub(crate) struct FinishedCall {
    pub(crate) end: CallResult,
    pub(crate) attempt: Attempt,
}

impl FinishedCall {
    fn new(end: CallResult, attempt: Attempt) -> Self {
        let attempt = Attempt { outcome: end.attempt_outcome().into(), ..attempt };
        Self { end, attempt }
    }
}

/// A call that sends a message.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a reqwest::Client,
    pub(crate) account: &'a Account,
    pub(crate) authorization: HeaderValue,
    pub(crate) request: Request,
    /// The id that the request gives the message.
    pub(crate) message_id: &'a str,
    /// When the call ends at the latest.
    pub(crate) deadline: Moment,
    /// What is logged of bodies.
    pub(crate) payloads: LogPayloads,
}

impl Call<'_> {
    /// Makes the call. It always ends by its deadline.
    pub(crate) async fn send(self) -> FinishedCall {
        let Self { client, account, authorization, request, message_id, deadline, payloads } = self;
        let sending = account.sending;
        let url = format!("{}{}", account.details.base_url, request.path);
        let (function, channel) = (request.function, account.channel.as_str());
        let texts = CallTexts { function, channel, message_id, url: &url, sending, payloads };
        let shown = texts.request(&request);
        let call = client
            .post(&url)
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            .header(AUTHORIZATION, authorization)
            .body(request.body);
        let (at, began) = (Timestamp::now(), Instant::now());
        let exchanged = by_deadline(deadline, exchange(call, sending.trace_header())).await;
        let attempt = Attempt {
            at: Some(bsp::time::to_proto(at)),
            duration: Some(began.elapsed().into()),
            request: shown,
            ..Attempt::default()
        };
        let HttpResponse { status, retry_after: after, trace_id, body } = match exchanged {
            Ok(response) => response,
            Err(end) => {
                texts.no_response(match &end {
                    CallResult::Indeterminate(reason) => reason.text(),
                    _ => "cannot connect",
                });
                return FinishedCall::new(end, attempt);
            }
        };
        let attempt = Attempt {
            http_status: status.into(),
            provider_trace_id: trace_id,
            response: texts.response(status, &body),
            ..attempt
        };
        let end = match sending.answer(Response { status, retry_after: after, body: &body }, message_id) {
            SendResponse::Limited => CallResult::Limited { after },
            SendResponse::NotSent(why) => CallResult::Refused { why, after },
            answer => CallResult::Answered(answer.into()),
        };
        FinishedCall::new(end, attempt)
    }
}

/// A response of the BSP.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    /// The `Retry-After` of the response, if there is one.
    pub(crate) retry_after: Option<Duration>,
    /// The BSP's id of the call; empty if it gave none.
    pub(crate) trace_id: String,
    pub(crate) body: Vec<u8>,
}

/// Makes an exchange, which ends at its deadline. The deadline is checked before each step of the exchange, by both clocks: a
/// process or machine that was suspended while the connection was opened must not write the request after it.
async fn by_deadline<T>(
    deadline: Moment,
    exchange: impl Future<Output = Result<T, CallResult>>,
) -> Result<T, CallResult> {
    let has_come = std::future::poll_fn(|_| {
        if deadline.has_come_at(Moment::now()) { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::select! {
        biased;
        () = has_come => Err(CallResult::Indeterminate(Reason::TimedOut)),
        () = sleep_until(deadline.instant) => Err(CallResult::Indeterminate(Reason::TimedOut)),
        exchanged = exchange => exchanged,
    }
}

async fn exchange(
    call: reqwest::RequestBuilder,
    trace_header: Option<&str>,
) -> Result<HttpResponse, CallResult> {
    let mut answer = call.send().await.map_err(|error| to_result(&error))?;
    let status = answer.status().as_u16();
    let retry_after = retry_after(answer.headers());
    let trace_id = call_texts::trace_id(answer.headers(), trace_header);
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES_MAX {
        match answer.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break,
            // Without the body of a success the outcome is unknown, and without that of a 503 its sender. Other
            // statuses need no body.
            Err(_) if (200..300).contains(&status) || status >= 500 => {
                return Err(CallResult::Indeterminate(Reason::ConnectionLost));
            }
            Err(_) => break,
        }
    }
    Ok(HttpResponse { status, retry_after, trace_id, body })
}

/// Nothing was sent only if the connection failed or the call was not yet being written.
fn to_result(error: &reqwest::Error) -> CallResult {
    if error.is_connect() || is_unwritten(error) {
        CallResult::NotConnected
    } else if error.is_timeout() {
        CallResult::Indeterminate(Reason::TimedOut)
    } else {
        CallResult::Indeterminate(Reason::ConnectionLost)
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

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    retry_after::parse(headers.get(RETRY_AFTER)?, Timestamp::now())
}

/// Queries the BSP's message log.
///
/// # Errors
/// When no answer came by `deadline`.
pub(crate) async fn query_log(
    client: &reqwest::Client,
    url: String,
    authorization: HeaderValue,
    deadline: Instant,
) -> Result<HttpResponse, ()> {
    let call = client.get(url).header(ACCEPT, JSON).header(AUTHORIZATION, authorization);
    let exchange = async {
        let mut answer = call.send().await.map_err(drop)?;
        let status = answer.status().as_u16();
        let retry_after = retry_after(answer.headers());
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(drop)? {
            body.extend_from_slice(&piece);
            if body.len() > LOG_BYTES_MAX {
                return Err(());
            }
        }
        Ok(HttpResponse { status, retry_after, trace_id: String::new(), body })
    };
    timeout_at(deadline, exchange).await.map_err(drop)?
}

#[cfg(test)]
mod tests;
