//! Which rows are of one stored message: a result and its command, an event and its webhook. Pure.
//!
//! They name it by its sequence, and a stream that was created again counts from 1: the times tell the messages apart
//! ([`is_made_from`]), and so do the ids of commands.

use std::collections::HashMap;
use std::sync::Arc;

use bsp::ids::COMMAND_ID_LENGTH_MAX;
use jiff::Timestamp;

use crate::life::source::{is_made_from, stored_in};
use crate::row::{IdKind, Link, LookupKey, Row, RowKind, StreamNumber};

/// Rows of the customer, by the webhooks and commands that they name.
#[derive(Debug, Default)]
pub(super) struct Origins(HashMap<LookupKey, Vec<Arc<Row>>>);

impl Origins {
    /// Adds a row of the customer. Returns what is kept of it: everything but texts.
    pub(super) fn add(&mut self, row: &Row) -> Arc<Row> {
        let row = Arc::new(Row { summary: String::new(), body: String::new(), ..row.clone() });
        for key in names(&row) {
            self.0.entry(key).or_default().push(Arc::clone(&row));
        }
        row
    }

    /// Whether a row was made from one of the customer's, or one of these from it.
    pub(super) fn has(&self, row: &Row) -> bool {
        let named = names(row).filter_map(|key| self.0.get(&key)).flatten();
        named.into_iter().any(|of| is_of(row, of) || is_of(of, row))
    }

    /// Whether a row may be of the same webhook as one of the customer's: it was made from it, or no row says when that webhook was stored.
    pub(super) fn may_have(&self, row: &Row) -> bool {
        let named = names(row).filter_map(|key| self.0.get(&key)).flatten();
        self.has(row) || named.into_iter().all(|of| of.kind != RowKind::Webhook)
    }

    /// When the first result of a command was stored.
    pub(super) fn result_at(&self, command: &Row) -> Option<Timestamp> {
        let named = names(command).filter_map(|key| self.0.get(&key)).flatten();
        let results = named.filter(|row| row.kind == RowKind::Result && is_of(row, command));
        results.map(|row| row.stored_at).min()
    }
}

fn names(row: &Row) -> impl Iterator<Item = LookupKey> + '_ {
    stored_in(row, StreamNumber::Webhooks).chain(stored_in(row, StreamNumber::Commands))
}

fn is_of(row: &Row, source: &Row) -> bool {
    let (of_row, of_source) = (command_ids(row), command_ids(source));
    let is_other =
        !of_row.is_empty() && !of_source.is_empty() && !of_row.iter().any(|id| of_source.contains(id));
    !is_other && is_made_from(row, source)
}

/// The ids of a row's command. Results repeat an invalid one in another form, so that it shows nothing.
fn command_ids(row: &Row) -> Vec<LookupKey> {
    let is_valid =
        |link: &&Link| link.shown.len() <= COMMAND_ID_LENGTH_MAX && !link.shown.contains('\u{fffd}');
    let ids = row.links.iter().filter(|link| link.kind == IdKind::Command);
    ids.filter(is_valid).map(|link| link.key).collect()
}
