//! The rights to read streams and to erase: advisory locks of one session, which the server releases when the session ends.
//!
//! The session is a connection of its own. Both sides check it every few seconds, so that another process takes over soon after
//! this one, its machine or the network fails.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::store::error::StoreError;
use crate::store::lease::Lease;
use crate::store::postgres::lock::{self, Lock};
use crate::store::postgres::pool::{Connected, Pool};

/// Interval of checking whether the session is there.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of such a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The leases of this process.
#[derive(Debug, Default)]
pub(super) struct Leases(tokio::sync::Mutex<Option<Arc<Session>>>);

/// The session that has them.
struct Session {
    connected: Connected,
    /// Where it is served. A lease may be dropped on another runtime, or on none.
    runtime: Handle,
    /// The server gives a session the same lock twice, and a process must have each once.
    taken: Mutex<HashSet<Lock>>,
}

impl Session {
    fn free(&self, lock: Lock) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&lock);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Leases {
    /// The right that a lock stands for; `None` while a process has it.
    pub(super) async fn take(&self, pool: &Pool, lock: Lock) -> Result<Option<Lease>, StoreError> {
        let session = self.session(pool).await?;
        let Some(mut held) = Held::reserve(&session, lock) else { return Ok(None) };
        let free = held.free.clone();
        held.may_be_locked = lock::take(&session.connected.client, lock).await?;
        let is_locked = held.may_be_locked;
        Ok(is_locked.then(|| Lease::until(Box::new(held), session.connected.ended.clone(), free)))
    }

    async fn session(&self, pool: &Pool) -> Result<Arc<Session>, StoreError> {
        let mut current = self.0.lock().await;
        if let Some(session) = current.as_ref().filter(|session| !session.connected.ended.is_cancelled()) {
            return Ok(Arc::clone(session));
        }
        let connected = pool.connect().await?;
        let session = Arc::new(Session { connected, runtime: Handle::current(), taken: Mutex::default() });
        tokio::spawn(check(Arc::downgrade(&session), session.connected.ended.clone()));
        *current = Some(Arc::clone(&session));
        Ok(session)
    }
}

/// Ends the session when it does not answer any more: its locks are given back with it.
async fn check(session: Weak<Session>, ended: CancellationToken) {
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        let Some(session) = session.upgrade() else { return };
        let answer = tokio::time::timeout(CHECK_TIMEOUT, session.connected.client.check_connection()).await;
        if !matches!(answer, Ok(Ok(()))) {
            session.connected.end();
        }
    }
}

/// A lock, which is given back when this is dropped.
struct Held {
    session: Arc<Session>,
    lock: Lock,
    /// Whether the server may have given it: also if the call was canceled or failed.
    may_be_locked: bool,
    /// Canceled when it is given back.
    free: CancellationToken,
}

impl Held {
    /// A lock that is about to be asked for; `None` if this process has it.
    fn reserve(session: &Arc<Session>, lock: Lock) -> Option<Self> {
        let is_new = session.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(lock);
        let free = CancellationToken::new();
        is_new.then(|| Self { session: Arc::clone(session), lock, may_be_locked: true, free })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let freed = self.free.clone().drop_guard();
        if !self.may_be_locked {
            self.session.free(self.lock);
            return;
        }
        let (session, lock) = (Arc::clone(&self.session), self.lock);
        // If the runtime has ended, so does the process, and the session with it.
        self.session.runtime.spawn(async move {
            if lock::give_back(&session.connected.client, lock).await.is_err() {
                session.connected.end();
            }
            session.free(lock);
            drop(freed);
        });
    }
}
