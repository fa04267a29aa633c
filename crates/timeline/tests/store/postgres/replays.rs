//! The counts of replays in the database: replicas that store at the same time, and a schema of the version before.

use timeline::store::Store as _;
use timeline::store::audit::{AuditAction, AuditQuery};
use timeline::store::postgres::PostgresStore;

use crate::postgres::database::{Shared, connect};
use crate::sample::{MANY, batch, event};

/// The events of each entry, the newest first.
async fn counts(store: &PostgresStore) -> Vec<u64> {
    let query = AuditQuery { action: Some(AuditAction::Replay), before: None, limit: MANY };
    let entries = store.audit(query).await.unwrap();
    entries.iter().map(|audited| audited.replayed.unwrap().events).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_store_the_same_batches_count_each_message_once() {
    let database = Shared::new();
    let (one, other) = (database.store().await, database.store().await);
    for number in 0..20 {
        let rows = (1..=10).map(|part| event(number * 10 + part, 0).replayed(Some(7), Some("ann")));
        let batch = batch(rows);
        let (first, second) = tokio::join!(one.append(batch.clone()), other.append(batch));
        assert_eq!(first.unwrap().rows + second.unwrap().rows, 10);
    }
    assert_eq!(counts(&other).await, [200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_the_version_before_is_brought_up_to_date() {
    let database = Shared::new();
    drop(database.store().await);
    let client = connect(&database.url().await).await;
    let earlier = "SET search_path = imchannel_timeline; DROP TABLE replays; DROP FUNCTION replays_stay; UPDATE form SET version = 2";
    client.batch_execute(earlier).await.unwrap();
    let store = database.store().await;
    store.append(batch([event(1, 0).replayed(Some(7), Some("ann"))])).await.unwrap();
    assert_eq!(counts(&store).await, [1]);
    for change in ["UPDATE replays SET events = 0", "UPDATE replays SET key = 'x'", "TRUNCATE replays"] {
        assert!(client.execute(change, &[]).await.is_err(), "{change}");
    }
}
