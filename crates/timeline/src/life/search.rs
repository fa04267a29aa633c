//! Finds the rows that belong to an id.
//!
//! The id may be of any kind: of a command, a message (`wamid.…`, `imc-…`), an event or a file, or the place of a stored message
//! (`WEBHOOKS/123`). From the rows that have it, the ids of their messages are followed within their channel, and so are the places
//! of commands, which their dead letters name. Ids of files, events and webhooks are not followed, because several messages share
//! them. Last come the webhooks from which the rows were made.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bsp::ids::COMMAND_MESSAGE_PREFIX;
use jiff::Timestamp;

use crate::life::groups::assemble;
use crate::life::source::{is_made_from, stored_in};
use crate::life::{Life, View};
use crate::row::{IdKind, Keys, LookupKey, Row, RowKind, StreamNumber};
use crate::rules::RuleName;
use crate::store::{Place, Store, StoreError};

/// Most rows of an answer.
pub const ROWS_MAX: usize = 1000;
/// Most rows that have the id itself and are followed. An id that a campaign's messages share, such as that of its file, gives the
/// lives of its first messages, which are whole.
pub const FIRST_ROWS_MAX: usize = 100;
/// Most times that the ids of found rows are followed. A message has two or three ids, all of which its result or first report has.
const ROUNDS_MAX: usize = 3;
/// Most ids that are looked up together.
const KEYS_MAX: usize = 500;
/// Most webhooks that are looked up one by one, because a look-up of all had too many rows.
const SINGLE_WEBHOOKS_MAX: usize = 16;
/// Most rows of a look-up of one webhook, which is before its events.
const SINGLE_WEBHOOK_ROWS: usize = 8;

/// The rows that belong to an id.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// The rows, oldest first, each once.
    pub rows: Vec<Row>,
    /// Whether there are more.
    pub is_cut: bool,
    /// Whether rows may be left out of lives that are here. What is missing in them cannot be said then.
    pub is_incomplete: bool,
    /// When the files that the rows name were first fetched, by file and channel.
    pub fetched: HashMap<(LookupKey, String), Timestamp>,
}

impl Collected {
    /// The lives of the rows. Nothing is said to be missing if it may be among the rows that were left out.
    pub fn lives(self, view: &View) -> Vec<Life> {
        let view = View { fetched: self.fetched, ..view.clone() };
        let mut lives = assemble(self.rows, &view);
        if self.is_incomplete {
            for life in &mut lives {
                life.missing.clear();
                life.notes.clear();
            }
        }
        lives
    }
}

/// Finds the rows that belong to an id; none if it is not known.
///
/// # Errors
/// [`StoreError`] when the store does not answer.
pub async fn collect(store: &dyn Store, keys: &Keys, id: &str) -> Result<Collected, StoreError> {
    let mut search =
        Search { store, found: Collected::default(), rows: BTreeMap::new(), asked: BTreeSet::new() };
    let first = store.find(first_keys(keys, id), FIRST_ROWS_MAX).await?;
    search.found.is_cut = first.is_cut;
    search.take(first.rows);
    for _ in 0..ROUNDS_MAX {
        let wanted = search.not_asked();
        if wanted.is_empty() || search.found.is_incomplete {
            break;
        }
        search.follow(wanted).await?;
    }
    search.found.is_incomplete |= !search.not_asked().is_empty();
    search.add_webhooks().await?;
    let Collected { is_cut, is_incomplete, .. } = search.found;
    let fetched = fetched(store, search.rows.values()).await?;
    Ok(Collected {
        rows: search.rows.into_values().collect(),
        is_cut: is_cut || is_incomplete,
        is_incomplete,
        fetched,
    })
}

/// When the files that rows name were first fetched, by file and channel. The fetch is no row of theirs where MEDIA named another
/// message with the same file.
///
/// # Errors
/// [`StoreError`] when the store does not answer.
pub(crate) async fn fetched(
    store: &dyn Store,
    rows: impl Iterator<Item = &Row>,
) -> Result<HashMap<(LookupKey, String), Timestamp>, StoreError> {
    let files: BTreeSet<LookupKey> = rows.filter_map(|row| row.key(IdKind::Media)).collect();
    if files.is_empty() {
        return Ok(HashMap::new());
    }
    let met = store.met_files(files.into_iter().collect()).await?;
    let of_fetches = met.into_iter().filter(|met| met.rule == RuleName::NotFetched);
    Ok(of_fetches.map(|met| ((met.file, met.channel), met.since)).collect())
}

