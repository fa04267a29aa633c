//! What was published again, in the audit log and on its page.

use std::sync::Arc;

use bus::replay::Replayed;
use timeline::http::answer::{AuditAnswer, ReplayedAnswer};
use timeline::row::{Pointer, RowKind};
use timeline::store::{Batch, NewRow, Position, Store as _};

use crate::stage::{Stage, at};

/// Stores that many events and commands that one run published again.
async fn replay(stage: &Stage, replayed: Replayed, counts: [(RowKind, u64); 2]) {
    for (kind, count) in counts {
        let rows: Vec<NewRow> = (1..=count)
            .map(|sequence| {
                let mut row = stage.row(kind, 0);
                row.pointer = Pointer { sequence, ..row.pointer };
                row.is_replayed = true;
                let replayed = Some(Box::new(replayed.clone()));
                NewRow { row: Arc::new(row), expected: Vec::new(), settled: Vec::new(), replayed }
            })
            .collect();
        let Some(stream) = rows.first().map(|new| new.row.pointer.stream) else { continue };
        let position = Position {
            stream,
            created_at: at(-86_400),
            reading: 0,
            missed_after: 0,
            sequence: count,
            stored_at: at(0),
        };
        stage.store.append(Batch { rows, position, gaps: Vec::new() }).await.unwrap();
    }
}

#[tokio::test]
async fn the_audit_log_shows_a_replay_with_who_why_and_how_much() {
    let stage = Stage::new().await;
    let replayed = Replayed {
        run: Some(1_796_000_000),
        by: Some("<b>ann</b>".to_owned()),
        reason: Some("ticket 4711".to_owned()),
    };
    replay(&stage, replayed, [(RowKind::Report, 300), (RowKind::Command, 1)]).await;
    let log: AuditAnswer = stage.get("/v1/audit?action=replay").await.json();
    let entry = &log.entries[0];
    assert_eq!((log.entries.len(), &*entry.action, &*entry.user), (1, "replay", "<b>ann</b>"));
    assert_eq!((&*entry.target, &*entry.details), ("replay 1796000000", "from EVENTS/1"));
    assert_eq!((&*entry.role, &*entry.address, &*entry.reason), ("unknown", "unknown", "ticket 4711"));
    assert_eq!(entry.replayed, Some(ReplayedAnswer { events: 300, commands: 1, last_at: at(0) }));
    let page = String::from_utf8(stage.get("/audit").await.body).unwrap();
    for shown in ["300 events and 1 command", "as the replay says", "replay 1796000000", "&lt;b&gt;ann"] {
        assert!(page.contains(shown), "{shown} is not on the page: {page}");
    }
    let erasures: AuditAnswer = stage.get("/v1/audit?action=erasure").await.json();
    assert_eq!(erasures.entries, []);
}
