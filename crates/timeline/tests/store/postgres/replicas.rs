//! Several stores over one database.

use timeline::progress::StreamProgress;
use timeline::row::{Keys, StreamNumber};
use timeline::store::error::StoreFault;
use timeline::store::{SharedStore as _, Store as _, StoreError};

use crate::postgres::database::{Shared, connect, eventually};
use crate::sample::{at, batch, event, found, row, sequences};

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_store_the_same_batches_at_once_store_each_row_once() {
    let database = Shared::new();
    // Both make the schema, and the partitions of each day.
    let (one, other) = tokio::join!(database.store(), database.store());
    let mut stored = 0;
    for number in 1..=20u64 {
        let seconds = i64::try_from(number).unwrap() * 40_000;
        let rows = (0..50).map(|part| event(number, seconds).part(part).id("m-1"));
        let batch = batch(rows);
        let (first, second) = tokio::join!(one.append(batch.clone()), other.append(batch));
        stored += first.unwrap().rows + second.unwrap().rows;
    }
    assert_eq!(stored, 20 * 50);
    let rows = found(&other, "m-1").await;
    assert_eq!(rows.len(), 20 * 50);
    assert!(sequences(&rows).is_sorted());
    let (first, second) = tokio::join!(one.expire(jiff::Timestamp::MAX), other.expire(jiff::Timestamp::MAX));
    // Each dropped what the other had not.
    assert!(first.unwrap().days + second.unwrap().days >= 10);
    assert!(found(&one, "m-1").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_has_the_lease_of_a_stream_until_it_ends() {
    let database = Shared::new();
    let (one, other) = (database.store().await, database.store().await);
    let lease = one.lease(StreamNumber::Events).await.unwrap().unwrap();
    assert!(other.lease(StreamNumber::Events).await.unwrap().is_none());
    assert!(other.lease(StreamNumber::Commands).await.unwrap().is_some());
    drop(lease);
    let lease =
        eventually("the other takes over", async || other.lease(StreamNumber::Events).await.unwrap()).await;
    // The process that has it asks again.
    assert!(other.lease(StreamNumber::Events).await.unwrap().is_none());
    // Its session is lost.
    let end =
        "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted";
    connect(&database.url().await).await.query_one(end, &[]).await.unwrap();
    lease.lost().await;
    drop(lease);
    let again =
        eventually("it has a new session", async || other.lease(StreamNumber::Events).await.ok()?).await;
    assert!(one.lease(StreamNumber::Events).await.unwrap().is_none());
    // The store is closed.
    drop((again, other));
    eventually("the first takes over", async || one.lease(StreamNumber::Events).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_may_erase_until_it_is_done_or_gone() {
    let database = Shared::new();
    let (one, other) = (database.store().await, database.store().await);
    let lease = one.erasing().await.unwrap().unwrap();
    assert!(other.erasing().await.unwrap().is_none());
    assert!(one.erasing().await.unwrap().is_none(), "one erasure at a time in a replica too");
    // Reading is another right.
    assert!(other.lease(StreamNumber::Events).await.unwrap().is_some());
    drop(lease);
    let lease = eventually("the other may erase", async || other.erasing().await.unwrap()).await;
    assert!(one.erasing().await.unwrap().is_none());
    // The replica that has it is killed: its session ends.
    let end =
        "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted AND l.objid = 1002";
    let ended: i64 = connect(&database.url().await).await.query_one(end, &[]).await.unwrap().get(0);
    assert_eq!(ended, 1);
    eventually("the first may erase", async || one.erasing().await.unwrap()).await;
    // The other one learns that it lost the right.
    lease.lost().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_learns_how_far_another_reads_and_which_rows_are_new() {
    let database = Shared::new();
    let (one, other) = (database.store().await, database.store().await);
    let stream = StreamNumber::Events;
    assert_eq!(other.published(stream).await.unwrap(), None);
    let none = StreamProgress { stream, sequence: 0, read_until: None, behind: 5 };
    let later = StreamProgress { sequence: 7, read_until: Some(at(7)), behind: 2, ..none };
    let earlier = StreamProgress { sequence: 8, read_until: Some(at(6)), behind: 1, ..none };
    for (published, seen) in
        [(none, none), (later, later), (earlier, StreamProgress { read_until: Some(at(7)), ..earlier })]
    {
        one.publish(published).await.unwrap();
        assert_eq!(other.published(stream).await.unwrap(), Some(seen));
    }
    assert_eq!(other.published(StreamNumber::Commands).await.unwrap(), None);
    // Rows as they are stored now.
    let now = jiff::Timestamp::now();
    let new = |sequence, part| row(stream, sequence, now).part(part);
    one.append(batch([new(1, 0), new(2, 0), new(2, 1), new(3, 0)])).await.unwrap();
    one.append(batch([row(StreamNumber::Commands, 9, now)])).await.unwrap();
    let after = async |sequence, limit| {
        let rows = other.rows_after(stream, sequence, limit).await.unwrap();
        rows.iter().map(|row| (row.pointer.sequence, row.pointer.part)).collect::<Vec<_>>()
    };
    assert_eq!(after(0, 100).await, [(1, 0), (2, 0), (2, 1), (3, 0)]);
    assert_eq!(after(1, 100).await, [(2, 0), (2, 1), (3, 0)]);
    assert_eq!(after(3, 100).await, []);
    assert_eq!(after(0, 3).await, [(2, 0), (2, 1), (3, 0)]);
    assert_eq!(after(0, 2).await, [(3, 0)], "the rows of one message are not divided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_another_secret_or_an_older_program_is_refused() {
    let database = Shared::new();
    drop(database.store().await);
    let refused = |error: StoreError, text: &str| {
        assert_eq!(error.fault(), StoreFault::Refused);
        assert!(error.to_string().contains(text), "{error}");
    };
    let error = database.store_with(&Keys::of_secret(&[8; 32])).await.unwrap_err();
    refused(error, "another secret");
    let client = connect(&database.url().await).await;
    client.batch_execute("UPDATE imchannel_timeline.form SET version = 1000").await.unwrap();
    let error = database.store_with(&crate::sample::keys()).await.unwrap_err();
    refused(error, "has version 1000");
}
