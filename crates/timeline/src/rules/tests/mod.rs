pub(crate) mod rows;

use std::time::Duration;

use jiff::Timestamp;
use proto::v1::{ReportStatus, SendOutcome};

use super::*;
use crate::rules::table::RULES;
use rows::{
    at, command, command_with_file, dead_letter, fetch, keys, linked, message, report, result, webhook,
};

/// Expectations that a row begins, by rule, with the seconds after which they are overdue.
fn begun(row: &Row) -> Vec<(RuleName, i64)> {
    let seconds = |expected: &Expectation| expected.due.duration_since(expected.since).as_secs();
    follow(row).expected.iter().map(|expected| (expected.rule, seconds(expected))).collect()
}

fn settled(row: &Row) -> Vec<RuleName> {
    follow(row).settled.iter().map(|settled| settled.rule).collect()
}

#[test]
fn every_rule_has_its_place_in_the_table() {
    for (rule, name) in RULES.iter().zip(RuleName::ALL) {
        assert_eq!(rule.name, name);
        assert_eq!(Rule::of(name).name, name);
        assert!(rule.name == RuleName::Delivery || !rule.advice.is_empty(), "{name:?}");
    }
}

#[test]
fn an_accepted_message_needs_a_report() {
    let accepted = result("a", SendOutcome::Accepted, 1, 1.0);
    assert_eq!(begun(&accepted), [(RuleName::NoReport, 15 * 60)]);

    let expected = follow(&accepted).expected.remove(0);
    assert_eq!(expected.key, keys().id("imc-a"));
    for status in
        [ReportStatus::Pending, ReportStatus::Unrecognized, ReportStatus::Failed, ReportStatus::Read]
    {
        let reported = report("a", status, 2, 2.0, 9);
        let settlement = Settlement {
            rule: RuleName::NoReport,
            key: expected.key,
            of: Settled::Id,
            channel: "sales".to_owned(),
        };
        assert!(follow(&reported).settled.contains(&settlement), "{status:?}");
        assert!(is_met_by(RuleName::NoReport, &reported));
    }
    for outcome in [SendOutcome::Rejected, SendOutcome::Expired, SendOutcome::Unknown] {
        assert_eq!(begun(&result("a", outcome, 1, 1.0)), []);
    }
    assert!(!is_met_by(RuleName::NoReport, &accepted));
}

#[test]
fn a_command_needs_a_result_and_a_file_that_it_names_must_be_fetched() {
    let plain = [(RuleName::NoResult, 60), (RuleName::Delivery, 24 * 3600)];
    assert_eq!(begun(&command("a", 1, 0.0)), plain);
    let with_file = [(RuleName::NotFetched, 600), plain[0], plain[1]];
    assert_eq!(begun(&command_with_file("a", "m", 1, 0.0)), with_file);

    let accepted = settled(&result("a", SendOutcome::Accepted, 1, 1.0));
    assert_eq!(accepted, [RuleName::NoResult, RuleName::NoBulkResult]);
    let rejected = [RuleName::NotFetched, RuleName::NoResult, RuleName::Delivery, RuleName::NoBulkResult];
    assert_eq!(settled(&result("a", SendOutcome::Rejected, 1, 1.0)), rejected);
    let letter = linked(dead_letter("COMMANDS/1", 1, 1.0), crate::row::IdKind::Command, "a");
    assert_eq!(settled(&letter), rejected);
    assert_eq!(settled(&dead_letter("WEBHOOKS/1", 1, 1.0)), [], "it is not of a command");

    assert_eq!(settled(&fetch("a", "m", 1, 1.0)), [RuleName::NotFetched]);
    let mut head = fetch("a", "m", 1, 1.0);
    head.summary = "HEAD 0 bytes".to_owned();
    assert_eq!(settled(&head), []);
    for status in [ReportStatus::Delivered, ReportStatus::Read] {
        let all = [RuleName::NoReport, RuleName::NotFetched, RuleName::Delivery];
        assert_eq!(
            settled(&report("a", status, 1, 1.0, 9)),
            all,
            "{status:?} says that the file arrived too"
        );
    }
    assert_eq!(settled(&report("a", ReportStatus::Sent, 1, 1.0, 9)), [RuleName::NoReport]);
}

