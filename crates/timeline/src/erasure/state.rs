//! What is said of an erasure: the answer of `GET /v1/erasures/{id}`. Nothing in it names the customer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::erasure::ErasureRequest;
use crate::row::shown;

/// Most places of messages that an answer names.
pub(super) const NAMED_MAX: usize = 100;

/// What an erasure does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasureStep {
    /// It waits until everything that came before it is read.
    Reading,
    /// It finds what belongs to the customer.
    Counting,
    /// It erases, and waits for what [`ErasureAnswer::waits_for`] says.
    Erasing,
    /// It is over. For a dry run: everything is counted.
    Done,
    /// The timeline was stopped before anything was erased. It has to be asked for again.
    Interrupted,
}

impl ErasureStep {
    /// Whether nothing follows.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Interrupted)
    }
}

/// Numbers of things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErasureCounts {
    /// Rows of the timeline.
    pub rows: u64,
    /// Messages of WEBHOOKS.
    pub webhooks: u64,
    /// Messages of EVENTS.
    pub events: u64,
    /// Messages of COMMANDS.
    pub commands: u64,
    /// Messages of DEADLETTERS.
    pub dead_letters: u64,
    /// Files in Redis.
    pub files: u64,
    /// Entries of the ledger of sends from which result and context were removed.
    pub ledger_entries: u64,
}

/// Something that cannot be overwritten now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// What and where.
    pub what: String,
    /// Until when it is there; absent where no time is promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The state of an erasure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErasureAnswer {
    /// Its id.
    pub id: String,
    /// The customer, as rows show it: `…78`.
    pub recipient: String,
    /// When it was asked for. What came later is kept.
    pub requested_at: Timestamp,
    /// Who asked.
    pub requested_by: String,
    /// Whether it only counts.
    pub dry_run: bool,
    /// Whether events are erased that the back end has not acknowledged.
    pub force: bool,
    /// What it does now.
    pub step: ErasureStep,
    /// What it waits for, for people.
    pub waits_for: Vec<String>,
    /// What belongs to the customer. Messages that their stream has dropped already are not counted.
    pub found: ErasureCounts,
    /// What is erased.
    pub erased: ErasureCounts,
    /// Webhooks with other customers' items too. They are erased as a whole.
    pub shared_webhooks: Vec<String>,
    /// Files that were sent to other customers too, and stay.
    pub shared_files: u64,
    /// Events that were erased although the back end has not acknowledged them, at most 100.
    pub unread_events: Vec<String>,
    /// What cannot be overwritten now.
    pub remains: Vec<Remaining>,
    /// Why it does not go on at the moment. It tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl ErasureAnswer {
    /// One that has just been asked for.
    pub(super) fn new(id: String, request: &ErasureRequest, now: Timestamp) -> Self {
        Self {
            id,
            recipient: format!("…{}", shown::last_digits(&request.number)),
            requested_at: now,
            requested_by: request.entry.user.clone(),
            dry_run: request.dry_run,
            force: request.force,
            step: ErasureStep::Reading,
            waits_for: Vec::new(),
            found: ErasureCounts::default(),
            erased: ErasureCounts::default(),
            shared_webhooks: Vec::new(),
            shared_files: 0,
            unread_events: Vec::new(),
            remains: Vec::new(),
            error: None,
            ended_at: None,
        }
    }

    /// The same after a stop of the timeline before anything was erased.
    pub(super) fn interrupted(self) -> Self {
        Self {
            step: ErasureStep::Interrupted,
            waits_for: Vec::new(),
            error: Some(
                "the timeline was stopped before anything was erased, and does not keep the number: ask for it again".to_owned(),
            ),
            ..self
        }
    }

    /// The counts in words, for the audit log.
    pub(super) fn in_words(&self) -> String {
        let ErasureCounts { rows, webhooks, events, commands, dead_letters, files, ledger_entries } =
            self.erased;
        format!(
            "erasure {}: {rows} rows, {webhooks} webhooks, {events} events, {commands} commands, {dead_letters} dead letters, \
             {files} files, {ledger_entries} ledger entries",
            self.id
        )
    }
}

/// Adds a place to a list that names at most [`NAMED_MAX`].
pub(super) fn name(list: &mut Vec<String>, place: String) {
    if list.len() < NAMED_MAX && !list.contains(&place) {
        list.push(place);
    }
}
