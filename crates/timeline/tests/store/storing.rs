//! Batches, positions and gaps.

use jiff::{Span, Timestamp};
use proto::v1::ReportStatus;
use timeline::row::{IdKind, RowError, RowKind, Status, StreamNumber};
use timeline::store::{Batch, Gap, Gaps, Position};

use crate::engine::Engine;
use crate::sample::{at, batch, command, created, event, found, position, row, sequences};

pub(crate) async fn a_batch_is_stored_with_its_position(engine: &dyn Engine) {
    let store = engine.open().await;
    assert_eq!(store.positions().await.unwrap(), []);
    let appended = store.append(batch([event(5, 0).id("m-1"), event(9, 1).id("m-1")])).await.unwrap();
    assert_eq!((appended.rows, appended.met.len()), (2, 0));
    assert_eq!(store.positions().await.unwrap(), [position(StreamNumber::Events, 9, at(1))]);
    assert_eq!(sequences(&found(&*store, "m-1").await), [5, 9]);
    assert!(store.size().await.unwrap() > 0);
}

pub(crate) async fn a_row_is_read_as_it_was_stored(engine: &dyn Engine) {
    let store = engine.open().await;
    let mut sample = event(u64::from(u32::MAX) * 1000, 0)
        .part(3)
        .status(Status::Report(ReportStatus::Delivered))
        .to("+49 151 1234567")
        .link(IdKind::Command, "order 17")
        .link(IdKind::Message, "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA==")
        .link(IdKind::ProviderMessage, "p-1")
        .link(IdKind::Event, "e-1")
        .link(IdKind::Media, "f-1")
        .link(IdKind::Stored, "WEBHOOKS/123");
    let row = sample.row();
    row.happened_at = Some("1969-12-31T23:59:59.999999Z".parse().unwrap());
    row.is_replayed = true;
    "müller's \u{0} <b>\u{1b}[2J".clone_into(&mut row.channel);
    "tenant ' OR 1=1 --".clone_into(&mut row.tenant);
    "image\u{0}\u{202e}".clone_into(&mut row.summary);
    row.body = format!("{{\"a\":\"{}\"}}", "ü".repeat(20_000));
    row.error = Some(RowError { code: "7010".to_owned(), name: "X".to_owned(), text: "no ☎".to_owned() });
    let stored = row.clone();
    store.append(batch([sample])).await.unwrap();
    assert_eq!(found(&*store, "WEBHOOKS/123").await, [stored]);
}

pub(crate) async fn the_same_batch_twice_is_stored_once(engine: &dyn Engine) {
    let store = engine.open().await;
    let twice = batch([event(1, 0).id("m-1"), event(1, 0).part(1).id("m-1"), event(2, 1).id("m-1")]);
    assert_eq!(store.append(twice.clone()).await.unwrap().rows, 3);
    assert_eq!(store.append(twice.clone()).await.unwrap().rows, 0);
    drop(store);
    let store = engine.open().await;
    assert_eq!(store.append(twice).await.unwrap().rows, 0);
    assert_eq!(sequences(&found(&*store, "m-1").await), [1, 1, 2]);
    assert_eq!(store.positions().await.unwrap(), [position(StreamNumber::Events, 2, at(1))]);
}

pub(crate) async fn a_batch_that_overlaps_the_last_one_adds_what_is_new(engine: &dyn Engine) {
    let store = engine.open().await;
    let event = |sequence| event(sequence, i64::try_from(sequence).unwrap()).id("m-1");
    store.append(batch([event(1), event(2), event(3)])).await.unwrap();
    let appended = store.append(batch([event(2), event(3), event(4), event(4), event(5)])).await.unwrap();
    assert_eq!(appended.rows, 2);
    assert_eq!(sequences(&found(&*store, "m-1").await), [1, 2, 3, 4, 5]);
    // An older position does not replace a later one.
    store.append(batch([event(1)])).await.unwrap();
    assert_eq!(store.positions().await.unwrap(), [position(StreamNumber::Events, 5, at(5))]);
}

