//! Searches by number. A number must not be in a URL, which logs and browsers keep: a client posts it, and gets an id that says
//! nothing of it. A search is kept in memory, as the hash of the number, until its TTL ends or the process stops.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::row::RecipientKey;

/// TTL of a search.
const TTL: Duration = Duration::from_secs(60 * 60);
/// Most searches that are kept: about 2 MiB.
const SEARCHES_MAX: usize = 10_000;
/// Bytes of an id: too many to guess.
const ID_BYTES: usize = 16;

/// What is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Search {
    /// The customer.
    pub(crate) recipient: RecipientKey,
    /// Only messages that began at this time or later.
    pub(crate) since: Timestamp,
    /// Only messages that began before this time.
    pub(crate) until: Timestamp,
}

/// A kept search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its id.
    pub(crate) id: String,
    /// Until when it is kept.
    pub(crate) expires_at: Timestamp,
}

/// Why a search is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotKept {
    /// As many are kept as may be.
    Full,
    /// The system gives no random bytes.
    NoRandom,
}

/// The searches that are kept. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Searches(Arc<Mutex<HashMap<String, (Timestamp, Search)>>>);

impl Searches {
    /// Keeps a search.
    pub(crate) fn keep(&self, search: Search, now: Timestamp) -> Result<Kept, NotKept> {
        let mut bits = [0; ID_BYTES];
        getrandom::fill(&mut bits).map_err(|_| NotKept::NoRandom)?;
        let kept = Kept { id: URL_SAFE_NO_PAD.encode(bits), expires_at: now + TTL };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SEARCHES_MAX {
            all.retain(|_, (expires_at, _)| *expires_at > now);
        }
        if all.len() >= SEARCHES_MAX {
            return Err(NotKept::Full);
        }
        all.insert(kept.id.clone(), (kept.expires_at, search));
        Ok(kept)
    }

    /// The search with an id; `None` if it is not kept, or no longer.
    pub(crate) fn get(&self, id: &str, now: Timestamp) -> Option<Search> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id).filter(|(expires_at, _)| *expires_at > now).map(|(_, search)| search.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_kept_for_its_ttl_and_their_number_is_limited() {
        let searches = Searches::default();
        let now = Timestamp::UNIX_EPOCH;
        let search = Search { recipient: RecipientKey([1; 16]), since: now, until: now };
        let kept = searches.keep(search.clone(), now).unwrap();
        assert_eq!(searches.get(&kept.id, now), Some(search.clone()));
        assert_eq!(searches.get(&kept.id, now + TTL), None);
        assert_eq!(searches.get("another", now), None);
        for _ in 1..SEARCHES_MAX {
            searches.keep(search.clone(), now).unwrap();
        }
        assert_eq!(searches.keep(search.clone(), now), Err(NotKept::Full));
        let later = searches.keep(search.clone(), now + TTL).unwrap();
        assert_eq!(searches.get(&later.id, now + TTL), Some(search));
    }
}
