//! A state of everything: the ledger, the lease, the replicas, the commands in the stream, the BSP, and time.

use crate::bounds::{Bounds, Faults, MessageLog};
use crate::command::Command;
use crate::entry::Entry;
use crate::job::{Job, Write};
use crate::property::Property;
use crate::replica::{COMMANDS, Replica};
use crate::time::{self, REQUEST_AGE_MAX, Ticks};

/// Number of replicas.
pub(crate) const REPLICAS: usize = 2;
/// Most requests that are on their way to the BSP.
pub(crate) const REQUESTS_MAX: usize = 3;
/// Most revisions, and tokens, that are told apart in a state.
const NAMES_MAX: usize = 16;

/// A state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    /// The entry of the commands' id in the ledger.
    pub(crate) entry: Option<Entry>,
    /// A write that the server of the ledger has received and not applied.
    pub(crate) delayed: Option<Write>,
    /// The replica that owns the lane.
    pub(crate) owner: Option<u8>,
    pub(crate) replicas: [Replica; REPLICAS],
    /// The commands; `None` for one that was not published.
    pub(crate) commands: [Option<Command>; COMMANDS],
    pub(crate) requests: [Option<Request>; REQUESTS_MAX],
    pub(crate) message_log: LogEntry,
    /// Whether the BSP has posted a report about the message.
    pub(crate) is_reported: bool,
    /// Time until the deadline of the commands.
    pub(crate) time_left: Ticks,
    /// Whether a day has passed.
    pub(crate) is_next_day: bool,
    /// Faults that may still happen.
    pub(crate) left: Faults,
    /// The property that the last step has broken.
    pub(crate) broken: Option<Property>,
}

/// A request on its way to the BSP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) command: u8,
    pub(crate) by: u8,
    /// Token of the intent of its call.
    pub(crate) token: u8,
    /// Age of the request.
    pub(crate) age: Ticks,
}

/// The message in the BSP's message log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct LogEntry {
    pub(crate) accepted: Shown,
    /// Whether the log has a rejection.
    pub(crate) is_rejected: bool,
}

/// Whether the log shows an accepted message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Shown {
    /// No message was accepted.
    #[default]
    None,
    /// One was, and the log does not show it yet.
    NotYet,
    /// It shows it.
    Yes,
}

impl World {
    /// Returns the state before anything was delivered.
    pub(crate) fn initial(bounds: &Bounds) -> Self {
        Self {
            entry: None,
            delayed: None,
            owner: None,
            replicas: [Replica::default(); REPLICAS],
            commands: [Some(Command::default()), bounds.second.map(|_| Command::default())],
            requests: [None; REQUESTS_MAX],
            message_log: LogEntry::default(),
            is_reported: false,
            time_left: bounds.deadline,
            is_next_day: false,
            left: bounds.faults,
            broken: None,
        }
    }

    pub(crate) fn job(&mut self, replica: u8, command: u8) -> &mut Job {
        &mut self.replicas[usize::from(replica)].jobs[usize::from(command)]
    }

    pub(crate) fn replica(&mut self, replica: u8) -> &mut Replica {
        &mut self.replicas[usize::from(replica)]
    }

    pub(crate) fn command(&mut self, command: u8) -> &mut Command {
        self.commands[usize::from(command)].as_mut().expect("a replica holds published commands only")
    }

    /// Whether a replica may act as the owner of the lane.
    pub(crate) fn is_owner(&self, replica: u8) -> bool {
        self.owner == Some(replica) || self.replicas[usize::from(replica)].is_mistaken
    }

    /// Whether every command was acknowledged and no replica works.
    pub(crate) fn is_settled(&self) -> bool {
        self.commands.iter().flatten().all(|command| command.is_acked)
            && self.replicas.iter().all(|replica| replica.is_idle() && !replica.is_suspended)
    }

    /// Records a broken property, if it is checked.
    pub(crate) fn breaks(&mut self, bounds: &Bounds, property: Property) {
        if bounds.only.is_none_or(|only| only == property) {
            self.broken = self.broken.or(Some(property));
        }
    }

