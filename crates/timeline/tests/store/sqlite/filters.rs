//! Filters: which files a look-up reads, and what happens to a filter that is missing, old or torn.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use timeline::store::sqlite::SqliteStore;
use timeline::store::{Listing, Store};

use crate::sample::{at, batch, command, customer, event, found, key, sequences};
use crate::sqlite::folder::{Embedded, opened};

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Days of the store.
const DAYS: i64 = 30;
/// Rows of each day, each with an id that no other row has.
const ROWS: i64 = 500;
/// Most files that a look-up reads.
const FILES_MAX: u64 = 3;

fn id(day: i64, number: i64) -> String {
    format!("m-{day}-{number}")
}

async fn store_days(store: &SqliteStore, days: i64) {
    for day in 0..days {
        let rows = (0..ROWS).map(|number| {
            let sequence = u64::try_from(day * ROWS + number + 1).unwrap();
            event(sequence, day * DAY + number).id(&id(day, number)).to(&format!("4915{day:03}{number:04}"))
        });
        store.append(batch(rows)).await.unwrap();
    }
}

/// A store of some days of which all but the last have a filter.
async fn closed(folder: &Embedded, days: i64) -> SqliteStore {
    let store = folder.store().await;
    store_days(&store, days).await;
    let closed = store.close_days(Duration::ZERO).await.unwrap();
    assert_eq!(i64::try_from(closed).unwrap(), days - 1);
    store
}

fn filter(folder: &Embedded, day: u32) -> PathBuf {
    folder.path().join(format!("2026-11-{day}.filter"))
}

/// Files that a look-up reads.
async fn files_of(store: &SqliteStore, id: &str, rows: usize) -> u64 {
    let before = store.files_read();
    assert_eq!(found(store, id).await.len(), rows, "{id}");
    store.files_read() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_over_thirty_days_reads_at_most_three_files() {
    let folder = Embedded::new();
    let store = closed(&folder, DAYS).await;
    for day in 0..DAYS {
        for number in [0, ROWS / 2, ROWS - 1] {
            assert!(files_of(&store, &id(day, number), 1).await <= FILES_MAX);
        }
        let before = store.files_read();
        let all = Listing { since: Timestamp::MIN, until: Timestamp::MAX, after: None, limit: 10 };
        let listed = store.of_recipient(customer(&format!("4915{day:03}0007")), all).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert!(store.files_read() - before <= FILES_MAX);
    }
    drop(store);
    let store = folder.store().await;
    assert!(files_of(&store, &id(3, 3), 1).await <= FILES_MAX, "the filters are used after a start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_wrong_less_than_once_in_a_hundred() {
    let folder = Embedded::new();
    let store = closed(&folder, 2).await;
    let asked = 4000;
    let mut files = 0;
    for number in 0..asked {
        files += files_of(&store, &format!("no-{number}"), 0).await;
    }
    let wrong = files - asked;
    assert!(wrong * 100 < asked, "{wrong} of {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_added_to_a_closed_day_is_found() {
    let folder = Embedded::new();
    let store = closed(&folder, 3).await;
    assert!(filter(&folder, 20).exists());
    store.append(batch([command(1, 7).id("late")])).await.unwrap();
    assert!(!filter(&folder, 20).exists(), "it is of other rows");
    assert_eq!(sequences(&found(&store, "late").await), [1]);
    assert_eq!(store.close_days(Duration::from_secs(3600)).await.unwrap(), 0, "the day was written just now");
    assert_eq!(store.close_days(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(sequences(&found(&store, "late").await), [1]);
    assert!(filter(&folder, 20).exists());
    assert!(!filter(&folder, 22).exists(), "the newest day is not closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_a_power_failure_brought_back_is_not_used() {
    let folder = Embedded::new();
    let store = closed(&folder, 2).await;
    let old = fs::read(filter(&folder, 20)).unwrap();
    store.append(batch([command(1, 7).id("late")])).await.unwrap();
    let copy = folder.copy();
    fs::write(copy.join("2026-11-20.filter"), old).unwrap();
    let store = opened(&copy).await;
    assert_eq!(sequences(&found(&store, "late").await), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_filter_hides_nothing() {
    let folder = Embedded::new();
    let store = closed(&folder, 3).await;
    let path = filter(&folder, 20);
    let whole = fs::read(&path).unwrap();
    let zeros = vec![0; whole.len()];
    let mut head_only = zeros.clone();
    head_only[..64].copy_from_slice(&whole[..64]);
    let mut flipped = whole.clone();
    flipped[9] ^= 1;
    let longer = [whole.clone(), vec![0; 64]].concat();
    for torn in [Vec::new(), whole[..63].to_vec(), whole[..128].to_vec(), zeros, head_only, flipped, longer] {
        // While the store is open its bytes change under it.
        fs::write(&path, &torn).unwrap();
        check_day(&store).await;
        let copy = folder.copy();
        check_day(&opened(&copy).await).await;
    }
    let copy = folder.copy();
    fs::copy(filter(&folder, 21), copy.join("2026-11-20.filter")).unwrap();
    check_day(&opened(&copy).await).await;
}

/// Every row of the first day is found.
async fn check_day(store: &SqliteStore) {
    let keys = (0..ROWS).map(|number| key(&id(0, number))).collect();
    let all = store.find(keys, usize::try_from(ROWS).unwrap()).await.unwrap();
    assert_eq!(all.rows.len(), usize::try_from(ROWS).unwrap());
    for number in (0..ROWS).step_by(25) {
        assert_eq!(found(store, &id(0, number)).await[0].stored_at, at(number));
    }
}
