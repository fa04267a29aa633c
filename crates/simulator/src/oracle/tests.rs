use super::*;

fn report(number: u64, status: i32) -> ReportEvent {
    ReportEvent {
        channel_id: "c".to_owned(),
        message_id: format!("000000aa-{number:012x}"),
        status,
        ..ReportEvent::default()
    }
}

fn seen(mut report: ReportEvent, id: &str) -> Observed {
    report.event_id = id.to_owned();
    Observed::Report(Box::new(report))
}

fn limits(settled: usize) -> OracleLimits {
    OracleLimits { open: 4, settled }
}

fn items(number: u64) -> Arc<[Expected]> {
    [Expected::Report(Box::new(report(number, 5)))].into()
}

fn promised(numbers: std::ops::Range<u64>, settled: usize) -> Oracle {
    let mut ledger = Oracle::new(RunTag(0xaa), limits(settled));
    for items in numbers.map(items) {
        ledger.expect(&items);
        ledger.acknowledge(&items);
    }
    ledger
}

#[test]
fn what_is_promised_is_kept_or_missing() {
    let mut ledger = promised(0..2, 10);
    ledger.observe(seen(report(0, 5), "a"));
    ledger.observe(seen(report(0, 5), "a"));
    let verdict = ledger.verdict();
    assert_eq!((verdict.promised, verdict.kept, verdict.missing, verdict.copies), (2, 1, 1, 1));
    assert!(!verdict.is_clean());
    ledger.observe(seen(report(1, 5), "b"));
    assert!(ledger.verdict().is_clean(), "{:?}", ledger.verdict());
}

#[test]
fn other_contents_are_a_fault_of_every_copy() {
    let mut ledger = promised(0..1, 10);
    ledger.observe(seen(report(0, 5), "a"));
    ledger.observe(seen(report(0, 6), "a"));
    assert_eq!(ledger.verdict().different, 1);
    let mut ledger = promised(0..1, 10);
    ledger.observe(seen(report(0, 6), "a"));
    assert_eq!(ledger.verdict().different, 1);
}

#[test]
fn one_event_has_one_id_and_no_other_has_it() {
    let mut ledger = promised(0..3, 10);
    ledger.observe(seen(report(0, 5), "a"));
    ledger.observe(seen(report(0, 5), "b"));
    ledger.observe(seen(report(1, 5), "a"));
    assert_eq!(ledger.verdict().wrong_ids, 2);
    ledger.observe(seen(report(9, 5), "z"));
    assert_eq!(ledger.verdict().invented, 1);
}

#[test]
fn a_dead_letter_has_its_channel_and_its_bytes() {
    let letter =
        |channel: &str, bytes: &'static str| (channel.to_owned(), Bytes::from_static(bytes.as_bytes()));
    let mut ledger = Oracle::new(RunTag(0xaa), limits(10));
    let (channel, payload) = letter("c", "000000aa-broken-000000000001");
    let items: Arc<[Expected]> = [Expected::DeadLetter { channel, payload }].into();
    ledger.expect(&items);
    ledger.acknowledge(&items);
    let (channel, payload) = letter("other", "000000aa-broken-000000000001");
    ledger.observe(Observed::DeadLetter { channel, payload });
    assert_eq!((ledger.verdict().missing, ledger.verdict().invented), (1, 1));
    let (channel, payload) = letter("c", "000000aa-broken-000000000001");
    ledger.observe(Observed::DeadLetter { channel, payload });
    assert_eq!(ledger.verdict().missing, 0);
}

#[test]
fn a_late_copy_of_what_is_forgotten_is_no_invention() {
    let mut ledger = promised(0..2, 1);
    ledger.observe(seen(report(0, 5), "a"));
    ledger.observe(seen(report(1, 5), "b"));
    ledger.observe(seen(report(0, 5), "a"));
    let verdict = ledger.verdict();
    assert_eq!((verdict.copies, verdict.invented, ledger.entries.len()), (1, 0, 1));
    ledger.observe(seen(report(1, 6), "b"));
    assert_eq!(ledger.verdict().different, 1, "a settled entry is compared by its hash");
}

#[test]
fn what_waits_is_never_forgotten_and_fills_the_ledger() {
    let mut ledger = promised(0..3, 0);
    assert!(ledger.has_room());
    ledger.expect(&items(3));
    assert!(!ledger.has_room());
    ledger.observe(seen(report(0, 5), "a"));
    assert!(ledger.has_room());
    ledger.give_up(&items(3));
    assert_eq!((ledger.entries.len(), ledger.open, ledger.verdict().missing), (2, 2, 2));
    for (number, id) in [(1, "b"), (2, "c")] {
        ledger.observe(seen(report(number, 5), id));
    }
    assert!(ledger.verdict().is_clean() && ledger.entries.is_empty() && ledger.ids.is_empty());
}

#[test]
fn a_webhook_that_comes_once_more_is_kept_until_it_has_ended() {
    let mut ledger = promised(0..1, 1);
    ledger.observe(seen(report(0, 5), "a"));
    ledger.expect(&items(0));
    assert_eq!(ledger.open, 1);
    ledger.expect(&items(1));
    ledger.give_up(&items(1));
    ledger.acknowledge(&items(0));
    ledger.observe(seen(report(0, 5), "a"));
    let verdict = ledger.verdict();
    assert_eq!((verdict.promised, verdict.kept, verdict.copies, ledger.open), (1, 1, 1, 0));
}

#[test]
fn a_run_whose_events_nobody_reads_keeps_nothing() {
    let mut ledger = Oracle::unwatched(RunTag(0xaa));
    ledger.expect(&items(0));
    ledger.acknowledge(&items(0));
    assert!(ledger.has_room() && ledger.entries.is_empty());
}