/// What is stored does not depend on the settings: a list follows a changed setting at once, as the page of a message does.
#[test]
fn the_present_settings_say_what_is_overdue() {
    let mut progress = Progress::default();
    StreamNumber::ALL.into_iter().for_each(|of| progress.of_mut(of).read_until = Some(at(5000.0)));
    let mut settings = RuleSettings::default();
    let accepted = result("a", SendOutcome::Accepted, 1, 4000.0);
    let is_overdue = |settings: &RuleSettings, rule, row: &Row, now| {
        let expected = follow(row).expected.into_iter().find(|expected| expected.rule == rule).unwrap();
        let all = judged(&progress, Some(at(5000.0)), settings, at(now));
        let until = all.iter().find(|of| of.rule == rule).unwrap().until_in("sales");
        let after = settings.after(Rule::of(rule), "sales");
        assert_eq!(expected.due <= until, later(expected.since, after) <= at(now), "as the page judges");
        expected.due <= until
    };
    let reported = |settings: &RuleSettings, now| is_overdue(settings, RuleName::NoReport, &accepted, now);
    assert!(!reported(&settings, 4899.9) && reported(&settings, 4900.0));
    settings.times.report_after = Duration::from_secs(300);
    assert!(!reported(&settings, 4299.9) && reported(&settings, 4300.0));
    for seconds in [90, 950] {
        settings.report_after.insert("sales".to_owned(), Duration::from_secs(seconds));
        let due = 4000.0 + seconds as f64;
        assert!(!reported(&settings, due - 0.1) && reported(&settings, due), "{seconds}");
    }
    settings.times.fetch_after = Duration::from_secs(5);
    settings.times.result_after = Duration::from_secs(120);
    let command = command_with_file("a", "m", 1, 4000.0);
    for (rule, after) in [(RuleName::NotFetched, 5.0), (RuleName::NoResult, 120.0)] {
        let is_overdue = |now| is_overdue(&settings, rule, &command, now);
        assert!(!is_overdue(4000.0 + after - 0.1) && is_overdue(4000.0 + after), "{rule:?}");
    }
}

#[test]
fn rows_of_customers_and_webhooks_begin_and_end_nothing() {
    for row in [webhook(1, 0.0), message("wamid.x", 1, 0.0, 1)] {
        assert_eq!(follow(&row), Followed::default());
    }
}

#[test]
fn a_replayed_row_ends_expectations_and_begins_none() {
    let mut replayed = report("a", ReportStatus::Delivered, 1, 1.0, 9);
    replayed.is_replayed = true;
    assert_eq!(settled(&replayed).len(), 3);
    let mut again = command("a", 1, 0.0);
    again.is_replayed = true;
    assert_eq!(begun(&again), []);
}

#[test]
fn nothing_is_judged_for_a_time_that_one_of_its_streams_was_not_read() {
    let all = |progress: &Progress, reports_until: Option<Timestamp>, now: f64| {
        let judged = judged(progress, reports_until, &RuleSettings::default(), at(now));
        judged.into_iter().map(|judged| (judged.rule, judged.until)).collect::<Vec<_>>()
    };
    let mut progress = Progress::default();
    let finished = Some(at(300.0));
    assert_eq!(all(&progress, finished, 100.0), []);
    progress.of_mut(StreamNumber::Events).read_until = Some(at(50.0));
    assert_eq!(all(&progress, finished, 100.0), [(RuleName::NoReport, at(50.0))]);
    assert_eq!(all(&progress, Some(at(7.0)), 100.0), [(RuleName::NoReport, at(7.0))], "a webhook waits");
    assert_eq!(all(&progress, None, 100.0), []);
    progress.of_mut(StreamNumber::Commands).read_until = Some(at(40.0));
    progress.of_mut(StreamNumber::DeadLetters).read_until = Some(at(200.0));
    let expected = [
        (RuleName::NoReport, at(50.0)),
        (RuleName::NotFetched, at(40.0)),
        (RuleName::NoResult, at(40.0)),
        (RuleName::NoBulkResult, at(40.0)),
    ];
    assert_eq!(all(&progress, finished, 100.0), expected);
    assert_eq!(all(&progress, finished, 10.0)[0].1, at(10.0), "and not for a time to come");
}

