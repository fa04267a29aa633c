//! Step 1: the deadline and the lease are checked, and the URL of the command's file is looked up once.

use bus::rate_limited_log::RateLimitedLog;
use jiff::Timestamp;

use super::RETRY_PAUSE;
use super::attempt::{Attempt, CommandFile};
use super::decisions::{AttemptCheck, check_attempt};
use super::stage::Stage;
use crate::media_url::{LinkError, Preparation};
use crate::result::outcome::Outcome;

static WAITS: RateLimitedLog = RateLimitedLog::new();

impl Attempt<'_> {
    /// Prepares the call.
    ///
    /// # Errors
    /// The next stage of a command whose deadline has passed, whose lane may be lost, or whose file cannot be sent.
    pub(super) async fn prepare(&mut self) -> Result<(), Stage> {
        match check_attempt(self.work.job.time_left(), self.work.lane.lease.is_valid()) {
            AttemptCheck::Begin => {}
            AttemptCheck::DeadlinePassed => return Err(self.deadline_passed()),
            // A moment later it is known whether the lane is lost.
            AttemptCheck::NotOwner => return Err(self.work.retry_later(RETRY_PAUSE).await),
        }
        if matches!(self.progress.file, CommandFile::Unknown) {
            self.progress.file = self.file().await?;
        }
        Ok(())
    }

    /// Looks up the URL of the command's file.
    async fn file(&mut self) -> Result<CommandFile, Stage> {
        let (lane, job) = (self.work.lane, self.work.job);
        loop {
            let preparation = Preparation {
                blobs: &lane.shared.blobs,
                public_url: &lane.shared.settings.media_public_url,
                account: &lane.account,
                command: &job.command,
                now: Timestamp::now(),
            };
            let unusable = |code, error: LinkError| Outcome::rejected(code, &error.to_string());
            let error = match preparation.link().await {
                Ok(Some(link)) => return Ok(CommandFile::Link(link)),
                Ok(None) => return Ok(CommandFile::Without),
                Err(error @ LinkError::NotFound) => {
                    return Err(self.take_known().fail_before_call(unusable("MEDIA_NOT_FOUND", error)));
                }
                Err(error @ LinkError::OtherKind) => {
                    return Err(self.take_known().fail_before_call(unusable("MEDIA_NOT_ALLOWED", error)));
                }
                Err(LinkError::Store(error)) => error,
            };
            if let Some(turn) = WAITS.next() {
                let id = &job.command.id;
                tracing::warn!(function = "sender", "command {id} is waiting for its file: {error}{turn}");
            }
            if Timestamp::now() >= job.deadline {
                let last_error = Some("the file store did not answer".to_owned());
                return Err(self.take_known().fail_before_call(Outcome::Expired { last_error }));
            }
            if !lane.pause(RETRY_PAUSE).await {
                return Err(Stage::RELEASED);
            }
        }
    }

    /// Records that a message with the file is being sent.
    pub(super) async fn track_fetch(&self) {
        if let Some(file) = self.progress.file.link() {
            file.track_fetch(&self.work.lane.shared.blobs, Timestamp::now()).await;
        }
    }

    /// Removes that record: the message was not sent.
    pub(super) async fn untrack_fetch(&self) {
        if let Some(file) = self.progress.file.link() {
            file.untrack_fetch(&self.work.lane.shared.blobs).await;
        }
    }
}
