//! Reads the deadlines of commands in the stream, in segments that are read concurrently.

use std::sync::Arc;

use bus::read;
use bus::{Priority, Subject, command_consumers};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::command;
use crate::context::LaneContext;

/// Most segments of one size that a range is split into. More than are read concurrently, because some contain fewer
/// commands.
const SEGMENTS_MAX: u64 = 128;
/// Shortest segment, in sequences.
const SEGMENT_MIN: u64 = 64;

/// When a command expires. The earliest is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) deadline: Timestamp,
    pub(super) sequence: u64,
    pub(super) queue: Priority,
}

/// Sequences of the last commands that were delivered to the lane, by queue. The lane's worker answers these commands.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::lane) struct Delivered([u64; 2]);

impl Delivered {
    pub(in crate::lane) fn up_to(self, queue: Priority) -> u64 {
        self.0[queue as usize]
    }

    pub(in crate::lane) fn set(&mut self, queue: Priority, sequence: u64) {
        self.0[queue as usize] = sequence;
    }
}

/// A segment of the stream that is to be read for the commands of one queue. Several are read concurrently, because
/// each command takes a separate request.
pub(super) struct Segment {
    pub(super) queue: Priority,
    next: u64,
    end: u64,
}

/// What reading a segment has shown.
pub(super) struct SegmentRead {
    pub(super) found: Vec<Due>,
    /// The rest of the segment, if the time was up or an error stopped the reading.
    pub(super) rest: Option<Segment>,
    pub(super) error: Option<read::ReadError>,
}

impl Segment {
    /// Splits the range from `from` to `end` into segments.
    pub(super) fn cut(queue: Priority, from: u64, end: u64) -> impl Iterator<Item = Self> {
        let count = (end + 1).saturating_sub(from);
        let size = count.div_ceil(SEGMENTS_MAX).max(SEGMENT_MIN);
        (0..count.div_ceil(size)).map(move |place| {
            let next = from + place * size;
            Self { queue, next, end: end.min(next + size - 1) }
        })
    }

    /// Reads the segment until the time is up.
    pub(super) async fn read(
        mut self,
        lane: &LaneContext,
        delivered: Delivered,
        until: Instant,
    ) -> SegmentRead {
        let channel = &lane.account.channel;
        let subject = Subject::Command(self.queue, channel.clone()).to_text();
        let mut found = Vec::new();
        loop {
            self.next = self.next.max(delivered.up_to(self.queue) + 1);
            if self.next > self.end {
                return SegmentRead { found, rest: None, error: None };
            }
            if Instant::now() >= until {
                return SegmentRead { found, rest: Some(self), error: None };
            }
            match command_consumers::next_stored(&lane.shared.bus, &subject, self.next).await {
                Ok(Some(delivery)) if delivery.sequence <= self.end => {
                    let delivery = Arc::new(delivery);
                    let deadline = match command::read(channel, &delivery) {
                        Ok(job) => job.deadline,
                        Err(_) => command::last_deadline(&delivery),
                    };
                    found.push(Due { deadline, sequence: delivery.sequence, queue: self.queue });
                    self.next = delivery.sequence + 1;
                }
                Ok(_) => return SegmentRead { found, rest: None, error: None },
                Err(error) => return SegmentRead { found, rest: Some(self), error: Some(error) },
            }
        }
    }
}
