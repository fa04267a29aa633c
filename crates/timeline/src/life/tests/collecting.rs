//! Which rows are found by an id, in a real store.

use std::sync::Arc;

use super::*;
use crate::life::Life;
use crate::row::IdKind;
use crate::rules::tests::rows::keys;
use crate::store::sqlite::SqliteStore;
use crate::store::{BATCH_ROWS_MAX, Batch, NewRow, Position, Store};

const WAMID: &str = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==";

struct Stored {
    store: SqliteStore,
    _folder: tempfile::TempDir,
}

impl Stored {
    async fn of(rows: Vec<Row>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(folder.path().to_owned()).await.expect("a store");
        for stream in StreamNumber::ALL {
            let of_stream = || rows.iter().filter(|row| row.pointer.stream == stream);
            let new: Vec<NewRow> = of_stream()
                .map(|row| NewRow {
                    row: Arc::new(row.clone()),
                    expected: Vec::new(),
                    settled: Vec::new(),
                    replayed: None,
                })
                .collect();
            for rows in new.chunks(BATCH_ROWS_MAX) {
                let last = &rows[rows.len() - 1].row;
                let position = Position {
                    stream,
                    created_at: at(-86_400.0),
                    reading: 0,
                    missed_after: 0,
                    sequence: last.pointer.sequence,
                    stored_at: last.stored_at,
                };
                let batch = Batch { rows: rows.to_vec(), position, gaps: Vec::new() };
                store.append(batch).await.expect("the rows are stored");
            }
        }
        Self { store, _folder: folder }
    }

    async fn collected(&self, id: &str) -> Collected {
        collect(&self.store, &keys(), id).await.expect("the store answers")
    }

    /// The lives of an id, each with its channel, id and number of rows.
    async fn lives(&self, id: &str) -> Vec<String> {
        let collected = self.collected(id).await;
        assert!(!collected.is_cut, "{id}");
        let lives = assemble(collected.rows, &view(4000.0));
        let line = |life: &Life| {
            let id = life.command_id().or(life.message_id()).unwrap_or("no id");
            format!("{} {id} {}", life.channel(), life.rows.len())
        };
        lives.iter().map(line).collect()
    }
}

fn in_channel(mut row: Row, channel: &str) -> Row {
    row.channel = channel.to_owned();
    row
}

/// A message with a file whose webhook also reports on another one.
fn two_messages() -> Vec<Row> {
    let sent = linked(report("a", ReportStatus::Sent, 4, 2.1, 5), IdKind::ProviderMessage, WAMID);
    vec![
        command_with_file("a", "media-1", 1, 0.0),
        command_with_file("b", "media-1", 2, 0.1),
        linked(result("a", SendOutcome::Accepted, 1, 1.0), IdKind::Stored, "COMMANDS/1"),
        result("b", SendOutcome::Accepted, 2, 1.1),
        fetch("a", "media-1", 3, 1.5),
        webhook(5, 2.0),
        linked(sent, IdKind::Event, "e-4"),
        report("b", ReportStatus::Sent, 5, 2.2, 5),
        webhook(6, 3.0),
        linked(
            linked(row(RowKind::Report, StreamNumber::Events, 6, 3.1), IdKind::Message, WAMID),
            IdKind::Stored,
            "WEBHOOKS/6",
        ),
    ]
}

#[tokio::test]
async fn a_message_is_found_by_each_of_its_ids() {
    let stored = Stored::of(two_messages()).await;
    for id in ["a", "imc-a", WAMID, "e-4", "COMMANDS/1", "commands/1", " EVENTS/4\n", "EVENTS/6"] {
        assert_eq!(stored.lives(id).await, ["sales a 7"], "{id}");
    }
}

#[tokio::test]
async fn an_id_that_several_messages_share_gives_the_life_of_each() {
    let stored = Stored::of(two_messages()).await;
    assert_eq!(stored.lives("media-1").await, ["sales a 7", "sales b 4"]);
    assert_eq!(stored.lives("WEBHOOKS/5").await, ["sales a 7", "sales b 4"]);
    assert_eq!(stored.lives("webhooks/6").await, ["sales a 7"]);
}

#[tokio::test]
async fn an_unknown_id_finds_nothing() {
    let stored = Stored::of(two_messages()).await;
    let long = "x".repeat(1 << 20);
    for id in [
        "",
        " ",
        "c",
        "imc-",
        "WEBHOOKS/",
        "WEBHOOKS/7",
        "MOON/5",
        "\u{0}\u{1b}[2J<script>",
        "' OR 1=1 --",
        &long,
    ] {
        assert_eq!(stored.lives(id).await, [""; 0], "{id:.20}");
    }
}

