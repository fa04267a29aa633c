//! What the gateway asks of a BSP that it sends through: requests made and answers read, both pure.

use std::fmt;
use std::time::Duration;

use proto::v1::{CommandFault, ProviderStatus, ReportError};
use serde_json::Value;

use crate::command::Command;
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
    /// Time after which a message with an unknown outcome is sent once more; `None` for never.
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

impl fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_ours", &self.is_ours).finish_non_exhaustive()
    }
}

/// URL of a file for the BSP.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    /// The URL.
    pub url: &'a str,
    /// Whether it is a URL of our media service, which may be logged: another URL may contain a token.
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
}

// The body is personal.
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

// The body is personal.
impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A call that had no effect for a reason other than the message: the account, or something in front of the BSP. It
/// would fail for any other message too, and can be retried later.
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
            Some(_) => write!(f, "{status} by the BSP"),
            None if (300..400).contains(&status) => {
                write!(f, "{status}, a redirect that is not followed: check base_url")
            }
            None => write!(f, "{status} by something in front of the BSP"),
        }
    }
}

/// Meaning of the response to a sending call.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The BSP has accepted the message.
    Accepted {
        /// Its id of the message.
        message_id: String,
        /// Its words.
        status: ProviderStatus,
    },
    /// The BSP has rejected the message, and would do so again: the message is the cause.
    Rejected {
        /// Its words, where it gave a status.
        status: Option<ProviderStatus>,
        /// Why.
        error: ReportError,
        /// The fields that it finds wrong, by its own names for them and in its own words.
        faults: Vec<CommandFault>,
    },
    /// The BSP has rejected the id, because it already has a message with this id.
    Duplicate {
        /// Its words.
        status: ProviderStatus,
    },
    /// Rate limited: the call had no effect, and can be retried later.
    Limited,
    /// The call had no effect, and says nothing about the message.
    NotSent(NotSent),
    /// The response does not tell whether the message was accepted.
    Unclear {
        /// What was odd, in a few words without a value of the answer.
        what: &'static str,
    },
}

/// A message in the BSP's message log.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The id that was asked for.
    pub message_id: String,
    /// What the log says: [`Answer::Accepted`], [`Answer::Rejected`] or [`Answer::Duplicate`].
    pub answer: Answer,
}

/// The message log did not give a usable response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupFault {
    /// Rate limited.
    Limited,
    /// The response is not a log.
    Unreadable,
}

/// A BSP that can send. Every method is pure.
pub trait Sending: Sync + fmt::Debug {
    /// The account in a channel's stored settings; `None` when they have none.
    fn account(&self, settings: &Value) -> Option<Account>;

    /// The value of the `Authorization` header, for a key.
    fn authorization(&self, key: &[u8]) -> Vec<u8>;

    /// The call that sends a command. `link` is where the file of a command with media lies.
    fn request(&self, settings: &Value, command: &Command, link: Option<Link<'_>>) -> Request;

    /// Keys of an answer's body whose values are not personal.
    fn answer_logged_keys(&self) -> &'static [&'static str];

    /// What an answer's body says of statuses and errors, as [`Readable::texts`](crate::mask::Readable::texts) has it.
    fn answer_error_texts(&self) -> &'static [&'static str];

    /// What an answer means. `message_id` is the id that was sent along.
    fn answer(&self, response: Response<'_>, message_id: &str) -> Answer;

    /// Path and query that ask the log for messages.
    fn lookup_path(&self, message_ids: &[&str]) -> String;

    /// What the log shows.
    ///
    /// # Errors
    /// [`LookupFault`] when the answer is no log: it says nothing about any message.
    fn lookup_answer(&self, status: u16, body: &[u8]) -> Result<Vec<Found>, LookupFault>;

    /// Message ids in one look-up.
    fn lookup_ids_max(&self) -> usize;

    /// Shortest interval of two requests to the message log of one account, by any process.
    fn lookup_interval(&self) -> Duration;
}
