//! What the observer knows at this moment besides rows, for answers.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{broadcast, watch};

use crate::health::Health;
use crate::life::{Floors, View};
use crate::progress::Progress;
use crate::row::Row;
use crate::rules::RuleSettings;

/// What the observer knows at this moment. Clones share it.
#[derive(Debug, Clone)]
pub struct Observed {
    /// How far each stream was read.
    pub progress: watch::Receiver<Progress>,
    /// Ack floors of the durables.
    pub floors: watch::Receiver<Floors>,
    /// Why lanes send nothing, by channel and queue.
    pub halted_lanes: watch::Receiver<Arc<HashMap<String, String>>>,
    /// The times of the rules.
    pub rules: watch::Receiver<Arc<RuleSettings>>,
    /// New rows, as they are stored.
    pub live: broadcast::Sender<Arc<Row>>,
    /// How the channels are.
    pub health: Health,
}

impl Observed {
    /// What an answer at the time `now` is judged by.
    pub fn view(&self, now: Timestamp) -> View {
        // The floors first: the events of a webhook that is finished are then among those that the progress counts.
        let floors = *self.floors.borrow();
        View {
            now,
            floors,
            fetched: HashMap::new(),
            progress: *self.progress.borrow(),
            halted_lanes: self.halted_lanes.borrow().as_ref().clone(),
            rules: self.rules.borrow().as_ref().clone(),
        }
    }
}
