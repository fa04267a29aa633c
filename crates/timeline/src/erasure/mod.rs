//! Erases a customer: the rows of a number, the stored messages behind them, its files in Redis, and what the ledger of sends holds of
//! its commands. One erasure runs at a time, in all processes of a store. It goes on after a restart, and is done again without harm.
//!
//! | file | what it does |
//! |---|---|
//! | `found` | finds the rows of the customer and decides which rows without a customer belong to them |
//! | `letters` | searches the dead letters for the number: those of items that could not be read have no customer in their row |
//! | `run` | the order of the steps, what is waited for, and the end |
//! | `commands` | asks the owners of the lanes to settle commands: answered first, then blanked in the ledger |
//! | `messages` | overwrites stored messages |
//! | `remains` | names what cannot be overwritten now, and until when it is there |
//! | `turn` | which process of those that share a store erases |
//! | `state` | what an answer says; `kept` has it on the disk while the erasure runs |
//!
//! **Order.** First everything that came before the erasure must be read: until the normalizer has processed every webhook and the
//! timeline has read every stream up to then. Then messages, ledger and files, and the rows last, because they say where the rest is.
//! Rows with the customer go after those that are found by them, so that an erasure that is interrupted finds the rest again.
//!
//! **What it leaves alone.** Messages that come later are kept as always. Nothing of another customer is removed but their copy in a
//! webhook that several share: its events are stored by themselves. What the back end and the BSP hold is theirs.

mod commands;
mod found;
mod kept;
mod letters;
mod messages;
mod remains;
mod run;
mod state;
mod turn;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blob::{BlobStore, RedisOptions};
use bus::{Bus, NkeySeed};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use crate::erasure::state::{ErasureAnswer, ErasureCounts, ErasureStep, Remaining};
use crate::observed::Observed;
use crate::row::{Keys, RecipientKey};
use crate::store::audit::AuditEntry;
use crate::store::{Store, StoreError};

/// Erasures whose state is kept for answers, the running one among them.
const ANSWERS_MAX: usize = 32;

/// The settings of erasure, where it is switched on.
#[derive(Debug, Clone)]
pub struct ErasureSettings {
    /// Seed of the NATS user `eraser`. Without it, messages are overwritten over the connection of the timeline.
    pub nkey: Option<NkeySeed>,
    /// Where the files are.
    pub redis: RedisOptions,
}

/// What erasing needs. The program fills it.
#[derive(Clone)]
pub struct Tools {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// Hashes numbers and ids.
    pub keys: Keys,
    /// How far streams are read and acknowledged.
    pub observed: Observed,
    /// Reads messages.
    pub reader: Bus,
    /// Overwrites messages and asks lanes.
    pub eraser: Bus,
    /// The files of messages.
    pub blobs: BlobStore,
    /// Folder of the state of a running erasure.
    pub folder: PathBuf,
    /// Ends the work when the process stops.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").finish_non_exhaustive()
    }
}

/// What is asked for.
pub(crate) struct ErasureRequest {
    /// The customer's number, or another id of theirs. It is held in memory only.
    pub(crate) number: String,
    /// Whether it only counts.
    pub(crate) dry_run: bool,
    /// Whether events are erased that the back end has not acknowledged.
    pub(crate) force: bool,
    /// The entry of the audit log, written before anything is erased and once more at the end.
    pub(crate) entry: AuditEntry,
}

/// An erasure was not started.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// The one with this id is running.
    Busy(String),
    /// Another timeline of the database runs one.
    BusyElsewhere,
    /// The store does not say whether another timeline runs one.
    Store(StoreError),
    /// The system gives no random bytes.
    NoRandom,
    /// It cannot be written to the folder of the timeline, for this reason.
    NotKept(String),
}

/// The erasures of this process. Clones share them.
#[derive(Debug, Clone)]
pub struct Erasures {
    tools: Tools,
    answers: Arc<Mutex<Vec<ErasureAnswer>>>,
}

