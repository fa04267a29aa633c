//! What belongs to a customer, and what of other customers does not.

use jiff::SignedDuration;

use super::*;
use crate::row::{Pointer, Recipient, shown};
use crate::store::sqlite::SqliteStore;
use crate::store::{Batch, NewRow, Position};

const ERASED: &str = "4915112345678";
const OTHER: &str = "4915187654321";
const FILE: &str = "742f868d-c9e9-4eda-b5c0-2747cb7ef773";

fn keys() -> Keys {
    Keys::of_secret(&[7; 32])
}

fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_secs(seconds)
}

fn row(stream: StreamNumber, sequence: u64, kind: RowKind, links: &[(IdKind, &str)]) -> Row {
    let links = links.iter().map(|(kind, id)| Link { kind: *kind, key: keys().id(id), shown: shown::id(id) });
    let own = format!("{}/{sequence}", stream.name());
    let own = Link { kind: IdKind::Stored, key: keys().id(&own), shown: own };
    Row {
        pointer: Pointer { stream, sequence, part: 0 },
        stored_at: at(i64::try_from(sequence).unwrap()),
        happened_at: None,
        kind,
        is_replayed: false,
        is_bulk: false,
        is_whole: false,
        bsp: "infobip".to_owned(),
        channel: "sales".to_owned(),
        tenant: String::new(),
        status: None,
        error: None,
        links: std::iter::once(own).chain(links).collect(),
        recipient: None,
        summary: String::new(),
        body: String::new(),
    }
}

fn command(sequence: u64, id: &str, file: &str) -> Row {
    let message = format!("imc-{id}");
    let links = [(IdKind::Command, id), (IdKind::Message, message.as_str()), (IdKind::Media, file)];
    row(StreamNumber::Commands, sequence, RowKind::Command, &links)
}

fn event(sequence: u64, kind: RowKind, links: &[(IdKind, &str)]) -> Row {
    row(StreamNumber::Events, sequence, kind, links)
}

fn to(number: &str, row: Row) -> Row {
    let recipient = Some(Recipient { key: keys().recipient(number), last_digits: String::new() });
    Row { recipient, ..row }
}

/// What is found in these rows, of those before a time.
async fn found(rows: Vec<Row>, before: i64) -> Found {
    let folder = tempfile::TempDir::new().unwrap();
    let store = SqliteStore::open(folder.path().to_owned()).await.unwrap();
    for row in rows {
        let Pointer { stream, sequence, .. } = row.pointer;
        let stored_at = row.stored_at;
        let position =
            Position { stream, created_at: at(-9), reading: 0, missed_after: 0, sequence, stored_at };
        let rows =
            vec![NewRow { row: Arc::new(row), expected: Vec::new(), settled: Vec::new(), replayed: None }];
        store.append(Batch { rows, position, gaps: Vec::new() }).await.unwrap();
    }
    let store: Arc<dyn Store> = Arc::new(store);
    let sought = Sought { recipient: keys().recipient(ERASED), before: at(before) };
    find(&store, &keys(), sought).await.unwrap()
}

fn places(found: &Found) -> Vec<(StreamNumber, u64)> {
    found.messages.iter().map(|message| (message.stream, message.sequence)).collect()
}

#[tokio::test]
async fn rows_without_a_customer_belong_to_the_command_or_message_whose_id_they_have() {
    use IdKind::{Command, Media, Message, ProviderMessage, Stored};
    let rows = vec![
        to(ERASED, command(1, "c-1", FILE)),
        event(1, RowKind::Result, &[(Command, "c-1"), (Message, "m-1"), (Stored, "COMMANDS/1")]),
        // Reports that name no number: by the message's id of the result, and by the second id of the first report.
        event(2, RowKind::Report, &[(Message, "m-1"), (ProviderMessage, "p-1"), (Stored, "WEBHOOKS/4")]),
        event(3, RowKind::Report, &[(ProviderMessage, "p-1"), (Stored, "WEBHOOKS/5")]),
        event(4, RowKind::Fetch, &[(Media, FILE)]),
        row(StreamNumber::Webhooks, 4, RowKind::Webhook, &[]),
        row(StreamNumber::DeadLetters, 1, RowKind::DeadLetter, &[(Stored, "WEBHOOKS/5")]),
    ];
    let found = found(rows, 1000).await;
    let expected = [
        (StreamNumber::Webhooks, 4),
        (StreamNumber::Webhooks, 5),
        (StreamNumber::Events, 1),
        (StreamNumber::Events, 2),
        (StreamNumber::Events, 3),
        (StreamNumber::Events, 4),
        (StreamNumber::Commands, 1),
        (StreamNumber::DeadLetters, 1),
    ];
    assert_eq!(places(&found), expected);
    assert_eq!((found.own.len(), found.linked.len()), (1, 6), "WEBHOOKS/5 has no row");
    assert_eq!(found.files, [MediaId::parse(FILE).unwrap()]);
    let command = &found.commands[0];
    assert_eq!((command.id.as_deref(), command.result_at), (Some("c-1"), Some(at(1))));
}

