//! Every mistake that is built into the protocol breaks a property. Without such tests a model that can find nothing would pass too.

use model::{Bounds, Faults, MessageLog, Mutant, Property, Second, explore};

/// More states than the search for any of these faults visits.
const STATES_MAX: usize = 5_000_000;

const ONE_MORE_DELIVERY: Faults = Faults { redeliveries: 1, ..Faults::NONE };
/// Two replicas own the lane.
const TWO_OWNERS: Faults = Faults { lost_leases: 1, ..ONE_MORE_DELIVERY };
const LOST_ANSWER: Faults = Faults { lost_answers: 1, ..Faults::NONE };

/// Explores the protocol with a mistake, and checks that it breaks the property. Without it the property holds within the same
/// bounds.
#[expect(clippy::print_stdout, reason = "shows the trace that the model finds")]
fn is_caught(mutant: Mutant, property: Property, bounds: Bounds) {
    let bounds = Bounds { only: Some(property), ..bounds };
    let found = explore(Bounds { mutant: Some(mutant), ..bounds }, STATES_MAX);
    let violation =
        found.violation.unwrap_or_else(|| panic!("{mutant:?} breaks nothing in {} states", found.states));
    assert_eq!(violation.property, property);
    println!("{mutant:?} after {} states: violated: {property}\n{}", found.states, violation.lines());
    let sound = explore(bounds, STATES_MAX);
    assert!(sound.is_complete, "more than {STATES_MAX} states");
    let lines = sound.violation.map(|violation| violation.lines());
    assert_eq!(lines, None, "the protocol itself breaks: {property}");
}

/// A channel that sends messages of unknown outcome again.
fn resends(message_log: MessageLog, faults: Faults) -> Bounds {
    Bounds { may_resend: true, message_log, faults, ..Bounds::PLAIN }
}

#[test]
fn a_ledger_without_expectations_sends_twice() {
    let bounds = Bounds { faults: TWO_OWNERS, ..Bounds::PLAIN };
    is_caught(Mutant::NoExpectation, Property::NeverTwice, bounds);
}

#[test]
fn a_call_before_its_intent_sends_twice() {
    let bounds = Bounds { faults: Faults { crashes: 1, ..Faults::NONE }, ..Bounds::PLAIN };
    is_caught(Mutant::CallBeforeIntent, Property::NeverTwice, bounds);
    is_caught(Mutant::CallBeforeIntent, Property::CallHasIntent, bounds);
}

#[test]
fn an_intent_of_any_age_sends_twice() {
    let bounds = resends(MessageLog::Prompt, ONE_MORE_DELIVERY);
    is_caught(Mutant::NoIntentAge, Property::NeverTwice, bounds);
    let bounds = Bounds { faults: ONE_MORE_DELIVERY, ..Bounds::PLAIN };
    is_caught(Mutant::NoIntentAge, Property::CallHasIntent, bounds);
}

#[test]
fn a_call_whose_timeout_a_suspended_machine_stops_sends_twice() {
    let bounds = resends(MessageLog::Prompt, Faults { suspensions: 1, ..ONE_MORE_DELIVERY });
    is_caught(Mutant::CallByOneClock, Property::NeverTwice, bounds);
}

#[test]
fn a_process_that_slept_for_a_day_and_asks_for_no_lease_sends_twice() {
    let bounds = Bounds { may_sleep_a_day: true, faults: ONE_MORE_DELIVERY, ..Bounds::PLAIN };
    is_caught(Mutant::NoLease, Property::NeverTwice, bounds);
}

#[test]
fn a_process_that_slept_for_a_day_and_decides_without_a_lease_contradicts_the_result() {
    let bounds = Bounds { may_sleep_a_day: true, faults: ONE_MORE_DELIVERY, ..Bounds::PLAIN };
    is_caught(Mutant::DecisionWithoutLease, Property::OneResult, bounds);
    is_caught(Mutant::DecisionWithoutLease, Property::TrueResult, bounds);
}

#[test]
fn a_lease_that_a_suspended_machine_stops_sends_twice() {
    let faults = Faults { suspensions: 1, ..ONE_MORE_DELIVERY };
    let bounds = Bounds { may_sleep_a_day: true, faults, ..Bounds::PLAIN };
    is_caught(Mutant::LeaseByOneClock, Property::NeverTwice, bounds);
}

#[test]
fn a_command_that_is_acknowledged_before_its_result_is_stored_is_lost() {
    let bounds = Bounds { faults: Faults { crashes: 1, ..Faults::NONE }, ..Bounds::PLAIN };
    is_caught(Mutant::AckBeforeResult, Property::NeverLost, bounds);
}

