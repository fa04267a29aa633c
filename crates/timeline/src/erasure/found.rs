//! Finds what belongs to a customer: the rows that name it, and those without a customer that share an id with them.
//!
//! | row without a customer | belongs to the customer if |
//! |---|---|
//! | result, attempt, report, fetch, dead letter of a command | it has the id of a command or message of the customer |
//! | webhook | an event of the customer was made from it |
//! | dead letter of a webhook | the same, and no other customer's event was; others are found by their bytes ([`super::letters`]) |
//! | fetch without a command | the file was sent to no other customer |
//!
//! Ids are compared as keyed hashes. A command's id counts within its channel only. A sequence counts only where the times fit, because a
//! stream that was created again counts from 1 ([`origins`]).

mod origins;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bsp::CommandId;
use bsp::media::MediaId;
use jiff::Timestamp;

use crate::erasure::found::origins::Origins;
use crate::row::{IdKind, Keys, Link, LookupKey, RecipientKey, Row, RowKind, StreamNumber};
use crate::store::{Listing, Place, Store, StoreError};

/// Most rows of the customer that are found at a time. More are erased in rounds, so that memory stays bounded.
pub(super) const ROUND_ROWS_MAX: usize = 20_000;
/// Rows of a page of the customer's rows.
const PAGE_ROWS: usize = 500;
/// Ids that are looked up at a time.
const KEYS_MAX: usize = 32;
/// Most rows of a look-up. A file or webhook with more is shared.
const FOUND_MAX: usize = 4096;

/// Which customer's rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sought {
    pub(super) recipient: RecipientKey,
    /// Only rows that were stored before; what is found by their ids may be later.
    pub(super) before: Timestamp,
}

/// A stored message behind rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredMessage {
    pub(super) stream: StreamNumber,
    pub(super) sequence: u64,
    /// When it was stored.
    pub(super) stored_at: StoredAt,
}

/// When a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StoredAt {
    /// Before the message that was made from it, whose time this is. It has no row.
    Before(Timestamp),
    /// At this time.
    At(Timestamp),
}

/// A command to the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundCommand {
    pub(super) channel: String,
    pub(super) sequence: u64,
    pub(super) stored_at: Timestamp,
    /// Its id, if rows show it whole.
    pub(super) id: Option<String>,
    /// When its result was stored.
    pub(super) result_at: Option<Timestamp>,
}

/// What belongs to a customer.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The rows that are found by others. They are removed first.
    pub(super) linked: BTreeSet<Place>,
    /// The rows that name the customer.
    pub(super) own: BTreeSet<Place>,
    /// The messages behind them. Two of one sequence are of a stream that was created again.
    pub(super) messages: BTreeSet<StoredMessage>,
    /// The commands among them.
    pub(super) commands: Vec<FoundCommand>,
    /// Files that no other customer got.
    pub(super) files: Vec<MediaId>,
    /// Webhooks with other customers' events.
    pub(super) shared_webhooks: BTreeSet<u64>,
    /// Number of files that other customers got too.
    pub(super) shared_files: u64,
    /// Whether there are more rows than [`ROUND_ROWS_MAX`].
    pub(super) is_cut: bool,
}

impl Found {
    /// Adds a message of which only others say that it is there, unless its row says when it was stored.
    pub(super) fn add_unrecorded(&mut self, message: StoredMessage) {
        let first = StoredMessage { stored_at: StoredAt::Before(Timestamp::MIN), ..message };
        let known = self.messages.range(first..).next();
        if known.is_none_or(|known| (known.stream, known.sequence) != (message.stream, message.sequence)) {
            self.messages.insert(message);
        }
    }
}

/// A search in progress.
struct Search<'a> {
    store: &'a Arc<dyn Store>,
    keys: &'a Keys,
    recipient: RecipientKey,
    found: Found,
    /// Ids of commands and messages of the customer, each with its channels. An empty one is not known.
    ids: HashMap<LookupKey, BTreeSet<String>>,
    /// Stored webhooks and commands that rows of the customer name.
    stored: HashSet<LookupKey>,
    /// Those that a row which was looked up names too, although it was not made from them. The next row of the customer that names
    /// one of them may be of that row.
    passed_over: HashSet<LookupKey>,
    /// What is still to be looked up.
    queue: Vec<LookupKey>,
    /// Names of webhooks: their sequence, and whether rows of others name them.
    webhooks: HashMap<LookupKey, Webhook>,
    files: HashMap<LookupKey, File>,
    origins: Origins,
    commands: Vec<(FoundCommand, Arc<Row>)>,
    /// Dead letters of webhooks and fetches that belong to the customer only if nothing is shared.
    candidates: Vec<(Row, LookupKey)>,
}

