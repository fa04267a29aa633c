//! A full disk: nothing is stored in part, and the same batch is stored when there is room.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use timeline::rules::RuleName;
use timeline::store::Store;
use timeline::store::error::StoreFault;
use timeline::store::sqlite::SqliteStore;

use crate::sample::{batch, event, found};

/// Folder on a small disk, for the process that [`a_full_disk_loses_nothing`] starts.
const FOLDER: &str = "IMCHANNEL_TEST_SMALL_DISK";
/// Bytes of what takes the last room: more than a batch needs.
const BALLAST_BYTES: usize = 512 * 1024;

/// Runs [`on_a_small_disk`] in a process whose folder is a tmpfs, in a user namespace.
#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=3m tmpfs \"$0\"";
    let namespace = |script: &str| {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(folder.path());
        command
    };
    if !namespace(mount).output().is_ok_and(|output| output.status.success()) {
        eprintln!("not checked: the kernel gives no tmpfs in a user namespace");
        return;
    }
    let mut run = namespace(&format!("{mount} && exec \"$@\""));
    run.arg(std::env::current_exe().unwrap());
    run.args(["--exact", "sqlite::full_disk::on_a_small_disk", "--nocapture"]).env(FOLDER, folder.path());
    let output = run.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stdout));
    assert!(text.contains("the disk was full"), "{text}");
}

/// Does nothing unless the test above starts it.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_small_disk() {
    let Some(disk) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; BALLAST_BYTES]).unwrap();
    let folder = disk.join("timeline");
    let store = SqliteStore::open(folder.clone()).await.unwrap();
    let batch_of = |number: u64| {
        let sequence = |row| number * 100 + row;
        batch((0..100).map(|row| {
            let id = format!("m-{}", sequence(row));
            event(sequence(row), 0).id("all").id(&id).expects(RuleName::NoReport, &id)
        }))
    };
    let mut stored = 0;
    let error = loop {
        match store.append(batch_of(stored)).await {
            Ok(appended) => assert_eq!(appended.rows, 100),
            Err(error) => break error,
        }
        stored += 1;
    };
    assert_eq!(error.fault(), StoreFault::Full, "{error}: {:?}", std::error::Error::source(&error));
    assert!(error.is_retryable() && error.to_string().contains("free space"), "{error}");
    // What is stored is read while the disk is full.
    let rows = usize::try_from(stored).unwrap() * 100;
    assert_eq!(found(&store, "all").await.len(), rows);
    assert_eq!(store.append(batch_of(stored)).await.unwrap_err().fault(), StoreFault::Full);
    fs::remove_file(&ballast).unwrap();
    assert_eq!(store.append(batch_of(stored)).await.unwrap().rows, 100);
    assert_eq!(found(&store, "all").await.len(), rows + 100);
    drop(store);
    let store = SqliteStore::open(folder).await.unwrap();
    assert_eq!(store.append(batch_of(stored)).await.unwrap().rows, 0);
    eprintln!("the disk was full");
}
