//! Counts the requests in flight of each address behind the proxies, without a lock and in a fixed amount of
//! memory.
//!
//! Addresses share counters by chance. An address is over its limit only if both of its counters are. The key
//! of the hash is random in every process, so no one outside can find addresses that share counters. If ten
//! addresses at their limit use all 4,096 requests, another address is rejected by mistake about once in some
//! millions.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http::addresses::AddressKey;

/// Counters in a row: 128 KiB of memory each.
const COUNTERS: usize = 16 * 1024;
/// Number of rows.
const ROWS: usize = 2;

/// Requests in flight, by address.
#[derive(Debug)]
pub(crate) struct InFlight {
    limit: usize,
    rows: [Row; ROWS],
}

#[derive(Debug)]
struct Row {
    hasher: RandomState,
    counters: Box<[AtomicUsize]>,
}

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightRequest {
    requests: Arc<InFlight>,
    counters: [usize; ROWS],
}

impl InFlight {
    /// Creates counters with a limit for each address.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let row = || Row {
            hasher: RandomState::new(),
            counters: (0..COUNTERS).map(|_| AtomicUsize::new(0)).collect(),
        };
        Arc::new(Self { limit, rows: [row(), row()] })
    }

    /// Counts a request; `None` if its address has reached its limit.
    pub(crate) fn begin(self: &Arc<Self>, address: AddressKey) -> Option<InFlightRequest> {
        let counters = [0, 1].map(|row: usize| self.rows[row].position(address));
        let request = InFlightRequest { requests: Arc::clone(self), counters };
        let mut is_free = false;
        for (row, counter) in self.rows.iter().zip(counters) {
            is_free |= row.counters[counter].fetch_add(1, Ordering::Relaxed) < self.limit;
        }
        // A request over the limit is subtracted again when it is dropped.
        is_free.then_some(request)
    }
}

impl Row {
    fn position(&self, address: AddressKey) -> usize {
        usize::try_from(self.hasher.hash_one(address) % COUNTERS as u64).unwrap_or(0)
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        for (row, counter) in self.requests.rows.iter().zip(self.counters) {
            row.counters[counter].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_limit() {
        let key = |last: u8| AddressKey::of([192, 0, 2, last].into());
        let requests = InFlight::new(3);
        let mut held: Vec<_> = (0..3).map(|_| requests.begin(key(1)).unwrap()).collect();
        assert!(requests.begin(key(1)).is_none() && requests.begin(key(1)).is_none());
        assert!((2..100).all(|other| requests.begin(key(other)).is_some()), "another address is rejected");
        held.pop();
        assert!(requests.begin(key(1)).is_some());
        drop(held);
        let sum = |row: &Row| row.counters.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>();
        assert_eq!(requests.rows.iter().map(sum).sum::<usize>(), 0);
    }
}
