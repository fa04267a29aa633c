//! Files that are damaged, of another version or of another program, and a folder that another process has.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use timeline::row::StreamNumber;
use timeline::rules::{Judged, RuleName};
use timeline::store::Store;
use timeline::store::error::StoreFault;
use timeline::store::sqlite::SqliteStore;

use crate::sample::{at, batch, command, event, found, position, sequences};
use crate::sqlite::folder::{Embedded, opened};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A closed store of three days from 20 November, whose rows have the id `m-1`.
pub(crate) async fn three_days() -> Embedded {
    let folder = Embedded::new();
    let store = folder.store().await;
    for number in 1..=3 {
        let rows = (0..200)
            .map(|row| event(number * 1000 + row, (i64::try_from(number).unwrap() - 1) * DAY).id("m-1"));
        store.append(batch(rows)).await.unwrap();
    }
    drop(store);
    // Its files are closed when no task has it.
    drop(folder.store().await);
    drop(folder.store().await);
    folder
}

/// Overwrites a part of a file.
fn overwrite(path: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(path).unwrap();
    let to = to.min(bytes.len());
    bytes[from..to].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

/// Damages the keys of a day, not what is read at the start.
fn damage_ids(day: &Path) {
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'ids'";
    let page: u32 = Connection::open(day).unwrap().query_row(root, [], |row| row.get(0)).unwrap();
    let end = usize::try_from(page).unwrap() * 4096;
    overwrite(day, end - 4096, end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_day_does_not_stop_the_others() {
    let folder = three_days().await;
    let day = folder.path().join("2026-11-21.sqlite");
    damage_ids(&day);
    let store = folder.store().await;
    let rows = found(&store, "m-1").await;
    assert_eq!(rows.len(), 400);
    assert!(rows.iter().all(|row| row.stored_at == at(0) || row.stored_at == at(2 * DAY)));
    let unreadable = store.unreadable();
    assert!(unreadable.len() == 1 && unreadable[0].part == "2026-11-21", "{unreadable:?}");
    store.append(batch([event(4000, 2 * DAY).id("m-1")])).await.unwrap();
    assert_eq!(found(&store, "m-1").await.len(), 401);
    store.close_days(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(store.expire(at(2 * DAY)).await.unwrap().days, 2);
    assert!(store.unreadable().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_no_database_is_moved_aside_and_read_again() {
    let folder = three_days().await;
    overwrite(&folder.path().join("2026-11-22.sqlite"), 0, usize::MAX);
    let store = folder.store().await;
    let unreadable = store.unreadable();
    assert!(
        unreadable.len() == 1 && unreadable[0].text.contains("2026-11-22.sqlite.damaged-"),
        "{unreadable:?}"
    );
    assert_eq!(store.positions().await.unwrap(), [position(StreamNumber::Events, 2199, at(DAY))]);
    store.append(batch([event(3000, 2 * DAY).id("m-1")])).await.unwrap();
    assert_eq!(found(&store, "m-1").await.len(), 401);
    store.expire(at(3 * DAY)).await.unwrap();
    assert!(store.unreadable().is_empty(), "it is removed with its day");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_damaged_while_it_is_written_is_moved_aside_once() {
    let folder = three_days().await;
    let day = folder.path().join("2026-11-22.sqlite");
    damage_ids(&day);
    let store = folder.store().await;
    let error = store.append(batch([event(5000, 2 * DAY).id("m-1")])).await.unwrap_err();
    assert_eq!(error.fault(), StoreFault::Damaged);
    assert!(!error.is_retryable());
    let again = store.append(batch([command(1, 0)])).await.unwrap_err().to_string();
    assert_eq!(again, error.to_string(), "it stores nothing until it is started again");
    let error = error.to_string();
    assert!(error.contains("moved aside as 2026-11-22.sqlite.damaged-"), "{error}");
    assert_eq!(store.unreadable()[0].part, "2026-11-22", "without a restart too");
    drop(store);
    let store = folder.store().await;
    let positions = store.positions().await.unwrap();
    assert_eq!(positions[0].sequence, 2199, "the streams are read again from the day before");
    store.append(batch([event(5000, 2 * DAY).id("m-1")])).await.unwrap();
    assert_eq!(found(&store, "m-1").await.len(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_expectations_is_moved_aside() {
    let folder = Embedded::new();
    let store = folder.store().await;
    store.append(batch([command(1, 0).id("m-1").expects(RuleName::NoResult, "c-1")])).await.unwrap();
    drop(store);
    overwrite(&folder.path().join("open.sqlite"), 0, usize::MAX);
    let _ = fs::remove_file(folder.path().join("open.sqlite-wal"));
    let store = folder.store().await;
    let unreadable = &store.unreadable()[0];
    assert_eq!(unreadable.part, "expectations");
    assert!(unreadable.text.contains("open.sqlite.damaged-"));
    assert_eq!(sequences(&found(&store, "m-1").await), [1]);
    store.append(batch([command(2, 0).expects(RuleName::NoResult, "c-2")])).await.unwrap();
    assert_eq!(
        store.overdue_counts(vec![Judged::everywhere(RuleName::NoResult, at(DAY))]).await.unwrap()[0].count,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_later_version_is_refused_and_stays_as_it_is() {
    for name in ["2026-11-21.sqlite", "open.sqlite", "audit.sqlite"] {
        let folder = three_days().await;
        let path = folder.path().join(name);
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
        let bytes = fs::read(&path).unwrap();
        let error = SqliteStore::open(folder.path()).await.unwrap_err();
        assert_eq!(error.fault(), StoreFault::Damaged);
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains("form 9") && text.contains("start the version"),
            "{text}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_program_is_refused_and_stays_as_it_is() {
    let folder = Embedded::new();
    fs::create_dir(folder.path()).unwrap();
    let path = folder.path().join("2026-11-21.sqlite");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE customers (name TEXT)").unwrap();
    let bytes = fs::read(&path).unwrap();
    let error = SqliteStore::open(folder.path()).await.unwrap_err().to_string();
    assert!(error.contains("is not a file of imchannel-timeline"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_and_names_of_others_do_no_harm() {
    let folder = Embedded::new();
    fs::create_dir(folder.path()).unwrap();
    for name in
        ["2026-11-20.sqlite", "2026-11-20.filter", "2026-11-19.filter.partial", "notes.txt", "1.sqlite"]
    {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let store = folder.store().await;
    store.append(batch([event(1, 0).id("m-1")])).await.unwrap();
    assert_eq!(sequences(&found(&store, "m-1").await), [1]);
    assert!(!folder.path().join("2026-11-19.filter.partial").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_used_by_one_store_at_a_time() {
    let folder = Embedded::new();
    let store = folder.store().await;
    let error = SqliteStore::open(folder.path()).await.unwrap_err();
    assert!(error.is_retryable());
    let text = error.to_string();
    let process = format!("(process {})", std::process::id());
    assert!(text.contains(&process) && text.contains("set another folder"), "{text}");
    drop(store);
    opened(&folder.path()).await;
    let file = folder.path().join("lock").join("folder");
    let error = SqliteStore::open(file).await.unwrap_err();
    assert_eq!(error.fault(), StoreFault::Unavailable);
    assert!(error.to_string().contains("check the disk"), "{error}");
}