pub(crate) async fn a_stream_that_was_created_again_is_stored_beside_the_old_one(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([event(1, 0).id("m-1"), event(2, 1).id("m-1")])).await.unwrap();
    let again = Position { created_at: at(100), reading: 1, ..position(StreamNumber::Events, 1, at(101)) };
    let rows = batch([event(1, 101).id("m-1")]).rows;
    let appended = store.append(Batch { rows, position: again, gaps: Vec::new() }).await.unwrap();
    assert_eq!(appended.rows, 1);
    let rows = found(&*store, "m-1").await;
    assert_eq!(sequences(&rows), [1, 2, 1]);
    assert_eq!(rows[2].stored_at, at(101));
    drop(store);
    assert_eq!(engine.open().await.positions().await.unwrap(), [again]);
}

pub(crate) async fn of_positions_without_a_reading_the_later_stream_counts(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([event(900, 0).id("m-1")])).await.unwrap();
    // As the files of form 1 have it: in the file of another day.
    let created_at = at(86_400);
    let again = Position { created_at, ..position(StreamNumber::Events, 1, at(86_401)) };
    let rows = batch([event(1, 86_401).id("m-1")]).rows;
    store.append(Batch { rows, position: again, gaps: Vec::new() }).await.unwrap();
    assert_eq!(store.positions().await.unwrap(), [again]);
    assert_eq!(engine.killed().await.positions().await.unwrap(), [again]);
}

pub(crate) async fn a_later_reading_replaces_a_position_that_is_further_on(engine: &dyn Engine) {
    let store = engine.open().await;
    let read_before = [event(1, 0).id("m-1"), event(2, 1).id("m-1"), event(900, 86_400).id("m-1")];
    store.append(batch(read_before.clone())).await.unwrap();
    // The stream was restored from a copy with its first two messages, and has stored another one.
    let again = |sequence, stored_at| Position {
        reading: 1,
        missed_after: 3,
        ..position(StreamNumber::Events, sequence, stored_at)
    };
    let begun = Batch { rows: Vec::new(), position: again(0, at(86_500)), gaps: Vec::new() };
    store.append(begun).await.unwrap();
    assert_eq!(store.positions().await.unwrap(), [again(0, at(86_500))]);
    let [first, second, _] = read_before;
    for (sample, sequence, stored_at, is_new) in
        [(first, 1, at(0), 0), (second, 2, at(1), 0), (event(3, 86_600).id("m-1"), 3, at(86_600), 1)]
    {
        let read = Batch { position: again(sequence, stored_at), ..batch([sample]) };
        assert_eq!(store.append(read).await.unwrap().rows, is_new);
        assert_eq!(engine.killed().await.positions().await.unwrap(), [again(sequence, stored_at)]);
    }
    assert_eq!(sequences(&found(&*store, "m-1").await), [1, 2, 900, 3]);
    // A batch of the reading before, such as one of another replica, does not bring its position back.
    store.append(batch([event(901, 86_700).id("m-1")])).await.unwrap();
    drop(store);
    let store = engine.open().await;
    assert_eq!(store.positions().await.unwrap(), [again(3, at(86_600))]);
    store.expire(at(30 * 86_400)).await.unwrap();
    assert_eq!(engine.killed().await.positions().await.unwrap(), [again(3, at(86_600))]);
}

/// Seconds after noon at which the next day begins.
const MIDNIGHT: i64 = 12 * 3600;

pub(crate) async fn a_batch_over_midnight_is_whole(engine: &dyn Engine) {
    let store = engine.open().await;
    let rows = (1..=6).map(|number| {
        event(number, MIDNIGHT - 3 + i64::try_from(number).unwrap()).id("m-1").id(&format!("m-1-{number}"))
    });
    let whole = batch(rows);
    assert_eq!(store.append(whole.clone()).await.unwrap().rows, 6);
    drop(store);
    let store = engine.open().await;
    assert_eq!(sequences(&found(&*store, "m-1").await), [1, 2, 3, 4, 5, 6]);
    assert_eq!(sequences(&found(&*store, "m-1-6").await), [6]);
    assert_eq!(store.positions().await.unwrap(), [position(StreamNumber::Events, 6, at(MIDNIGHT + 3))]);
    assert_eq!(store.append(whole).await.unwrap().rows, 0);
}

