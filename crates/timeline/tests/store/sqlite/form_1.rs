//! A folder that the first version has written.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use timeline::row::IdKind;
use timeline::rules::{Judged, RuleName};
use timeline::store::Store;

use crate::sample::{Sample, at, batch, command, event, found};
use crate::sqlite::damage::three_days;
use crate::sqlite::folder::Embedded;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Makes form 1 of form 2, as the first version wrote it.
fn downgrade(path: &Path) {
    let file = Connection::open(path).unwrap();
    file.execute_batch(
        "ALTER TABLE positions DROP COLUMN reading; ALTER TABLE positions DROP COLUMN missed_after;",
    )
    .unwrap();
    if !path.ends_with("open.sqlite") {
        // The mark of a body that is masked or whole is last.
        file.execute_batch(
            "UPDATE rows SET blob = substr(blob, 1, length(blob) - 2) WHERE substr(hex(blob), -4) IN ('6800', '6801')",
        )
        .unwrap();
    }
    if path.ends_with("open.sqlite") {
        file.execute_batch(
            "DROP TABLE met_files; DROP INDEX expectations_by_file; ALTER TABLE expectations DROP COLUMN file;
             CREATE INDEX expectations_by_due ON expectations (rule, due, key, channel);",
        )
        .unwrap();
    }
    file.pragma_update(None, "user_version", 1).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_form_1_are_brought_up_to_date_and_go_on() {
    let folder = three_days().await;
    let store = folder.store().await;
    let of_file = command(2, 0).expects(RuleName::NotFetched, "c-old");
    store.append(batch([command(1, 0).expects(RuleName::NoResult, "c-1"), of_file])).await.unwrap();
    drop(store);
    drop(folder.store().await);
    let names = ["2026-11-20.sqlite", "2026-11-21.sqlite", "2026-11-22.sqlite", "open.sqlite"];
    names.iter().for_each(|name| downgrade(&folder.path().join(name)));
    let store = folder.store().await;
    assert_eq!(found(&store, "m-1").await.len(), 600);
    let positions = store.positions().await.unwrap();
    assert!(positions.len() == 2 && positions.iter().all(|position| position.reading == 0), "{positions:?}");
    let met = store.append(batch([event(9000, DAY).settles(RuleName::NoResult, "c-1")])).await.unwrap().met;
    assert_eq!(met.len(), 1, "{met:?}");
    let judged = || vec![Judged::everywhere(RuleName::NotFetched, at(30 * DAY))];
    assert_eq!(store.overdue_counts(judged()).await.unwrap().len(), 1);
    // The version before did not keep which file it was.
    let fetch = event(9001, DAY).link(IdKind::Command, "c-old").settles_file(RuleName::NotFetched, "old");
    store.append(batch([fetch])).await.unwrap();
    assert_eq!(store.overdue_counts(judged()).await.unwrap(), []);
    let named = command(3, DAY).expects(RuleName::NotFetched, "c-2").of_file("file");
    store.append(batch([named])).await.unwrap();
    assert_eq!(store.overdue_counts(judged()).await.unwrap().len(), 1);
    store.append(batch([event(9002, DAY).settles_file(RuleName::NotFetched, "file")])).await.unwrap();
    assert_eq!(store.overdue_counts(judged()).await.unwrap(), []);
    drop(store);
    names.iter().for_each(|name| {
        let file = Connection::open(folder.path().join(name)).unwrap();
        let form: i64 = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(form, 2, "{name}");
    });
}

/// Makes form 1 of all files of a closed store.
async fn downgrade_all(folder: &Embedded) {
    // Its files are closed when no task has it.
    drop(folder.store().await);
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|end| end == "sqlite") && !path.ends_with("audit.sqlite") {
            downgrade(&path);
        }
    }
}

async fn overdue(store: &dyn Store, rule: RuleName) -> u64 {
    let counts = store.overdue_counts(vec![Judged::everywhere(rule, at(30 * DAY))]).await.unwrap();
    counts.iter().map(|count| count.count).sum()
}

/// A command without a result, as form 1 expects it: by one rule for both queues.
fn waiting(number: u64, seconds: i64, is_bulk: bool) -> Sample {
    let id = format!("c-{number}");
    let mut waiting = command(number, seconds).link(IdKind::Command, &id).expects(RuleName::NoResult, &id);
    waiting.row().is_bulk = is_bulk;
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_wait_while_form_1_is_brought_up_to_date_get_the_rule_of_their_queue() {
    const BULK: u64 = 2500;
    let folder = Embedded::new();
    let store = folder.store().await;
    let of_campaign = (1..=BULK).map(|number| waiting(number, i64::try_from(number).unwrap(), true));
    store.append(batch(of_campaign)).await.unwrap();
    let of_people = (1..=3).map(|number| waiting(BULK + number, DAY, false));
    store.append(batch(of_people)).await.unwrap();
    // Its row is not stored.
    let unknown = command(BULK + 4, 2 * DAY).expects(RuleName::NoResult, "unknown");
    store.append(batch([unknown])).await.unwrap();
    drop(store);
    downgrade_all(&folder).await;
    let store = folder.store().await;
    assert_eq!(overdue(&store, RuleName::NoBulkResult).await, BULK);
    assert_eq!(overdue(&store, RuleName::NoResult).await, 4);
    let result = event(1, 2 * DAY).settles(RuleName::NoResult, "c-7").settles(RuleName::NoBulkResult, "c-7");
    let met = store.append(batch([result])).await.unwrap().met;
    assert_eq!(met.iter().map(|met| met.rule).collect::<Vec<_>>(), [RuleName::NoBulkResult]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_missing_keeps_no_file_from_being_brought_up_to_date() {
    let folder = Embedded::new();
    let store = folder.store().await;
    store.append(batch([waiting(1, 0, true)])).await.unwrap();
    store.append(batch([waiting(2, DAY, true)])).await.unwrap();
    drop(store);
    downgrade_all(&folder).await;
    fs::remove_file(folder.path().join("2026-11-20.sqlite")).unwrap();
    fs::write(folder.path().join("2026-11-21.sqlite"), "no database").unwrap();
    let store = folder.store().await;
    assert_eq!(overdue(&store, RuleName::NoResult).await, 2);
    assert_eq!(store.unreadable().len(), 1, "{:?}", store.unreadable());
}

/// Form 1 does not say whether its bodies are masked.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_form_1_may_be_whole() {
    let folder = Embedded::new();
    let store = folder.store().await;
    let mut whole = event(1, 0).id("m-1").body("{\"text\":\"your code is 4711\"}");
    whole.row().is_whole = true;
    let masked = event(2, 0).id("m-2").body("{\"text\":\"***\"}");
    let without = event(3, 0).id("m-3");
    store.append(batch([whole, masked, without])).await.unwrap();
    let marks = async |store: &dyn Store| {
        let mut marks = Vec::new();
        for id in ["m-1", "m-2", "m-3"] {
            marks.extend(found(store, id).await.iter().map(|row| row.is_whole));
        }
        marks
    };
    assert_eq!(marks(&store).await, [true, false, false]);
    drop(store);
    downgrade_all(&folder).await;
    let store = folder.store().await;
    assert_eq!(marks(&store).await, [true, true, false]);
    assert!(found(&store, "m-1").await[0].body.contains("4711"), "an unmasking shows it");
}