#[derive(Debug)]
struct Webhook {
    sequence: u64,
    /// When the last message of the customer was stored that was made from it.
    made_at: Timestamp,
    is_shared: bool,
}

#[derive(Debug)]
struct File {
    id: Option<MediaId>,
    is_shared: bool,
}

/// Finds what belongs to a customer.
///
/// # Errors
/// The store does not answer.
pub(super) async fn find(store: &Arc<dyn Store>, keys: &Keys, sought: Sought) -> Result<Found, StoreError> {
    let mut search = Search {
        store,
        keys,
        recipient: sought.recipient,
        found: Found::default(),
        ids: HashMap::new(),
        stored: HashSet::new(),
        queue: Vec::new(),
        webhooks: HashMap::new(),
        files: HashMap::new(),
        origins: Origins::default(),
        passed_over: HashSet::new(),
        commands: Vec::new(),
        candidates: Vec::new(),
    };
    let mut listing = Listing { since: Timestamp::MIN, until: sought.before, after: None, limit: PAGE_ROWS };
    loop {
        let rows = store.of_recipient(sought.recipient, listing).await?;
        let Some(last) = rows.last() else { break };
        listing.after = Some(Place::of(last));
        for row in &rows {
            search.take(row);
        }
        search.follow().await?;
        if search.found.own.len() >= ROUND_ROWS_MAX {
            search.found.is_cut = true;
            break;
        }
    }
    Ok(search.finish())
}