#[tokio::test]
async fn what_is_another_customers_stays() {
    use IdKind::{Command, Media, Message, Stored};
    let elsewhere = |row: Row| Row { channel: "support".to_owned(), ..row };
    let rows = vec![
        to(ERASED, command(1, "c-1", FILE)),
        // The same file, and the same id in another channel.
        to(OTHER, command(2, "c-2", FILE)),
        elsewhere(to(OTHER, command(3, "c-1", FILE))),
        elsewhere(event(1, RowKind::Result, &[(Command, "c-1"), (Stored, "COMMANDS/3")])),
        event(2, RowKind::Fetch, &[(Media, FILE)]),
        // A webhook of both, with an item that could not be read.
        to(ERASED, event(3, RowKind::Message, &[(Message, "m-3"), (Stored, "WEBHOOKS/1")])),
        to(OTHER, event(4, RowKind::Message, &[(Message, "m-4"), (Stored, "WEBHOOKS/1")])),
        row(StreamNumber::Webhooks, 1, RowKind::Webhook, &[]),
        row(StreamNumber::DeadLetters, 1, RowKind::DeadLetter, &[(Stored, "WEBHOOKS/1")]),
    ];
    let found = found(rows, 1000).await;
    let expected = [(StreamNumber::Webhooks, 1), (StreamNumber::Events, 3), (StreamNumber::Commands, 1)];
    assert_eq!(places(&found), expected);
    assert_eq!(found.shared_webhooks, BTreeSet::from([1]));
    assert_eq!((found.files.len(), found.shared_files), (0, 1));
    assert_eq!(found.commands[0].result_at, None);
}

#[tokio::test]
async fn what_comes_later_stays_unless_it_is_of_an_erased_message() {
    let rows = vec![
        to(ERASED, command(1, "c-1", FILE)),
        to(ERASED, event(70, RowKind::Report, &[(IdKind::Command, "c-1")])),
        to(ERASED, event(71, RowKind::Message, &[(IdKind::Message, "m-2")])),
        to(ERASED, event(72, RowKind::Message, &[(IdKind::Message, "m-3"), (IdKind::Media, FILE)])),
    ];
    let found = found(rows, 60).await;
    assert_eq!(places(&found), [(StreamNumber::Events, 70), (StreamNumber::Commands, 1)]);
}

#[tokio::test]
async fn a_stream_that_was_created_again_has_other_messages_at_its_sequences() {
    use IdKind::{Command, Message, Stored};
    let stored = |seconds, row: Row| Row { stored_at: at(seconds), ..row };
    let rows = vec![
        // The customer's command 1 of the stream before, and its result.
        stored(
            1,
            event(1, RowKind::Result, &[(Command, "c-1"), (Message, "imc-c-1"), (Stored, "COMMANDS/1")]),
        ),
        stored(2, to(ERASED, event(2, RowKind::Report, &[(Command, "c-1"), (Stored, "WEBHOOKS/1")]))),
        // A stranger's result, at the sequence at which the customer's new command is.
        stored(3, event(3, RowKind::Result, &[(Command, "c-3"), (Message, "m-3"), (Stored, "COMMANDS/2")])),
        stored(4, event(4, RowKind::Report, &[(Message, "m-3")])),
        // The streams are created again. A stranger's message came to the webhook's sequence.
        stored(900, to(ERASED, command(2, "c-2", FILE))),
        stored(901, to(OTHER, command(1, "c-4", FILE))),
        stored(902, row(StreamNumber::Webhooks, 1, RowKind::Webhook, &[])),
    ];
    let found = found(rows, 1000).await;
    let expected = [
        (StreamNumber::Webhooks, 1),
        (StreamNumber::Events, 1),
        (StreamNumber::Events, 2),
        (StreamNumber::Commands, 2),
    ];
    assert_eq!(places(&found), expected);
    let webhook = found.messages.first().unwrap();
    assert_eq!(webhook.stored_at, StoredAt::Before(at(2)), "the webhook of the report has no row");
    assert_eq!(found.commands[0].result_at, None, "the stranger's result is not the command's");
}

#[tokio::test]
async fn an_id_that_was_used_again_does_not_answer_a_command() {
    use IdKind::{Command, Stored};
    let stored = |seconds, row: Row| Row { stored_at: at(seconds), ..row };
    let rows = vec![
        stored(2, event(1, RowKind::Result, &[(Command, "c-1"), (Stored, "COMMANDS/1")])),
        stored(900, to(ERASED, command(1, "c-1", FILE))),
    ];
    let found = found(rows, 1000).await;
    assert_eq!(places(&found), [(StreamNumber::Events, 1), (StreamNumber::Commands, 1)]);
    assert_eq!(found.commands[0].result_at, None);
}

#[tokio::test]
async fn a_dead_letter_of_an_earlier_webhook_at_the_same_sequence_stays() {
    let stored = |seconds, row: Row| Row { stored_at: at(seconds), ..row };
    let letter = |sequence| {
        row(StreamNumber::DeadLetters, sequence, RowKind::DeadLetter, &[(IdKind::Stored, "WEBHOOKS/1")])
    };
    let rows = vec![
        stored(1, letter(1)),
        stored(900, row(StreamNumber::Webhooks, 1, RowKind::Webhook, &[])),
        stored(
            901,
            to(
                ERASED,
                event(1, RowKind::Message, &[(IdKind::Message, "m-1"), (IdKind::Stored, "WEBHOOKS/1")]),
            ),
        ),
        stored(902, letter(2)),
    ];
    let found = found(rows, 1000).await;
    let expected = [(StreamNumber::Webhooks, 1), (StreamNumber::Events, 1), (StreamNumber::DeadLetters, 2)];
    assert_eq!(places(&found), expected);
}
