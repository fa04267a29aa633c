//! What is expected after rows, and what is overdue.

use proto::v1::{ReportStatus, SendOutcome};
use timeline::row::{RowKind, Status};
use timeline::rules::{Expectation, Judged, RuleName};
use timeline::store::{OVERDUE_COUNTED_MAX, OverdueCount, OverdueQuery, Store};

use crate::engine::Engine;
use crate::sample::{MANY, Sample, at, batch, command, event, key};

/// Seconds of a day.
const DAY: i64 = 86_400;

fn query(rule: RuleName, until: i64) -> OverdueQuery {
    OverdueQuery {
        channel: None,
        judged: vec![Judged::everywhere(rule, at(until))],
        after: None,
        limit: MANY,
    }
}

/// Everything that a rule still expects.
async fn open(store: &dyn Store, rule: RuleName) -> Vec<Expectation> {
    store.overdue(query(rule, 1000 * DAY)).await.unwrap()
}

fn report(sequence: u64, seconds: i64, id: &str) -> Sample {
    event(sequence, seconds)
        .id(id)
        .status(Status::Report(ReportStatus::Delivered))
        .settles(RuleName::NoReport, id)
        .settles(RuleName::Delivery, id)
}

fn result(sequence: u64, seconds: i64, id: &str) -> Sample {
    event(sequence, seconds)
        .id(id)
        .kind(RowKind::Result)
        .status(Status::Outcome(SendOutcome::Accepted))
        .expects(RuleName::NoReport, id)
}

pub(crate) async fn a_row_meets_what_was_expected(engine: &dyn Engine) {
    let store = engine.open().await;
    let sent = command(1, 0).id("m-1").expects(RuleName::Delivery, "m-1").expects(RuleName::NoReport, "m-1");
    assert_eq!(store.append(batch([sent])).await.unwrap().met, []);
    assert_eq!(open(&*store, RuleName::Delivery).await.len(), 1);
    drop(store);
    let store = engine.open().await;
    let met = store.append(batch([report(1, 7, "m-1")])).await.unwrap().met;
    let of = |rule| Expectation {
        rule,
        key: key("m-1"),
        file: None,
        channel: "sales".to_owned(),
        since: at(0),
        due: at(60),
    };
    assert_eq!(met, [of(RuleName::NoReport), of(RuleName::Delivery)]);
    assert!(open(&*store, RuleName::NoReport).await.is_empty());
    assert_eq!(store.append(batch([report(2, 8, "m-1")])).await.unwrap().met, [], "it is met once");
}

pub(crate) async fn a_row_that_came_first_meets_what_is_expected_later(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([report(1, 9, "m-1")])).await.unwrap();
    store.append(batch([report(2, DAY, "m-2")])).await.unwrap();
    let sent = |sequence, id: &str| {
        command(sequence, 0).id(id).expects(RuleName::NoReport, id).expects(RuleName::Delivery, id)
    };
    let rows = [sent(1, "m-1"), sent(2, "m-2"), sent(3, "m-3")];
    let appended = store.append(batch(rows)).await.unwrap();
    assert_eq!((appended.rows, appended.met.len()), (3, 0));
    for rule in [RuleName::NoReport, RuleName::Delivery] {
        let keys: Vec<_> = open(&*store, rule).await.into_iter().map(|expectation| expectation.key).collect();
        assert_eq!(keys, [key("m-3")], "{rule:?}");
    }
}

pub(crate) async fn a_row_of_the_same_batch_meets_in_both_orders(engine: &dyn Engine) {
    let store = engine.open().await;
    let rows = [
        result(1, 0, "m-1"),
        report(2, 1, "m-1"),
        report(3, 2, "m-2"),
        result(4, 3, "m-2"),
        result(5, 4, "m-3"),
    ];
    let met = store.append(batch(rows)).await.unwrap().met;
    assert_eq!(met.iter().map(|expectation| expectation.key).collect::<Vec<_>>(), [key("m-1")]);
    let open = open(&*store, RuleName::NoReport).await;
    assert_eq!(open.iter().map(|expectation| expectation.key).collect::<Vec<_>>(), [key("m-3")]);
}

pub(crate) async fn a_report_from_the_day_before_meets_what_a_late_result_expects(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([report(1, 0, "m-1")])).await.unwrap();
    store.append(batch([result(2, 20 * 3600, "m-1")])).await.unwrap();
    assert!(open(&*store, RuleName::NoReport).await.is_empty());
}

pub(crate) async fn what_is_expected_twice_is_there_once(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([result(1, 0, "m-1"), result(2, 1, "m-1")])).await.unwrap();
    store.append(batch([result(3, 2, "m-1")])).await.unwrap();
    let open = open(&*store, RuleName::NoReport).await;
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].since, at(0), "since it was expected first");
}

