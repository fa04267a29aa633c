//! The commands that a lane holds and has not begun to send, and which of them is next: agents before campaigns, in order
//! for each recipient, and never two to one recipient at once. Pure.

use std::collections::{BTreeMap, HashMap};

use bus::Queue;

/// The place of a command: its queue and its sequence in the stream.
type Place = (Queue, u64);

/// What is held for one recipient.
#[derive(Debug)]
struct Recipient<T> {
    is_busy: bool,
    waiting: BTreeMap<Place, T>,
}

/// Commands by recipient.
#[derive(Debug)]
pub(crate) struct Held<T> {
    recipients: HashMap<String, Recipient<T>>,
    /// The first command of every recipient that is not busy.
    ready: BTreeMap<Place, String>,
    waiting: [usize; 2],
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { recipients: HashMap::new(), ready: BTreeMap::new(), waiting: [0, 0] }
    }
}

impl<T> Held<T> {
    /// Takes a command in.
    pub(crate) fn insert(&mut self, queue: Queue, sequence: u64, recipient: &str, command: T) {
        let entry = self.recipients.entry(recipient.to_owned());
        let held = entry.or_insert_with(|| Recipient { is_busy: false, waiting: BTreeMap::new() });
        let first_before = held.waiting.keys().next().copied();
        if held.waiting.insert((queue, sequence), command).is_none() {
            self.waiting[queue as usize] += 1;
        }
        if held.is_busy || first_before.is_some_and(|first| first < (queue, sequence)) {
            return;
        }
        if let Some(first) = first_before {
            self.ready.remove(&first);
        }
        self.ready.insert((queue, sequence), recipient.to_owned());
    }

    /// The command that is to be sent next. Its recipient is busy until [`Held::finish`].
    pub(crate) fn start(&mut self) -> Option<(Queue, u64, T)> {
        let (place, recipient) = self.ready.pop_first()?;
        let held = self.recipients.get_mut(&recipient)?;
        let command = held.waiting.remove(&place)?;
        held.is_busy = true;
        self.waiting[place.0 as usize] -= 1;
        Some((place.0, place.1, command))
    }

    /// Takes out every waiting command that `is_over`, wherever it stands: none of them is to be sent any more.
    pub(crate) fn take_out(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<(u64, T)> {
        let mut over = Vec::new();
        let names: Vec<String> = self.recipients.keys().cloned().collect();
        for name in names {
            let Some(held) = self.recipients.get_mut(&name) else { continue };
            let places: Vec<Place> = held
                .waiting
                .iter()
                .filter(|(_, command)| is_over(command))
                .map(|(place, _)| *place)
                .collect();
            for place in places {
                self.ready.remove(&place);
                self.waiting[place.0 as usize] -= 1;
                over.extend(held.waiting.remove(&place).map(|command| (place.1, command)));
            }
            let (is_busy, first) = (held.is_busy, held.waiting.keys().next().copied());
            match first {
                Some(first) if !is_busy => drop(self.ready.insert(first, name)),
                None if !is_busy => drop(self.recipients.remove(&name)),
                _ => {}
            }
        }
        over
    }

    /// Says that a recipient is free for the next command.
    pub(crate) fn finish(&mut self, recipient: &str) {
        let Some(held) = self.recipients.get_mut(recipient) else { return };
        held.is_busy = false;
        match held.waiting.keys().next() {
            Some(first) => drop(self.ready.insert(*first, recipient.to_owned())),
            None => drop(self.recipients.remove(recipient)),
        }
    }

    /// The command that [`Held::start`] would give.
    pub(crate) fn peek(&self) -> Option<(Queue, &T)> {
        let (place, recipient) = self.ready.first_key_value()?;
        Some((place.0, self.recipients.get(recipient)?.waiting.get(place)?))
    }

    /// Commands of a queue that wait, whether they could be started or not.
    pub(crate) fn waiting(&self, queue: Queue) -> usize {
        self.waiting[queue as usize]
    }

    /// Commands of a queue that could be started now.
    pub(crate) fn ready(&self, queue: Queue) -> usize {
        self.ready.range((queue, 0)..=(queue, u64::MAX)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(held: &mut Held<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| held.start().map(|(_, _, command)| command)).collect()
    }

    #[test]
    fn agents_go_before_campaigns_and_recipients_get_one_at_a_time_in_order() {
        let mut held = Held::default();
        held.insert(Queue::Bulk, 1, "anna", "bulk to anna");
        held.insert(Queue::Bulk, 2, "bert", "bulk to bert");
        held.insert(Queue::Send, 5, "carl", "second to carl");
        held.insert(Queue::Send, 3, "anna", "agent to anna");
        // Delivered again, after what was published later.
        held.insert(Queue::Send, 4, "carl", "first to carl");
        assert_eq!((held.waiting(Queue::Send), held.ready(Queue::Send), held.ready(Queue::Bulk)), (3, 2, 1));
        assert_eq!(started(&mut held), ["agent to anna", "first to carl", "bulk to bert"]);
        held.finish("carl");
        assert_eq!(started(&mut held), ["second to carl"]);
        held.finish("anna");
        assert_eq!(started(&mut held), ["bulk to anna"]);
        for recipient in ["anna", "bert", "carl"] {
            held.finish(recipient);
        }
        assert!(held.recipients.is_empty() && held.peek().is_none());
    }

    #[test]
    fn what_is_over_is_taken_out_wherever_it_stands() {
        let mut held = Held::default();
        for (sequence, recipient, command) in [
            (1, "anna", "1"),
            (2, "anna", "over 2"),
            (3, "anna", "3"),
            (4, "bert", "over 4"),
            (5, "carl", "over 5"),
            (6, "carl", "6"),
        ] {
            held.insert(Queue::Bulk, sequence, recipient, command);
        }
        assert_eq!(held.start().map(|(_, sequence, _)| sequence), Some(1));
        let mut over = held.take_out(|command| command.starts_with("over"));
        over.sort_unstable();
        assert_eq!(over, [(2, "over 2"), (4, "over 4"), (5, "over 5")]);
        assert_eq!((held.waiting(Queue::Bulk), started(&mut held)), (2, vec!["6"]));
        held.finish("anna");
        assert_eq!(started(&mut held), ["3"]);
    }
}
