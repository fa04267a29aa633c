//! When the gate allows calls. The tests control the clock.

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn refused(after: Option<Duration>) -> Health {
    Health::Refuses(Refusal { why: "401".to_owned(), after, is_alone: false })
}

fn refused_alone() -> Health {
    Health::Refuses(Refusal { why: "404".to_owned(), after: None, is_alone: true })
}

#[test]
fn calls_are_spread_evenly_and_little_is_caught_up_with() {
    let start = Instant::now();
    let gate = Gate::new(100, start);
    let passes = |now: Instant| std::iter::from_fn(|| gate.pass(now).ok()).count();
    assert_eq!(passes(start), 1);
    assert_eq!(gate.pass(start + ms(9)).unwrap_err(), Shut::Rate(start + ms(10)));
    assert_eq!(passes(start + ms(10)), 1);
    // A minute later: the permits of 50 ms, and the one that is due.
    assert_eq!(passes(start + ms(60_000)), 6);
}

#[test]
fn a_broken_account_is_left_alone_and_tried_by_one_call() {
    let bad = Health::Fails("500");
    let now = Instant::now();
    let gate = Gate::new(1_000_000, now);
    let pass = |at: Instant| gate.pass(at);
    let passes: Vec<_> = (0..8).map(|number| pass(now + ms(number)).unwrap()).collect();
    let mut passes = passes.into_iter();
    for pass in passes.by_ref().take(4) {
        assert_eq!(pass.say(bad.clone(), now), None);
    }
    assert!(pass(now + ms(9)).is_ok());
    for pass in passes {
        pass.say(bad.clone(), now);
    }
    assert_eq!(pass(now + ms(10)).unwrap_err(), Shut::Broken(now + PAUSE_FIRST));
    let later = now + PAUSE_FIRST;
    let probe = pass(later).unwrap();
    assert_eq!(pass(later).unwrap_err(), Shut::Probing);
    assert_eq!(probe.say(bad, later), Some(Change::Paused(2 * PAUSE_FIRST)));
    assert_eq!(pass(later).unwrap_err(), Shut::Broken(later + 2 * PAUSE_FIRST));
    let later = later + 2 * PAUSE_FIRST;
    // A probe that is dropped allows another one.
    drop(pass(later).unwrap());
    assert_eq!(pass(later).unwrap().say(Health::Answers, later), Some(Change::Opened));
    assert!(pass(later + ms(1)).is_ok() && pass(later + ms(2)).is_ok());
}

#[test]
fn a_refused_call_pauses_at_once_and_longer_with_every_probe() {
    let mut now = Instant::now();
    let gate = Gate::new(1_000_000, now);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let Some(Change::Paused(pause)) = gate.pass(now).unwrap().say(refused(None), now) else {
            panic!("expected a pause")
        };
        pauses.push(pause.as_secs());
        let reason = gate.reason(now).unwrap();
        assert_eq!((reason.why.as_str(), reason.next_try.is_some()), ("the account fails (401)", true));
        now += pause;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    gate.pass(now).unwrap().say(Health::Accepts, now);
    assert_eq!((gate.reason(now), gate.accepted()), (None, 1));
    // A refusal that concerns one command does not pause the lane, unless the command is the probe.
    assert_eq!(gate.pass(now + ms(1)).unwrap().say(refused_alone(), now), None);
    let pass = gate.pass(now + ms(2)).unwrap();
    assert_eq!(pass.say(refused(None), now), Some(Change::Paused(PAUSE_FIRST)));
    let probe = gate.pass(now + PAUSE_FIRST).unwrap();
    assert_eq!(probe.say(refused_alone(), now), Some(Change::Paused(2 * PAUSE_FIRST)));
}

#[test]
fn a_lane_that_is_paused_is_asked_for_commands_to_be_tried_with() {
    let now = Instant::now();
    let gate = Gate::new(1000, now);
    gate.pass(now).unwrap().say(refused(None), now);
    assert!(gate.may_ask(now) && gate.is_broken());
    // It requests no commands while `Retry-After` lasts.
    gate.pass(now + PAUSE_FIRST).unwrap().say(refused(Some(ms(5_000))), now + PAUSE_FIRST);
    assert!(!gate.may_ask(now + ms(5_900)) && gate.may_ask(now + ms(6_000)));
}

#[test]
fn a_limit_holds_all_calls_whatever_others_are_answered() {
    let now = Instant::now();
    let gate = Gate::new(1000, now);
    let limits = |after, is_alone| Health::Limits { after, is_alone };
    let under_way: Vec<_> = (0..4).map(|number| gate.pass(now + ms(number)).unwrap()).collect();
    let mut under_way = under_way.into_iter();
    for health in
        [limits(Some(ms(500)), true), limits(Some(ms(200)), false), limits(None, false), Health::Accepts]
    {
        under_way.next().unwrap().say(health, now);
    }
    assert_eq!(gate.pass(now + ms(400)).unwrap_err(), Shut::Limited(now + ms(500)));
    assert!(gate.reason(now).is_some());
    let at = now + ms(500);
    assert_eq!(gate.reason(at), None);
    // Without `Retry-After` the pause is a second, then two.
    gate.pass(at).unwrap().say(limits(None, false), at);
    assert_eq!(gate.pass(at).unwrap_err(), Shut::Limited(at + PAUSE_FIRST));
    let at = at + PAUSE_FIRST;
    gate.pass(at).unwrap().say(limits(None, true), at);
    gate.pass(at + ms(1)).unwrap().say(limits(None, false), at);
    assert_eq!(gate.pass(at).unwrap_err(), Shut::Limited(at + 2 * PAUSE_FIRST));
}

#[test]
fn probes_take_turns_between_new_commands_and_those_that_were_refused() {
    let mut now = Instant::now();
    let gate = Gate::new(1_000_000, now);
    gate.pass(now).unwrap().say(refused(None), now);
    let first = gate.wait_in_line(Place { last_call: Some(now), sequence: 1 });
    let second = gate.wait_in_line(Place { last_call: Some(now + ms(1)), sequence: 2 });
    let mut order = Vec::new();
    for _ in 0..4 {
        // All of them have asked for a permit, and got the time of the next one.
        let Err(Shut::Broken(until)) = gate.pass(now) else { panic!("expected a pause") };
        now = until;
        let (probe, name) = if let Ok(probe) = second.pass(now) {
            (probe, "second")
        } else if let Ok(probe) = first.pass(now) {
            (probe, "first")
        } else {
            (gate.pass(now).unwrap(), "new")
        };
        order.push(name);
        probe.say(refused(None), now);
    }
    assert_eq!(order, ["new", "first", "new", "first"]);
    // It was refused, so the other one has waited longer by now. A loop without a command delays no one.
    drop(first);
    let first = gate.wait_in_line(Place { last_call: Some(now), sequence: 1 });
    gate.loop_rests();
    let Err(Shut::Broken(until)) = second.pass(now) else { panic!("expected a pause") };
    assert_eq!(first.pass(until).unwrap_err(), Shut::Probing);
    second.pass(until).unwrap().say(refused(None), until);
    drop(second);
    let Err(Shut::Broken(until)) = first.pass(until) else { panic!("expected a pause") };
    assert!(first.pass(until).is_ok());
}
