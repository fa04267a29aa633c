//! What the requests of media share.

use std::sync::Arc;

use blob::BlobStore;
use bus::registry::Snapshots;
use service::failures::FailedCredentials;
use tokio::sync::Semaphore;

use crate::fetch_recorder::FetchRecorder;
use crate::metrics::MediaMetrics;
use crate::settings::Settings;
use crate::tokens::Tokens;

/// The state of the service. Clones share it.
#[derive(Clone)]
pub(crate) struct Media(Arc<State>);

pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) blobs: BlobStore,
    pub(crate) channels: Snapshots,
    pub(crate) fetches: FetchRecorder,
    pub(crate) metrics: Arc<MediaMetrics>,
    pub(crate) downloads: Arc<Semaphore>,
    pub(crate) uploads: Semaphore,
    pub(crate) failed: FailedCredentials,
    pub(crate) tokens: Tokens,
}

impl Media {
    pub(crate) fn new(state: State) -> Self {
        Self(Arc::new(state))
    }
}

impl std::ops::Deref for Media {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}
