//! A limited amount of a resource, acquired and released without a lock, and shown as a metric.

use prometheus_client::metrics::gauge::Gauge;

/// A limit of the amount in use at the same time.
#[derive(Debug)]
pub(crate) struct Budget {
    used: Gauge,
    limit: i64,
}

/// A part of a budget. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct Share<'b> {
    budget: &'b Budget,
    amount: i64,
}

impl Budget {
    /// A budget of `limit`. `used` is the gauge of the amount in use. Two budgets with the same gauge count
    /// together.
    pub(crate) fn new(limit: usize, used: Gauge) -> Self {
        Self { used, limit: to_gauge(limit) }
    }

    /// Acquires `amount`; `None` if less is available.
    pub(crate) fn take(&self, amount: usize) -> Option<Share<'_>> {
        let amount = to_gauge(amount);
        self.add(amount).then(|| Share { budget: self, amount })
    }

    /// As [`Budget::take`], for a caller that releases the amount itself.
    pub(crate) fn add(&self, amount: i64) -> bool {
        let is_left = self.used.inc_by(amount).saturating_add(amount) <= self.limit;
        if !is_left {
            self.give_back(amount);
        }
        is_left
    }

    /// Releases what [`Budget::add`] acquired.
    pub(crate) fn give_back(&self, amount: i64) {
        self.used.dec_by(amount);
    }

    /// Maximum amount in use at the same time.
    pub(crate) fn limit(&self) -> i64 {
        self.limit
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.amount);
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
        let budget = Budget::new(10, used.clone());
        let first = budget.take(6);
        assert!(first.is_some() && budget.take(5).is_none());
        assert_eq!(used.get(), 6);
        let second = budget.take(4);
        assert!(second.is_some());
        drop(first);
        assert_eq!(used.get(), 4);
        drop(second);
        assert!(budget.take(11).is_none() && budget.take(10).is_some());
    }
}
