//! The audit log: entries are added, listed and kept.

use jiff::{SignedDuration, Timestamp};
use timeline::store::Store;
use timeline::store::audit::{AuditAction, AuditEntry, AuditQuery, Audited, KEPT};

use crate::engine::Engine;
use crate::sample::{MANY, batch, event};

fn entry(at: Timestamp, action: AuditAction, target: &str) -> AuditEntry {
    AuditEntry {
        // As precisely as it is stored.
        at: Timestamp::from_millisecond(at.as_millisecond()).unwrap(),
        user: "ann".to_owned(),
        role: "operator".to_owned(),
        address: "192.0.2.7".to_owned(),
        action,
        target: target.to_owned(),
        reason: "ticket 17".to_owned(),
        details: "COMMANDS/1 EVENTS/2".to_owned(),
    }
}

async fn list(store: &dyn Store, query: AuditQuery) -> Vec<Audited> {
    store.audit(query).await.unwrap()
}

fn all() -> AuditQuery {
    AuditQuery { action: None, before: None, limit: MANY }
}

pub(crate) async fn entries_are_listed_newest_first_in_pages_and_stay_after_a_kill(engine: &dyn Engine) {
    let store = engine.open().await;
    let now = Timestamp::now();
    let actions = [AuditAction::Unmask, AuditAction::Erasure, AuditAction::Unmask, AuditAction::Other];
    let mut numbers = Vec::new();
    for (place, action) in actions.into_iter().enumerate() {
        numbers.push(store.record(entry(now, action, &format!("order-{place}"))).await.unwrap());
    }
    assert!(numbers.is_sorted() && numbers[0] != numbers[1], "{numbers:?}");
    drop(store);
    let store = engine.killed().await;
    let listed = list(&*store, all()).await;
    numbers.reverse();
    assert_eq!(listed.iter().map(|audited| audited.number).collect::<Vec<_>>(), numbers);
    assert_eq!(listed[3].entry, entry(now, AuditAction::Unmask, "order-0"));
    let page = AuditQuery { before: Some(numbers[1]), limit: 1, ..all() };
    assert_eq!(list(&*store, page).await, listed[2..3]);
    let unmasked = list(&*store, AuditQuery { action: Some(AuditAction::Unmask), ..all() }).await;
    let targets: Vec<_> = unmasked.iter().map(|audited| audited.entry.target.as_str()).collect();
    assert_eq!(targets, ["order-2", "order-0"]);
    // A number in a text is masked before it is stored.
    store.record(entry(now, AuditAction::Unmask, "4915112345678")).await.unwrap();
    assert_eq!(list(&*store, AuditQuery { limit: 1, ..all() }).await[0].entry.target, "***");
}

pub(crate) async fn an_entry_outlives_the_rows_and_is_kept_for_400_days(engine: &dyn Engine) {
    let store = engine.open().await;
    let (now, kept) = (Timestamp::now(), SignedDuration::try_from(KEPT).unwrap());
    let day = SignedDuration::from_hours(24);
    store.append(batch([event(1, 0).id("m-1")])).await.unwrap();
    store.record(entry(now - kept - day - day, AuditAction::Unmask, "too old")).await.unwrap();
    let number = store.record(entry(now - kept + day, AuditAction::Unmask, "kept")).await.unwrap();
    store.expire(now + day + day).await.unwrap();
    assert_eq!(store.expire_audit(now - kept - day).await.unwrap(), 1);
    // The store itself refuses to remove an entry that is younger, and does not use its number again.
    assert!(store.expire_audit(now).await.is_err());
    let listed = list(&*store, all()).await;
    assert_eq!(listed.iter().map(|audited| audited.number).collect::<Vec<_>>(), [number]);
}
