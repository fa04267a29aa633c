//! Which command is next. No clock, no bus.

use super::*;

fn put(
    held: &mut RecipientQueues<&'static str>,
    at: Key,
    recipient: &str,
    command: &'static str,
) -> Vec<u64> {
    let entry = Entry { queue: at.queue, sequence: at.sequence, bytes: 1, command };
    held.insert(recipient, entry).into_iter().map(|entry| entry.sequence).collect()
}

fn bulk(sequence: u64) -> Key {
    Key { queue: Priority::Bulk, sequence }
}

fn agent(sequence: u64) -> Key {
    Key { queue: Priority::Interactive, sequence }
}

fn started(held: &mut RecipientQueues<&'static str>) -> Vec<&'static str> {
    std::iter::from_fn(|| held.start().map(|entry| entry.command)).collect()
}

#[test]
fn agents_go_before_campaigns_and_recipients_get_one_at_a_time_in_order() {
    let mut held = RecipientQueues::default();
    put(&mut held, bulk(1), "anna", "bulk to anna");
    put(&mut held, bulk(2), "bert", "bulk to bert");
    put(&mut held, agent(5), "carl", "second to carl");
    put(&mut held, agent(3), "anna", "agent to anna");
    // It was redelivered after later commands arrived.
    put(&mut held, agent(4), "carl", "first to carl");
    assert_eq!(
        (held.waiting(Priority::Interactive), held.ready(Priority::Interactive), held.ready(Priority::Bulk)),
        (3, 2, 1)
    );
    assert_eq!(started(&mut held), ["agent to anna", "first to carl", "bulk to bert"]);
    held.finish("carl", 4);
    assert_eq!(started(&mut held), ["second to carl"]);
    held.finish("anna", 3);
    assert_eq!(started(&mut held), ["bulk to anna"]);
    for (recipient, sequence) in [("anna", 1), ("bert", 2), ("carl", 5)] {
        held.finish(recipient, sequence);
    }
    assert!(held.recipients.is_empty() && held.peek().is_none());
}

#[test]
fn commands_that_are_over_are_removed_at_any_position() {
    let mut held = RecipientQueues::default();
    for (sequence, recipient, command) in [
        (1, "anna", "1"),
        (2, "anna", "over 2"),
        (3, "anna", "3"),
        (4, "bert", "over 4"),
        (5, "carl", "over 5"),
        (6, "carl", "6"),
    ] {
        put(&mut held, bulk(sequence), recipient, command);
    }
    assert_eq!(held.start().map(|entry| entry.sequence), Some(1));
    let over = held.drain(|command| command.starts_with("over"));
    let mut over: Vec<_> = over.into_iter().map(|entry| (entry.sequence, entry.command)).collect();
    over.sort_unstable();
    assert_eq!(over, [(2, "over 2"), (4, "over 4"), (5, "over 5")]);
    assert_eq!((held.waiting(Priority::Bulk), started(&mut held)), (2, vec!["6"]));
    held.finish("anna", 1);
    assert_eq!(started(&mut held), ["3"]);
}

#[test]
fn one_unknown_command_of_a_recipient_is_overtaken_at_a_time() {
    let mut held = RecipientQueues::default();
    for (sequence, command) in [(1, "1"), (2, "2"), (3, "3"), (4, "4")] {
        put(&mut held, agent(sequence), "anna", command);
    }
    assert_eq!(started(&mut held), ["1"]);
    // No other command is in progress.
    held.overtake("anna", 2);
    assert_eq!(started(&mut held), [""; 0]);
    held.overtake("anna", 1);
    assert_eq!(started(&mut held), ["2"]);
    // The second one is unknown too: the third waits until the first is decided.
    held.overtake("anna", 2);
    assert_eq!(started(&mut held), [""; 0]);
    held.finish("anna", 1);
    assert_eq!(started(&mut held), ["3"]);
    // Decided in another order.
    held.finish("anna", 3);
    assert_eq!(started(&mut held), ["4"]);
    held.finish("anna", 4);
    assert!(!held.recipients.is_empty(), "the second is still looked up");
    held.finish("anna", 2);
    assert!(held.recipients.is_empty());
}

#[test]
fn a_recipient_has_a_limit_and_agents_take_the_place_of_campaigns() {
    let mut held = RecipientQueues::default();
    for sequence in 1..=RECIPIENT_WAITING_MAX as u64 {
        assert_eq!(put(&mut held, bulk(sequence), "anna", "bulk"), [0; 0]);
    }
    assert_eq!(put(&mut held, bulk(900), "anna", "too many"), [900]);
    assert_eq!(put(&mut held, agent(901), "anna", "agent"), [500]);
    // A command that is redelivered late keeps its position.
    assert_eq!(put(&mut held, agent(600), "anna", "earlier"), [499]);
    assert_eq!(put(&mut held, bulk(902), "bert", "bulk to bert"), [0; 0]);
    assert_eq!((held.waiting(Priority::Interactive), held.waiting(Priority::Bulk)), (2, 499));
    assert_eq!(held.longest(), LongestQueue { behind: 499, recipients: 1, full: 1 });
    assert_eq!(started(&mut held), ["earlier", "bulk to bert"]);
    assert_eq!(put(&mut held, bulk(903), "anna", "fits again"), [0; 0]);
}

#[test]
fn large_commands_fill_a_recipient_sooner() {
    let mut held = RecipientQueues::default();
    let large = |sequence, bytes| Entry { queue: Priority::Interactive, sequence, bytes, command: "large" };
    // One command may wait, however large it is.
    assert!(held.insert("anna", large(1, 2 * RECIPIENT_BYTES_MAX)).is_empty());
    assert_eq!(held.insert("anna", large(2, 1)).len(), 1);
    for sequence in 1..=8 {
        assert!(held.insert("bert", large(sequence, RECIPIENT_BYTES_MAX / 8)).is_empty());
    }
    assert_eq!(held.insert("bert", large(9, 1)).len(), 1);
    assert_eq!(held.longest().full, 1);
}
