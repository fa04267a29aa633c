//! The interface of a BSP that can send: it creates requests and interprets responses. Both are pure.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use proto::v1::{CommandFault, ProviderStatus, ReportError, ReportEvent};
use serde_json::Value;

use crate::command::Command;
use crate::ids::ChannelId;
use crate::secret_reference::SecretReference;

/// The account through which a channel sends, from its stored settings.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Scheme, host and port, without a slash at the end.
    pub base_url: String,
    /// Reference to its API key.
    pub key: SecretReference,
    /// Rate limit, in messages per second.
    pub sends_per_second: u32,
    /// Time after which a message with an unknown outcome is sent again; `None` for never.
    pub resend_unknown_after: Option<Duration>,
    /// Time for which the next message to a recipient is held back after a call with an unknown outcome; `None` for
    /// until the outcome is known.
    pub unknown_hold: Option<Duration>,
}

/// Default of [`Account::unknown_hold`].
pub const UNKNOWN_HOLD_DEFAULT: Duration = Duration::from_secs(30);

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("base_url", &self.base_url)
            .field("sends_per_second", &self.sends_per_second)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MediaLink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_ours", &self.is_ours).finish_non_exhaustive()
    }
}

/// URL of a file for the BSP.
#[derive(Clone, Copy)]
pub struct MediaLink<'a> {
    /// The URL.
    pub url: &'a str,
    /// Whether it is a URL of our media service, which may be logged. Other URLs may contain a token.
    pub is_ours: bool,
    /// File name of the upload; empty if it has none. It is used if the command gives no name.
    pub file_name: &'a str,
}

/// A call that sends one message: `POST` with a JSON body.
pub struct Request {
    /// Function name in its log lines.
    pub function: &'static str,
    /// Path after the base URL.
    pub path: &'static str,
    /// The exact body.
    pub body: Vec<u8>,
    /// Keys of the body whose values are not personal.
    pub logged_keys: &'static [&'static str],
    /// Those of them whose values events may contain: not the URLs of our files, which give access to them.
    pub event_keys: &'static [&'static str],
}

// The body is personal data.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("function", &self.function).finish_non_exhaustive()
    }
}

/// Response to a sending call, as far as its meaning depends on it.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The header `Retry-After`, if it is valid.
    pub retry_after: Option<Duration>,
    /// The body, or the part of it that was read.
    pub body: &'a [u8],
}

// The body is personal data.
impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A call that had no effect, for a reason other than the message: the account, or a server in front of the
/// BSP. It would fail for any other message too, and can be retried later.
#[derive(Debug, Clone, PartialEq)]
pub struct NotSent {
    /// The HTTP status.
    pub status: u16,
    /// The BSP's own error; `None` if the body is not the BSP's: a load balancer, a proxy or another server responded.
    pub error: Option<ReportError>,
}

/// The cause as text for people.
impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        match &self.error {
            Some(error) if !error.name.is_empty() => write!(f, "{status} {}", error.name),
            Some(_) => write!(f, "{status} from the BSP"),
            None if (300..400).contains(&status) => {
                write!(f, "{status}, an unexpected redirect: check base_url")
            }
            None => write!(f, "{status} from a server in front of the BSP"),
        }
    }
}

/// Meaning of the response to a sending call.
#[derive(Debug, Clone, PartialEq)]
pub enum SendResponse {
    /// The BSP has accepted the message.
    Accepted {
        /// Its id of the message.
        message_id: String,
        /// The BSP's status.
        status: ProviderStatus,
    },
    /// The BSP has rejected the message, and would reject it again: the message is the cause.
    Rejected {
        /// The BSP's status, if the response contains one.
        status: Option<ProviderStatus>,
        /// The error.
        error: ReportError,
        /// The fields that the BSP rejects, with its own names and texts.
        faults: Vec<CommandFault>,
    },
    /// The BSP has rejected the id, because it already has a message with this id.
    Duplicate {
        /// The BSP's status.
        status: ProviderStatus,
    },
    /// Rate limited: the call had no effect, and can be retried later.
    Limited,
    /// The call had no effect, and the response is not about the message.
    NotSent(NotSent),
    /// The response does not tell whether the message was accepted.
    Indeterminate {
        /// The unexpected part of the response, in a few words that quote no value of it.
        what: &'static str,
    },
}

/// A message in the BSP's message log.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The id that was asked for.
    pub message_id: String,
    /// The result of the log: [`SendResponse::Accepted`], [`SendResponse::Rejected`] or [`SendResponse::Duplicate`].
    pub answer: SendResponse,
}

/// A response of the message log that is read as reports.
#[derive(Clone, Copy)]
pub struct LogAnswer<'a> {
    /// The channel whose messages were asked for.
    pub channel: &'a ChannelId,
    /// The body of a response that [`Sending::lookup_answer`] can read.
    pub body: &'a [u8],
    /// When it came.
    pub answered_at: Timestamp,
}

// The body is personal data.
impl fmt::Debug for LogAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogAnswer").field("channel", self.channel).finish_non_exhaustive()
    }
}

/// The message log did not return a usable response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupError {
    /// Rate limited.
    Limited,
    /// The response is not a log.
    Unreadable,
}

/// A BSP that can send. Every method is pure.
pub trait Sending: Sync + fmt::Debug {
    /// The account in a channel's stored settings; `None` if they contain none.
    fn account(&self, settings: &Value) -> Option<Account>;

    /// The value of the `Authorization` header, for a key.
    fn authorization(&self, key: &[u8]) -> Vec<u8>;

    /// The call that sends a command. `link` is the URL of the file, for a command with media.
    fn request(&self, settings: &Value, command: &Command, link: Option<MediaLink<'_>>) -> Request;

    /// Keys of a response's body whose values are not personal.
    fn answer_logged_keys(&self) -> &'static [&'static str];

    /// Texts of a response's body about statuses and errors, in the form of
    /// [`Unmasked::texts`](crate::mask::Unmasked::texts).
    fn answer_error_texts(&self) -> &'static [&'static str];

    /// Name of the header in which a response has the BSP's id of the call, which its support can find the call by; `None` if no
    /// document of the BSP names one.
    fn trace_header(&self) -> Option<&'static str>;

    /// The meaning of a response. `message_id` is the id in the request.
    fn answer(&self, response: Response<'_>, message_id: &str) -> SendResponse;

    /// Path and query of a log query for messages.
    fn lookup_path(&self, message_ids: &[&str]) -> String;

    /// Reads the response to a log query.
    ///
    /// # Errors
    /// [`LookupError`] if the response is not a log. It then has no information about any message.
    fn lookup_answer(&self, status: u16, body: &[u8]) -> Result<Vec<Found>, LookupError>;

    /// Whether the log says what became of a message, so that a channel may have `reconcile`.
    fn has_reports_in_log(&self) -> bool {
        false
    }

    /// Reads what the log says about messages as reports, at most one for each, with `source.reconciled` and ids of their own. None
    /// about a message that the log does not have.
    fn log_reports(&self, _log: &LogAnswer<'_>) -> Vec<ReportEvent> {
        Vec::new()
    }

    /// Most message ids in one log query.
    fn lookup_ids_max(&self) -> usize;

    /// Shortest interval between two log queries of one account, across all processes.
    fn lookup_interval(&self) -> Duration;
}