impl Search<'_> {
    /// Looks up the ids of the rows that were taken, until no new ones come.
    async fn follow(&mut self) -> Result<(), StoreError> {
        while !self.queue.is_empty() {
            let from = self.queue.len().saturating_sub(KEYS_MAX);
            let keys = self.queue.split_off(from);
            let mut found = self.store.find(keys.clone(), FOUND_MAX).await?;
            if found.is_cut && keys.len() > 1 {
                found.rows.clear();
                for key in keys {
                    found.rows.extend(self.store.find(vec![key], FOUND_MAX).await?.rows);
                }
            }
            for row in &found.rows {
                self.judge(row);
            }
        }
        Ok(())
    }

    /// Takes a row that belongs to the customer.
    fn take(&mut self, row: &Row) {
        let place = Place::of(row);
        let is_own = self.is_own(row);
        let rows = if is_own { &mut self.found.own } else { &mut self.found.linked };
        if !rows.insert(place) {
            return;
        }
        let message = StoredMessage {
            stream: row.pointer.stream,
            sequence: row.pointer.sequence,
            stored_at: StoredAt::At(row.stored_at),
        };
        self.found.messages.insert(message);
        for link in &row.links {
            self.take_link(row, link);
        }
        let kept = self.origins.add(row);
        if row.kind == RowKind::Command {
            self.take_command(row, kept);
        }
    }

    fn take_link(&mut self, row: &Row, link: &Link) {
        if link.kind.is_of_one_message() {
            if self.ids.entry(link.key).or_default().insert(row.channel.clone()) {
                self.queue.push(link.key);
            }
            return;
        }
        let is_webhook = is_stored(link, StreamNumber::Webhooks);
        if is_webhook && let Some(sequence) = sequence_of(link) {
            let made_at = row.stored_at;
            let webhook =
                self.webhooks.entry(link.key).or_insert(Webhook { sequence, made_at, is_shared: false });
            webhook.made_at = webhook.made_at.max(made_at);
        }
        if link.kind == IdKind::Media {
            let id = self.whole(link).and_then(MediaId::parse);
            self.files.entry(link.key).or_insert(File { id, is_shared: false });
        }
        let leads_on = is_webhook || is_stored(link, StreamNumber::Commands) || link.kind == IdKind::Media;
        if leads_on && (self.stored.insert(link.key) || self.passed_over.remove(&link.key)) {
            self.queue.push(link.key);
        }
    }

    fn take_command(&mut self, row: &Row, kept: Arc<Row>) {
        let id = row.links.iter().find(|link| link.kind == IdKind::Command);
        let id = id.and_then(|link| self.whole(link)).filter(|id| CommandId::parse(id).is_some());
        let command = FoundCommand {
            channel: row.channel.clone(),
            sequence: row.pointer.sequence,
            stored_at: row.stored_at,
            id: id.map(str::to_owned),
            result_at: None,
        };
        self.commands.push((command, kept));
    }

    /// The id of a link, if it is shown whole.
    fn whole<'l>(&self, link: &'l Link) -> Option<&'l str> {
        (self.keys.id(&link.shown) == link.key).then_some(link.shown.as_str())
    }

    fn is_own(&self, row: &Row) -> bool {
        row.recipient.as_ref().is_some_and(|of| of.key == self.recipient)
    }

    /// Decides about a row that has an id of the customer's rows.
    fn judge(&mut self, row: &Row) {
        let place = Place::of(row);
        if self.found.own.contains(&place) || self.found.linked.contains(&place) {
            return;
        }
        if self.has_id(row) && (row.recipient.is_none() || self.is_own(row)) {
            self.take(row);
            return;
        }
        if row.recipient.is_some() {
            // Rows of the customer that share no id of a message are later ones, which stay.
            if !self.is_own(row) {
                self.share(row);
            }
            return;
        }
        let shared = row.links.iter().find(|link| self.stored.contains(&link.key));
        let Some(key) = shared.map(|link| link.key) else { return };
        match row.kind {
            RowKind::Webhook if self.origins.has(row) => self.take(row),
            RowKind::Webhook => self.pass_over(row),
            _ if row.links.iter().any(|link| is_stored(link, StreamNumber::Commands)) => self.pass_over(row),
            RowKind::DeadLetter | RowKind::Fetch => self.candidates.push((row.clone(), key)),
            _ => {}
        }
    }

    fn pass_over(&mut self, row: &Row) {
        let named = row.links.iter().map(|link| link.key).filter(|key| self.stored.contains(key));
        self.passed_over.extend(named);
    }

    /// Whether a row has the id of a command or message of the customer, in the same channel as far as that is known, or is of the same
    /// command.
    fn has_id(&self, row: &Row) -> bool {
        let is_of_command = row.links.iter().any(|link| is_stored(link, StreamNumber::Commands));
        if is_of_command && self.origins.has(row) {
            return true;
        }
        row.links.iter().any(|link| {
            let channels = self.ids.get(&link.key).filter(|_| link.kind.is_of_one_message());
            channels.is_some_and(|channels| {
                row.channel.is_empty() || channels.contains(&row.channel) || channels.contains("")
            })
        })
    }

    /// Notes what a row of another customer has in common with this one's.
    fn share(&mut self, row: &Row) {
        for link in &row.links {
            if let Some(webhook) = self.webhooks.get_mut(&link.key) {
                webhook.is_shared = true;
            }
            if let Some(file) = self.files.get_mut(&link.key) {
                file.is_shared = true;
            }
        }
    }

    fn finish(mut self) -> Found {
        for (row, key) in std::mem::take(&mut self.candidates) {
            let is_shared_webhook = self.webhooks.get(&key).is_some_and(|webhook| webhook.is_shared);
            let is_shared_file = self.files.get(&key).is_some_and(|file| file.is_shared);
            if !is_shared_webhook && !is_shared_file && self.origins.may_have(&row) {
                self.take(&row);
            }
        }
        let mut found = self.found;
        for webhook in self.webhooks.into_values() {
            found.add_unrecorded(StoredMessage {
                stream: StreamNumber::Webhooks,
                sequence: webhook.sequence,
                stored_at: StoredAt::Before(webhook.made_at),
            });
            if webhook.is_shared {
                found.shared_webhooks.insert(webhook.sequence);
            }
        }
        for file in self.files.into_values() {
            if file.is_shared {
                found.shared_files += 1;
            } else {
                found.files.extend(file.id);
            }
        }
        let origins = self.origins;
        let of_row = |(command, row): (FoundCommand, Arc<Row>)| FoundCommand {
            result_at: origins.result_at(&row),
            ..command
        };
        found.commands = self.commands.into_iter().map(of_row).collect();
        found
    }
}

/// Whether a link names a message of a stream, as `WEBHOOKS/17`.
fn is_stored(link: &Link, stream: StreamNumber) -> bool {
    let rest = link.shown.strip_prefix(stream.name());
    link.kind == IdKind::Stored && rest.is_some_and(|rest| rest.starts_with('/'))
}

fn sequence_of(link: &Link) -> Option<u64> {
    link.shown.split_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests;
