//! How far each stream was read: every answer says it, and no rule is judged for a time that was not read yet.

use jiff::Timestamp;

use crate::row::StreamNumber;

/// How far a stream was read and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamProgress {
    /// The stream.
    pub stream: StreamNumber,
    /// The last stored sequence; 0 for nothing.
    pub sequence: u64,
    /// Everything that the stream stored before this time is stored here; `None` if that is not known yet.
    pub read_until: Option<Timestamp>,
    /// Messages of the stream that are not stored here yet.
    pub behind: u64,
}

/// How far every stream was read, in the order of [`StreamNumber::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress(pub [StreamProgress; StreamNumber::ALL.len()]);

impl Default for Progress {
    fn default() -> Self {
        Self(StreamNumber::ALL.map(|stream| StreamProgress {
            stream,
            sequence: 0,
            read_until: None,
            behind: 0,
        }))
    }
}

impl Progress {
    /// The progress of a stream.
    pub fn of(&self, stream: StreamNumber) -> &StreamProgress {
        &self.0[stream as usize - 1]
    }

    /// The same for a change.
    pub fn of_mut(&mut self, stream: StreamNumber) -> &mut StreamProgress {
        &mut self.0[stream as usize - 1]
    }

    /// The time up to which all of these streams are read; `None` if one of them was not read yet.
    pub fn read_until(&self, streams: &[StreamNumber]) -> Option<Timestamp> {
        streams.iter().map(|stream| self.of(*stream).read_until).min().flatten()
    }
}
