//! The audit log counts what was published again.

use jiff::{SignedDuration, Timestamp};
use timeline::row::StreamNumber;
use timeline::store::audit::{AuditAction, AuditQuery, Audited, KEPT, ReplayCounts};
use timeline::store::replays::{RUNS_PER_HOUR_MAX, UNKNOWN};
use timeline::store::{Batch, Position, Store};

use crate::engine::Engine;
use crate::sample::{MANY, Sample, at, batch, command, event, row};

async fn replays(store: &dyn Store) -> Vec<Audited> {
    store.audit(AuditQuery { action: Some(AuditAction::Replay), before: None, limit: MANY }).await.unwrap()
}

/// The events and commands of each entry, the oldest first.
async fn counts(store: &dyn Store) -> Vec<(u64, u64)> {
    let counts = |audited: &Audited| audited.replayed.map(|counts| (counts.events, counts.commands)).unwrap();
    replays(store).await.iter().rev().map(counts).collect()
}

fn again(sample: Sample) -> Sample {
    sample.replayed(Some(7), Some("ann"))
}

pub(crate) async fn the_messages_of_a_run_are_counted_in_one_entry(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([event(1, 0), again(event(2, 10)), again(event(3, 20))])).await.unwrap();
    let first = replays(&*store).await;
    store
        .append(batch([again(event(4, 90_000)), event(5, 90_001).replayed(Some(8), Some("bob"))]))
        .await
        .unwrap();
    // Two rows of one message: the first one says that it was published again.
    store.append(batch([again(command(1, 15)), command(1, 15).part(1)])).await.unwrap();
    let entries = replays(&*store).await;
    assert_eq!(counts(&*store).await, [(3, 1), (1, 0)]);
    let entry = &entries[1].entry;
    assert_eq!((entry.at, entry), (at(10), &first[0].entry), "an entry stays as it is");
    assert_eq!((&*entry.user, &*entry.role, &*entry.address), ("ann", UNKNOWN, UNKNOWN));
    assert_eq!((&*entry.target, &*entry.details), ("replay 7", "from EVENTS/2"));
    assert_eq!(entries[1].replayed.unwrap().last_at, at(90_000));
    assert_eq!((&*entries[0].entry.user, entries[0].number > entries[1].number), ("bob", true));
    // Other entries have no counts, and are listed between.
    let other = timeline::store::audit::AuditEntry { action: AuditAction::Unmask, ..entry.clone() };
    let number = store.record(other).await.unwrap();
    let all = store.audit(AuditQuery { action: None, before: None, limit: MANY }).await.unwrap();
    assert_eq!((all.len(), all[0].number, all[0].replayed), (3, number, None));
}

pub(crate) async fn a_message_is_counted_once_however_often_it_is_read(engine: &dyn Engine) {
    let store = engine.open().await;
    let rows = || batch([again(event(1, 0)), again(event(2, 1))]);
    for _ in 0..2 {
        store.append(rows()).await.unwrap();
    }
    // A batch that overlaps, and a later reading from the beginning.
    store.append(batch([again(event(2, 1)), again(event(3, 2))])).await.unwrap();
    let Batch { rows, position, gaps } = rows();
    let position = Position { reading: 1, ..position };
    store.append(Batch { rows, position, gaps }).await.unwrap();
    assert_eq!(counts(&*store).await, [(3, 0)]);
    // A stream that was created again has another message at a sequence.
    store.append(batch([again(event(1, 100))])).await.unwrap();
    assert_eq!(counts(&*store).await, [(4, 0)]);
    assert_eq!(
        replays(&*store).await[0].replayed,
        Some(ReplayCounts { events: 4, commands: 0, last_at: at(100) })
    );
}

pub(crate) async fn what_is_counted_stays_after_a_kill_and_after_its_rows(engine: &dyn Engine) {
    let store = engine.open().await;
    store.append(batch([again(event(1, 0)), again(event(2, 1))])).await.unwrap();
    drop(store);
    let store = engine.killed().await;
    store.append(batch([again(event(2, 1)), again(event(3, 2))])).await.unwrap();
    assert_eq!(counts(&*store).await, [(3, 0)]);
    store.expire(at(3 * 86_400)).await.unwrap();
    assert_eq!(counts(&*store).await, [(3, 0)]);
}

pub(crate) async fn the_entry_of_a_replay_is_kept_for_400_days(engine: &dyn Engine) {
    let store = engine.open().await;
    let (now, kept) = (Timestamp::now(), SignedDuration::try_from(KEPT).unwrap());
    let day = SignedDuration::from_hours(24);
    let at_time = |sequence, time| row(StreamNumber::Commands, sequence, time);
    store.append(batch([at_time(1, now - kept - day - day).replayed(Some(1), None)])).await.unwrap();
    store.append(batch([at_time(2, now - day).replayed(Some(2), None)])).await.unwrap();
    assert_eq!(store.expire_audit(now - kept - day).await.unwrap(), 1);
    // The store itself refuses to remove a younger one.
    assert!(store.expire_audit(now).await.is_err());
    assert_eq!(counts(&*store).await, [(0, 1)]);
}

pub(crate) async fn a_replay_of_which_nothing_is_known_is_in_the_log(engine: &dyn Engine) {
    let store = engine.open().await;
    let unknown = |sequence, seconds| command(sequence, seconds).replayed(None, None);
    store.append(batch([unknown(1, 0), unknown(2, 60), unknown(3, 3600)])).await.unwrap();
    assert_eq!(counts(&*store).await, [(0, 2), (0, 1)]);
    let entry = &replays(&*store).await[1].entry;
    assert_eq!((&*entry.user, &*entry.reason), (UNKNOWN, ""));
    assert_eq!(entry.target, "replays of an unknown run, 2026-11-20T12:00:00Z");
}

pub(crate) async fn runs_beyond_those_of_an_hour_are_one_entry(engine: &dyn Engine) {
    let store = engine.open().await;
    // A script that calls the command for each of 10,000 dead letters.
    let rows: Vec<_> = (1..=10_000_u32)
        .map(|number| {
            let seconds = i64::from(number / 4);
            event(number.into(), seconds).replayed(Some(number.into()), Some("ann"))
        })
        .collect();
    for rows in rows.chunks(2_500) {
        store.append(batch(rows.iter().cloned())).await.unwrap();
    }
    let counts = counts(&*store).await;
    let limit = usize::try_from(RUNS_PER_HOUR_MAX).unwrap();
    assert_eq!((counts.len(), counts[limit]), (limit + 1, (10_000 - RUNS_PER_HOUR_MAX, 0)));
    let further = &replays(&*store).await[0].entry;
    assert_eq!((&*further.user, &*further.target), (UNKNOWN, "further replays, 2026-11-20T12:00:00Z"));
    // A run of before goes on in its entry, and the next hour has entries of its own.
    store.append(batch([event(20_000, 3000).replayed(Some(1), Some("ann"))])).await.unwrap();
    store.append(batch([event(20_001, 3600).replayed(Some(30_000), Some("ann"))])).await.unwrap();
    let counts = self::counts(&*store).await;
    assert_eq!((counts[0], counts[limit + 1]), ((2, 0), (1, 0)));
}
