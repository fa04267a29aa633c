//! A server that is stopped, killed or out of reach.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use timeline::row::StreamNumber;
use timeline::store::error::StoreFault;
use timeline::store::postgres::PostgresStore;
use timeline::store::{Batch, SharedStore as _, Store as _};

use crate::postgres::database::Server;
use crate::sample::{Sample, batch, event, key, keys, sequences};

/// Rows of a batch.
const BATCH_ROWS: u32 = 20;

fn rows_of(number: u64) -> Batch {
    let seconds = i64::try_from(number).unwrap() * 1000;
    batch((0..BATCH_ROWS).map(|part| event(number, seconds).part(part).id("m-1")).collect::<Vec<Sample>>())
}

/// What [`store_until`] did.
struct Stored {
    /// How often a batch failed.
    failures: usize,
    /// The number of the last batch.
    last: u64,
}

/// Stores batches from a number on, each until it is stored, as a reader does, until `is_done`.
async fn store_until(store: &PostgresStore, first: u64, is_done: &AtomicBool) -> Stored {
    let mut stored = Stored { failures: 0, last: first - 1 };
    while !is_done.load(Relaxed) {
        while let Err(error) = store.append(rows_of(stored.last + 1)).await {
            assert_eq!(error.fault(), StoreFault::Unavailable, "{error}");
            stored.failures += 1;
            tokio::task::yield_now().await;
        }
        stored.last += 1;
    }
    stored
}

async fn holds(store: &PostgresStore, last: u64) {
    let rows = sequences(&store.find(vec![key("m-1")], usize::MAX - 1).await.unwrap().rows);
    let expected: Vec<u64> = (1..=last).flat_map(|number| [number; BATCH_ROWS as usize]).collect();
    assert!(rows == expected, "{} rows, not {}", rows.len(), expected.len());
    let positions = store.positions().await.unwrap();
    assert_eq!((positions[0].stream, positions[0].sequence), (StreamNumber::Events, last));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_or_killed_loses_nothing_and_has_nothing_twice() {
    let mut server = Server::start().await;
    let store = PostgresStore::open(&server.postgres.url("postgres"), &keys()).await.unwrap();
    store.append(rows_of(1)).await.unwrap();
    // While the store is idle.
    server.postgres.stop().await;
    let error = store.append(rows_of(2)).await.unwrap_err();
    assert_eq!(error.fault(), StoreFault::Unavailable, "{error}");
    assert!(store.find(vec![], 1).await.is_err());
    server.postgres.start_again().await.unwrap();
    store.append(rows_of(2)).await.unwrap();
    holds(&store, 2).await;
    let lease = store.lease(StreamNumber::Events).await.unwrap().unwrap();
    // In the middle of batches.
    let is_done = AtomicBool::new(false);
    let restarts = async {
        for is_killed in [true, false, true] {
            let before = store.positions().await.unwrap()[0].sequence;
            while store.positions().await.is_ok_and(|positions| positions[0].sequence < before + 3) {}
            if is_killed {
                server.postgres.kill().await;
            } else {
                server.postgres.stop().await;
            }
            server.postgres.start_again().await.unwrap();
        }
        is_done.store(true, Relaxed);
    };
    let (stored, ()) = tokio::join!(store_until(&store, 3, &is_done), restarts);
    assert!(stored.failures > 0, "no batch met a restart");
    lease.lost().await;
    holds(&store, stored.last).await;
}

#[tokio::test]
async fn an_error_says_what_to_do_and_no_password() {
    let open = async |url: &str| PostgresStore::open(url, &keys()).await.unwrap_err();
    let refused = open("postgres://u:pass-word@127.0.0.1:1/d").await;
    assert_eq!(refused.fault(), StoreFault::Unavailable);
    let wrong = open("postgres://u:pass-word@127.0.0.1:1/d?sslmode=none").await;
    assert_eq!(wrong.fault(), StoreFault::Refused);
    for error in [refused, wrong] {
        assert!(error.to_string().contains("IMCHANNEL_TIMELINE_URL"), "{error}");
        assert!(!format!("{error} {error:?}").contains("pass-word"));
    }
}
