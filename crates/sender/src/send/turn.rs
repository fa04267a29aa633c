//! What the loop of a lane gives a command along when its work begins, and how the command tells the loop that the next one
//! to its recipient may go although it is not decided itself.

use tokio::sync::mpsc;

use crate::gate::Pass;
use crate::held::{RECIPIENT_BYTES_MAX, RECIPIENT_WAITING_MAX};
use crate::outcome::Outcome;

/// Error code of a command whose recipient has too many pending commands.
const RECIPIENT_QUEUE_FULL: &str = "RECIPIENT_QUEUE_FULL";

/// A command's turn.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It is to be sent.
    Send {
        /// The leave for its first call; `None` where it waits for one by itself.
        pass: Option<Pass>,
        /// Lets the next command to its recipient go.
        overtaking: Overtaking,
    },
    /// It is to be answered and not sent: its time is up.
    Answer,
    /// It is to be refused: its recipient has too many commands waiting.
    Refuse,
}

/// A command whose outcome is not known and which the next one to its recipient may overtake.
#[derive(Debug)]
pub(crate) struct Overtaken {
    pub(crate) recipient: String,
    pub(crate) sequence: u64,
}

/// Lets the next command to a recipient go. Each command in progress says so once at most, which bounds the queue.
#[derive(Debug)]
pub(crate) struct Overtaking {
    pub(crate) this: Overtaken,
    pub(crate) lane: mpsc::UnboundedSender<Overtaken>,
}

impl Overtaking {
    /// Lets it go now.
    pub(super) fn begin(self) {
        // Where the loop has ended, nothing is started any more.
        let _ = self.lane.send(self.this);
    }
}

impl Turn {
    /// The parts that the stages of the command use up.
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

/// What is left of a turn.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) pass: Option<Pass>,
    pub(super) overtaking: Option<Overtaking>,
    pub(super) is_refused: bool,
}

/// The outcome of a command that is refused.
pub(super) fn recipient_queue_full() -> Outcome {
    let mib = RECIPIENT_BYTES_MAX / (1024 * 1024);
    let text = format!(
        "{RECIPIENT_WAITING_MAX} commands, or {mib} MiB of them, wait for this recipient already; send it again later, \
         under a new id"
    );
    Outcome::rejected(RECIPIENT_QUEUE_FULL, &text)
}
