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

impl Share<'_> {
    /// Takes more, unless that is more than is left.
    pub(crate) fn grow_to(&mut self, amount: usize) -> bool {
        let more = to_gauge(amount) - self.amount;
        if more <= 0 {
            return true;
        }
        self.amount += more;
        self.budget.used.inc_by(more).saturating_add(more) <= self.budget.limit
    }
}

impl Budget {
    /// A budget of `limit`, whose use is what `used` shows.
    pub(crate) fn new(limit: usize, used: Gauge) -> Self {
        Self { used, limit: to_gauge(limit) }
    }

    /// Takes `amount`, unless that is more than is left.
    pub(crate) fn take(&self, amount: usize) -> Option<Share<'_>> {
        let amount = to_gauge(amount);
        let before = self.used.inc_by(amount);
        let share = Share { budget: self, amount };
        // A share that is too much gives itself back by being dropped.
        (before.saturating_add(amount) <= self.limit).then_some(share)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.used.dec_by(self.amount);
    }
}

fn to_gauge(amount: usize) -> i64 {
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
        let mut second = second.unwrap();
        assert!(second.grow_to(9) && used.get() == 9 && second.grow_to(3) && !second.grow_to(11));
        drop(second);
        assert!(budget.take(11).is_none() && budget.take(10).is_some());
    }
}
