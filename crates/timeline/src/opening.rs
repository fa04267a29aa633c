//! Opens the store, and waits for one that does not answer yet: `/ready` and the log say why.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use service::ServiceContext;

use crate::metrics::TimelineMetrics;
use crate::row::Keys;
use crate::settings::Settings;
use crate::store::error::StoreError;
use crate::store::{self, Store};

/// Delay before a store that does not answer is opened again.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Opens the store, as soon as it answers. Adds a condition that says whether it does.
///
/// # Errors
/// A fault that waiting does not change.
pub(crate) async fn open(
    settings: &Settings,
    keys: &Keys,
    context: &ServiceContext,
    metrics: &TimelineMetrics,
) -> Result<Arc<dyn Store>, StoreError> {
    let opened: Arc<OnceLock<Arc<dyn Store>>> = Arc::default();
    let waits_for = Arc::new(Mutex::new("opening the store".to_owned()));
    require(context, &opened, &waits_for);
    loop {
        let error = match store::open(&settings.folder, settings.url.as_ref(), keys).await {
            Ok(store) => {
                let _ = opened.set(Arc::clone(&store));
                return Ok(store);
            }
            // The folder of the embedded store does not come back by itself.
            Err(error) if settings.url.is_none() || !error.is_retryable() => return Err(error),
            Err(error) => error,
        };
        metrics.store_failed(error.fault());
        let text = service::words::causes(&error.into());
        let before =
            std::mem::replace(&mut *waits_for.lock().unwrap_or_else(PoisonError::into_inner), text.clone());
        // Once for the same fault.
        if before != text {
            let delay = RETRY_DELAY.as_secs();
            tracing::warn!(function = "timeline", "cannot open the store: {text}; retrying every {delay} s");
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

fn require(context: &ServiceContext, opened: &Arc<OnceLock<Arc<dyn Store>>>, waits_for: &Arc<Mutex<String>>) {
    let (opened, waits_for) = (Arc::clone(opened), Arc::clone(waits_for));
    context.readiness.require("store", move || match opened.get() {
        Some(store) => store.shared().map_or(Ok(()), store::SharedStore::condition),
        None => Err(waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()),
    });
}
