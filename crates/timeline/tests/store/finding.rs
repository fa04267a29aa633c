//! Look-ups by id.

use jiff::Timestamp;
use timeline::row::{IdKind, StreamNumber};
use timeline::store::{End, Listing, SequenceQuery};

use crate::engine::Engine;
use crate::sample::{MANY, at, batch, command, event, found, key, row, sequences};

pub(crate) async fn rows_are_found_by_any_id_oldest_first_and_once(engine: &dyn Engine) {
    let store = engine.open().await;
    let result = [
        event(8, 20).id("m-1").link(IdKind::Command, "c-1"),
        event(8, 20).part(1).id("m-1").link(IdKind::Command, "c-1").link(IdKind::Stored, "m-1"),
    ];
    store.append(batch(result)).await.unwrap();
    store
        .append(batch([command(3, 10).link(IdKind::Command, "c-1"), command(4, 86_400).id("m-1")]))
        .await
        .unwrap();
    let both = store.find(vec![key("m-1"), key("c-1"), key("m-1")], MANY).await.unwrap();
    let pointers: Vec<_> = both.rows.iter().map(|row| (row.pointer.sequence, row.pointer.part)).collect();
    assert_eq!(pointers, [(3, 0), (8, 0), (8, 1), (4, 0)]);
    assert_eq!(sequences(&found(&*store, "c-1").await), [3, 8, 8]);
}

pub(crate) async fn more_rows_than_the_limit_are_cut(engine: &dyn Engine) {
    let store = engine.open().await;
    // Two days, and the later rows were stored first.
    store.append(batch((1..=10).map(|number| event(number, 86_400).id("m-1")))).await.unwrap();
    let older = (1..=10).map(|number| command(number, i64::try_from(20 - number).unwrap()).id("m-1"));
    store.append(batch(older)).await.unwrap();
    for limit in [0, 1, 9, 10, 11, 19, 20, 21] {
        let found = store.find(vec![key("m-1")], limit).await.unwrap();
        assert_eq!((found.rows.len(), found.is_cut), (limit.min(20), limit < 20), "{limit}");
        assert!(found.rows.is_sorted_by_key(|row| (row.stored_at, row.pointer)));
        assert!(found.rows.iter().take(10).all(|row| row.pointer.stream == StreamNumber::Commands));
    }
}

pub(crate) async fn keys_that_no_row_has_find_nothing(engine: &dyn Engine) {
    let store = engine.open().await;
    assert!(found(&*store, "m-1").await.is_empty(), "nothing is stored at all");
    store.append(batch([event(1, 0).id("m-1"), event(2, 86_400).id("m-2")])).await.unwrap();
    assert!(found(&*store, "m-3").await.is_empty());
    let nothing = store.find(Vec::new(), MANY).await.unwrap();
    assert!(nothing.rows.is_empty() && !nothing.is_cut);
}

pub(crate) async fn ids_of_any_bytes_are_found(engine: &dyn Engine) {
    let store = engine.open().await;
    let long = "x".repeat(100_000);
    let ids = ["", " ", "\u{0}", "' OR 1=1 --", "../../etc", "%00", "WEBHOOKS/123", "\u{1b}[2J", "ü☎", &long];
    for (number, id) in (1..).zip(ids) {
        store.append(batch([event(number, 0).id(id).id(id)])).await.unwrap();
    }
    for (number, id) in (1..).zip(ids) {
        assert_eq!(sequences(&found(&*store, id).await), [number], "{id:?}");
    }
}

pub(crate) async fn look_ups_and_batches_run_at_the_same_time(engine: &dyn Engine) {
    let store = engine.open().await;
    let write = |stream: StreamNumber| {
        let store = &store;
        async move {
            for number in 1..=40 {
                let time = at(i64::try_from(number).unwrap() * 9000);
                store.append(batch([row(stream, number, time).id("m-1")])).await.unwrap();
            }
        }
    };
    let read = async {
        let mut last = 0;
        while last < 160 {
            let rows = found(&*store, "m-1").await;
            assert!(rows.len() >= last, "a row that was found is found again");
            assert!(rows.is_sorted_by_key(|row| (row.stored_at, row.pointer)));
            last = rows.len();
        }
    };
    futures_util::future::join(futures_util::future::join_all(StreamNumber::ALL.map(write)), read).await;
}

pub(crate) async fn lists_are_read_without_bodies(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([command(1, 0).id("m-1").to("7").body("{\"text\":\"***\"}")])).await.unwrap();
    assert_eq!(found(&*store, "m-1").await[0].body, "{\"text\":\"***\"}");
    let brief = store.find_brief(vec![key("m-1")], MANY).await.unwrap();
    let all = Listing { since: Timestamp::MIN, until: Timestamp::MAX, after: None, limit: MANY };
    let of_recipient = store.of_recipient(crate::sample::customer("7"), all).await.unwrap();
    let beginnings = store.beginnings(None, all).await.unwrap();
    for rows in [brief.rows, of_recipient, beginnings] {
        assert_eq!((rows.len(), rows[0].body.as_str()), (1, ""));
    }
}

pub(crate) async fn rows_are_read_by_their_sequences_from_both_ends(engine: &dyn Engine) {
    let store = engine.open().await;
    let days = [0, 0, 1, 1, 2].map(|day| day * 86_400);
    let rows = days.iter().zip(1..).map(|(seconds, number)| event(number * 10, *seconds + number as i64));
    store.append(batch(rows)).await.unwrap();
    store.append(batch([command(20, 0)])).await.unwrap();
    let query = SequenceQuery {
        stream: StreamNumber::Events,
        after: 10,
        since: Timestamp::MIN,
        from: End::Oldest,
        limit: 3,
    };
    let read = async |query: SequenceQuery| sequences(&store.by_sequence(query).await.unwrap());
    assert_eq!(read(query).await, [20, 30, 40]);
    assert_eq!(read(SequenceQuery { from: End::Newest, ..query }).await, [50, 40, 30]);
    assert_eq!(read(SequenceQuery { since: at(86_400), limit: 9, ..query }).await, [30, 40, 50]);
    assert_eq!(read(SequenceQuery { after: 50, ..query }).await, [0; 0]);
}
