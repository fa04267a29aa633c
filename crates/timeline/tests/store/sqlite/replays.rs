//! The counts of replays in the file of the audit log: a crash between this file and that of the day, and files of an earlier form.

use std::fs;

use jiff::Timestamp;
use rusqlite::Connection;
use timeline::store::Store;
use timeline::store::audit::{AuditAction, AuditEntry, AuditQuery, Audited};

use crate::sample::{MANY, batch, event, found};
use crate::sqlite::folder::Embedded;

async fn entries(store: &dyn Store) -> Vec<Audited> {
    store.audit(AuditQuery { action: None, before: None, limit: MANY }).await.unwrap()
}

fn unmasked() -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_second(1_796_000_000).unwrap(),
        user: "ann".to_owned(),
        role: "unmask".to_owned(),
        address: "192.0.2.7".to_owned(),
        action: AuditAction::Unmask,
        target: "order-1".to_owned(),
        reason: "ticket 17".to_owned(),
        details: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_row_was_lost_after_it_was_counted_is_counted_once() {
    let folder = Embedded::new();
    let rows =
        || batch([1, 2, 3].map(|sequence| event(sequence, 0).id("m-1").replayed(Some(7), Some("ann"))));
    let store = folder.store().await;
    store.append(rows()).await.unwrap();
    drop(store);
    // What a power failure leaves: the transaction of the day was not on the disk.
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("2026-11-20.sqlite") {
            fs::remove_file(path).unwrap();
        }
    }
    let store = folder.store().await;
    assert_eq!(store.positions().await.unwrap(), []);
    store.append(rows()).await.unwrap();
    assert_eq!(found(&store, "m-1").await.len(), 3);
    let entries = entries(&store).await;
    assert_eq!((entries.len(), entries[0].replayed.unwrap().events), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_of_an_earlier_form_keeps_its_entries_and_counts_replays() {
    for form in [1, 2] {
        let folder = Embedded::new();
        let store = folder.store().await;
        let number = store.record(unmasked()).await.unwrap();
        drop(store);
        // The forms 1 and 2 of this file had the table of the entries alone.
        let path = folder.path().join("audit.sqlite");
        let file = Connection::open(&path).unwrap();
        file.execute_batch("DROP TABLE replays; DROP TABLE replayed").unwrap();
        file.pragma_update(None, "user_version", form).unwrap();
        drop(file);
        let store = folder.store().await;
        store.append(batch([event(1, 0).replayed(Some(7), Some("ann"))])).await.unwrap();
        let entries = entries(&store).await;
        assert_eq!((entries.len(), entries[1].number, &entries[1].entry), (2, number, &unmasked()));
        assert_eq!(entries[0].replayed.unwrap().events, 1);
        drop(store);
        let stored: i64 = Connection::open(&path)
            .unwrap()
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(stored, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_refuses_that_a_count_shrinks_or_goes() {
    let folder = Embedded::new();
    let store = folder.store().await;
    store.append(batch([event(1, 0).replayed(Some(7), Some("ann"))])).await.unwrap();
    drop(store);
    let file = Connection::open(folder.path().join("audit.sqlite")).unwrap();
    for change in [
        "UPDATE replays SET events = 0",
        "UPDATE replays SET key = 'x'",
        "UPDATE replays SET last_at = 0",
        "UPDATE entries SET user = 'bob'",
    ] {
        assert!(file.execute(change, []).is_err(), "{change}");
    }
    let now = Timestamp::now().as_nanosecond();
    let now = i64::try_from(now).unwrap();
    file.execute("INSERT INTO replays VALUES (2, 'k', ?1, 1, 0, ?1)", [now]).unwrap();
    assert!(file.execute("DELETE FROM replays", []).is_err());
}
