//! The commands that a lane holds and has not begun to send, and which of them is next: agents before campaigns, in
//! order for each recipient, and never two calls to one recipient at the same time. The next command to a recipient may
//! overtake one whose outcome is unknown, one such command at a time. The number of pending commands of a recipient is
//! limited. Pure.

use std::collections::{BTreeMap, HashMap};

use bus::Priority;

use crate::result::outcome::Outcome;

/// Most pending commands of one recipient in a lane, of both queues together.
pub(crate) const RECIPIENT_WAITING_MAX: usize = 500;
/// Most bytes of the pending commands of one recipient in a lane: a quarter of the lane's limit. One command may always
/// wait.
pub(crate) const RECIPIENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Error code of a command whose recipient has too many pending commands.
const RECIPIENT_QUEUE_FULL: &str = "RECIPIENT_QUEUE_FULL";

/// The place of a command. All commands of one queue come before those of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    queue: Priority,
    sequence: u64,
}

/// A pending command.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) queue: Priority,
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    /// Its size in bytes.
    pub(crate) bytes: usize,
    pub(crate) command: T,
}

/// How many commands wait behind an earlier one to the same recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LongestQueue {
    /// Number of these commands.
    pub(crate) behind: usize,
    /// Number of their recipients.
    pub(crate) recipients: usize,
    /// Number of recipients that have reached the limit of pending commands.
    pub(crate) full: usize,
}

/// Returns the outcome of a command that is rejected because its recipient has too many pending commands.
pub(super) fn recipient_queue_full() -> Outcome {
    let mib = RECIPIENT_BYTES_MAX / (1024 * 1024);
    let text = format!(
        "{RECIPIENT_WAITING_MAX} commands, or {mib} MiB of them, are already pending for this recipient; send it again later, \
         under a new id"
    );
    Outcome::rejected(RECIPIENT_QUEUE_FULL, &text)
}

/// The commands of one recipient.
#[derive(Debug)]
struct Recipient<T> {
    /// The command that no other may overtake: it is being sent, or its outcome is awaited.
    current: Option<u64>,
    /// Whether `current` may be overtaken as soon as no other command is.
    may_be_overtaken: bool,
    /// A command with an unknown outcome that others overtake.
    overtaken: Option<u64>,
    waiting: BTreeMap<Key, Entry<T>>,
    waiting_bytes: usize,
}

impl<T> Default for Recipient<T> {
    fn default() -> Self {
        Self {
            current: None,
            may_be_overtaken: false,
            overtaken: None,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
        }
    }
}

impl<T> Recipient<T> {
    fn is_full(&self) -> bool {
        self.waiting.len() >= RECIPIENT_WAITING_MAX || self.waiting_bytes >= RECIPIENT_BYTES_MAX
    }

    fn is_over_limit(&self) -> bool {
        self.waiting.len() > RECIPIENT_WAITING_MAX
            || (self.waiting.len() > 1 && self.waiting_bytes > RECIPIENT_BYTES_MAX)
    }

    fn remove(&mut self, place: Key) -> Option<Entry<T>> {
        let entry = self.waiting.remove(&place)?;
        self.waiting_bytes -= entry.bytes;
        if self.waiting.is_empty() {
            // A map that had an entry keeps its memory, also while the recipient is only busy.
            self.waiting = BTreeMap::new();
        }
        Some(entry)
    }

    /// Returns the first pending command if it may be sent now.
    fn ready(&self) -> Option<Key> {
        let first = self.waiting.keys().next().copied();
        first.filter(|_| self.current.is_none())
    }

    fn is_empty(&self) -> bool {
        self.current.is_none() && self.overtaken.is_none() && self.waiting.is_empty()
    }
}

/// Commands by recipient.
#[derive(Debug)]
pub(crate) struct RecipientQueues<T> {
    recipients: HashMap<String, Recipient<T>>,
    /// First command of every recipient to whom one may be sent now.
    ready: BTreeMap<Key, String>,
    waiting: [usize; 2],
}

impl<T> Default for RecipientQueues<T> {
    fn default() -> Self {
        Self { recipients: HashMap::new(), ready: BTreeMap::new(), waiting: [0, 0] }
    }
}

