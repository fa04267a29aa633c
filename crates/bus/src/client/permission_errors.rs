//! Permission errors of NATS. A refused request gets no response: the server reports the refusal separately, as an
//! error of the connection, and the request would only time out. Code that waits for a response also waits for these
//! errors.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// The kind of operation that the server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A publish or a request.
    Publish,
    /// A subscription, such as that of the client's own inbox.
    Subscribe,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        })
    }
}

/// A permission error of this client's user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("NATS does not allow this user to {act} to \"{subject}\"")]
pub struct PermissionError {
    /// The kind of operation.
    pub act: Operation,
    /// Its subject.
    pub subject: String,
}

impl PermissionError {
    /// Reads an error of the server: `Permissions Violation for Publish to "a.b"` (nats-server 2.9 to 2.15, `client.go`).
    pub(crate) fn parse(error: &str) -> Option<Self> {
        let at = violation(error)? + VIOLATION.len();
        let rest = error.get(at..)?.strip_prefix(" for ")?;
        let (act, rest) = rest.split_once(" to \"")?;
        let act = match act {
            "Publish" => Operation::Publish,
            "Subscription" => Operation::Subscribe,
            _ => return None,
        };
        Some(Self { act, subject: rest.split('"').next()?.to_owned() })
    }

    /// Whether the client may not read its own inbox: its seed then belongs to another user.
    pub fn is_about_inbox(&self) -> bool {
        self.act == Operation::Subscribe && self.subject.starts_with("_INBOX")
    }
}

/// The server's words in every error about permissions, in lower case. The server gives nothing but a text: the client
/// library reports such an error as `ServerError::Other` (tests/e2e/permissions.rs holds this to the real server).
const VIOLATION: &str = "permissions violation";

/// Where an error of the server says that a permission is missing; `None` for another error.
fn violation(error: &str) -> Option<usize> {
    error.to_ascii_lowercase().find(VIOLATION)
}

/// Whether an error of the server is one about permissions, even one that [`PermissionError::parse`] cannot read.
pub(crate) fn is_permission_error(error: &str) -> bool {
    violation(error).is_some()
}

/// Holds the first permission error. Clones share it.
#[derive(Debug, Clone)]
pub struct PermissionErrors(Arc<watch::Sender<Option<PermissionError>>>);

impl Default for PermissionErrors {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl PermissionErrors {
    pub(crate) fn note(&self, refusal: PermissionError) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(refusal);
            is_first
        });
    }

    /// Waits for the first permission error, without limit.
    pub async fn first(&self) -> PermissionError {
        let mut refusals = self.0.subscribe();
        loop {
            if let Some(refusal) = refusals.borrow_and_update().clone() {
                return refusal;
            }
            if refusals.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Runs `work`, and cancels it at the first permission error: a refused request gets no response.
    ///
    /// # Errors
    /// The refusal.
    pub async fn or_permission_error<T>(&self, work: impl Future<Output = T>) -> Result<T, PermissionError> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            refusal = self.first() => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_read() {
        let read = |text| PermissionError::parse(text).map(|refusal| (refusal.act, refusal.subject));
        let error = "nats: Permissions Violation for Publish to \"$JS.API.INFO\"";
        assert_eq!(read(error), Some((Operation::Publish, "$JS.API.INFO".to_owned())));
        let error = "Permissions Violation for Subscription to \"_INBOX_x.y.*\" using queue \"q\"";
        assert_eq!(read(error), Some((Operation::Subscribe, "_INBOX_x.y.*".to_owned())));
        for other in
            ["", "nats: authorization violation", "Permissions Violation for Publish", "stale connection"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn work_ends_at_the_first_refusal() {
        let refusals = PermissionErrors::default();
        assert_eq!(refusals.or_permission_error(async { 1 }).await, Ok(1));
        let refusal =
            |subject: &str| PermissionError { act: Operation::Publish, subject: subject.to_owned() };
        refusals.note(refusal("first"));
        refusals.note(refusal("second"));
        let ended = refusals.or_permission_error(std::future::pending::<()>()).await;
        assert_eq!(ended, Err(refusal("first")));
    }
}