#[tokio::test]
async fn an_id_of_two_channels_gives_both_and_an_id_of_one_message_gives_one() {
    let stored = Stored::of(vec![
        command("a", 1, 0.0),
        result("a", SendOutcome::Accepted, 1, 1.0),
        linked(report("a", ReportStatus::Sent, 2, 2.0, 5), IdKind::ProviderMessage, WAMID),
        in_channel(command("a", 2, 5.0), "support"),
        in_channel(result("a", SendOutcome::Rejected, 3, 6.0), "support"),
    ])
    .await;
    assert_eq!(stored.lives("a").await, ["sales a 3", "support a 2"]);
    assert_eq!(stored.lives(WAMID).await, ["sales a 3"]);
    assert_eq!(stored.lives("COMMANDS/2").await, ["support a 2"]);
}

#[tokio::test]
async fn what_became_of_a_command_that_cannot_be_decoded_is_found_by_its_place() {
    let mut refused = row(RowKind::Result, StreamNumber::Events, 4, 1.0);
    refused.status = Some(crate::row::Status::Outcome(SendOutcome::Rejected));
    let stored = Stored::of(vec![
        row(RowKind::Command, StreamNumber::Commands, 9, 0.0),
        linked(refused, IdKind::Stored, "COMMANDS/9"),
        in_channel(dead_letter("COMMANDS/9", 2, 0.9), ""),
    ])
    .await;
    for id in ["COMMANDS/9", "EVENTS/4", "DEADLETTERS/2"] {
        assert_eq!(stored.lives(id).await, ["sales no id 3"], "{id}");
    }
}

#[tokio::test]
async fn a_dead_letter_of_a_webhook_is_found_with_it() {
    let rows = vec![webhook(17, 0.0), dead_letter("WEBHOOKS/17", 3, 0.5), message("m-1", 1, 0.5, 17)];
    let stored = Stored::of(rows).await;
    assert_eq!(stored.lives("DEADLETTERS/3").await, ["sales no id 2"]);
    assert_eq!(stored.lives("m-1").await, ["sales m-1 2"]);
    assert_eq!(stored.lives("WEBHOOKS/17").await.len(), 2);
}

#[tokio::test]
async fn a_webhook_with_many_reports_gives_its_first_messages_and_is_found_for_each() {
    let count = ROWS_MAX as u64 + 200;
    let mut rows = vec![webhook(5, 10.0)];
    for number in 0..count {
        let (id, seconds) = (format!("c-{number}"), number as f64 / 1000.0);
        rows.push(command(&id, number + 1, seconds));
        rows.push(report(&id, ReportStatus::Delivered, number + 1, 11.0 + seconds, 5));
    }
    rows.push(webhook(6, 15.0));
    rows.push(report("c-7", ReportStatus::Read, count + 1, 16.0, 6));
    let stored = Stored::of(rows).await;
    assert_eq!(stored.lives("c-7").await, ["sales c-7 5"]);
    let all = stored.collected("WEBHOOKS/5").await;
    assert!(all.is_cut && !all.is_incomplete);
    let lives = all.lives(&view(4000.0));
    assert_eq!(lives.len(), FIRST_ROWS_MAX - 1, "one row is the webhook");
    assert!(lives.iter().all(|life| life.rows.len() == if life.command_id() == Some("c-7") { 5 } else { 3 }));
}

#[tokio::test]
async fn the_file_of_a_campaign_gives_the_whole_lives_of_its_first_messages() {
    let mut rows = Vec::new();
    for number in 0..2 * FIRST_ROWS_MAX as u64 {
        let (id, seconds) = (format!("c-{number}"), number as f64 / 1000.0);
        rows.push(command_with_file(&id, "media-1", number + 1, seconds));
        rows.push(result(&id, SendOutcome::Rejected, number + 1, 1.0 + seconds));
    }
    let collected = Stored::of(rows).await.collected("media-1").await;
    assert!(collected.is_cut && !collected.is_incomplete);
    let lives = collected.lives(&view(4000.0));
    assert_eq!(lives.len(), FIRST_ROWS_MAX);
    assert!(lives.iter().all(|life| life.status() == "REJECTED" && life.is_whole()));
}

#[tokio::test]
async fn nothing_is_said_to_be_missing_in_a_life_of_which_rows_are_left_out() {
    let mut rows = vec![command("a", 1, 0.0)];
    for number in 0..ROWS_MAX as u64 {
        rows.push(fetch("a", "media-1", number + 1, 1.0));
    }
    rows.push(result("a", SendOutcome::Rejected, ROWS_MAX as u64 + 1, 2.0));
    let collected = Stored::of(rows).await.collected("a").await;
    assert!(collected.is_cut && collected.is_incomplete && collected.rows.len() == ROWS_MAX);
    assert_eq!(missing_texts(&collected.lives(&view(4000.0))[0]), [""; 0]);
}
