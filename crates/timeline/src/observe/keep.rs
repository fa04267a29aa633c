//! Keeps the store within its retention, and the metrics of problems current.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::observe::Observer;
use crate::observed::Observed;
use crate::rules;
use crate::store::{StoreError, audit};

/// Interval of updating the metrics.
const METRICS_INTERVAL: Duration = Duration::from_secs(10);
/// Interval of removing what is older than the retention.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(600);

/// Runs until the observer's stop.
pub(super) async fn run(observer: Observer, observed: Observed) {
    let mut expire_at = Instant::now();
    loop {
        if Instant::now() >= expire_at {
            expire_at = Instant::now() + EXPIRE_INTERVAL;
            if let Err(error) = expire(&observer).await {
                observer.metrics.store_failed(error.fault());
                let text = service::words::causes(&error.into());
                tracing::warn!(function = "timeline", "cannot remove rows older than the retention: {text}");
            }
        }
        // A fault of the store is logged by the readers, which meet it too.
        if let Err(error) = measure(&observer, &observed).await {
            observer.metrics.store_failed(error.fault());
        }
        tokio::select! {
            () = observer.stop.cancelled() => return,
            () = tokio::time::sleep(METRICS_INTERVAL) => {}
        }
    }
}

async fn expire(observer: &Observer) -> Result<(), StoreError> {
    let retention = SignedDuration::try_from(observer.retention).unwrap_or(SignedDuration::MAX);
    let Ok(before) = Timestamp::now().checked_sub(retention) else { return Ok(()) };
    let expired = observer.store.expire(before).await?;
    // An hour more than an entry is kept for, because the clock of the store may be another one.
    let kept = SignedDuration::try_from(audit::KEPT).unwrap_or(SignedDuration::MAX);
    if let Ok(before) = Timestamp::now().checked_sub(kept + SignedDuration::from_hours(1)) {
        observer.store.expire_audit(before).await?;
    }
    if expired.days > 0 {
        tracing::info!(
            function = "timeline",
            "removed {} days of rows older than the retention",
            expired.days
        );
    }
    Ok(())
}

async fn measure(observer: &Observer, observed: &Observed) -> Result<(), StoreError> {
    let view = observed.view(Timestamp::now());
    observer.metrics.show_progress(&view.progress);
    observer.metrics.show_unreadable(observer.store.unreadable().len());
    let judged = rules::judged(&view.progress, view.floors.reports_until(), &view.rules, view.now);
    let counts = observer.store.overdue_counts(judged).await?;
    let channels = observer.channels.borrow().clone().unwrap_or_default();
    observer.metrics.show_problems(channels.iter().map(|channel| channel.id.as_str()), &counts);
    observer.metrics.show_size(observer.store.size().await?);
    Ok(())
}