pub(crate) async fn a_clock_that_goes_back_over_midnight_loses_nothing(engine: &dyn Engine) {
    let store = engine.open().await;
    let times = [MIDNIGHT + 1, MIDNIGHT - 1, MIDNIGHT - 1, MIDNIGHT + 2];
    let rows = (1..).zip(times).map(|(number, time)| event(number, time).id("m-1"));
    let whole = batch(rows);
    assert_eq!(store.append(whole.clone()).await.unwrap().rows, 4);
    assert_eq!(sequences(&found(&*store, "m-1").await), [2, 3, 1, 4]);
    let store = engine.killed().await;
    assert_eq!(store.positions().await.unwrap(), [position(StreamNumber::Events, 4, at(MIDNIGHT + 2))]);
    assert_eq!(store.append(whole).await.unwrap().rows, 0);
}

pub(crate) async fn a_batch_without_rows_stores_its_position(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([command(1, 0)])).await.unwrap();
    for (sequence, seconds) in [(17, 5), (20, 86_400)] {
        let position = position(StreamNumber::Commands, sequence, at(seconds));
        let appended = store.append(Batch { rows: Vec::new(), position, gaps: Vec::new() }).await.unwrap();
        assert_eq!(appended.rows, 0);
        assert_eq!(store.positions().await.unwrap(), [position]);
        assert_eq!(engine.killed().await.positions().await.unwrap(), [position]);
    }
}

pub(crate) async fn what_was_stored_is_there_after_a_kill(engine: &dyn Engine) {
    let store = engine.open().await;
    for number in 1..=5 {
        let seconds = i64::try_from(number).unwrap() * 20_000;
        store.append(batch([event(number, seconds).id("m-1")])).await.unwrap();
        let killed = engine.killed().await;
        assert_eq!(killed.positions().await.unwrap(), [position(StreamNumber::Events, number, at(seconds))]);
        assert_eq!(found(&*killed, "m-1").await, found(&*store, "m-1").await);
    }
}

pub(crate) async fn streams_have_positions_of_their_own(engine: &dyn Engine) {
    let store = engine.open().await;
    let mut expected = Vec::new();
    for (days, stream) in (0..).zip(StreamNumber::ALL) {
        let stored_at = at(days * 86_400);
        store.append(batch([row(stream, 7, stored_at).id("m-1").kind(RowKind::Account)])).await.unwrap();
        expected.push(position(stream, 7, stored_at));
    }
    drop(store);
    let store = engine.open().await;
    let mut positions = store.positions().await.unwrap();
    positions.sort_unstable_by_key(|position| position.stream);
    assert_eq!(positions, expected);
    assert_eq!(found(&*store, "m-1").await.len(), 4, "the same sequence in each stream");
}

pub(crate) async fn gaps_are_kept(engine: &dyn Engine) {
    let store = engine.open().await;
    let stream = StreamNumber::Events;
    let first = Gap { stream, first: 1, last: 41, after: None, before: at(0) };
    let second = Gap { stream, first: 43, last: 99, after: Some(at(0)), before: at(1) };
    let mut missed = batch([event(42, 0), event(100, 1)]);
    missed.gaps = vec![first, second];
    store.append(missed.clone()).await.unwrap();
    let no_rows = Batch {
        rows: Vec::new(),
        position: Position {
            created_at: created() + Span::new().hours(1),
            ..position(stream, 1, at(86_400))
        },
        gaps: vec![Gap { stream, first: 101, last: 105, after: Some(at(1)), before: at(86_400) }],
    };
    let third = no_rows.gaps[0];
    store.append(no_rows).await.unwrap();
    // Again, as after a failed batch.
    store.append(missed).await.unwrap();
    drop(store);
    let store = engine.open().await;
    assert_eq!(store.gaps(9).await.unwrap(), Gaps { ranges: vec![first, second, third], left_out: 0 });
    assert_eq!(store.gaps(2).await.unwrap(), Gaps { ranges: vec![second, third], left_out: 1 });
    store.expire(Timestamp::MAX).await.unwrap();
    assert_eq!(store.gaps(9).await.unwrap(), Gaps::default());
}
