//! The lives of several messages with two questions to the store, for lists. The whole life of one is [`crate::life::collect`]'s.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::life::{self, Life, View};
use crate::row::{LookupKey, Row};
use crate::store::{Place, Store, StoreError};

/// Most rows that are read for a list in one question.
const ROWS_MAX: usize = 4_000;

/// Lives, and which of them a row or an id belongs to.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    lives: Vec<Life>,
    by_place: BTreeMap<Place, usize>,
    by_key: HashMap<(LookupKey, String), usize>,
    /// Whether there are more rows than were read.
    pub(crate) is_cut: bool,
}

impl Lives {
    /// The lives that have any of the keys, or an id of a row that does.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn of_keys(
        store: &dyn Store,
        keys: HashSet<LookupKey>,
        view: &View,
    ) -> Result<Self, StoreError> {
        Self::found(store, BTreeMap::new(), keys, view).await
    }

    /// The lives of rows.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn of_rows(store: &dyn Store, rows: &[Row], view: &View) -> Result<Self, StoreError> {
        let keys = rows.iter().flat_map(one_message).collect();
        let rows = rows.iter().map(|row| (Place::of(row), row.clone())).collect();
        Self::found(store, rows, keys, view).await
    }

    async fn found(
        store: &dyn Store,
        mut rows: BTreeMap<Place, Row>,
        keys: HashSet<LookupKey>,
        view: &View,
    ) -> Result<Self, StoreError> {
        let mut is_cut = false;
        let mut asked = HashSet::new();
        let mut asking = keys;
        // A report has the BSP's id, which only the result of its command joins to the command's.
        for _ in 0..2 {
            if asking.is_empty() {
                break;
            }
            let found = store.find(asking.iter().copied().collect(), ROWS_MAX).await?;
            is_cut |= found.is_cut;
            asked.extend(asking.drain());
            asking = found.rows.iter().flat_map(one_message).filter(|key| !asked.contains(key)).collect();
            rows.extend(found.rows.into_iter().map(|row| (Place::of(&row), row)));
        }
        Ok(Self::assembled(rows.into_values().collect(), view, is_cut))
    }

    fn assembled(rows: Vec<Row>, view: &View, is_cut: bool) -> Self {
        let lives = life::assemble(rows, view);
        let (mut by_place, mut by_key) = (BTreeMap::new(), HashMap::new());
        for (index, life) in lives.iter().enumerate() {
            for row in &life.rows {
                by_place.insert(Place::of(row), index);
                for link in &row.links {
                    by_key.entry((link.key, row.channel.clone())).or_insert(index);
                }
            }
        }
        Self { lives, by_place, by_key, is_cut }
    }

    /// The life of a row.
    pub(crate) fn of(&self, row: &Row) -> Option<&Life> {
        self.lives.get(*self.by_place.get(&Place::of(row))?)
    }

    /// The life of an id in a channel.
    pub(crate) fn of_key(&self, key: LookupKey, channel: &str) -> Option<&Life> {
        self.lives.get(*self.by_key.get(&(key, channel.to_owned()))?)
    }
}

fn one_message(row: &Row) -> impl Iterator<Item = LookupKey> + '_ {
    row.links.iter().filter(|link| link.kind.is_of_one_message()).map(|link| link.key)
}
