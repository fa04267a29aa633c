//! Whether the bus is known to be away: no connection for [`AWAY_AFTER`]. A short reconnection does not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Time without a connection after which the bus is away.
const AWAY_AFTER: Duration = Duration::from_millis(250);

/// Whether the bus is away. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Away {
    /// The same as the value of `changes`, which is behind a lock.
    is_away: Arc<AtomicBool>,
    changes: watch::Receiver<bool>,
}

impl Away {
    /// Follows the state of a connection until its sender is dropped. The bus is not away before [`AWAY_AFTER`] has passed.
    pub(super) fn follow(is_up: watch::Receiver<bool>) -> Self {
        let is_away = Arc::new(AtomicBool::new(false));
        let (changed, changes) = watch::channel(false);
        let set = {
            let is_away = Arc::clone(&is_away);
            move |away| {
                is_away.store(away, Ordering::Relaxed);
                changed.send_replace(away);
            }
        };
        tokio::spawn(follow(is_up, set));
        Self { is_away, changes }
    }

    /// Whether it is away now.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Waits until it is away.
    pub(crate) async fn begins(&self) {
        if self.changes.clone().wait_for(|away| *away).await.is_err() {
            // The connection is closed for good, which its other users report.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until it is not away.
    pub(crate) async fn ends(&self) {
        let _ = self.changes.clone().wait_for(|away| !*away).await;
    }
}

async fn follow(mut is_up: watch::Receiver<bool>, set: impl Fn(bool)) {
    loop {
        if is_up.wait_for(|up| !*up).await.is_err() {
            return;
        }
        match tokio::time::timeout(AWAY_AFTER, is_up.wait_for(|up| *up)).await {
            Ok(Ok(_)) => continue,
            Ok(Err(_)) => return,
            Err(_) => set(true),
        }
        let is_closed = is_up.wait_for(|up| *up).await.is_err();
        if is_closed {
            return;
        }
        set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_longer_interruption_counts() {
        let (up, is_up) = watch::channel(true);
        let away = Away::follow(is_up);
        up.send_replace(false);
        tokio::time::sleep(AWAY_AFTER / 2).await;
        up.send_replace(true);
        tokio::time::sleep(AWAY_AFTER * 2).await;
        assert!(!away.is_away());

        up.send_replace(false);
        away.begins().await;
        assert!(away.is_away());
        up.send_replace(true);
        away.ends().await;
        assert!(!away.is_away());
    }
}
