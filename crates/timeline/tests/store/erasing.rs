//! Erasing the rows of a customer.

use timeline::row::{IdKind, Row, RowKind};
use timeline::rules::{Judged, RuleName};
use timeline::store::{Listing, OverdueQuery, Place, Store};

use crate::engine::Engine;
use crate::sample::{MANY, at, batch, command, customer, event, found, sequences};

const DAY: i64 = 86_400;
const ERASED: &str = "4915112345678";
const OTHER: &str = "4915187654321";

fn everything() -> Listing {
    Listing { since: at(-100 * DAY), until: at(100 * DAY), after: None, limit: MANY }
}

async fn rows_of(store: &dyn Store, number: &str) -> Vec<Row> {
    store.of_recipient(customer(number), everything()).await.unwrap()
}

/// Two customers over two days, who have an id in common.
async fn fill(store: &dyn Store) {
    let commands = [
        command(1, 0).to(ERASED).link(IdKind::Command, "c-1").link(IdKind::Media, "file"),
        command(2, 1).to(OTHER).link(IdKind::Command, "c-2").link(IdKind::Media, "file"),
        command(3, DAY).to(ERASED).link(IdKind::Command, "c-3"),
    ];
    store.append(batch(commands)).await.unwrap();
    let events = [
        event(1, 5).kind(RowKind::Result).link(IdKind::Command, "c-1"),
        event(1, 5).part(1).kind(RowKind::Attempt).link(IdKind::Command, "c-1"),
        event(2, 6).kind(RowKind::Message).to(ERASED).id("m-1"),
        event(3, 7).kind(RowKind::Message).to(OTHER).id("m-2"),
    ];
    store.append(batch(events)).await.unwrap();
}

async fn erase(store: &dyn Store) -> usize {
    let mut rows = rows_of(store, ERASED).await;
    rows.extend(found(store, "c-1").await);
    rows.sort_unstable_by_key(Place::of);
    rows.dedup_by_key(|row| Place::of(row));
    store.erase(rows.iter().map(Place::of).collect()).await.unwrap().rows
}

pub(crate) async fn erased_rows_are_found_nowhere_and_their_neighbors_stay(engine: &dyn Engine) {
    let store = engine.open().await;
    fill(&*store).await;
    assert_eq!(erase(&*store).await, 5);
    drop(store);
    let store = engine.open().await;
    assert!(rows_of(&*store, ERASED).await.is_empty());
    for id in ["c-1", "c-3", "m-1"] {
        assert!(found(&*store, id).await.is_empty(), "{id}");
    }
    assert_eq!(sequences(&found(&*store, "file").await), [2]);
    assert_eq!(sequences(&rows_of(&*store, OTHER).await), [3, 2]);
    let beginnings = store.beginnings(None, everything()).await.unwrap();
    assert_eq!(sequences(&beginnings), [3, 2]);
    let of_channel = store.beginnings(Some("sales".to_owned()), everything()).await.unwrap();
    assert_eq!(sequences(&of_channel), [3, 2]);
    // The positions are kept: nothing is read again.
    assert_eq!(store.positions().await.unwrap().len(), 2);
}

pub(crate) async fn what_is_expected_after_an_erased_row_is_removed(engine: &dyn Engine) {
    let store = engine.open().await;
    let expecting = |sequence, channel: &str, number: &str, id: &str| {
        let row = command(sequence, 0).channel(channel).to(number);
        row.link(IdKind::Command, id).expects(RuleName::NoResult, id)
    };
    let rows = [
        expecting(1, "sales", ERASED, "c-1"),
        expecting(2, "sales", OTHER, "c-2"),
        expecting(3, "support", OTHER, "c-1"),
    ];
    store.append(batch(rows)).await.unwrap();
    let rows = rows_of(&*store, ERASED).await;
    let erased = store.erase(rows.iter().map(Place::of).collect()).await.unwrap();
    assert_eq!((erased.rows, erased.expectations), (1, 1));
    let judged = vec![Judged::everywhere(RuleName::NoResult, at(DAY))];
    let open = store.overdue(OverdueQuery { channel: None, judged, after: None, limit: MANY }).await.unwrap();
    assert_eq!(open.len(), 2, "{open:?}");
}

pub(crate) async fn an_erasure_may_be_made_again_and_a_number_may_come_again(engine: &dyn Engine) {
    let store = engine.open().await;
    fill(&*store).await;
    let places: Vec<Place> = rows_of(&*store, ERASED).await.iter().map(Place::of).collect();
    let elsewhere = Place { stored_at: at(50 * DAY), ..places[0] };
    assert_eq!(store.erase(vec![elsewhere]).await.unwrap().rows, 0);
    assert_eq!(store.erase(places.clone()).await.unwrap().rows, 3);
    assert_eq!(store.erase(places).await.unwrap().rows, 0);
    store
        .append(batch([
            command(4, 2).to(ERASED).link(IdKind::Command, "c-4"),
            command(5, DAY + 1).to(ERASED),
        ]))
        .await
        .unwrap();
    assert_eq!(sequences(&rows_of(&*store, ERASED).await), [5, 4]);
    assert_eq!(sequences(&found(&*store, "c-4").await), [4]);
}