/// The keys of an id as people write it. The message of a command has its id with a prefix; before there is a result, only the
/// command itself can be found.
fn first_keys(keys: &Keys, id: &str) -> Vec<LookupKey> {
    let id = id.trim();
    if let Some((stream, sequence)) = id.split_once('/') {
        let stream = stream.to_ascii_uppercase();
        if StreamNumber::of_name(&stream).is_some() {
            return vec![keys.id(&format!("{stream}/{sequence}"))];
        }
    }
    let command = id.strip_prefix(COMMAND_MESSAGE_PREFIX).filter(|command| !command.is_empty());
    [Some(id), command].into_iter().flatten().map(|id| keys.id(id)).collect()
}

/// An id to look up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    key: LookupKey,
    /// Only rows of this channel; `None` for the place of a command, which is unique.
    channel: Option<String>,
}

struct Search<'a> {
    store: &'a dyn Store,
    found: Collected,
    rows: BTreeMap<Place, Row>,
    asked: BTreeSet<Wanted>,
}

impl Search<'_> {
    fn take(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            self.rows.insert(Place::of(&row), row);
        }
        while self.rows.len() > ROWS_MAX {
            self.found.is_incomplete = true;
            self.rows.pop_last();
        }
    }

    /// The ids of the rows' messages that were not looked up yet.
    fn not_asked(&self) -> BTreeSet<Wanted> {
        let wanted = self.rows.values().flat_map(wanted);
        wanted.filter(|wanted| !self.asked.contains(wanted)).collect()
    }

    /// Looks up ids, and takes the rows of their channels.
    async fn follow(&mut self, mut asked: BTreeSet<Wanted>) -> Result<(), StoreError> {
        while asked.len() > KEYS_MAX {
            self.found.is_incomplete = true;
            asked.pop_last();
        }
        let keys: BTreeSet<LookupKey> = asked.iter().map(|wanted| wanted.key).collect();
        let found = self.store.find(keys.into_iter().collect(), ROWS_MAX).await?;
        let belongs = |row: &Row| wanted(row).any(|wanted| asked.contains(&wanted));
        self.take(found.rows.into_iter().filter(belongs));
        self.found.is_incomplete |= found.is_cut;
        self.asked.append(&mut asked);
        Ok(())
    }

    /// Adds the webhooks from which the rows were made.
    async fn add_webhooks(&mut self) -> Result<(), StoreError> {
        let here = |key: &LookupKey| {
            let mut webhooks = self.rows.values().filter(|row| row.kind == RowKind::Webhook);
            webhooks.any(|row| stored_in(row, StreamNumber::Webhooks).any(|own| own == *key))
        };
        let named = self.rows.values().flat_map(|row| stored_in(row, StreamNumber::Webhooks));
        let mut keys: Vec<LookupKey> =
            named.filter(|key| !here(key)).collect::<BTreeSet<_>>().into_iter().collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.found.is_cut |= keys.len() > KEYS_MAX;
        keys.truncate(KEYS_MAX);
        let found = self.store.find(keys.clone(), ROWS_MAX).await?;
        self.take_webhooks(found.rows);
        if found.is_cut {
            self.found.is_cut |= keys.len() > SINGLE_WEBHOOKS_MAX;
            for key in keys.into_iter().take(SINGLE_WEBHOOKS_MAX) {
                let found = self.store.find(vec![key], SINGLE_WEBHOOK_ROWS).await?;
                self.take_webhooks(found.rows);
            }
        }
        Ok(())
    }

    fn take_webhooks(&mut self, found: Vec<Row>) {
        let webhooks = found.into_iter().filter(|row| row.kind == RowKind::Webhook);
        let ours: Vec<Row> =
            webhooks.filter(|webhook| self.rows.values().any(|row| is_made_from(row, webhook))).collect();
        self.take(ours);
    }
}

/// By which ids the other rows of a row's message are found.
fn wanted(row: &Row) -> impl Iterator<Item = Wanted> + '_ {
    let of_message = row.links.iter().filter(|link| link.kind.is_of_one_message());
    let of_message = of_message.map(|link| Wanted { key: link.key, channel: Some(row.channel.clone()) });
    let places = stored_in(row, StreamNumber::Commands).map(|key| Wanted { key, channel: None });
    of_message.chain(places)
}
