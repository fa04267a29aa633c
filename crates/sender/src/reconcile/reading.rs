//! Reads the results and reports of one channel from EVENTS: what is stored in its order, and then what is stored from now on.
//!
//! Two readers, one for each subject, because a consumer of nats-server 2.9 has one filter, and one filter for both would also match the
//! messages of customers, which the sender has no right to read.

use std::time::Duration;

use bus::rate_limited_log::RateLimitedLog;
use bus::read::ReadMessage;
use bus::read::follow::{Followed, follow_subject};
use bus::streams::EVENTS;
use bus::{Delivery, EventKind, Subject};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::context::LaneContext;

/// Messages that each reader reads ahead.
pub(super) const AHEAD: usize = 256;
/// Time without a sign of life after which a reader may be behind: more than the interval of the server's signs of life.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Delay before a reader that failed continues.
const RETRY_DELAY: Duration = Duration::from_secs(1);

static NOT_READ: RateLimitedLog = RateLimitedLog::new();

/// The results and reports of a channel.
pub(super) struct Reading {
    results: Source,
    reports: Source,
    /// Ends the readers with this value.
    _readers: JoinSet<()>,
}

/// An event of the channel.
pub(super) enum Read {
    Result(Delivery),
    Report(Delivery),
}

/// What one reader has read.
struct Source {
    messages: mpsc::Receiver<Option<ReadMessage>>,
    /// The next message, while the other reader is behind it.
    head: Option<Delivery>,
    /// Whether the reader was at the end of the stream at the last message or sign of life.
    is_at_end: bool,
    /// Whether it was there once.
    has_been_at_end: bool,
    heard_at: Instant,
}

impl Reading {
    /// Starts to read what was stored at `since` or later.
    pub(super) fn start(lane: &LaneContext, since: Timestamp) -> Self {
        let mut readers = JoinSet::new();
        let mut source = |kind| {
            let subject = Subject::Event(kind, lane.account.bsp, lane.account.channel.clone());
            let followed = follow_subject(&lane.shared.bus, &EVENTS, &subject, since);
            let (sender, messages) = mpsc::channel(AHEAD);
            readers.spawn(read(followed, sender));
            Source {
                messages,
                head: None,
                is_at_end: false,
                has_been_at_end: false,
                heard_at: Instant::now(),
            }
        };
        let (results, reports) = (source(EventKind::SendResult), source(EventKind::Report));
        Self { results, reports, _readers: readers }
    }

    /// Returns the next event; `None` if EVENTS was created again, so that its events have to be read from the start. It can be canceled.
    pub(super) async fn next(&mut self) -> Option<Read> {
        loop {
            let (results, reports) = (&mut self.results, &mut self.reports);
            // Until both have reached the end, the older event comes first. So only messages without a report are kept.
            match (&results.head, &reports.head) {
                (Some(result), Some(report)) if result.sequence < report.sequence => {
                    return results.head.take().map(Read::Result);
                }
                (Some(_), None) if reports.is_at_end => return results.head.take().map(Read::Result),
                (_, Some(_)) if results.head.is_some() || results.is_at_end => {
                    return reports.head.take().map(Read::Report);
                }
                _ => {}
            }
            tokio::select! {
                read = results.messages.recv(), if results.head.is_none() => results.receive(read?),
                read = reports.messages.recv(), if reports.head.is_none() => reports.receive(read?),
            }
        }
    }

    /// Whether what was stored before the start was read.
    pub(super) fn has_read_past(&self) -> bool {
        [&self.results, &self.reports].iter().all(|source| source.has_been_at_end)
    }

    /// Whether all results and reports up to now were read, as far as that can be known.
    pub(super) fn is_current(&self) -> bool {
        [&self.results, &self.reports].iter().all(|source| source.is_current())
    }
}

impl Source {
    fn receive(&mut self, read: Option<ReadMessage>) {
        self.heard_at = Instant::now();
        match read {
            Some(ReadMessage { delivery, pending }) => {
                self.is_at_end = pending == 0;
                self.head = Some(delivery);
            }
            None => self.is_at_end = true,
        }
        self.has_been_at_end |= self.is_at_end;
    }

    fn is_current(&self) -> bool {
        self.is_at_end
            && self.head.is_none()
            && self.messages.is_empty()
            && self.heard_at.elapsed() < SILENCE_MAX
    }
}

/// Reads one subject until the other side is gone or the stream was created again. `None` says that the end of the stream was reached.
async fn read(mut followed: Followed, messages: mpsc::Sender<Option<ReadMessage>>) {
    loop {
        match followed.next_or_end().await {
            Ok(read) => {
                if read.is_none() && followed.has_gone_back() {
                    return;
                }
                if messages.send(read).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if let Some(turn) = NOT_READ.next() {
                    let causes = service::words::causes(&error.into());
                    tracing::warn!(
                        function = "reconcile",
                        "cannot read which messages have reports, retrying: {causes}{turn}"
                    );
                }
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}
