//! Listings by customer, and of what begins a message.

use jiff::{Span, Timestamp};
use proptest::prelude::{Strategy, any};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use timeline::row::{Pointer, Row, RowKind, StreamNumber};
use timeline::store::{BATCH_ROWS_MAX, Listing, Place, Store};

use crate::engine::Engine;
use crate::sample::{Sample, at, batch, command, customer, event, row, sequences};

const NUMBER: &str = "4915112345678";

fn all(limit: usize) -> Listing {
    Listing { since: Timestamp::MIN, until: Timestamp::MAX, after: None, limit }
}

/// Which listing.
#[derive(Debug, Clone, Copy)]
enum Which {
    Customer,
    Channel,
    AllChannels,
}

async fn page(store: &dyn Store, which: Which, listing: Listing) -> Vec<Row> {
    let page = match which {
        Which::Customer => store.of_recipient(customer(NUMBER), listing).await,
        Which::Channel => store.beginnings(Some("sales".to_owned()), listing).await,
        Which::AllChannels => store.beginnings(None, listing).await,
    };
    page.unwrap()
}

/// Every page, one after the other.
async fn pages(store: &dyn Store, which: Which, mut listing: Listing) -> Vec<Row> {
    let mut rows = Vec::new();
    loop {
        let page = page(store, which, listing).await;
        assert!(page.len() <= listing.limit);
        let Some(last) = page.last() else { return rows };
        listing.after = Some(Place::of(last));
        rows.extend(page);
    }
}

pub(crate) async fn a_customers_rows_are_listed_newest_first(engine: &dyn Engine) {
    let store = engine.open().await;
    let rows = [event(1, 0).to(NUMBER), event(2, 1).to("other"), event(3, 2), event(4, 86_400).to(NUMBER)];
    store.append(batch(rows)).await.unwrap();
    store.append(batch([command(9, 3).to(NUMBER)])).await.unwrap();
    let listed = page(&*store, Which::Customer, all(10)).await;
    assert_eq!(sequences(&listed), [4, 9, 1]);
    let between = Listing { since: at(0), until: at(3), after: None, limit: 10 };
    assert_eq!(
        sequences(&page(&*store, Which::Customer, between).await),
        [1],
        "since is in it, until is not"
    );
    assert!(page(&*store, Which::Customer, all(0)).await.is_empty());
    let unknown = store.of_recipient(customer("none"), all(10)).await.unwrap();
    assert!(unknown.is_empty());
}

pub(crate) async fn thousands_of_rows_of_one_customer_are_listed_in_pages(engine: &dyn Engine) {
    let store = engine.open().await;
    let mut sequence = 0;
    for days in [2, 0, 1] {
        let rows = (0..BATCH_ROWS_MAX).map(|_| {
            sequence += 1;
            // Several rows have the same time.
            event(sequence, days * 86_400 + i64::try_from(sequence / 5).unwrap()).to(NUMBER)
        });
        store.append(batch(rows)).await.unwrap();
    }
    let first = page(&*store, Which::Customer, all(100)).await;
    assert_eq!(first.len(), 100);
    let listed = pages(&*store, Which::Customer, all(997)).await;
    assert_eq!(listed.len(), 3 * BATCH_ROWS_MAX);
    assert!(listed.windows(2).all(|pair| Place::of(&pair[0]) > Place::of(&pair[1])));
}

pub(crate) async fn beginnings_are_commands_and_messages_of_a_channel_or_of_all(engine: &dyn Engine) {
    let store = engine.open().await;
    let events = [
        event(1, 0).kind(RowKind::Message),
        event(2, 1),
        event(3, 2).kind(RowKind::Result),
        event(4, 90_000).kind(RowKind::Message).channel("support"),
    ];
    store.append(batch(events)).await.unwrap();
    store.append(batch([command(11, 1), command(12, 2).channel("support")])).await.unwrap();
    assert_eq!(sequences(&page(&*store, Which::AllChannels, all(10)).await), [4, 12, 11, 1]);
    assert_eq!(sequences(&page(&*store, Which::Channel, all(10)).await), [11, 1]);
    assert_eq!(sequences(&page(&*store, Which::AllChannels, all(2)).await), [4, 12]);
    assert!(store.beginnings(Some("' OR 1=1 --".to_owned()), all(10)).await.unwrap().is_empty());
    // A place that is no row's, as a forged cursor has it.
    let pointer = Pointer { stream: StreamNumber::DeadLetters, sequence: u64::MAX, part: u32::MAX };
    let after = Some(Place { stored_at: at(1), pointer });
    assert_eq!(sequences(&page(&*store, Which::AllChannels, Listing { after, ..all(10) }).await), [11, 1]);
    let after = Some(Place { stored_at: Timestamp::MIN, pointer });
    assert!(page(&*store, Which::AllChannels, Listing { after, ..all(10) }).await.is_empty());
}

/// A row of a generated listing: stream, seconds, channel and customer.
type Spot = (usize, i64, bool, bool);

pub(crate) async fn pages_have_no_duplicates_and_no_holes(engine: &dyn Engine) {
    let store = engine.open().await;
    let spots = proptest::collection::vec((0..4usize, 0..200_000i64, any::<bool>(), any::<bool>()), 1..60);
    let cases = (spots, 1..9usize, 0..200_000i64, 0..200_000i64);
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    // The rows of all cases are in one store: each is a case over what the ones before have left.
    let mut stored: Vec<Row> = Vec::new();
    for _ in 0..runner.config().cases {
        let (spots, limit, since, until): (Vec<Spot>, usize, i64, i64) =
            cases.new_tree(&mut runner).unwrap().current();
        stored.extend(store_spots(&*store, &spots, stored.len()).await);
        let range = Listing { since: at(since), until: at(until), after: None, limit };
        for which in [Which::Customer, Which::Channel, Which::AllChannels] {
            let mut expected: Vec<&Row> = stored.iter().filter(|row| is_in(row, which, &range)).collect();
            expected.sort_unstable_by_key(|row| std::cmp::Reverse(Place::of(row)));
            let listed = pages(&*store, which, range).await;
            assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{which:?} {range:?} {spots:?}");
        }
    }
}

async fn store_spots(store: &dyn Store, spots: &[Spot], before: usize) -> Vec<Row> {
    let mut stored = Vec::new();
    for (number, (stream, seconds, is_sales, is_customer)) in spots.iter().enumerate() {
        let sequence = u64::try_from(before + number + 1).unwrap();
        let stream = StreamNumber::ALL[*stream];
        // Times repeat, so that the order of streams and sequences counts.
        let time = at(seconds / 5000 * 5000) + Span::new().nanoseconds(seconds % 3);
        let mut sample = row(stream, sequence, time);
        if *is_customer {
            sample = sample.to(NUMBER);
        }
        if !is_sales {
            sample = sample.channel("support");
        }
        stored.push(Row::clone(&sample.0.row));
        store.append(batch([Sample(sample.0)])).await.unwrap();
    }
    stored
}

fn is_in(row: &Row, which: Which, range: &Listing) -> bool {
    let is_beginning = matches!(row.kind, RowKind::Command | RowKind::Message);
    let is_asked = match which {
        Which::Customer => row.recipient.is_some(),
        Which::Channel => is_beginning && row.channel == "sales",
        Which::AllChannels => is_beginning,
    };
    is_asked && row.stored_at >= range.since && row.stored_at < range.until
}
