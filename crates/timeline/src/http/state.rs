//! What the port answers from.

use std::sync::Arc;

use bus::Bus;
use jiff::Timestamp;
use service::failures::FailedCredentials;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::erasure::Erasures;
use crate::extract::Bodies;
use crate::http::access::Access;
use crate::http::access::origin::Hosts;
use crate::http::access::sessions::Sessions;
use crate::http::searches::Searches;
use crate::life::View;
use crate::observed::Observed;
use crate::row::{Keys, Row};
use crate::store::Store;

/// What the port answers from. The program fills it.
#[derive(Clone)]
pub struct ApiState {
    /// The rows.
    pub store: Arc<dyn Store>,
    /// Hashes the ids and numbers that are looked up, and signs cursors.
    pub keys: Keys,
    /// What is known besides rows, and new rows as they are stored.
    pub observed: Observed,
    /// Reads the messages behind rows. Without it only what rows hold can be shown.
    pub bus: Option<Bus>,
    /// What new rows keep of messages. What is kept as it is, is shown only unmasked.
    pub bodies: Bodies,
    /// Erases customers; `None` where that is switched off.
    pub erasures: Option<Erasures>,
    /// Who may read.
    pub access: Access,
    /// Counts wrong tokens, and delays their answers.
    pub failed: Arc<FailedCredentials>,
    /// The hosts by which the port is reached.
    pub hosts: Hosts,
    /// Ends live streams when the process stops.
    pub stop: CancellationToken,
    /// The clock.
    pub now: fn() -> Timestamp,
}

impl std::fmt::Debug for ApiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiState").field("access", &self.access).finish_non_exhaustive()
    }
}

/// Most clients that follow new rows at a time.
pub const LIVE_CLIENTS_MAX: usize = 64;

/// Most answers at a time that read full messages.
const ORIGINALS_MAX: usize = 4;

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What the program filled in.
    pub(crate) api: ApiState,
    /// The searches by number.
    pub(crate) searches: Searches,
    /// The sessions of browsers.
    pub(crate) sessions: Sessions,
    /// A place for each client that follows new rows.
    pub(crate) live_clients: Arc<Semaphore>,
    /// A place for each answer that reads full messages.
    pub(crate) originals: Semaphore,
}

impl Shared {
    /// Without searches and clients.
    pub(crate) fn new(api: ApiState) -> Self {
        let live_clients = Arc::new(Semaphore::new(LIVE_CLIENTS_MAX));
        let originals = Semaphore::new(ORIGINALS_MAX);
        Self { api, searches: Searches::default(), sessions: Sessions::default(), live_clients, originals }
    }

    /// Whether the body of a row is the message as it is. Rows of earlier versions do not say so.
    pub(crate) fn is_whole(&self, row: &Row) -> bool {
        row.is_whole || self.api.bodies == Bodies::Full
    }

    /// What is known now.
    pub(crate) fn view(&self) -> View {
        self.api.observed.view((self.api.now)())
    }
}
