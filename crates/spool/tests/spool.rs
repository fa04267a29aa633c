//! The spool on a real disk: what is stored is read after every end of the process, and what is damaged costs nothing else.
#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spool::{
    AsideReason, Backlog, Entry, FaultKind, Format, Observer, Spool, SpoolOptions, StoreError, inspect,
};
use tempfile::TempDir;

/// What the spool has reported.
#[derive(Debug, Default)]
struct Reports {
    synced: Mutex<Vec<usize>>,
    /// The writing thread waits while it is set, like for a slow disk.
    is_slow: AtomicBool,
    faults: Mutex<Vec<FaultKind>>,
    aside: Mutex<Vec<AsideReason>>,
}

impl Observer for Reports {
    fn synced(&self, entries: usize, _took: Duration) {
        self.synced.lock().unwrap().push(entries);
        while self.is_slow.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }

    fn fault(&self, kind: FaultKind, _error: &io::Error) {
        self.faults.lock().unwrap().push(kind);
    }

    fn set_aside(&self, reason: AsideReason, _folder: u32, _bytes: u64) {
        self.aside.lock().unwrap().push(reason);
    }
}

const MAX_BYTES: u64 = 64 * 1024 * 1024;

struct Opened {
    spool: Spool,
    backlog: Backlog,
    reports: Arc<Reports>,
}

async fn open(folder: &Path) -> Opened {
    open_with(folder, MAX_BYTES).await
}

async fn open_with(folder: &Path, max_bytes: u64) -> Opened {
    let reports = Arc::new(Reports::default());
    let options = SpoolOptions { folder: folder.to_owned(), max_bytes };
    let spool = Spool::start(options, reports.clone()).unwrap();
    let backlog = spool.backlog().await;
    Opened { spool, backlog, reports }
}

fn entry(number: usize) -> Entry {
    Entry {
        subject: format!("imchannel.webhook.twilio.c-{}", number % 3),
        headers: vec![("Nats-Msg-Id".to_owned(), format!("id-{number}"))],
        arrived_ms: 1_000 + number as i64,
        body: format!("body {number} {}", "x".repeat(500)).into(),
    }
}

fn all(backlog: &Backlog) -> Vec<(u64, Entry)> {
    let mut all = Vec::new();
    loop {
        let items = backlog.read(7, 1024 * 1024).unwrap();
        if items.is_empty() {
            return all;
        }
        all.extend(items.into_iter().map(|item| (item.sequence, item.entry)));
    }
}

fn numbers(read: &[(u64, Entry)]) -> Vec<i64> {
    read.iter().map(|(_, entry)| entry.arrived_ms - 1_000).collect()
}

/// Ends a spool like a process, and waits until its lock is free.
async fn end(opened: Opened, folder: &Path) {
    let number = opened.backlog.folder();
    drop(opened);
    until(|| inspect(folder).unwrap().iter().any(|state| state.number == number && !state.has_owner)).await;
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition did not become true");
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.join("0")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    files
}