#[test]
fn a_result_that_is_stored_before_the_ledger_has_it_is_contradicted() {
    let bounds = Bounds { message_log: MessageLog::Late, faults: LOST_ANSWER, ..Bounds::PLAIN };
    let faults = Faults { redeliveries: 1, ..LOST_ANSWER };
    is_caught(Mutant::ResultBeforeLedger, Property::OneResult, Bounds { faults, ..bounds });
}

#[test]
fn a_message_that_is_sent_again_before_its_time_arrives_twice() {
    let bounds = resends(MessageLog::Prompt, LOST_ANSWER);
    is_caught(Mutant::ResendWithoutTime, Property::NeverTwice, bounds);
    is_caught(Mutant::ResendWithoutTime, Property::ResentByTheRule, bounds);
}

#[test]
fn a_message_that_is_sent_again_twice_arrives_three_times() {
    let bounds = resends(MessageLog::Late, Faults { lost_answers: 2, ..Faults::NONE });
    let bounds = Bounds { deadline: bounds.deadline + 2, ..bounds };
    is_caught(Mutant::ResendTwice, Property::NeverTwice, bounds);
}

#[test]
fn a_message_that_the_log_does_not_show_may_have_been_sent() {
    let bounds = Bounds { message_log: MessageLog::Late, faults: LOST_ANSWER, ..Bounds::PLAIN };
    is_caught(Mutant::NotFoundIsNotSent, Property::NeverTwice, bounds);
}

#[test]
fn a_call_of_another_process_is_not_over_before_its_timeout() {
    let bounds = Bounds { faults: ONE_MORE_DELIVERY, ..Bounds::PLAIN };
    is_caught(Mutant::NoTimeoutOfOthers, Property::CallIsLeftAlone, bounds);
}

#[test]
fn the_end_of_an_own_call_says_nothing_about_a_later_one_of_another_process() {
    let bounds = resends(MessageLog::Late, Faults { redeliveries: 1, ..LOST_ANSWER });
    is_caught(Mutant::EndOfAnotherCall, Property::CallIsLeftAlone, bounds);
}

#[test]
fn a_call_without_a_response_may_have_been_sent() {
    let bounds = Bounds { faults: LOST_ANSWER, ..Bounds::PLAIN };
    is_caught(Mutant::UnknownIsNotSent, Property::NeverTwice, bounds);
}

#[test]
fn a_write_is_recognized_by_its_token() {
    let bounds = Bounds { faults: TWO_OWNERS, ..Bounds::PLAIN };
    is_caught(Mutant::NoToken, Property::NeverTwice, bounds);
}

#[test]
fn a_conflict_is_no_write() {
    let bounds = Bounds { faults: TWO_OWNERS, ..Bounds::PLAIN };
    is_caught(Mutant::ConflictIsWritten, Property::NeverTwice, bounds);
}

#[test]
fn a_rejection_of_a_message_that_was_sent_again_is_no_verdict_on_the_first_call() {
    let bounds = resends(MessageLog::Late, Faults { refusals: 1, ..LOST_ANSWER });
    is_caught(Mutant::RejectedAfterResend, Property::TrueResult, bounds);
}

#[test]
fn an_expired_command_may_have_been_sent() {
    let bounds = Bounds { faults: Faults::NONE, ..Bounds::PLAIN };
    is_caught(Mutant::ExpiryWithoutLedger, Property::TrueResult, bounds);
}

#[test]
fn a_duplicate_of_itself_is_lost() {
    let faults = Faults { lost_acks: 1, ..Faults::NONE };
    is_caught(Mutant::EveryoneIsDuplicate, Property::NeverLost, Bounds { faults, ..Bounds::PLAIN });
    let two = Bounds { second: Some(Second::Same), ..Bounds::PLAIN };
    is_caught(Mutant::EveryoneIsDuplicate, Property::NeverLost, two);
}

/// A customer who is erased while a process is killed.
const ERASED: Bounds =
    Bounds { may_erase: true, deadline: 2, faults: Faults { crashes: 1, ..Faults::NONE }, ..Bounds::PLAIN };

#[test]
fn a_result_that_is_removed_from_its_entry_before_it_is_stored_is_lost() {
    is_caught(Mutant::BlankBeforeResult, Property::NeverLost, ERASED);
}

#[test]
fn a_customer_whose_entry_is_removed_gets_the_message_twice() {
    is_caught(Mutant::ErasedEntry, Property::NeverTwice, ERASED);
}

#[test]
fn a_look_up_without_end_never_ends() {
    let bounds = Bounds { message_log: MessageLog::Late, faults: LOST_ANSWER, ..Bounds::PLAIN };
    is_caught(Mutant::LookUpWithoutEnd, Property::CanEnd, bounds);
}
