//! What the gateway asks of a BSP that it sends through: requests made and answers read, both pure.

use std::fmt;
use std::time::Duration;

use proto::v1::{CommandFault, ProviderStatus, ReportError};
use serde_json::Value;

use crate::command::Command;
use crate::secret_reference::SecretReference;

/// The account that a channel sends through, as its stored settings describe it.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Scheme, host and port, without a slash at the end.
    pub base_url: String,
    /// Where its key lies.
    pub key: SecretReference,
    /// How many messages a second may be sent.
    pub sends_per_second: u32,
    /// After this a message whose outcome stayed unknown is sent once more; `None` for never.
    pub resend_unknown_after: Option<Duration>,
    /// How long the next message to a recipient is held back after a call whose outcome is not known; `None` for until it is
    /// decided.
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

/// Where the BSP finds the file of a message.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    /// The URL.
    pub url: &'a str,
    /// Whether it is one of ours, which may stand in a log: a foreign one may hold a token.
    pub is_ours: bool,
    /// The name that the file was uploaded under; empty where there is none. It counts where the command gives no name.
    pub file_name: &'a str,
}

/// A call that sends one message: `POST`, JSON.
pub struct Request {
    /// The name under which its log lines are searched for.
    pub function: &'static str,
    /// What follows the base URL.
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

/// What came back from a sending call, as far as its meaning depends on it.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// What the header `Retry-After` asks for, where there is one that can be read.
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

/// A call that did nothing, for a reason that is not the message: the account, or something in front of the BSP. Any other
/// message would have been answered the same, and this one may be sent later.
#[derive(Debug, Clone, PartialEq)]
pub struct NotSent {
    /// The HTTP status.
    pub status: u16,
    /// The BSP's own error. `None` when the body is not the BSP's: a load balancer, a proxy or another server answered.
    pub error: Option<ReportError>,
}

/// For people who look for the cause.
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

/// What an answer to a sending call means.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The BSP has taken the message.
    Accepted {
        /// Its id of the message.
        message_id: String,
        /// Its words.
        status: ProviderStatus,
    },
    /// The BSP has not taken it, and would not if it were asked again: the message is at fault.
    Rejected {
        /// Its words, where it gave a status.
        status: Option<ProviderStatus>,
        /// Why.
        error: ReportError,
        /// The fields that it finds wrong, by its own names for them and in its own words.
        faults: Vec<CommandFault>,
    },
    /// The BSP refuses the id because it has a message of that id already.
    Duplicate {
        /// Its words.
        status: ProviderStatus,
    },
    /// Too many calls: this one did nothing, and a later one may be taken.
    Limited,
    /// The call did nothing, and says nothing about the message.
    NotSent(NotSent),
    /// Nobody can tell from this answer whether the message was taken.
    Unclear {
        /// What was odd, in a few words without a value of the answer.
        what: &'static str,
    },
}

/// A message that the BSP's log shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The id that was asked for.
    pub message_id: String,
    /// What the log means: [`Answer::Accepted`], [`Answer::Rejected`] or [`Answer::Duplicate`].
    pub answer: Answer,
}

/// The log could not be asked, or its answer not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupFault {
    /// Too many calls.
    Limited,
    /// Another answer than a log.
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

    /// Between two look-ups of one account, by whichever process.
    fn lookup_interval(&self) -> Duration;
}
