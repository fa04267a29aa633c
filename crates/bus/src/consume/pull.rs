//! Reads the commands of one lane, exactly as many as its owner requests.
//!
//! The client's pull streams fetch ahead. A lane must not: if a command was delivered and the lane does not hold it, no
//! heartbeat is sent for it, and it would be redelivered out of order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Client, StatusCode, Subject as Reply, Subscriber};
use bsp::ChannelId;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::connect::Bus;
use crate::consume::delivery::Delivery;
use crate::schema::streams::{COMMANDS, LaneConsumer};
use crate::schema::subject::{Priority, Subject};

/// Time for which the server keeps a pull request open. It serves all open requests in turn, including those of a
/// suspended process: they must have expired before another process acquires the lane.
const REQUEST_EXPIRES: Duration = Duration::from_secs(5);
/// Time after which an unanswered pull request counts as lost.
const REQUEST_LOST: Duration = Duration::from_secs(6);
/// Longest payload that is copied out of the client's read buffer. A buffer of 64 KiB holds many messages, and none of its memory is
/// free before the last of them is dropped.
const COPIED_BYTES_MAX: usize = 8 * 1024;
/// Most bytes that one pull request may return.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Timeout of the wait for messages that are still on their way when reading ends.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// A lane could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the lane of channel {channel}")]
pub struct PullError {
    channel: ChannelId,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The right to ack a command. The command is not redelivered as long as it is kept. A lane holds hundreds of them, and the
/// client's own handle is several times as large.
pub struct AckHandle {
    client: Arc<Client>,
    reply: Reply,
}

impl std::fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Claim")
    }
}

impl AckHandle {
    /// Ack: the command is done and is not redelivered.
    pub async fn ack(self) {
        self.send(AckKind::Ack).await;
    }

    /// In-progress ack: restarts the ack wait.
    pub async fn in_progress(&self) {
        self.send(AckKind::Progress).await;
    }

    /// Nak: the command is redelivered immediately, to the owner of the lane at that time.
    pub async fn nak(self) {
        self.send(AckKind::Nak(None)).await;
    }

    async fn send(&self, kind: AckKind) {
        // On the heap, because the client's future has 4 KiB, and a lane mostly waits.
        let _ = Box::pin(self.client.publish(self.reply.clone(), kind.into())).await;
    }
}

/// A command that was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// The queue from which it was pulled.
    pub queue: Priority,
    /// The message.
    pub delivery: Delivery,
    /// The right to ack it.
    pub claim: AckHandle,
}

/// An event of the reader.
#[derive(Debug)]
pub enum PullEvent {
    /// A command.
    Command(Box<Pulled>),
    /// A pull request has ended. Another may be made.
    Ended,
    /// The connection was lost and re-established: messages on their way may be lost, and are redelivered after later
    /// ones.
    Reconnected,
}

struct PendingPull {
    id: u64,
    left: usize,
    lost_at: Instant,
}

/// Reads both queues of one lane.
pub struct PullReader {
    bus: Bus,
    /// For all ack handles.
    client: Arc<Client>,
    channel: ChannelId,
    inbox: String,
    replies: Subscriber,
    asked: [VecDeque<PendingPull>; 2],
    next_id: u64,
    connections: watch::Receiver<u64>,
}

