//! Removal of what is older than the retention.

use timeline::row::StreamNumber;
use timeline::rules::{Judged, RuleName};
use timeline::store::Expired;

use crate::engine::Engine;
use crate::sample::{MANY, at, batch, command, event, found, position, sequences};

/// Seconds of a day.
const DAY: i64 = 86_400;

pub(crate) async fn days_before_a_time_are_removed_whole(engine: &dyn Engine) {
    let store = engine.open().await;
    let rows = (0..5).map(|day| event(u64::try_from(day).unwrap() + 1, day * DAY).id("m-1").to("1"));
    store.append(batch(rows)).await.unwrap();
    // The day of the time stays: it does not end before it.
    assert_eq!(store.expire(at(2 * DAY)).await.unwrap(), Expired { days: 2, expectations: 0 });
    assert_eq!(store.expire(at(2 * DAY)).await.unwrap(), Expired::default());
    assert_eq!(sequences(&found(&*store, "m-1").await), [3, 4, 5]);
    drop(store);
    let store = engine.open().await;
    assert_eq!(sequences(&found(&*store, "m-1").await), [3, 4, 5]);
    // A row of a removed day is stored again, and removed again.
    store.append(batch([command(1, 0).id("m-1")])).await.unwrap();
    assert_eq!(sequences(&found(&*store, "m-1").await), [1, 3, 4, 5]);
    assert_eq!(store.expire(at(10 * DAY)).await.unwrap().days, 4);
    assert!(found(&*store, "m-1").await.is_empty());
}

pub(crate) async fn positions_outlive_their_rows(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([event(7, 0)])).await.unwrap();
    store.append(batch([command(9, DAY)])).await.unwrap();
    let expected = [position(StreamNumber::Events, 7, at(0)), position(StreamNumber::Commands, 9, at(DAY))];
    store.expire(at(DAY)).await.unwrap();
    assert_eq!(store.positions().await.unwrap(), expected);
    assert_eq!(engine.killed().await.positions().await.unwrap(), expected);
    store.expire(at(10 * DAY)).await.unwrap();
    drop(store);
    let store = engine.open().await;
    assert_eq!(store.positions().await.unwrap(), expected);
    store.append(batch([event(8, 20 * DAY)])).await.unwrap();
    assert_eq!(store.positions().await.unwrap()[0].sequence, 8);
}

pub(crate) async fn old_expectations_are_removed(engine: &dyn Engine) {
    let store = engine.open().await;
    let rows = [
        command(1, 0).expects(RuleName::NoResult, "c-1"),
        command(2, DAY).expects(RuleName::NoResult, "c-2"),
    ];
    store.append(batch(rows)).await.unwrap();
    let judged = vec![Judged::everywhere(RuleName::NoResult, at(30 * DAY))];
    assert_eq!(store.overdue_counts(judged.clone()).await.unwrap()[0].count, 2);
    assert_eq!(store.expire(at(DAY)).await.unwrap(), Expired { days: 1, expectations: 1 });
    assert_eq!(store.overdue_counts(judged).await.unwrap()[0].count, 1);
    assert_eq!(
        store.find(vec![crate::sample::key("c-2")], MANY).await.unwrap().rows.len(),
        0,
        "it has no such id"
    );
}
