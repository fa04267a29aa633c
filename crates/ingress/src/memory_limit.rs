//! A limited amount of a resource, acquired and released without a lock, and shown as a metric.

use prometheus_client::metrics::gauge::Gauge;

/// A limit of the amount in use at the same time.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    used: Gauge,
    limit: i64,
}

/// A part of a limit that is in use. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct MemoryPermit<'b> {
    limit: &'b MemoryLimit,
    amount: i64,
}

impl MemoryLimit {
    /// A limit of `limit`. `used` is the gauge of the amount in use. Two limits with the same gauge count
    /// together.
    pub(crate) fn new(limit: usize, used: Gauge) -> Self {
        Self { used, limit: to_gauge(limit) }
    }

    /// Acquires `amount`; `None` if less is available.
    pub(crate) fn try_acquire(&self, amount: usize) -> Option<MemoryPermit<'_>> {
        let amount = to_gauge(amount);
        self.try_add(amount).then(|| MemoryPermit { limit: self, amount })
    }

    /// As [`MemoryLimit::try_acquire`], for a caller that releases the amount itself.
    pub(crate) fn try_add(&self, amount: i64) -> bool {
        let is_left = self.used.inc_by(amount).saturating_add(amount) <= self.limit;
        if !is_left {
            self.release(amount);
        }
        is_left
    }

    /// Releases what [`MemoryLimit::try_add`] acquired.
    pub(crate) fn release(&self, amount: i64) {
        self.used.dec_by(amount);
    }

    /// Maximum amount in use at the same time.
    pub(crate) fn limit(&self) -> i64 {
        self.limit
    }
}

impl Drop for MemoryPermit<'_> {
    fn drop(&mut self) {
        self.limit.release(self.amount);
    }
}

pub(crate) fn to_gauge(amount: usize) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_can_be_acquired() {
        let used = Gauge::default();
        let limit = MemoryLimit::new(10, used.clone());
        let first = limit.try_acquire(6);
        assert!(first.is_some() && limit.try_acquire(5).is_none());
        assert_eq!(used.get(), 6);
        let second = limit.try_acquire(4);
        assert!(second.is_some());
        drop(first);
        assert_eq!(used.get(), 4);
        drop(second);
        assert!(limit.try_acquire(11).is_none() && limit.try_acquire(10).is_some());
    }
}