impl std::fmt::Debug for PullReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneReader").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl PullReader {
    /// Prepares to pull. Nothing is requested yet.
    ///
    /// # Errors
    /// [`PullError`] when the connection is closed for good.
    pub async fn open(bus: &Bus, channel: &ChannelId) -> Result<Self, PullError> {
        let inbox = bus.client.new_inbox();
        let subscribed = bus.client.subscribe(format!("{inbox}.*")).await;
        let replies =
            subscribed.map_err(|error| PullError { channel: channel.clone(), source: error.into() })?;
        let asked = [VecDeque::new(), VecDeque::new()];
        let mut connections = bus.connections();
        connections.mark_unchanged();
        let (bus, client, channel) = (bus.clone(), Arc::new(bus.client.clone()), channel.clone());
        Ok(Self { bus, client, channel, inbox, replies, asked, next_id: 0, connections })
    }

    /// Number of commands that were requested and have not come yet.
    pub fn requested(&mut self, queue: Priority) -> usize {
        let now = Instant::now();
        let asked = &mut self.asked[queue as usize];
        asked.retain(|request| request.lost_at > now && request.left > 0);
        asked.iter().map(|request| request.left).sum()
    }

    /// Requests `count` more commands.
    ///
    /// # Errors
    /// [`PullError`] when the connection is closed for good.
    pub async fn request(&mut self, queue: Priority, count: usize) -> Result<(), PullError> {
        if count == 0 || !self.bus.is_connected() {
            return Ok(());
        }
        self.next_id += 1;
        let id = self.next_id;
        let durable = LaneConsumer::of(queue, &self.channel).name;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{durable}", COMMANDS.name);
        let expires_ns = REQUEST_EXPIRES.as_nanos();
        let request =
            format!("{{\"batch\":{count},\"expires\":{expires_ns},\"max_bytes\":{REQUEST_BYTES_MAX}}}");
        let reply = format!("{}.{id}", self.inbox);
        // On the heap, because the client's future has 4 KiB, and a lane mostly waits.
        let sent = Box::pin(self.bus.client.publish_with_reply(subject, reply, request.into())).await;
        sent.map_err(|error| PullError { channel: self.channel.clone(), source: error.into() })?;
        let lost_at = Instant::now() + REQUEST_LOST;
        self.asked[queue as usize].push_back(PendingPull { id, left: count, lost_at });
        Ok(())
    }

    /// The next event; `None` if the connection is closed for good. The future may be dropped while it waits.
    pub async fn next(&mut self) -> Option<PullEvent> {
        loop {
            let message = tokio::select! {
                message = self.replies.next() => message?,
                changed = self.connections.changed() => {
                    changed.ok()?;
                    // The server has lost them.
                    self.asked.iter_mut().for_each(VecDeque::clear);
                    return Some(PullEvent::Reconnected);
                }
            };
            let is_status = message.status.is_some_and(|status| status != StatusCode::OK);
            match self.read(message) {
                Some(taken) => return Some(PullEvent::Command(taken.into())),
                None if is_status => return Some(PullEvent::Ended),
                None => {}
            }
        }
    }

    /// Ends reading, and returns the commands that have come and were not read.
    pub async fn close(mut self) -> Vec<Pulled> {
        // The server deletes the requests with the subscription. Messages that it sent before are here already, or on
        // their way.
        let _ = self.replies.unsubscribe().await;
        let mut left = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout(CLOSE_LIMIT, self.replies.next()).await {
            left.extend(self.read(message));
        }
        left
    }

    /// Returns the command in a message; `None` for another message.
    fn read(&mut self, message: async_nats::Message) -> Option<Pulled> {
        if message.status.is_some_and(|status| status != StatusCode::OK) {
            self.ended(&message.subject);
            return None;
        }
        let Some(Subject::Command(queue, _)) = Subject::parse(&message.subject) else { return None };
        // A message does not say which request it answers; the oldest request will end first.
        if let Some(request) = self.asked[queue as usize].iter_mut().find(|request| request.left > 0) {
            request.left -= 1;
        }
        let reply = message.reply.clone()?;
        let context = self.bus.jetstream.clone();
        let message = async_nats::jetstream::Message { message, context };
        let (mut delivery, _) = Delivery::split(message)?;
        if delivery.payload.len() <= COPIED_BYTES_MAX {
            delivery.payload = Bytes::copy_from_slice(&delivery.payload);
        }
        Some(Pulled { queue, delivery, claim: AckHandle { client: Arc::clone(&self.client), reply } })
    }

    /// Removes a request that the server has ended, without further messages or for another reason.
    fn ended(&mut self, reply: &str) {
        let id = reply.rsplit('.').next().and_then(|id| id.parse::<u64>().ok());
        for asked in &mut self.asked {
            asked.retain(|request| Some(request.id) != id);
        }
    }
}