impl<T> RecipientQueues<T> {
    /// Adds a command. Returns the commands beyond the recipient's limit: the last ones in order, so that an agent's
    /// command takes the place of a campaign's.
    pub(crate) fn insert(&mut self, recipient: &str, entry: Entry<T>) -> Vec<Entry<T>> {
        let held = self.recipients.entry(recipient.to_owned()).or_default();
        let ready_before = held.ready();
        let place = Key { queue: entry.queue, sequence: entry.sequence };
        if let Some(before) = held.remove(place) {
            self.waiting[before.queue as usize] -= 1;
        }
        self.waiting[entry.queue as usize] += 1;
        held.waiting_bytes += entry.bytes;
        held.waiting.insert(place, entry);
        let mut too_many = Vec::new();
        while held.is_over_limit() {
            let Some((_, last)) = held.waiting.pop_last() else { break };
            held.waiting_bytes -= last.bytes;
            self.waiting[last.queue as usize] -= 1;
            too_many.push(last);
        }
        let ready = held.ready();
        if ready != ready_before {
            if let Some(before) = ready_before {
                self.ready.remove(&before);
            }
            self.ready.extend(ready.map(|place| (place, recipient.to_owned())));
        }
        too_many
    }

    /// Returns the command to send next. Its recipient is busy until [`RecipientQueues::finish`] or [`RecipientQueues::overtake`].
    pub(crate) fn start(&mut self) -> Option<Entry<T>> {
        let (place, recipient) = self.ready.pop_first()?;
        let held = self.recipients.get_mut(&recipient)?;
        let entry = held.remove(place)?;
        held.current = Some(entry.sequence);
        held.may_be_overtaken = false;
        self.waiting[entry.queue as usize] -= 1;
        Some(entry)
    }

    /// Removes and returns every pending command that `is_over`, at any position. They are not sent.
    pub(crate) fn drain(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<Entry<T>> {
        let mut over = Vec::new();
        let names: Vec<String> = self.recipients.keys().cloned().collect();
        for name in names {
            let Some(held) = self.recipients.get_mut(&name) else { continue };
            let places: Vec<Key> = held
                .waiting
                .iter()
                .filter(|(_, entry)| is_over(&entry.command))
                .map(|(place, _)| *place)
                .collect();
            for place in places {
                self.ready.remove(&place);
                self.waiting[place.queue as usize] -= 1;
                over.extend(held.remove(place));
            }
            self.settle(&name);
        }
        over
    }

    /// Records that the outcome of a command stayed unknown for the waiting time. The next command to its recipient may
    /// be sent, unless another one is overtaken already; then it may be sent when that one is decided.
    pub(crate) fn overtake(&mut self, recipient: &str, sequence: u64) {
        let Some(held) = self.recipients.get_mut(recipient) else { return };
        if held.current != Some(sequence) {
            return;
        }
        if held.overtaken.is_some() {
            held.may_be_overtaken = true;
            return;
        }
        held.overtaken = held.current.take();
        self.settle(recipient);
    }

    /// Records that a command of a recipient is decided.
    pub(crate) fn finish(&mut self, recipient: &str, sequence: u64) {
        let Some(held) = self.recipients.get_mut(recipient) else { return };
        if held.overtaken == Some(sequence) {
            held.overtaken = None;
            if std::mem::take(&mut held.may_be_overtaken) {
                held.overtaken = held.current.take();
            }
        } else if held.current == Some(sequence) {
            held.current = None;
            held.may_be_overtaken = false;
        }
        self.settle(recipient);
    }

    /// Lists the first command of a recipient who is free, and removes a recipient without commands.
    fn settle(&mut self, recipient: &str) {
        let Some(held) = self.recipients.get(recipient) else { return };
        if held.is_empty() {
            self.recipients.remove(recipient);
        } else if let Some(first) = held.ready() {
            self.ready.insert(first, recipient.to_owned());
        }
    }

    /// Returns the command that [`RecipientQueues::start`] would return.
    pub(crate) fn peek(&self) -> Option<&Entry<T>> {
        let (place, recipient) = self.ready.first_key_value()?;
        self.recipients.get(recipient)?.waiting.get(place)
    }

    /// Returns the number of pending commands of a queue, ready or not.
    pub(crate) fn waiting(&self, queue: Priority) -> usize {
        self.waiting[queue as usize]
    }

    /// Returns the number of commands of a queue that may be sent now.
    pub(crate) fn ready(&self, queue: Priority) -> usize {
        let place = |sequence| Key { queue, sequence };
        self.ready.range(place(0)..=place(u64::MAX)).count()
    }

    /// Counts the commands that wait behind earlier ones.
    pub(crate) fn longest(&self) -> LongestQueue {
        let mut crowd = LongestQueue::default();
        for held in self.recipients.values() {
            let behind = held.waiting.len() - usize::from(held.ready().is_some());
            crowd.behind += behind;
            crowd.recipients += usize::from(behind > 0);
            crowd.full += usize::from(behind > 0 && held.is_full());
        }
        crowd
    }
}

#[cfg(test)]
mod tests;
