//! What a life is in one line: its status, channel, direction, ids.

use std::time::Duration;

use jiff::Timestamp;
use proto::v1::{ReportStatus, SendOutcome};

use crate::life::order::{gaps, time_of};
use crate::life::{Life, Missing};
use crate::row::{IdKind, Recipient, Row, RowKind, Status};

/// Status of a command without a result.
pub const WAITING: &str = "WAITING";
/// Status of what came in: a customer's message, another event, or a webhook without events.
pub const RECEIVED: &str = "RECEIVED";
/// Status of what became a dead letter.
pub const DEAD_LETTER: &str = "DEAD_LETTER";

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To a customer.
    Outbound,
    /// From a customer.
    Inbound,
    /// Neither: an event of the account, or a webhook.
    Neither,
}

impl Direction {
    /// Its name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "out",
            Self::Inbound => "in",
            Self::Neither => "none",
        }
    }
}

impl Life {
    /// The status of the highest rank that the BSP reported; `None` without a report.
    pub fn report(&self) -> Option<ReportStatus> {
        let reported = |row: &Row| match row.status {
            Some(Status::Report(status)) if row.kind == RowKind::Report => Some(status),
            _ => None,
        };
        self.rows.iter().filter_map(reported).max_by_key(|status| *status as i32)
    }

    /// How the command was decided; `None` without a result. ACCEPTED counts more than another result of the same command id: the
    /// id was used again, and that one was refused.
    pub fn outcome(&self) -> Option<SendOutcome> {
        let decided = |row: &Row| match row.status {
            Some(Status::Outcome(outcome)) if row.kind == RowKind::Result => Some(outcome),
            _ => None,
        };
        let outcomes = || self.rows.iter().filter_map(decided);
        outcomes().find(|outcome| *outcome == SendOutcome::Accepted).or_else(|| outcomes().next_back())
    }

    /// Its status in one word: `DELIVERED` of the highest report, else `REJECTED` of the result, else [`DEAD_LETTER`],
    /// [`WAITING`] for a command, [`RECEIVED`] for anything else.
    pub fn status(&self) -> &'static str {
        if let Some(status) = self.report() {
            return Status::Report(status).name();
        }
        if let Some(outcome) = self.outcome() {
            return Status::Outcome(outcome).name();
        }
        let is_event = [RowKind::Message, RowKind::Account, RowKind::Customer];
        if is_event.into_iter().any(|kind| self.has(kind)) {
            return RECEIVED;
        }
        if self.has(RowKind::DeadLetter) {
            return DEAD_LETTER;
        }
        if self.has(RowKind::Command) { WAITING } else { RECEIVED }
    }

    /// Which way the message goes.
    pub fn direction(&self) -> Direction {
        let is_sent = [RowKind::Command, RowKind::Attempt, RowKind::Result, RowKind::Report, RowKind::Fetch];
        let is_received = [RowKind::Message, RowKind::Customer];
        if is_sent.into_iter().any(|kind| self.has(kind)) || self.command_id().is_some() {
            Direction::Outbound
        } else if is_received.into_iter().any(|kind| self.has(kind)) {
            Direction::Inbound
        } else {
            Direction::Neither
        }
    }

    /// The channel's id; empty if no row has it.
    pub fn channel(&self) -> &str {
        self.first_text(|row| &row.channel)
    }

    /// The BSP's name; empty if no row has it.
    pub fn bsp(&self) -> &str {
        self.first_text(|row| &row.bsp)
    }

    /// The channel's tenant; empty if no row has it.
    pub fn tenant(&self) -> &str {
        self.first_text(|row| &row.tenant)
    }

    /// The customer; the command's, if there is one. BSPs write the number of a report in several ways.
    pub fn recipient(&self) -> Option<&Recipient> {
        let of_command = self.rows.iter().find(|row| row.kind == RowKind::Command);
        let of_command = of_command.and_then(|row| row.recipient.as_ref());
        of_command.or_else(|| self.rows.iter().find_map(|row| row.recipient.as_ref()))
    }

    /// The command's id as people may see it.
    pub fn command_id(&self) -> Option<&str> {
        self.shown(IdKind::Command)
    }

    /// The BSP's id of the message as people may see it.
    pub fn message_id(&self) -> Option<&str> {
        self.shown(IdKind::Message).or_else(|| self.shown(IdKind::ProviderMessage))
    }

    /// When it began: the time of its first row.
    pub fn began_at(&self) -> Option<Timestamp> {
        self.rows.first().map(time_of)
    }

    /// Time from the row before to each row, in the order of the rows; zero for the first and for rows that were moved behind
    /// their cause.
    pub fn gaps(&self) -> Vec<Duration> {
        gaps(&self.rows)
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// What is missing that has waited longest.
    pub fn first_missing(&self) -> Option<&Missing> {
        self.missing.first()
    }

    fn has(&self, kind: RowKind) -> bool {
        self.rows.iter().any(|row| row.kind == kind)
    }

    fn shown(&self, kind: IdKind) -> Option<&str> {
        self.rows.iter().find_map(|row| row.shown(kind))
    }

    fn first_text(&self, text: impl Fn(&Row) -> &str) -> &str {
        self.rows.iter().map(text).find(|text| !text.is_empty()).unwrap_or_default()
    }
}