fn aside(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(files) = fs::read_dir(folder.join("0/aside")) else { return Vec::new() };
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

#[tokio::test]
async fn what_is_stored_is_read_in_order_until_it_is_acknowledged() {
    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    for number in 0..20 {
        opened.spool.store(entry(number)).await.unwrap();
    }
    let read = all(&opened.backlog);
    assert_eq!(numbers(&read), (0..20).collect::<Vec<_>>());
    assert!(read.iter().all(|(_, read)| *read == entry((read.arrived_ms - 1_000) as usize)));
    let state = opened.spool.state();
    assert_eq!((state.entries, state.oldest_ms), (20, Some(1_000)));
    // One in the middle is still being published.
    for (sequence, _) in read.iter().filter(|(_, entry)| entry.arrived_ms != 1_005) {
        opened.backlog.acknowledge(*sequence);
    }
    opened.backlog.tidy();
    assert_eq!(opened.spool.state().oldest_ms, Some(1_005));
    end(opened, folder.path()).await;
    let found = inspect(folder.path()).unwrap();
    assert_eq!((found[0].entries, found[0].oldest_ms), (15, Some(1_005)), "all from the first one on");

    let opened = open(folder.path()).await;
    let read = all(&opened.backlog);
    assert_eq!(numbers(&read), (5..20).collect::<Vec<_>>());
    opened.spool.store(entry(20)).await.unwrap();
    let last = all(&opened.backlog);
    assert_eq!(numbers(&last), [20]);
    assert!(last[0].0 > read[14].0, "a sequence is not used twice");
    for (sequence, _) in read.iter().chain(&last) {
        opened.backlog.acknowledge(*sequence);
    }
    assert!(opened.backlog.is_drained());
    opened.backlog.tidy();
    assert_eq!(segments(folder.path()), <[PathBuf; 0]>::default(), "nothing remains on the disk");
    assert_eq!(opened.spool.state().size_bytes, 0);
    assert_eq!(*opened.reports.synced.lock().unwrap(), [1]);
}

#[tokio::test]
async fn what_was_acknowledged_right_before_a_crash_is_read_again() {
    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    opened.spool.store(entry(0)).await.unwrap();
    opened.backlog.acknowledge(all(&opened.backlog)[0].0);
    // No `tidy`.
    end(opened, folder.path()).await;
    let opened = open(folder.path()).await;
    assert_eq!(numbers(&all(&opened.backlog)), [0]);
}

#[tokio::test]
async fn a_last_record_that_was_cut_off_costs_nothing_else() {
    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    for number in 0..3 {
        opened.spool.store(entry(number)).await.unwrap();
    }
    end(opened, folder.path()).await;
    let segment = &segments(folder.path())[0];
    let length = fs::metadata(segment).unwrap().len();
    fs::File::options().write(true).open(segment).unwrap().set_len(length - 300).unwrap();

    let opened = open(folder.path()).await;
    assert_eq!(opened.spool.state().entries, 2);
    opened.spool.store(entry(3)).await.unwrap();
    let read = all(&opened.backlog);
    assert_eq!(numbers(&read), [0, 1, 3]);
    assert_eq!(*opened.reports.aside.lock().unwrap(), []);
    // A crash of the machine may also leave zeros.
    end(opened, folder.path()).await;
    fs::File::options().write(true).open(segment).unwrap().set_len(length + 8192).unwrap();
    let opened = open(folder.path()).await;
    let read = all(&opened.backlog);
    assert_eq!(numbers(&read), [0, 1, 3]);
}

#[tokio::test]
async fn a_damaged_record_is_kept_aside_and_the_others_are_read() {
    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    for number in 0..9 {
        opened.spool.store(entry(number)).await.unwrap();
    }
    end(opened, folder.path()).await;
    let segment = &segments(folder.path())[0];
    let mut bytes = fs::read(segment).unwrap();
    let record = bytes.len() / 9;
    // The payload of the third, and the head of the sixth.
    bytes[2 * record + record / 2] ^= 4;
    bytes[5 * record + 3] ^= 4;
    fs::write(segment, &bytes).unwrap();

    let opened = open(folder.path()).await;
    let read = all(&opened.backlog);
    assert_eq!(numbers(&read), [0, 1, 3, 4, 6, 7, 8]);
    assert_eq!(*opened.reports.aside.lock().unwrap(), [AsideReason::Unreadable; 2]);
    let kept = aside(folder.path());
    for damaged in [2, 5] {
        let damaged = &bytes[damaged * record..(damaged + 1) * record];
        assert!(kept.iter().any(|kept| kept == damaged), "{} files", kept.len());
    }
    for (sequence, _) in read {
        opened.backlog.acknowledge(sequence);
    }
    assert_eq!(opened.spool.state().entries, 0);
    opened.backlog.tidy();
    assert!(segments(folder.path()).is_empty());
    assert!(opened.spool.state().size_bytes > 0, "what is kept aside counts");
}

#[tokio::test]
async fn an_entry_that_cannot_be_published_is_kept_aside() {
    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    opened.spool.store(entry(0)).await.unwrap();
    let item = opened.backlog.read(1, 1).unwrap().remove(0);
    opened.backlog.set_aside(&item).unwrap();
    assert!(opened.backlog.is_drained());
    assert_eq!(*opened.reports.aside.lock().unwrap(), [AsideReason::Unpublishable]);
    let body = &entry(0).body[..];
    assert!(aside(folder.path())[0].windows(body.len()).any(|part| part == body));
}

#[tokio::test]
async fn every_process_has_its_own_sub_folder_and_drains_those_of_ended_ones() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (open(folder.path()).await, open(folder.path()).await);
    assert_eq!((first.backlog.folder(), second.backlog.folder()), (0, 1));
    first.spool.store(entry(0)).await.unwrap();
    second.spool.store(entry(1)).await.unwrap();
    assert!(second.spool.adopt().is_empty(), "the first one still runs");
    end(first, folder.path()).await;
    let found = inspect(folder.path()).unwrap();
    let owners: Vec<_> = found.iter().map(|state| (state.has_owner, state.entries)).collect();
    assert_eq!(owners, [(false, 1), (true, 1)]);

    let adopted = second.spool.adopt();
    assert_eq!(adopted.len(), 1);
    assert_eq!(numbers(&all(&adopted[0])), [0]);
    let third = open(folder.path()).await;
    assert_eq!(third.backlog.folder(), 2, "an adopted sub-folder is in use");
    assert!(third.spool.adopt().is_empty());
    adopted[0].acknowledge(1);
    adopted[0].tidy();
    assert!(adopted[0].is_removed());
    drop(adopted);
    assert!(second.spool.adopt().is_empty(), "nothing is left in it");
    assert_eq!(open(folder.path()).await.backlog.folder(), 0);
}