impl Erasures {
    /// Without erasures. [`Self::resume`] goes on with one that a stop has interrupted.
    pub fn new(tools: Tools) -> Self {
        Self { tools, answers: Arc::default() }
    }

    /// Goes on with an erasure that a stop has interrupted.
    pub fn resume(&self) {
        match kept::read(&self.tools.folder) {
            Ok(None) => {}
            // It is shown until another one is asked for.
            Ok(Some(kept)) if kept.before.is_none() => {
                let answer = kept.answer.interrupted();
                tracing::warn!(
                    function = "timeline",
                    "erasure {} was interrupted before anything was erased, ask for it again",
                    answer.id
                );
                self.keep(answer);
            }
            Ok(Some(kept)) => {
                tracing::info!(function = "timeline", "goes on with erasure {}", kept.answer.id);
                self.keep(kept.answer.clone());
                self.spawn(run::Run::resumed(self.tools.clone(), kept));
            }
            Err(error) => tracing::error!(
                function = "timeline",
                "cannot read the state of an interrupted erasure, ask for it again: {error}"
            ),
        }
    }

    /// Starts an erasure, unless another one is running: here, or in another timeline of the same store.
    pub(crate) async fn start(
        &self,
        request: ErasureRequest,
        now: Timestamp,
    ) -> Result<ErasureAnswer, NotStarted> {
        self.refuse_if_running()?;
        let Some(turn) = turn::take(&*self.tools.store).await.map_err(NotStarted::Store)? else {
            // One of this process may have begun since.
            self.refuse_if_running()?;
            return Err(NotStarted::BusyElsewhere);
        };
        let mut bits = [0; 9];
        getrandom::fill(&mut bits).map_err(|_| NotStarted::NoRandom)?;
        let answer = {
            let mut answers = self.answers();
            refuse_if_running(&answers)?;
            let answer = ErasureAnswer::new(hex::encode(bits), &request, now);
            answers.push(answer.clone());
            let over = answers.len().saturating_sub(ANSWERS_MAX);
            answers.drain(..over);
            answer
        };
        let recipient: RecipientKey = self.tools.keys.recipient(&request.number);
        let run = run::Run::new(self.tools.clone(), answer.clone(), request, recipient).with_turn(turn);
        if let Err(error) = run.keep_asked() {
            self.answers().retain(|known| known.id != answer.id);
            return Err(NotStarted::NotKept(error.to_string()));
        }
        self.spawn(run);
        Ok(answer)
    }

    fn refuse_if_running(&self) -> Result<(), NotStarted> {
        refuse_if_running(&self.answers())
    }

    /// The state of an erasure; `None` for one that ended before this process was started.
    pub(crate) fn get(&self, id: &str) -> Option<ErasureAnswer> {
        self.answers().iter().find(|answer| answer.id == id).cloned()
    }

    /// The erasures of this process, the newest first.
    pub(crate) fn list(&self) -> Vec<ErasureAnswer> {
        self.answers().iter().rev().cloned().collect()
    }

    fn spawn(&self, run: run::Run) {
        let erasures = self.clone();
        tokio::spawn(async move {
            let stop = erasures.tools.stop.clone();
            let show = |answer: &ErasureAnswer| erasures.keep(answer.clone());
            tokio::select! {
                () = stop.cancelled() => {}
                () = run.complete(&show) => {}
            }
        });
    }

    fn keep(&self, answer: ErasureAnswer) {
        let mut answers = self.answers();
        match answers.iter_mut().find(|known| known.id == answer.id) {
            Some(known) => *known = answer,
            None => answers.push(answer),
        }
    }

    fn answers(&self) -> MutexGuard<'_, Vec<ErasureAnswer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses while one of these is not over.
fn refuse_if_running(answers: &[ErasureAnswer]) -> Result<(), NotStarted> {
    match answers.iter().find(|answer| !answer.step.is_over()) {
        Some(running) => Err(NotStarted::Busy(running.id.clone())),
        None => Ok(()),
    }
}
