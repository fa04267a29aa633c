//! A server that answers slowly, and look-ups that no one waits for any more.

use std::time::Duration;

use timeline::store::error::StoreFault;
use timeline::store::postgres::PostgresStore;
use timeline::store::{SharedStore as _, Store as _};

use crate::postgres::database::{Server, eventually};
use crate::sample::{batch, event, found, keys};

const LOCK: &str = "BEGIN; LOCK TABLE imchannel_timeline.rows IN ACCESS EXCLUSIVE MODE";
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'imchannel-timeline' AND wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_fails_and_is_repeated() {
    let server = Server::start().await;
    let url = format!("{}&options=-c%20statement_timeout%3D300ms", server.postgres.url("postgres"));
    let store = PostgresStore::open(&url, &keys()).await.unwrap();
    store.append(batch([event(1, 0).id("m-1")])).await.unwrap();
    let holder = server.sql("postgres").await;
    holder.batch_execute(LOCK).await.unwrap();
    let next = batch([event(2, 1).id("m-1")]);
    for _ in 0..2 {
        let error = store.append(next.clone()).await.unwrap_err();
        assert_eq!(error.fault(), StoreFault::Unavailable, "{error}");
        assert!(store.condition().unwrap_err().contains("timeout"), "{:?}", store.condition());
    }
    assert!(store.find(vec![crate::sample::key("m-1")], 1).await.is_err());
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.append(next).await.unwrap().rows, 1);
    assert_eq!(found(&store, "m-1").await.len(), 2);
    assert_eq!(store.condition(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_no_one_waits_for_keeps_no_connection() {
    let server = Server::start().await;
    let store = PostgresStore::open(&server.postgres.url("postgres"), &keys()).await.unwrap();
    store.append(batch([event(1, 0).id("m-1")])).await.unwrap();
    let holder = server.sql("postgres").await;
    let watcher = server.sql("postgres").await;
    holder.batch_execute(LOCK).await.unwrap();
    let waiting = async || watcher.query_one(WAITING, &[]).await.unwrap().get::<_, i64>(0);
    // More than there are connections.
    for _ in 0..10 {
        let key = vec![crate::sample::key("m-1")];
        let cut = tokio::time::timeout(Duration::from_millis(100), store.find(key, 10)).await;
        assert!(cut.is_err(), "it does not wait for the table");
    }
    eventually("the server ends what no one waits for", async || (waiting().await == 0).then_some(())).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(found(&store, "m-1").await.len(), 1);
}