#[test]
fn the_time_to_delivery_is_that_of_the_command_in_its_channel() {
    let sent = command("a", 1, 0.0);
    let expected = follow(&sent).expected;
    let delivery = expected.iter().find(|one| one.rule == RuleName::Delivery).expect("it begins");
    let delivered = report("a", ReportStatus::Delivered, 2, 2.5, 9);
    assert_eq!(delivered_after(delivery, &delivered), Some(Duration::from_millis(2500)));
    assert_eq!(delivered_after(&expected[0], &delivered), None, "another rule");
    assert_eq!(delivered_after(delivery, &report("a", ReportStatus::Failed, 2, 2.5, 9)), None);
    assert_eq!(delivered_after(delivery, &report("b", ReportStatus::Delivered, 2, 2.5, 9)), None);
    let mut elsewhere = delivered.clone();
    elsewhere.channel = "support".to_owned();
    assert_eq!(delivered_after(delivery, &elsewhere), None);
}

/// A command that is answered after a time, as the store says that it was.
fn answered(times: &mut LaneTimes, number: u64, seconds: f64, is_bulk: bool, outcome: SendOutcome) {
    let id = format!("c-{number}-{is_bulk}");
    let mut sent = command(&id, number, 0.0);
    sent.is_bulk = is_bulk;
    let rule = if is_bulk { RuleName::NoBulkResult } else { RuleName::NoResult };
    let expected = follow(&sent).expected;
    let met = expected.into_iter().find(|one| one.rule == rule).expect("it begins");
    times.observe(&met, &result(&id, outcome, number, seconds));
}

fn lane(is_bulk: bool) -> Lane {
    Lane { channel: "sales".to_owned(), is_bulk }
}

#[test]
fn a_slow_lane_gets_more_time_for_its_results() {
    let mut times = LaneTimes::default();
    for number in 0..100 {
        answered(&mut times, number, 0.5, false, SendOutcome::Accepted);
        let slow = if number % 10 == 0 { 100.0 } else { 1.0 };
        answered(&mut times, number, slow, true, SendOutcome::Accepted);
        answered(&mut times, number + 1000, 80_000.0, false, SendOutcome::Expired);
    }
    let after = times.result_after();
    assert_eq!(after.keys().collect::<Vec<_>>(), [&lane(true)]);
    let settings = RuleSettings { result_after: after, ..RuleSettings::default() };
    let mut campaign = command("x", 1, 0.0);
    assert_eq!(begun(&campaign)[0], (RuleName::NoResult, 60));
    campaign.is_bulk = true;
    let stored = [(RuleName::Delivery, 24 * 3600), (RuleName::NoBulkResult, 60)];
    assert_eq!(begun(&campaign), stored, "the usual time counts when it is judged");
    let usual = settings.after(Rule::of(RuleName::NoBulkResult), "sales");
    assert!((400..=4 * 200).contains(&usual.as_secs()), "{usual:?}");
    let mut progress = Progress::default();
    StreamNumber::ALL.into_iter().for_each(|of| progress.of_mut(of).read_until = Some(at(5000.0)));
    let all = judged(&progress, None, &settings, at(5000.0));
    let until = |rule| all.iter().find(|of| of.rule == rule).map(|of| of.until_in("sales"));
    assert_eq!(until(RuleName::NoResult), Some(at(5000.0)));
    assert_eq!(until(RuleName::NoBulkResult), Some(at(5060.0 - usual.as_secs_f64())));
}

#[test]
fn a_lane_that_became_fast_again_loses_its_long_time_and_none_is_longer_than_its_limit() {
    let mut times = LaneTimes::default();
    let mut observe = |number: u64, seconds: f64| {
        answered(&mut times, number, seconds, false, SendOutcome::Accepted);
        times.result_after().get(&lane(false)).copied()
    };
    assert_eq!((0..19).filter_map(|number| observe(number, 9000.0)).count(), 0, "too few to say");
    assert_eq!(observe(19, 9000.0), Some(RESULT_AFTER_MAX));
    assert_eq!((20..2000).map(|number| observe(number, 1.0)).last(), Some(None));
}

#[test]
fn a_campaign_that_takes_longer_than_its_lane_usually_does_is_not_late_while_it_is_sent() {
    let mut times = LaneTimes::default();
    for number in 0..500 {
        answered(&mut times, number, 5.0, true, SendOutcome::Accepted);
    }
    // 3,000 commands at once, of which one is sent every 10 s: the last one waits for more than eight hours.
    for number in 0..3000_u64 {
        let waited = number as f64 * 10.0;
        let next = Duration::from_secs(number * 10 + 10);
        let after = times.result_after().get(&lane(true)).copied().unwrap_or_default().max(RESULT_AFTER);
        assert!(next <= after || number < 6, "command {number} is late after {after:?}");
        answered(&mut times, number, waited, true, SendOutcome::Accepted);
    }
}
