//! The file of a command: its URL, or why the command cannot be sent with it.

use bus::rate_limited_log::RateLimitedLog;
use jiff::Timestamp;

use super::{LaneContext, RETRY_PAUSE};
use crate::command::PendingCommand;
use crate::media_url::{self, FileLink, LinkError};
use crate::outcome::Outcome;

static WAITS: RateLimitedLog = RateLimitedLog::new();

impl LaneContext {
    /// Returns the URL of the command's file.
    ///
    /// # Errors
    /// The outcome of a command whose file cannot be sent; `None` if the lane is closed.
    pub(super) async fn link(&self, job: &PendingCommand) -> Result<Option<FileLink>, Option<Outcome>> {
        loop {
            let (blobs, url) = (&self.shared.blobs, self.shared.settings.media_public_url.as_str());
            let prepared =
                media_url::prepare(blobs, url, &self.account, &job.command, Timestamp::now()).await;
            let error = match prepared {
                Ok(link) => return Ok(link),
                Err(LinkError::NotFound) => {
                    return Err(Some(Outcome::rejected("MEDIA_NOT_FOUND", &LinkError::NotFound.to_string())));
                }
                Err(LinkError::OtherKind) => {
                    return Err(Some(Outcome::rejected(
                        "MEDIA_NOT_ALLOWED",
                        &LinkError::OtherKind.to_string(),
                    )));
                }
                Err(LinkError::Store(error)) => error,
            };
            if let Some(turn) = WAITS.next() {
                tracing::warn!(
                    function = "sender",
                    "command {} is waiting for its file: {error}{turn}",
                    job.command.id
                );
            }
            if Timestamp::now() >= job.deadline {
                return Err(Some(Outcome::Expired {
                    last_error: Some("the file store did not answer".to_owned()),
                }));
            }
            if !self.pause(RETRY_PAUSE).await {
                return Err(None);
            }
        }
    }
}
