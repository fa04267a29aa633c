//! The memory of one body. As its bytes arrive, the memory is acquired from the limit of all bodies and from
//! the share of its channel.

use crate::memory_limit::{MemoryLimit, to_gauge};

/// The limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The memory of the bodies of one channel.
    Channel,
    /// The memory of all bodies.
    All,
}

/// The memory of one body. Dropping it releases the memory.
#[derive(Debug)]
pub(crate) struct BodyMemory<'b> {
    channel: &'b MemoryLimit,
    all: &'b MemoryLimit,
    bytes: i64,
}

impl<'b> BodyMemory<'b> {
    /// The memory of a body before its first byte.
    pub(crate) fn new(channel: &'b MemoryLimit, all: &'b MemoryLimit) -> Self {
        Self { channel, all, bytes: 0 }
    }

    /// Changes the memory to `bytes`. A rejected change has no effect, so that a channel at its limit takes
    /// nothing from the others when it tries.
    ///
    /// # Errors
    /// [`Full`] if less memory is available.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Full> {
        let more = to_gauge(bytes) - self.bytes;
        if more < 0 {
            self.release(-more);
            return Ok(());
        }
        if more == 0 {
            return Ok(());
        }
        if !self.channel.try_add(more) {
            return Err(Full::Channel);
        }
        if !self.all.try_add(more) {
            self.channel.release(more);
            return Err(Full::All);
        }
        self.bytes += more;
        Ok(())
    }

    fn release(&mut self, bytes: i64) {
        self.channel.release(bytes);
        self.all.release(bytes);
        self.bytes -= bytes;
    }
}

impl Drop for BodyMemory<'_> {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn no_channel_takes_more_than_its_share() {
        let gauges = [(); 3].map(|()| Gauge::default());
        let [all, one, other] = &gauges;
        let memory = MemoryLimit::new(100, all.clone());
        let (one_share, other_share) =
            (MemoryLimit::new(60, one.clone()), MemoryLimit::new(60, other.clone()));
        let mut greedy = BodyMemory::new(&one_share, &memory);
        assert_eq!(greedy.resize(60), Ok(()));
        assert_eq!(greedy.resize(61), Err(Full::Channel));
        let mut modest = BodyMemory::new(&other_share, &memory);
        assert_eq!(modest.resize(40), Ok(()));
        assert_eq!(modest.resize(41), Err(Full::All));
        assert_eq!([all.get(), one.get(), other.get()], [100, 60, 40], "a rejection changes nothing");
        assert_eq!(greedy.resize(10), Ok(()));
        assert_eq!([all.get(), one.get(), other.get()], [50, 10, 40]);
        drop((greedy, modest));
        assert_eq!([all.get(), one.get(), other.get()], [0; 3]);
    }
}
