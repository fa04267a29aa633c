//! The protocol holds within bounds that are explored in seconds. docs/send-protocol.md has larger runs.

use model::{Bounds, Faults, MessageLog, Second, explore};

/// More states than any of these runs has.
const STATES_MAX: usize = 5_000_000;

/// Explores, and fails with the trace to a violation.
#[expect(clippy::print_stdout, reason = "shows the number of states")]
fn holds(name: &str, bounds: Bounds) {
    let found = explore(bounds, STATES_MAX);
    if let Some(violation) = &found.violation {
        panic!("{name}: violated: {}\n{}", violation.property, violation.lines());
    }
    assert!(found.is_complete, "{name}: more than {STATES_MAX} states");
    println!("{name}: {} states, {} steps, depth {}", found.states, found.steps, found.depth);
}

fn with(faults: Faults) -> Bounds {
    Bounds { faults, ..Bounds::PLAIN }
}

#[test]
fn a_ledger_that_loses_acknowledgements() {
    holds("no fault", Bounds::PLAIN);
    holds("a lost acknowledgement", with(Faults { lost_acks: 1, redeliveries: 1, ..Faults::NONE }));
    let faults = Faults { lost_acks: 1, refusals: 1, crashes: 1, ..Faults::NONE };
    holds("a lost acknowledgement, a refusal, a crash", with(faults));
}

#[test]
fn a_bsp_that_loses_responses() {
    let faults = Faults { lost_answers: 1, redeliveries: 1, crashes: 1, ..Faults::NONE };
    for message_log in [MessageLog::Prompt, MessageLog::Late] {
        let name = format!("a lost response, a crash, a {message_log:?} message log");
        holds(&name, Bounds { message_log, ..with(faults) });
    }
    let faults = Faults { failed_queries: 1, refusals: 1, ..faults };
    let faults = Faults { redeliveries: 0, crashes: 0, ..faults };
    holds("a lost response, a refusal, a failed query", with(faults));
}

#[test]
fn a_channel_that_sends_again() {
    let faults = Faults { lost_answers: 1, redeliveries: 1, ..Faults::NONE };
    let bounds = Bounds { may_resend: true, ..with(faults) };
    holds("sent again", bounds);
    let faults = Faults { refusals: 1, redeliveries: 0, ..faults };
    let late = Bounds { message_log: MessageLog::Late, faults, ..bounds };
    holds("sent again, a late message log", late);
    let faults = Faults { lost_answers: 2, ..Faults::NONE };
    let twice = Bounds { deadline: bounds.deadline + 2, faults, ..late };
    holds("sent again, a late message log, two lost responses", twice);
    holds("sent again, used ids are rejected", Bounds { rejects_used_ids: true, ..late });
}

#[test]
fn two_owners_of_a_lane() {
    let faults = Faults { lost_leases: 1, redeliveries: 1, ..Faults::NONE };
    holds("two owners", with(faults));
    holds("two owners, a lost response", with(Faults { lost_answers: 1, ..faults }));
    holds("two owners, sent again", Bounds { may_resend: true, ..with(faults) });
}

#[test]
fn a_process_that_sleeps_longer_than_the_ledger_keeps_entries() {
    let faults = Faults { redeliveries: 1, ..Faults::NONE };
    let bounds = Bounds { may_sleep_a_day: true, ..with(faults) };
    holds("a day", bounds);
    holds("a day, a refusal", Bounds { faults: Faults { refusals: 1, ..faults }, ..bounds });
    holds("a day, a crash", Bounds { faults: Faults { crashes: 1, ..faults }, ..bounds });
    holds("a day, a suspended machine", Bounds { faults: Faults { suspensions: 1, ..faults }, ..bounds });
}

#[test]
fn a_machine_that_is_suspended() {
    let faults = Faults { suspensions: 1, ..Faults::NONE };
    holds("a suspended machine", Bounds { may_resend: true, ..with(faults) });
}

#[test]
fn two_commands_with_one_id() {
    for second in [Second::Same, Second::Other] {
        holds(&format!("a second command, {second:?}"), Bounds { second: Some(second), ..Bounds::PLAIN });
    }
}

#[test]
fn a_customer_who_is_erased() {
    // A short deadline: the eraser asks at any time before it and after it.
    let erased = |faults| Bounds { may_erase: true, deadline: 2, ..with(faults) };
    holds("an erased customer, a crash", erased(Faults { crashes: 1, ..Faults::NONE }));
    holds("an erased customer, a redelivery", erased(Faults { redeliveries: 1, ..Faults::NONE }));
    let lost = Faults { lost_answers: 1, ..Faults::NONE };
    let resends = Bounds { may_resend: true, deadline: Bounds::PLAIN.deadline, ..erased(lost) };
    holds("an erased customer, sent again", resends);
}