pub(crate) async fn what_was_met_is_not_opened_by_the_same_batch_again(engine: &dyn Engine) {
    let store = engine.open().await;
    let first = batch([result(1, 0, "m-1"), result(2, 1, "m-2")]);
    let second = batch([report(3, 2, "m-1")]);
    for _ in 0..2 {
        store.append(first.clone()).await.unwrap();
        store.append(second.clone()).await.unwrap();
        assert_eq!(open(&*store, RuleName::NoReport).await.len(), 1);
    }
    let killed = engine.killed().await;
    assert_eq!(killed.append(first).await.unwrap().rows, 0);
    assert_eq!(open(&*killed, RuleName::NoReport).await.len(), 1);
}

pub(crate) async fn channels_with_the_same_ids_are_told_apart(engine: &dyn Engine) {
    let store = engine.open().await;
    let result_of = |sequence, channel: &str| {
        event(sequence, 0).id("m-1").kind(RowKind::Result).channel(channel).expects(RuleName::NoReport, "m-1")
    };
    store.append(batch([report(1, 0, "m-1").channel("support")])).await.unwrap();
    store
        .append(batch([result_of(2, "sales"), result_of(3, "support"), result_of(4, "other")]))
        .await
        .unwrap();
    let channels = |open: Vec<Expectation>| open.into_iter().map(|of| of.channel).collect::<Vec<_>>();
    assert_eq!(
        channels(open(&*store, RuleName::NoReport).await),
        ["other", "sales"],
        "support's was met before"
    );
    let met = store.append(batch([report(5, 1, "m-1").channel("sales")])).await.unwrap().met;
    assert_eq!(channels(met), ["sales"]);
    assert_eq!(channels(open(&*store, RuleName::NoReport).await), ["other"]);
}

pub(crate) async fn a_row_whose_channel_is_not_known_meets_any(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([result(1, 0, "m-1"), result(2, 0, "m-2")])).await.unwrap();
    let met = store.append(batch([report(3, 1, "m-1").channel("")])).await.unwrap().met;
    assert_eq!(met.len(), 1);
    store.append(batch([report(4, 1, "m-3").channel("")])).await.unwrap();
    store.append(batch([result(5, 2, "m-3")])).await.unwrap();
    let open = open(&*store, RuleName::NoReport).await;
    assert_eq!(open.iter().map(|expectation| expectation.key).collect::<Vec<_>>(), [key("m-2")]);
}

pub(crate) async fn overdue_is_what_is_due_by_the_time_that_its_rule_is_judged(engine: &dyn Engine) {
    let store = engine.open().await;
    let rows = [
        command(1, 0).expects_within(RuleName::NoResult, "c-1", 60),
        command(2, 10).channel("support").expects_within(RuleName::NoResult, "c-2", 60),
        command(3, 0).expects_within(RuleName::NoReport, "m-3", 100),
        command(4, 0).expects_within(RuleName::Delivery, "m-4", 0),
    ];
    store.append(batch(rows)).await.unwrap();
    let ids = async |judged: Vec<(RuleName, i64)>, channel: Option<&str>| {
        let judged = judged.into_iter().map(|(rule, until)| Judged::everywhere(rule, at(until))).collect();
        let query = OverdueQuery { channel: channel.map(str::to_owned), judged, after: None, limit: MANY };
        let overdue = store.overdue(query).await.unwrap();
        overdue.into_iter().map(|expectation| expectation.key).collect::<Vec<_>>()
    };
    let (result, report) = (RuleName::NoResult, RuleName::NoReport);
    assert!(ids(vec![], None).await.is_empty());
    assert!(ids(vec![(result, 59), (report, 99)], None).await.is_empty());
    assert_eq!(ids(vec![(result, 60), (report, 99)], None).await, [key("c-1")]);
    assert_eq!(ids(vec![(report, 100), (result, 70)], None).await, [key("c-1"), key("c-2"), key("m-3")]);
    assert_eq!(ids(vec![(report, 100), (result, 70)], Some("support")).await, [key("c-2")]);
    let counts = store
        .overdue_counts(vec![Judged::everywhere(result, at(70)), Judged::everywhere(report, at(99))])
        .await
        .unwrap();
    let count = |channel: &str| OverdueCount { channel: channel.to_owned(), rule: result, count: 1 };
    assert_eq!(counts, [count("sales"), count("support")]);
}

