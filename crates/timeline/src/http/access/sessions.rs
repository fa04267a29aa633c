//! The sessions of browsers: someone has sent a token by the form, and gets a random id as a cookie. A session is kept in memory, by
//! the hash of its id, until its TTL ends, it is signed out, its token is removed from the file, or the process stops.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::http::access::tokens::TokenDigest;

/// TTL of a session: a working day.
pub(in crate::http) const TTL: Duration = Duration::from_secs(12 * 3600);
/// Most sessions of one token. A further one ends the oldest.
const OF_TOKEN_MAX: usize = 16;
/// Bytes of an id: too many to guess.
const ID_BYTES: usize = 32;

/// The SHA-256 of a session's id.
type IdHash = [u8; 32];

/// The id of a new session, for the cookie.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::http) struct SessionId(pub(in crate::http) String);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(***)")
    }
}

/// A session that has not ended.
#[derive(Debug, Clone)]
pub(in crate::http) struct Session {
    /// The token that began it.
    pub(in crate::http) token: TokenDigest,
    /// When its TTL ends.
    pub(in crate::http) expires_at: Instant,
    /// Canceled when it is signed out.
    pub(in crate::http) ended: CancellationToken,
}

/// The sessions. Clones share them. There are at most as many as 16 for each token.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<HashMap<IdHash, Session>>>);

impl Sessions {
    /// Begins a session of a token. `None` when the system gives no random bytes.
    pub(in crate::http) fn begin(&self, token: TokenDigest, now: Instant) -> Option<SessionId> {
        let mut bits = [0; ID_BYTES];
        getrandom::fill(&mut bits).ok()?;
        let id = SessionId(URL_SAFE_NO_PAD.encode(bits));
        let mut all = self.all();
        all.retain(|_, session| session.expires_at > now);
        let of_token = all.iter().filter(|(_, session)| session.token == token);
        if of_token.clone().count() >= OF_TOKEN_MAX {
            let oldest = of_token.min_by_key(|(_, session)| session.expires_at).map(|(id, _)| *id);
            let ended = oldest.and_then(|id| all.remove(&id));
            ended.inspect(|session| session.ended.cancel());
        }
        let session = Session { token, expires_at: now + TTL, ended: CancellationToken::new() };
        all.insert(hash(&id.0), session);
        Some(id)
    }

    /// The session with an id; `None` if it has ended.
    pub(in crate::http) fn get(&self, id: &str, now: Instant) -> Option<Session> {
        self.all().get(&hash(id)).filter(|session| session.expires_at > now).cloned()
    }

    /// Ends the session with an id, if there is one.
    pub(in crate::http) fn end(&self, id: &str) {
        if let Some(session) = self.all().remove(&hash(id)) {
            session.ended.cancel();
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<IdHash, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(id: &str) -> IdHash {
    Sha256::digest(id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_its_ttl_or_its_sign_out_and_their_number_is_limited() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let (one, other) = (TokenDigest::of(b"one"), TokenDigest::of(b"other"));
        let id = sessions.begin(other.clone(), now).unwrap();
        assert!(!format!("{id:?} {sessions:?}").contains(&id.0), "{sessions:?}");
        assert_eq!(sessions.get(&id.0, now).unwrap().token, other);
        assert!(sessions.get(&id.0, now + TTL).is_none());
        assert!(sessions.get("another", now).is_none());
        let first = sessions.begin(one.clone(), now).unwrap();
        let session = sessions.get(&first.0, now).unwrap();
        for second in 1..=OF_TOKEN_MAX {
            sessions.begin(one.clone(), now + Duration::from_secs(second as u64)).unwrap();
        }
        assert!(sessions.get(&first.0, now).is_none() && session.ended.is_cancelled());
        assert_eq!(sessions.all().len(), OF_TOKEN_MAX + 1);
        sessions.end(&id.0);
        sessions.end("another");
        assert!(sessions.get(&id.0, now).is_none());
        sessions.begin(other, now + 2 * TTL).unwrap();
        assert_eq!(sessions.all().len(), 1);
    }
}
