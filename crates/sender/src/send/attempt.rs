//! One attempt to send a command, step by step. Each step is a method in the file of its name. A step that cannot go on
//! returns the command's next stage as its error.

use super::stage::{LedgerView, Stage};
use super::trials::Trials;
use super::{RETRY_PAUSE, Work};
use crate::context::open_calls::OpenCall;
use crate::media_url::FileLink;
use crate::result::attempts::CallHistory;
use crate::throttle::Permit;

/// One attempt.
pub(super) struct Attempt<'a> {
    pub(super) work: &'a Work<'a>,
    /// The ledger entry that the attempt is made on, and later its intent.
    pub(super) known: LedgerView,
    pub(super) progress: &'a mut Progress,
}

/// State of a command that outlasts an attempt in this process.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) file: CommandFile,
    /// The permit for its next call.
    pub(super) permit: Option<Permit>,
    pub(super) trials: Trials,
    /// The calls that its result shows.
    pub(super) calls: CallHistory,
    /// Held while its message may be on its way.
    pub(super) open_call: Option<OpenCall>,
}

/// The file of a command.
#[derive(Default)]
pub(super) enum CommandFile {
    /// Its URL was not looked up yet.
    #[default]
    Unknown,
    /// The command has no file.
    Without,
    /// Its URL.
    Link(FileLink),
}

impl CommandFile {
    /// Returns the URL, if the command has a file.
    pub(super) fn link(&self) -> Option<&FileLink> {
        match self {
            Self::Link(link) => Some(link),
            Self::Unknown | Self::Without => None,
        }
    }
}

impl Attempt<'_> {
    /// Makes the attempt.
    pub(super) async fn run(mut self) -> Stage {
        match self.steps().await {
            Ok(stage) | Err(stage) => stage,
        }
    }

    async fn steps(&mut self) -> Result<Stage, Stage> {
        self.prepare().await?;
        let permit = self.acquire_permit().await?;
        // Not earlier: a command may wait minutes for its permit, and the key may be changed in that time.
        let Ok(authorization) = self.work.lane.account.authorization().await else {
            return Err(self.work.retry_later(RETRY_PAUSE).await);
        };
        self.track_fetch().await;
        let intent = self.write_intent().await?;
        if !self.may_call(&intent).await {
            return Ok(self.abort_call().await);
        }
        let end = self.call(authorization, intent.at).await;
        let is_unsent = end.is_unsent();
        let stage = self.after_call(end, permit).await;
        if is_unsent || stage.is_rejection() {
            self.untrack_fetch().await;
        }
        Ok(stage)
    }

    /// Returns the stage of a command whose deadline has passed.
    pub(super) fn deadline_passed(&mut self) -> Stage {
        self.take_known().deadline_passed(self.progress.trials.why())
    }

    /// Returns the ledger entry for the next stage. The attempt ends with it.
    pub(super) fn take_known(&mut self) -> LedgerView {
        std::mem::replace(&mut self.known, LedgerView::NOTHING)
    }
}