pub(crate) async fn overdue_is_listed_without_duplicates_or_holes(engine: &dyn Engine) {
    let store = engine.open().await;
    // Two rules expect the same id at the same time; others have the same time.
    let rows = (1..=40u64).map(|number| {
        let id = format!("m-{number}");
        let seconds = i64::try_from(number / 4).unwrap();
        let row = command(number, seconds).expects(RuleName::NoReport, &id);
        if number % 3 == 0 { row.expects(RuleName::NotFetched, &id) } else { row }
    });
    store.append(batch(rows)).await.unwrap();
    // The same ids at the same times in other channels.
    let others = (41..=60u64).map(|number| {
        let row = command(number, i64::try_from((number - 40) / 4).unwrap());
        let channel = if number % 2 == 0 { "a" } else { "z" };
        row.channel(channel).expects(RuleName::NoReport, &format!("m-{}", number - 40))
    });
    store.append(batch(others)).await.unwrap();
    for (limit, channel, count) in (1..12).flat_map(|limit| {
        [(limit, Some("sales".to_owned()), 53), (limit, Some("a".to_owned()), 10), (limit, None, 73)]
    }) {
        let judged = vec![
            Judged::everywhere(RuleName::NotFetched, at(DAY)),
            Judged::everywhere(RuleName::NoReport, at(DAY)),
        ];
        let mut query = OverdueQuery { channel, judged, after: None, limit };
        let mut listed: Vec<Expectation> = Vec::new();
        loop {
            let page = store.overdue(query.clone()).await.unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            query.after = Some(last.order());
            listed.extend(page);
        }
        assert_eq!(listed.len(), count, "{limit}");
        assert!(listed.is_sorted_by_key(Expectation::order));
        let distinct: std::collections::BTreeSet<_> = listed.iter().map(Expectation::order).collect();
        assert_eq!(distinct.len(), listed.len());
    }
}

pub(crate) async fn what_a_slow_lane_expects_is_judged_by_its_own_time(engine: &dyn Engine) {
    let store = engine.open().await;
    let rows = [
        command(1, 0).channel("slow").expects(RuleName::NoBulkResult, "c-1"),
        command(2, 0).channel("fast").expects(RuleName::NoBulkResult, "c-2"),
        command(3, 500).channel("slow").expects(RuleName::NoBulkResult, "c-3"),
    ];
    store.append(batch(rows)).await.unwrap();
    let overdue = async |slow: i64| {
        let mut judged = Judged::everywhere(RuleName::NoBulkResult, at(1000));
        judged.channels.insert("slow".to_owned(), at(slow));
        let counts = store.overdue_counts(vec![judged.clone()]).await.unwrap();
        let query = OverdueQuery { channel: None, judged: vec![judged], after: None, limit: MANY };
        let listed = store.overdue(query).await.unwrap();
        assert_eq!(counts.iter().map(|count| count.count).sum::<u64>(), listed.len() as u64);
        listed.into_iter().map(|of| of.channel).collect::<Vec<_>>()
    };
    assert_eq!(overdue(59).await, ["fast"]);
    let mut two = overdue(60).await;
    two.sort_unstable();
    assert_eq!(two, ["fast", "slow"]);
    assert_eq!(overdue(560).await.len(), 3);
}

pub(crate) async fn a_fetch_meets_every_message_with_its_file(engine: &dyn Engine) {
    let store = engine.open().await;
    let with_file =
        |sequence, id: &str| command(sequence, 0).expects(RuleName::NotFetched, id).of_file("f-1");
    let other = command(3, 0).expects(RuleName::NotFetched, "c-3").of_file("f-2");
    let mut elsewhere = with_file(4, "c-1").channel("support");
    "support".clone_into(&mut elsewhere.0.expected[0].channel);
    store.append(batch([with_file(1, "c-1"), with_file(2, "c-2"), other, elsewhere])).await.unwrap();
    assert_eq!(open(&*store, RuleName::NotFetched).await.len(), 4);
    let fetched = event(1, 5).kind(RowKind::Fetch).settles_file(RuleName::NotFetched, "f-1");
    store.append(batch([fetched])).await.unwrap();
    let keys = |open: Vec<Expectation>| open.into_iter().map(|of| (of.channel, of.key)).collect::<Vec<_>>();
    let mut rest = vec![("sales".to_owned(), key("c-3")), ("support".to_owned(), key("c-1"))];
    rest.sort_by_key(|(_, key)| *key);
    assert_eq!(keys(open(&*store, RuleName::NotFetched).await), rest);
    drop(store);
    // Also what is sent later, and after a restart.
    let store = engine.open().await;
    store.append(batch([command(5, 9).expects(RuleName::NotFetched, "c-5").of_file("f-1")])).await.unwrap();
    assert_eq!(keys(open(&*store, RuleName::NotFetched).await), rest);
    let met = store.met_files(vec![key("f-1"), key("f-2")]).await.unwrap();
    let met: Vec<_> = met.iter().map(|met| (met.rule, met.file, met.channel.as_str(), met.since)).collect();
    assert_eq!(met, [(RuleName::NotFetched, key("f-1"), "sales", at(5))]);
    store.expire(at(6)).await.unwrap();
    assert_eq!(store.met_files(vec![key("f-1")]).await.unwrap(), []);
}

pub(crate) async fn counting_ends_at_its_limit(engine: &dyn Engine) {
    let store = engine.open().await;
    let mut sequence = 0;
    while sequence < OVERDUE_COUNTED_MAX + 5 {
        let rows = (0..4096).map(|_| {
            sequence += 1;
            command(sequence, 0).expects(RuleName::NoReport, &format!("m-{sequence}"))
        });
        store.append(batch(rows)).await.unwrap();
    }
    let judged = vec![Judged::everywhere(RuleName::NoReport, at(DAY))];
    assert_eq!(store.overdue_counts(judged).await.unwrap()[0].count, OVERDUE_COUNTED_MAX);
}
