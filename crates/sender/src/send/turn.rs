//! What the loop of a lane passes to a command when its processing begins, and how the command reports to the loop that
//! the next one to its recipient may start although its own outcome is unknown.

use tokio::sync::mpsc;

use crate::gate::Permit;
use crate::held::{RECIPIENT_BYTES_MAX, RECIPIENT_WAITING_MAX};
use crate::outcome::Outcome;

/// Error code of a command whose recipient has too many pending commands.
const RECIPIENT_QUEUE_FULL: &str = "RECIPIENT_QUEUE_FULL";

/// How a command is processed.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It is to be sent.
    Send {
        /// The permit for its first call; `None` if it waits for one by itself.
        pass: Option<Permit>,
        /// Lets the next command to its recipient start.
        overtaking: Overtaking,
    },
    /// It is answered and not sent: its deadline has passed.
    Answer,
    /// It is rejected: its recipient has too many pending commands.
    Refuse,
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
    pub(crate) lane: mpsc::UnboundedSender<Overtaken>,
}

impl Overtaking {
    /// Lets it start now.
    pub(super) fn begin(self) {
        // If the loop has ended, no command is started any more.
        let _ = self.lane.send(self.this);
    }
}

impl Turn {
    /// Returns the parts that the stages of the command consume.
    pub(super) fn into_parts(self) -> Parts {
        match self {
            Self::Send { pass, overtaking } => {
                Parts { pass, overtaking: Some(overtaking), is_refused: false }
            }
            Self::Answer => Parts { pass: None, overtaking: None, is_refused: false },
            Self::Refuse => Parts { pass: None, overtaking: None, is_refused: true },
        }
    }
}

/// Parts of a turn.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) pass: Option<Permit>,
    pub(super) overtaking: Option<Overtaking>,
    pub(super) is_refused: bool,
}

/// Returns the outcome of a command that is rejected because its recipient has too many pending commands.
pub(super) fn recipient_queue_full() -> Outcome {
    let mib = RECIPIENT_BYTES_MAX / (1024 * 1024);
    let text = format!(
        "{RECIPIENT_WAITING_MAX} commands, or {mib} MiB of them, are already pending for this recipient; send it again later, \
         under a new id"
    );
    Outcome::rejected(RECIPIENT_QUEUE_FULL, &text)
}