#[tokio::test]
async fn a_full_spool_refuses_entries_until_some_are_removed() {
    let folder = TempDir::new().unwrap();
    let opened = open_with(folder.path(), 2 * 1024 * 1024).await;
    assert!(opened.spool.has_room());
    let large = || Entry { body: vec![7; 200_000].into(), ..entry(0) };
    let mut stored = 0;
    while opened.spool.store(large()).await.is_ok() {
        stored += 1;
        assert!(stored <= 10);
    }
    assert_eq!(opened.spool.store(large()).await.unwrap_err(), StoreError::Full);
    assert!(!opened.spool.has_room());
    assert!(opened.spool.state().size_bytes <= 2 * 1024 * 1024);
    let huge = Entry { body: vec![7; spool::ENTRY_BYTES_MAX].into(), ..entry(0) };
    assert_eq!(opened.spool.store(huge).await.unwrap_err(), StoreError::TooLarge);
    // A small one still fits.
    opened.spool.store(entry(1)).await.unwrap();
    let first = opened.backlog.read(1, 1).unwrap().remove(0);
    opened.backlog.acknowledge(first.sequence);
    let _next = opened.backlog.read(1, 1).unwrap();
    opened.backlog.tidy();
    opened.spool.store(large()).await.unwrap();
}

#[tokio::test]
async fn a_sub_folder_of_another_version_is_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("0")).unwrap();
    fs::write(folder.path().join("0/format"), "imchannel spool 2\nimchannel spool 2\n").unwrap();
    fs::write(folder.path().join("0/newer"), "?").unwrap();
    let opened = open(folder.path()).await;
    assert_eq!(opened.backlog.folder(), 1);
    assert_eq!(*opened.reports.faults.lock().unwrap(), [FaultKind::Format]);
    assert!(opened.spool.adopt().is_empty());
    assert_eq!(inspect(folder.path()).unwrap()[0].format, Format::Unknown(2));
    assert_eq!(fs::read_to_string(folder.path().join("0/newer")).unwrap(), "?");
}

#[tokio::test]
async fn a_damaged_format_costs_no_entry() {
    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    opened.spool.store(entry(0)).await.unwrap();
    end(opened, folder.path()).await;
    let path = folder.path().join("0/format");
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &damaged).unwrap();
        assert_eq!(inspect(folder.path()).unwrap()[0].entries, 1, "bit {bit}");
        let opened = open(folder.path()).await;
        assert_eq!((opened.backlog.folder(), all(&opened.backlog).len()), (0, 1), "bit {bit}");
        assert_eq!(*opened.reports.faults.lock().unwrap(), [FaultKind::Format], "bit {bit}");
        assert_eq!(fs::read(folder.path().join("0/aside/format")).unwrap(), damaged, "bit {bit}");
        end(opened, folder.path()).await;
        assert_eq!(fs::read(&path).unwrap(), whole, "bit {bit}");
    }
}

/// Its entries have sequences that a process which does not see them could use again, or count as acknowledged.
#[tokio::test]
async fn the_entries_of_a_segment_that_cannot_be_opened_for_a_while_come_out_later() {
    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    for number in 0..5 {
        opened.spool.store(entry(number)).await.unwrap();
    }
    end(opened, folder.path()).await;
    let segment = segments(folder.path()).remove(0);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&segment, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&segment, &segment).unwrap();
    let opened = open(folder.path()).await;
    assert_eq!(*opened.reports.faults.lock().unwrap(), [FaultKind::Read]);
    for number in 5..15 {
        opened.spool.store(entry(number)).await.unwrap();
    }
    for (sequence, _) in all(&opened.backlog) {
        opened.backlog.acknowledge(sequence);
    }
    opened.backlog.tidy();
    end(opened, folder.path()).await;
    fs::remove_file(&segment).unwrap();
    fs::rename(&elsewhere, &segment).unwrap();
    let opened = open(folder.path()).await;
    let bodies: Vec<Entry> = all(&opened.backlog).into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(bodies, (0..5).map(entry).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_disk_that_fails_is_tried_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("spool");
    fs::write(&path, "a file and no folder").unwrap();
    let reports = Arc::new(Reports::default());
    let options = SpoolOptions { folder: path.clone(), max_bytes: MAX_BYTES };
    let spool = Spool::start(options, reports.clone()).unwrap();
    assert_eq!(spool.store(entry(0)).await.unwrap_err(), StoreError::Disk);
    until(|| reports.faults.lock().unwrap().contains(&FaultKind::Open)).await;
    assert!(!spool.has_room());
    fs::remove_file(&path).unwrap();
    until(|| spool.has_room()).await;
    spool.store(entry(0)).await.unwrap();
}

