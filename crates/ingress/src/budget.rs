//! A limited amount of something, taken and given back without a lock, and shown as a metric.

use prometheus_client::metrics::gauge::Gauge;

/// What may be in use at once.
#[derive(Debug)]
pub(crate) struct Budget {
    used: Gauge,
    limit: i64,
}

/// A part of a budget. It is given back when dropped.
#[derive(Debug)]
pub(crate) struct Share<'b> {
    budget: &'b Budget,
    amount: i64,
}

impl Budget {
    /// A budget of `limit`, whose use is what `used` shows. Two budgets of one gauge count the same use.
    pub(crate) fn new(limit: usize, used: Gauge) -> Self {
        Self { used, limit: to_gauge(limit) }
    }

    /// Takes `amount`, unless that is more than is left.
    pub(crate) fn take(&self, amount: usize) -> Option<Share<'_>> {
        let amount = to_gauge(amount);
        self.add(amount).then(|| Share { budget: self, amount })
    }

    /// The same for a caller that gives it back by itself.
    pub(crate) fn add(&self, amount: i64) -> bool {
        let is_left = self.used.inc_by(amount).saturating_add(amount) <= self.limit;
        if !is_left {
            self.give_back(amount);
        }
        is_left
    }

    /// Gives back what [`Budget::add`] took.
    pub(crate) fn give_back(&self, amount: i64) {
        self.used.dec_by(amount);
    }

    /// How much may be in use at once.
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
    fn no_more_than_the_limit_is_given() {
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
