//! Where `up` shows things, and in which form: for a person at a terminal, or line by line for a file.

use bus::Bus;
use bus::read::{self, StartAt};
use bus::streams::{DEADLETTERS, EVENTS};
use tokio::task::JoinHandle;
use tracing::Level;

use super::feed;
use super::progress::Progress;
use crate::output::{self, Out};

/// What is shown while the gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Progress and short lines, for a person at a terminal.
    Terminal,
    /// Log lines and every event, for a file or a program.
    Lines,
}

impl View {
    pub(super) fn of(out: &Out) -> Self {
        if output::is_terminal() && !out.is_json() { Self::Terminal } else { Self::Lines }
    }

    /// The least severe level of log lines that are shown, where `level` is the one of the settings.
    pub(super) fn log_level(self, shows_log: bool, level: Level) -> Level {
        match self {
            Self::Terminal if !shows_log => Level::ERROR,
            _ => level,
        }
    }
}

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
