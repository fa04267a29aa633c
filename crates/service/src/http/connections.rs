//! The open connections of a server's accept loop. Counts the connections of each address, and selects the
//! one to close when the table is full and a new one arrives.

use std::collections::{HashMap, VecDeque};

use tokio::task::{AbortHandle, Id};

use crate::http::addresses::AddressKey;
use crate::http::requests::Requests;

/// Most idle connections that are checked to find one to close, longest idle first. Checking all of them each
/// time would let callers keep the accept loop busy.
const IDLE_CHECKED_MAX: usize = 64;

/// The open connections. Only the accept loop holds it.
#[derive(Debug)]
pub(crate) struct Table {
    limit: usize,
    per_address: usize,
    open: HashMap<Id, Open>,
    of_address: HashMap<AddressKey, usize>,
    /// The connections that were idle for longest at the last check, longest first.
    longest_idle: VecDeque<Idle>,
    /// Connections that are closing but have not ended yet.
    leaving: usize,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Open {
    /// The address of the caller; `None` for a proxy, whose connections are not counted by address.
    pub(crate) address: Option<AddressKey>,
    pub(crate) requests: Requests,
    pub(crate) task: AbortHandle,
    pub(crate) is_leaving: bool,
}

#[derive(Debug, Clone, Copy)]
struct Idle {
    since: u64,
    task: Id,
}

impl Table {
    pub(crate) fn new(limit: usize, per_address: usize) -> Self {
        let (open, of_address, longest_idle) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self { limit, per_address, open, of_address, longest_idle, leaving: 0 }
    }

    /// Whether one more connection may be opened.
    pub(crate) fn has_capacity(&self) -> bool {
        self.open.len() < self.limit
    }

    /// Whether an address may open one more connection.
    pub(crate) fn admits(&self, address: AddressKey) -> bool {
        self.of_address.get(&address).is_none_or(|count| *count < self.per_address)
    }

    pub(crate) fn insert(&mut self, connection: Open) {
        if let Some(address) = connection.address {
            *self.of_address.entry(address).or_default() += 1;
        }
        self.open.insert(connection.task.id(), connection);
    }

    /// Removes a connection that has ended.
    pub(crate) fn remove(&mut self, task: Id) {
        let Some(connection) = self.open.remove(&task) else { return };
        if connection.is_leaving {
            self.leaving -= 1;
        }
        let Some(address) = connection.address else { return };
        if let Some(count) = self.of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
    }

    /// Closes the connection that is idle for longest, unless a closing connection is about to end. Returns
    /// whether a place becomes free; it does not if no connection is idle.
    pub(crate) fn make_capacity(&mut self) -> bool {
        if self.leaving > 0 {
            return false;
        }
        if self.close_first_idle() {
            return true;
        }
        self.refresh_idle();
        self.close_first_idle()
    }

    /// Every connection outside the list has been idle for a shorter time than those in it: a connection that
    /// stays idle keeps its position.
    fn close_first_idle(&mut self) -> bool {
        while let Some(idle) = self.longest_idle.pop_front() {
            let Some(connection) = self.open.get_mut(&idle.task) else { continue };
            // Close it only if it has been idle since then. It then begins no further request.
            if connection.requests.close_if_idle(idle.since) {
                connection.task.abort();
                connection.is_leaving = true;
                self.leaving += 1;
                return true;
            }
        }
        false
    }

    fn refresh_idle(&mut self) {
        let idle_since = |(task, connection): (&Id, &Open)| {
            connection.requests.idle_since().map(|since| Idle { since, task: *task })
        };
        let mut idle: Vec<Idle> = self.open.iter().filter_map(idle_since).collect();
        if idle.len() > IDLE_CHECKED_MAX {
            idle.select_nth_unstable_by_key(IDLE_CHECKED_MAX, |idle| idle.since);
            idle.truncate(IDLE_CHECKED_MAX);
        }
        idle.sort_unstable_by_key(|idle| idle.since);
        self.longest_idle = idle.into();
    }
}
