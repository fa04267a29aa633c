//! The lives of several messages with few questions to the store, for lists. The whole life of one is [`crate::life::collect`]'s.
//!
//! A life of which rows may be left out is marked as cut, and nothing is said to be missing in it. Rows have no bodies here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::life::{self, Life, View};
use crate::row::{LookupKey, Row};
use crate::store::{Place, Store, StoreError};

/// Most rows that are read for all messages of a list together. If they have more, each message is read by itself.
const ROWS_MAX: usize = 4_000;
/// Most rows of one message that is read by itself; a usual one has ten.
const LIFE_ROWS_MAX: usize = 200;
/// Most times that the ids of found rows are followed. A report has the BSP's id, which only the result of its command joins to the
/// command's.
const ROUNDS_MAX: usize = 3;

/// A life of a list.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The life.
    pub(crate) life: Life,
    /// Whether it may have more rows than were read. Then nothing is missing in it.
    pub(crate) is_cut: bool,
}

/// Lives, and which of them a row or an id belongs to.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    lives: Vec<Listed>,
    by_place: HashMap<Place, usize>,
    by_key: HashMap<(LookupKey, String), usize>,
}

/// What is asked for: rows, ids, or both.
#[derive(Debug, Clone, Default)]
struct Asked {
    rows: Vec<Row>,
    keys: HashSet<LookupKey>,
}

/// Rows that were found, and the ids of them that were not asked for.
#[derive(Debug, Default)]
struct Found {
    rows: BTreeMap<Place, Row>,
    not_asked: HashSet<LookupKey>,
    /// Whether the store has more.
    is_cut: bool,
}

impl Lives {
    /// The lives that have any of the keys, or an id of a row that does.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn of_keys(
        store: &dyn Store,
        keys: HashSet<LookupKey>,
        view: &Arc<View>,
    ) -> Result<Self, StoreError> {
        let each = keys.iter().map(|key| Asked { rows: Vec::new(), keys: HashSet::from([*key]) }).collect();
        Self::of(store, Asked { rows: Vec::new(), keys }, each, view).await
    }

    /// The lives of rows.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn of_rows(
        store: &dyn Store,
        rows: &[Row],
        view: &Arc<View>,
    ) -> Result<Self, StoreError> {
        let one = |row: &Row| Asked { rows: vec![row.clone()], keys: one_message(row).collect() };
        let keys = rows.iter().flat_map(one_message).collect();
        Self::of(store, Asked { rows: rows.to_vec(), keys }, rows.iter().map(one).collect(), view).await
    }

    async fn of(
        store: &dyn Store,
        all: Asked,
        each: Vec<Asked>,
        view: &Arc<View>,
    ) -> Result<Self, StoreError> {
        let found = found(store, all, ROWS_MAX).await?;
        if !found.is_cut {
            let mut lives = Self::default();
            lives.add(store, found, view).await?;
            return Ok(lives);
        }
        // One of the messages has very many rows: the others are judged by theirs.
        let mut lives = Self::default();
        for asked in each {
            if asked.rows.iter().any(|row| lives.by_place.contains_key(&Place::of(row))) {
                continue;
            }
            let found = self::found(store, asked, LIFE_ROWS_MAX).await?;
            lives.add(store, found, view).await?;
        }
        Ok(lives)
    }

    /// Adds the lives of found rows.
    async fn add(&mut self, store: &dyn Store, found: Found, view: &Arc<View>) -> Result<(), StoreError> {
        let Found { rows, not_asked, is_cut } = found;
        let fetched = life::fetched(store, rows.values()).await?;
        let view = View { fetched, ..view.as_ref().clone() };
        // Thousands of rows take longer to order than other tasks may wait.
        let assembling =
            tokio::task::spawn_blocking(move || life::assemble(rows.into_values().collect(), &view));
        let lives = assembling.await.unwrap_or_default();
        for mut life in lives {
            let is_cut = is_cut || life.rows.iter().flat_map(one_message).any(|key| not_asked.contains(&key));
            if is_cut {
                life.missing.clear();
                life.notes.clear();
            }
            let index = self.lives.len();
            for row in &life.rows {
                self.by_place.entry(Place::of(row)).or_insert(index);
                for link in &row.links {
                    self.by_key.entry((link.key, row.channel.clone())).or_insert(index);
                }
            }
            self.lives.push(Listed { life, is_cut });
        }
        Ok(())
    }

    /// The life of a row.
    pub(crate) fn of_row(&self, row: &Row) -> Option<&Listed> {
        self.lives.get(*self.by_place.get(&Place::of(row))?)
    }

    /// The life of an id in a channel.
    pub(crate) fn of_key(&self, key: LookupKey, channel: &str) -> Option<&Listed> {
        self.lives.get(*self.by_key.get(&(key, channel.to_owned()))?)
    }
}

/// The rows that have the keys, and those that share the ids of their messages.
async fn found(store: &dyn Store, asked: Asked, rows_max: usize) -> Result<Found, StoreError> {
    let mut found = Found::default();
    found.rows.extend(asked.rows.into_iter().map(|row| (Place::of(&row), row)));
    found.not_asked = asked.keys;
    let mut asked = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        if found.not_asked.is_empty() || found.is_cut {
            break;
        }
        let answer = store.find_brief(found.not_asked.iter().copied().collect(), rows_max).await?;
        asked.extend(found.not_asked.drain());
        let ids = answer.rows.iter().flat_map(one_message);
        found.not_asked = ids.filter(|key| !asked.contains(key)).collect();
        found.rows.extend(answer.rows.into_iter().map(|row| (Place::of(&row), row)));
        found.is_cut = answer.is_cut || found.rows.len() > rows_max;
    }
    Ok(found)
}

fn one_message(row: &Row) -> impl Iterator<Item = LookupKey> + '_ {
    row.links.iter().filter(|link| link.kind.is_of_one_message()).map(|link| link.key)
}
