//! What `up` shows while the gateway runs: events, and on a terminal dead letters.

use bus::Bus;
use bus::read::{self, StartAt};
use bus::streams::{DEADLETTERS, EVENTS};
use tokio::task::JoinHandle;

use super::feed;
use super::progress::Progress;
use super::view::View;
use crate::output::Out;

/// Where everything is shown.
pub(super) struct Screen {
    pub(super) view: View,
    pub(super) progress: Progress,
    pub(super) out: Out,
}

impl Screen {
    /// Starts to read what is shown. What is stored from now on is shown after [`Screen::show`].
    pub(super) async fn open(&self, bus: &Bus) -> anyhow::Result<Vec<read::Messages>> {
        let mut readers =
            vec![read::subscribe(bus, &EVENTS, "imchannel.event.>".to_owned(), StartAt::Now).await?];
        if self.view == View::Terminal {
            let filter = "imchannel.deadletter.>".to_owned();
            readers.push(read::subscribe(bus, &DEADLETTERS, filter, StartAt::Now).await?);
        }
        Ok(readers)
    }

    /// Shows it, until the tasks are aborted.
    pub(super) fn show(&self, readers: Vec<read::Messages>) -> Vec<JoinHandle<()>> {
        let task = |messages| match self.view {
            View::Terminal => tokio::spawn(feed::show_lines(messages, self.out)),
            View::Lines => tokio::spawn(feed::show_events(messages, self.out)),
        };
        readers.into_iter().map(task).collect()
    }
}
