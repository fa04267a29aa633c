//! When the throttle allows calls. The tests control the clock.

use super::breaker::PAUSE_FIRST;
use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn refused(after: Option<Duration>) -> CallOutcome {
    CallOutcome::Refused(AccountRefusal { why: "401".to_owned(), after, is_alone: false })
}

fn refused_alone() -> CallOutcome {
    CallOutcome::Refused(AccountRefusal { why: "404".to_owned(), after: None, is_alone: true })
}

#[test]
fn calls_are_spread_evenly_and_little_is_caught_up_with() {
    let start = Instant::now();
    let throttle = Throttle::new(100, start);
    let passes = |now: Instant| std::iter::from_fn(|| throttle.try_acquire(now).ok()).count();
    assert_eq!(passes(start), 1);
    assert_eq!(throttle.try_acquire(start + ms(9)).unwrap_err(), Denied::Rate(start + ms(10)));
    assert_eq!(passes(start + ms(10)), 1);
    // A minute later: the permits of 50 ms, and the one that is due.
    assert_eq!(passes(start + ms(60_000)), 6);
}

#[test]
fn a_broken_account_is_left_alone_and_tried_by_one_call() {
    let bad = CallOutcome::Failed("500");
    let now = Instant::now();
    let throttle = Throttle::new(1_000_000, now);
    let pass = |at: Instant| throttle.try_acquire(at);
    let passes: Vec<_> = (0..8).map(|number| pass(now + ms(number)).unwrap()).collect();
    let mut passes = passes.into_iter();
    for pass in passes.by_ref().take(4) {
        assert_eq!(pass.record(bad.clone(), now), None);
    }
    assert!(pass(now + ms(9)).is_ok());
    for pass in passes {
        pass.record(bad.clone(), now);
    }
    assert_eq!(pass(now + ms(10)).unwrap_err(), Denied::Broken(now + PAUSE_FIRST));
    let later = now + PAUSE_FIRST;
    let probe = pass(later).unwrap();
    assert_eq!(pass(later).unwrap_err(), Denied::Probing);
    assert_eq!(probe.record(bad, later), Some(BreakerChange::Paused(2 * PAUSE_FIRST)));
    assert_eq!(pass(later).unwrap_err(), Denied::Broken(later + 2 * PAUSE_FIRST));
    let later = later + 2 * PAUSE_FIRST;
    // A probe that is dropped allows another one.
    drop(pass(later).unwrap());
    assert_eq!(pass(later).unwrap().record(CallOutcome::Answered, later), Some(BreakerChange::Opened));
    assert!(pass(later + ms(1)).is_ok() && pass(later + ms(2)).is_ok());
}

#[test]
fn a_refused_call_pauses_at_once_and_longer_with_every_probe() {
    let mut now = Instant::now();
    let throttle = Throttle::new(1_000_000, now);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let Some(BreakerChange::Paused(pause)) =
            throttle.try_acquire(now).unwrap().record(refused(None), now)
        else {
            panic!("expected a pause")
        };
        pauses.push(pause.as_secs());
        let reason = throttle.reason(now).unwrap();
        assert_eq!(
            (reason.why.to_string().as_str(), reason.next_try.is_some()),
            ("the account fails (401)", true)
        );
        now += pause;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    throttle.try_acquire(now).unwrap().record(CallOutcome::Accepted, now);
    assert_eq!((throttle.reason(now), throttle.accepted()), (None, 1));
    // A refusal that concerns one command does not pause the lane, unless the command is the probe.
    assert_eq!(throttle.try_acquire(now + ms(1)).unwrap().record(refused_alone(), now), None);
    let pass = throttle.try_acquire(now + ms(2)).unwrap();
    assert_eq!(pass.record(refused(None), now), Some(BreakerChange::Paused(PAUSE_FIRST)));
    let probe = throttle.try_acquire(now + PAUSE_FIRST).unwrap();
    assert_eq!(probe.record(refused_alone(), now), Some(BreakerChange::Paused(2 * PAUSE_FIRST)));
}

