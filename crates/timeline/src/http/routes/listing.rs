//! A page of messages, the newest first: of everyone, or of one customer.
//!
//! A message is listed once, at its first row in the order of the list. Which messages pass the filters is seen only in their lives,
//! so that a page reads at most a named number of messages and says where to go on.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::http::answer::{self, MessageAnswer, MessagesAnswer};
use crate::http::cursor::Cursors;
use crate::http::headlines::{Listed, Lives};
use crate::http::parameters::Parameters;
use crate::http::refusal::Refusal;
use crate::http::state::Shared;
use crate::life::Life;
use crate::row::{RecipientKey, Row, RowKind};
use crate::store::{Listing, Place};

/// Messages of a page where a client does not say how many.
const LIMIT_DEFAULT: usize = 50;
/// Most messages of a page.
pub(super) const LIMIT_MAX: usize = 200;
/// Rows that are read at a time while few pass the filters.
const CHUNK_ROWS: usize = 50;
/// Most rows that are read for a page.
const SCAN_ROWS_MAX: usize = 500;
/// How far in the future a row may be, by the clock of the streams.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(24);

/// Whose messages are listed.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// Everyone's, or those of a channel.
    Beginnings(Option<String>),
    /// One customer's.
    Recipient(RecipientKey),
}

/// Which messages pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Filters {
    /// Only with this status.
    pub(super) status: Option<&'static str>,
    /// Only with this outcome.
    pub(super) outcome: Option<&'static str>,
    /// Only where something is missing.
    pub(super) problem: Option<Problem>,
}

/// What must be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// Anything.
    Any,
    /// What the rule with this name says.
    Rule(&'static str),
}

/// Which page of which list.
#[derive(Debug)]
pub(super) struct Page<'k> {
    pub(super) source: Source,
    pub(super) filters: Filters,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) after: Option<Place>,
    pub(super) limit: usize,
    pub(super) cursors: Cursors<'k>,
}

/// The parameters of every list.
#[derive(Debug, Default)]
pub(super) struct Paging {
    pub(super) cursor: Option<String>,
    pub(super) limit: usize,
}

impl Paging {
    pub(super) fn read(parameters: &mut Parameters) -> Self {
        let cursor = parameters.text("cursor");
        let limit = parameters.number("limit", 1..=LIMIT_MAX).unwrap_or(LIMIT_DEFAULT);
        Self { cursor, limit }
    }

    /// The place of the cursor.
    pub(super) fn after(&self, cursors: &Cursors<'_>) -> Result<Option<Place>, Refusal> {
        let place = self.cursor.as_ref().map(|cursor| cursors.place(cursor)).transpose();
        place.map_err(|_| forged())
    }
}

/// The answer to a cursor that is not one of the list.
pub(super) fn forged() -> Refusal {
    Refusal::invalid("cursor", "is not a cursor of this list with these filters; start without one")
}

/// The times of a list where a client does not say which.
pub(super) fn window(
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    now: Timestamp,
) -> (Timestamp, Timestamp) {
    let last = now.saturating_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX);
    (since.unwrap_or(Timestamp::UNIX_EPOCH), until.unwrap_or(last))
}

/// Reads a page.
pub(super) async fn page(shared: &Shared, mut page: Page<'_>) -> Result<MessagesAnswer, Refusal> {
    let view = Arc::new(shared.view());
    let store = &*shared.api.store;
    let mut answer = MessagesAnswer {
        messages: Vec::new(),
        next: None,
        scanned: 0,
        read_until: answer::read_until(&view.progress),
        unreadable: answer::unreadable(store),
        cut: false,
    };
    loop {
        let limit = CHUNK_ROWS.min(SCAN_ROWS_MAX - answer.scanned);
        let listing = Listing { since: page.since, until: page.until, after: page.after, limit };
        let rows = match &page.source {
            Source::Beginnings(channel) => store.beginnings(channel.clone(), listing).await?,
            Source::Recipient(recipient) => store.of_recipient(*recipient, listing).await?,
        };
        let lives = Lives::of_rows(store, &rows, &view).await?;
        for (index, row) in rows.iter().enumerate() {
            answer.scanned += 1;
            page.after = Some(Place::of(row));
            let Some(listed) = lives.of_row(row) else { continue };
            if page.source.begins(row, &listed.life) && page.filters.pass(&listed.life) {
                answer.cut |= listed.is_cut;
                answer.messages.push(message(row, listed));
            }
            let is_last = rows.len() < limit && index + 1 == rows.len();
            if answer.messages.len() == page.limit && !is_last {
                answer.next = Some(page.cursors.at_place(Place::of(row)));
                return Ok(answer);
            }
        }
        if rows.len() < limit {
            return Ok(answer);
        }
        if answer.scanned >= SCAN_ROWS_MAX {
            answer.next = page.after.map(|place| page.cursors.at_place(place));
            return Ok(answer);
        }
    }
}

fn message(row: &Row, listed: &Listed) -> MessageAnswer {
    MessageAnswer {
        headline: answer::headline(&listed.life),
        pointer: answer::pointer(row),
        missing: listed.life.missing.iter().map(answer::missing).collect(),
        cut: listed.is_cut,
    }
}

impl Source {
    /// Whether a message is listed at this row: the first of its rows that are in the list.
    fn begins(&self, row: &Row, life: &Life) -> bool {
        let is_listed = |of: &&Row| match self {
            Self::Beginnings(_) => matches!(of.kind, RowKind::Command | RowKind::Message),
            Self::Recipient(key) => of.recipient.as_ref().is_some_and(|recipient| recipient.key == *key),
        };
        let first = life.rows.iter().filter(is_listed).map(Place::of).min();
        first == Some(Place::of(row))
    }
}

impl Filters {
    fn pass(&self, life: &Life) -> bool {
        let headline = answer::headline(life);
        self.status.is_none_or(|status| headline.status == status)
            && self.outcome.is_none_or(|outcome| headline.outcome.as_deref() == Some(outcome))
            && match self.problem {
                None => true,
                Some(Problem::Any) => !life.missing.is_empty(),
                Some(Problem::Rule(name)) => life.missing.iter().any(|missing| missing.rule.name() == name),
            }
    }
}