#[tokio::test]
async fn a_segment_that_was_deleted_costs_no_other() {
    let folder = TempDir::new().unwrap();
    for number in 0..3 {
        let opened = open(folder.path()).await;
        opened.spool.store(entry(number)).await.unwrap();
        end(opened, folder.path()).await;
    }
    let opened = open(folder.path()).await;
    fs::remove_file(&segments(folder.path())[1]).unwrap();
    let read = all(&opened.backlog);
    assert_eq!(numbers(&read), [0, 2]);
    assert_eq!(*opened.reports.faults.lock().unwrap(), [FaultKind::Read]);
    for (sequence, _) in read {
        opened.backlog.acknowledge(sequence);
    }
    opened.backlog.tidy();
    assert!(opened.backlog.is_drained() && opened.backlog.is_removed());
    assert_eq!(opened.spool.state().entries, 0);
}

/// A file without a name takes writes and fsyncs.
#[tokio::test]
async fn nothing_is_stored_in_a_segment_that_was_deleted() {
    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    opened.spool.store(entry(0)).await.unwrap();
    fs::remove_file(&segments(folder.path())[0]).unwrap();
    assert_eq!(opened.spool.store(entry(1)).await.unwrap_err(), StoreError::Disk);
    until(|| opened.spool.has_room()).await;
    opened.spool.store(entry(2)).await.unwrap();
    assert_eq!(numbers(&all(&opened.backlog)), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_store_at_the_same_time() {
    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    let storing: Vec<_> = (0..500)
        .map(|number| {
            let spool = opened.spool.clone();
            tokio::spawn(async move { spool.store(entry(number)).await.unwrap().sequence() })
        })
        .collect();
    let mut sequences = Vec::new();
    for task in storing {
        sequences.push(task.await.unwrap());
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=500).collect::<Vec<_>>());
    let mut read = numbers(&all(&opened.backlog));
    read.sort_unstable();
    assert_eq!(read, (0..500).collect::<Vec<_>>());
    assert_eq!(opened.reports.synced.lock().unwrap().iter().sum::<usize>(), 500);
}

#[tokio::test]
async fn what_waits_for_the_disk_is_limited_and_written_with_one_fsync() {
    let folder = TempDir::new().unwrap();
    let opened = open_with(folder.path(), 1024 * 1024 * 1024).await;
    opened.reports.is_slow.store(true, Ordering::Relaxed);
    let store = |entry| {
        let spool = opened.spool.clone();
        tokio::spawn(async move { spool.store(entry).await })
    };
    let first = store(entry(0));
    until(|| opened.reports.synced.lock().unwrap().len() == 1).await;
    let waiting: Vec<_> = (1..=50).map(|number| store(entry(number))).collect();
    let large = || Entry { body: vec![7; 1024 * 1024].into(), ..entry(0) };
    let mut more = Vec::new();
    for _ in 0..63 {
        more.push(store(large()));
        tokio::task::yield_now().await;
    }
    assert_eq!(opened.spool.store(large()).await.unwrap_err(), StoreError::Overloaded);
    opened.reports.is_slow.store(false, Ordering::Relaxed);
    first.await.unwrap().unwrap();
    for task in waiting.into_iter().chain(more) {
        task.await.unwrap().unwrap();
    }
    let synced = opened.reports.synced.lock().unwrap().clone();
    assert_eq!((synced[0], synced.iter().sum::<usize>()), (1, 114));
    assert!(synced[1] >= 50, "all that waited have one fsync, up to its limit of bytes: {synced:?}");
}

/// What is stored contains customers' texts.
#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let opened = open(folder.path()).await;
    opened.spool.store(entry(0)).await.unwrap();
    opened.backlog.set_aside(&opened.backlog.read(1, 1).unwrap()[0]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
    let own = folder.path().join("0");
    let kept = fs::read_dir(own.join("aside")).unwrap().next().unwrap().unwrap().path();
    for path in [&own, &own.join("aside"), &kept, &segments(folder.path())[0]] {
        assert_eq!(mode(path), 0, "{}", path.display());
    }
}