#[test]
fn a_lane_that_is_paused_is_asked_for_commands_to_be_tried_with() {
    let now = Instant::now();
    let throttle = Throttle::new(1000, now);
    throttle.try_acquire(now).unwrap().record(refused(None), now);
    assert!(throttle.may_fetch(now) && throttle.is_broken());
    // It requests no commands while `Retry-After` lasts.
    throttle.try_acquire(now + PAUSE_FIRST).unwrap().record(refused(Some(ms(5_000))), now + PAUSE_FIRST);
    assert!(!throttle.may_fetch(now + ms(5_900)) && throttle.may_fetch(now + ms(6_000)));
}

#[test]
fn a_limit_holds_all_calls_whatever_others_are_answered() {
    let now = Instant::now();
    let throttle = Throttle::new(1000, now);
    let limits = |after, is_alone| CallOutcome::RateLimited { after, is_alone };
    let under_way: Vec<_> = (0..4).map(|number| throttle.try_acquire(now + ms(number)).unwrap()).collect();
    let mut under_way = under_way.into_iter();
    for health in [
        limits(Some(ms(500)), true),
        limits(Some(ms(200)), false),
        limits(None, false),
        CallOutcome::Accepted,
    ] {
        under_way.next().unwrap().record(health, now);
    }
    assert_eq!(throttle.try_acquire(now + ms(400)).unwrap_err(), Denied::Limited(now + ms(500)));
    assert!(throttle.reason(now).is_some());
    let at = now + ms(500);
    assert_eq!(throttle.reason(at), None);
    // Without `Retry-After` the pause is a second, then two.
    throttle.try_acquire(at).unwrap().record(limits(None, false), at);
    assert_eq!(throttle.try_acquire(at).unwrap_err(), Denied::Limited(at + PAUSE_FIRST));
    let at = at + PAUSE_FIRST;
    throttle.try_acquire(at).unwrap().record(limits(None, true), at);
    throttle.try_acquire(at + ms(1)).unwrap().record(limits(None, false), at);
    assert_eq!(throttle.try_acquire(at).unwrap_err(), Denied::Limited(at + 2 * PAUSE_FIRST));
}

#[test]
fn probes_take_turns_between_new_commands_and_those_that_were_refused() {
    let mut now = Instant::now();
    let throttle = Throttle::new(1_000_000, now);
    throttle.try_acquire(now).unwrap().record(refused(None), now);
    let first = throttle.wait_for_turn(Place { last_call: Some(now), sequence: 1 });
    let second = throttle.wait_for_turn(Place { last_call: Some(now + ms(1)), sequence: 2 });
    let mut order = Vec::new();
    for _ in 0..4 {
        // All of them have asked for a permit, and got the time of the next one.
        let Err(Denied::Broken(until)) = throttle.try_acquire(now) else { panic!("expected a pause") };
        now = until;
        let (probe, name) = if let Ok(probe) = second.try_acquire(now) {
            (probe, "second")
        } else if let Ok(probe) = first.try_acquire(now) {
            (probe, "first")
        } else {
            (throttle.try_acquire(now).unwrap(), "new")
        };
        order.push(name);
        probe.record(refused(None), now);
    }
    assert_eq!(order, ["new", "first", "new", "first"]);
    // It was refused, so the other one has waited longer by now. A loop without a command delays no one.
    drop(first);
    let first = throttle.wait_for_turn(Place { last_call: Some(now), sequence: 1 });
    throttle.no_new_command();
    let Err(Denied::Broken(until)) = second.try_acquire(now) else { panic!("expected a pause") };
    assert_eq!(first.try_acquire(until).unwrap_err(), Denied::Probing);
    second.try_acquire(until).unwrap().record(refused(None), until);
    drop(second);
    let Err(Denied::Broken(until)) = first.try_acquire(until) else { panic!("expected a pause") };
    assert!(first.try_acquire(until).is_ok());
}