    /// Lets a tick pass.
    pub(crate) fn tick(&mut self, bounds: &Bounds) {
        self.entry.iter_mut().for_each(|entry| entry.record.age());
        self.delayed.iter_mut().for_each(|write| write.record.age());
        for replica in &mut self.replicas {
            replica.jobs.iter_mut().for_each(Job::tick);
            if replica.is_suspended {
                replica.suspended = time::older(replica.suspended);
            }
        }
        for place in &mut self.requests {
            *place = place
                .map(|request| Request { age: request.age + 1, ..request })
                .filter(|request| request.age <= REQUEST_AGE_MAX);
        }
        if self.message_log.accepted == Shown::NotYet && bounds.message_log == MessageLog::Prompt {
            self.message_log.accepted = Shown::Yes;
        }
        self.time_left = self.time_left.saturating_sub(1);
    }

    /// Returns a revision that no one has seen.
    pub(crate) fn new_revision(&mut self) -> u8 {
        let mut highest = 0;
        self.for_each_revision(|revision| highest = highest.max(*revision));
        highest + 1
    }

    /// Returns a token that no one has used.
    pub(crate) fn new_token(&mut self) -> u8 {
        let mut highest = 0;
        self.for_each_token(|token| highest = highest.max(*token));
        highest + 1
    }

    /// Gives revisions and tokens the lowest numbers in the order in which the state has them: only their equality matters, so
    /// states that differ in the numbers alone become the same one.
    pub(crate) fn normalize(&mut self) {
        self.replicas.iter_mut().for_each(Replica::settle);
        for (number, command) in self.commands.iter().enumerate() {
            // It is not delivered again.
            let is_over = command.is_none_or(|command| command.is_acked);
            for replica in self.replicas.iter_mut().filter(|_| is_over) {
                replica.is_erased[number] &= replica.jobs[number] != Job::Idle;
            }
        }
        self.requests.sort_unstable_by_key(|request| {
            request.map_or((1, 0, 0), |request| (0, request.age, request.by))
        });
        let mut names = Names::default();
        self.for_each_revision(|revision| *revision = names.of(*revision));
        let mut names = Names::default();
        self.for_each_token(|token| *token = names.of(*token));
    }

    fn for_each_revision(&mut self, mut change: impl FnMut(&mut u8)) {
        self.entry.iter_mut().for_each(|entry| change(&mut entry.revision));
        self.delayed.iter_mut().for_each(|write| change(&mut write.expected));
        for replica in &mut self.replicas {
            replica.jobs.iter_mut().for_each(|job| job.for_each_revision(&mut change));
            replica.expiry.revision().into_iter().for_each(&mut change);
            replica.blanking.iter_mut().for_each(|entry| change(&mut entry.revision));
        }
    }

    fn for_each_token(&mut self, mut change: impl FnMut(&mut u8)) {
        self.entry.iter_mut().for_each(|entry| change(&mut entry.record.token));
        self.delayed.iter_mut().for_each(|write| change(&mut write.record.token));
        for replica in &mut self.replicas {
            replica.jobs.iter_mut().for_each(|job| job.for_each_record(|record| change(&mut record.token)));
            replica.blanking.iter_mut().for_each(|entry| change(&mut entry.record.token));
        }
        self.requests.iter_mut().flatten().for_each(|request| change(&mut request.token));
    }
}

/// New numbers for old ones. Zero stays zero.
#[derive(Default)]
struct Names {
    old: [u8; NAMES_MAX],
    count: u8,
}

impl Names {
    fn of(&mut self, old: u8) -> u8 {
        if old == 0 {
            return 0;
        }
        let known = self.old[..usize::from(self.count)].iter().position(|known| *known == old);
        let place = known.unwrap_or_else(|| {
            self.old[usize::from(self.count)] = old;
            self.count += 1;
            usize::from(self.count) - 1
        });
        u8::try_from(place + 1).expect("a state has few names")
    }
}
