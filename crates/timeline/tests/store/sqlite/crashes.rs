//! What a crash or power failure between the files leaves.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use proto::v1::ReportStatus;
use timeline::row::{RowKind, Status};
use timeline::rules::{Judged, RuleName};
use timeline::store::sqlite::SqliteStore;
use timeline::store::{Batch, Store};

use crate::sample::{batch, event, found, sequences};
use crate::sqlite::folder::{Embedded, opened};

/// The files of one moment, with what is expected of a later one.
fn mixed(days: &Path, open: PathBuf) -> PathBuf {
    for file in fs::read_dir(&open).unwrap() {
        let name = file.unwrap().file_name();
        if !name.to_string_lossy().starts_with("open.sqlite") {
            fs::remove_file(open.join(name)).unwrap();
        }
    }
    for file in fs::read_dir(days).unwrap() {
        let file = file.unwrap();
        if !file.file_name().to_string_lossy().starts_with("open.sqlite") {
            fs::copy(file.path(), open.join(file.file_name())).unwrap();
        }
    }
    open
}

async fn expected(store: &SqliteStore) -> u64 {
    let counts =
        store.overdue_counts(vec![Judged::everywhere(RuleName::NoReport, Timestamp::MAX)]).await.unwrap();
    counts.iter().map(|count| count.count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_what_is_expected_and_the_rows_heals_when_they_are_read_again() {
    let result =
        |sequence, id: &str| event(sequence, 0).id(id).kind(RowKind::Result).expects(RuleName::NoReport, id);
    let report = |sequence, id: &str| {
        let delivered = Status::Report(ReportStatus::Delivered);
        event(sequence, 1).id(id).status(delivered).settles(RuleName::NoReport, id)
    };
    let batches: [Batch; 4] = [
        batch([result(1, "m-1"), result(2, "m-2")]),
        batch([report(3, "m-1")]),
        batch([report(4, "m-3"), result(5, "m-3"), result(6, "m-4"), report(7, "m-4")]),
        batch([event(8, 13 * 3600)
            .id("m-2")
            .status(Status::Report(ReportStatus::Read))
            .settles(RuleName::NoReport, "m-2")]),
    ];
    // After this many batches everything is stored; of the later ones only what is expected.
    for kept in 0..batches.len() {
        let folder = Embedded::new();
        let store = folder.store().await;
        for batch in &batches[..kept] {
            store.append(batch.clone()).await.unwrap();
        }
        let days = folder.copy();
        for batch in &batches[kept..] {
            store.append(batch.clone()).await.unwrap();
        }
        assert_eq!(expected(&store).await, 0);
        let store = opened(&mixed(&days, folder.copy())).await;
        let sequence = store.positions().await.unwrap().first().map_or(0, |position| position.sequence);
        assert_eq!(sequence, [0, 2, 3, 7][kept]);
        for batch in &batches[kept..] {
            store.append(batch.clone()).await.unwrap();
        }
        assert_eq!(expected(&store).await, 0, "{kept}");
        assert_eq!(sequences(&found(&store, "m-4").await), [6, 7]);
    }
}
