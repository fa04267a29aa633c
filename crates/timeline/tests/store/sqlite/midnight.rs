//! A day begins: its file is made while look-ups read the others.

use rusqlite::Connection;
use timeline::store::Store;

use crate::sample::{batch, event, found, sequences};
use crate::sqlite::folder::Embedded;

#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_file_is_being_made_is_not_damaged() {
    let folder = Embedded::new();
    let store = folder.store().await;
    store.append(batch([event(1, 0).id("m-1")])).await.unwrap();
    // The file is there, and its tables cannot be made yet.
    let file = Connection::open(folder.path().join("2026-11-21.sqlite")).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let tomorrow = batch([event(2, 86_400).id("m-1")]);
    assert!(store.append(tomorrow.clone()).await.unwrap_err().is_retryable());
    assert_eq!(sequences(&found(&store, "m-1").await), [1]);
    assert_eq!(store.unreadable(), Vec::new());
    drop(file);
    store.append(tomorrow).await.unwrap();
    assert_eq!(sequences(&found(&store, "m-1").await), [1, 2]);
    assert_eq!(store.unreadable(), Vec::new());
}
