//! Several stores over one database.

use timeline::row::{Keys, StreamNumber};
use timeline::store::error::StoreFault;
use timeline::store::{Store as _, StoreError};

use crate::postgres::database::Shared;
use crate::sample::{batch, event, found, sequences};

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
    // The server ends the session when it has read the end of the connection.
    while other.lease(StreamNumber::Events).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_another_secret_or_an_older_program_is_refused() {
    let database = Shared::new();
    drop(database.store().await);
    let refused = |error: StoreError, text: &str| {
        assert_eq!(error.fault(), StoreFault::Damaged);
        assert!(error.to_string().contains(text), "{error}");
    };
    let error = database.store_with(&Keys::of_secret(&[8; 32])).await.unwrap_err();
    refused(error, "another secret");
    let (client, connection) =
        tokio_postgres::connect(&database.url().await, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("UPDATE imchannel_timeline.form SET version = 1000").await.unwrap();
    let error = database.store_with(&crate::sample::keys()).await.unwrap_err();
    refused(error, "has version 1000");
}
