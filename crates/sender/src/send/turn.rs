//! What the worker of a lane passes to a command when its processing begins, and how the command reports to the worker
//! that the next one to its recipient may start although its own outcome is unknown.

use tokio::sync::mpsc;

use crate::result::outcome::Outcome;
use crate::throttle::Permit;

/// How a command is processed.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It is to be sent.
    Send {
        /// The permit for its first call; `None` if it waits for one by itself.
        permit: Option<Permit>,
        /// Lets the next command to its recipient start.
        overtaking: Overtaking,
    },
    /// It is answered and not sent: its deadline has passed.
    Answer,
    /// It is not sent, unless it was begun before: the lane rejects it with this outcome.
    Reject(Box<Outcome>),
}

/// A command with an unknown outcome that the next one to its recipient may overtake.
#[derive(Debug)]
pub(crate) struct Overtaken {
    pub(crate) recipient: String,
    pub(crate) sequence: u64,
}

/// Lets the next command to a recipient start. Each command in progress does so once at most, which bounds the queue.
#[derive(Debug)]
pub(crate) struct Overtaking {
    pub(crate) this: Overtaken,
    pub(crate) worker: mpsc::UnboundedSender<Overtaken>,
}

impl Overtaking {
    /// Lets it start now.
    pub(super) fn begin(self) {
        // If the worker has ended, no command is started any more.
        let _ = self.worker.send(self.this);
    }
}

impl Turn {
    /// Returns the parts that the stages of the command consume.
    pub(super) fn into_parts(self) -> Parts {
        match self {
            Self::Send { permit, overtaking } => {
                Parts { permit, overtaking: Some(overtaking), rejection: None }
            }
            Self::Answer => Parts::default(),
            Self::Reject(outcome) => Parts { rejection: Some(outcome), ..Parts::default() },
        }
    }
}

/// Parts of a turn.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) permit: Option<Permit>,
    pub(super) overtaking: Option<Overtaking>,
    pub(super) rejection: Option<Box<Outcome>>,
}
