//! A full disk under the server: nothing is stored in part, and the same batch is stored when there is room.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use timeline::store::error::StoreFault;
use timeline::store::postgres::PostgresStore;
use timeline::store::{SharedStore as _, Store as _};

use crate::postgres::database::Server;
use crate::sample::{batch, event, found, keys};

/// Folder on a small disk, for the process that [`a_full_disk_loses_nothing`] starts.
const FOLDER: &str = "IMCHANNEL_TEST_SMALL_DISK";
/// The user that the server runs as in there: it refuses to run as root.
const AS_USER: &str = "exec unshare --user --map-user=1 --map-group=1 -- \"$@\"";

/// Runs [`on_a_small_disk`] in a process whose folder is a tmpfs, in a user namespace.
#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=24m tmpfs \"$0\"";
    let namespace = |script: &str| {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(folder.path());
        command
    };
    let mut probe = namespace(&format!("{mount} && {AS_USER}"));
    if !probe.args(["true"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("not checked: the kernel gives no tmpfs in a user namespace");
        return;
    }
    let mut run = namespace(&format!("{mount} && {AS_USER}"));
    run.arg(std::env::current_exe().unwrap());
    run.args(["--exact", "postgres::full_disk::on_a_small_disk", "--nocapture"]).env(FOLDER, folder.path());
    let output = run.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stdout));
    assert!(text.contains("the disk was full"), "{text}");
}

/// Does nothing unless the test above starts it. Only the tables are on the small disk: a server that cannot write its log
/// ends, which is the test of a killed one.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_small_disk() {
    let Some(disk) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let server = Server::start().await;
    let space = disk.join("space");
    fs::create_dir(&space).unwrap();
    fs::set_permissions(&space, fs::Permissions::from_mode(0o700)).unwrap();
    let admin = server.sql("postgres").await;
    let location = format!("CREATE TABLESPACE small LOCATION '{}'", space.display());
    admin.batch_execute(&location).await.unwrap();
    admin.batch_execute("CREATE DATABASE rows TABLESPACE small").await.unwrap();
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 4 * 1024 * 1024]).unwrap();
    let store = PostgresStore::open(&server.postgres.url("rows"), &keys()).await.unwrap();
    let batch_of = |number: u64| {
        batch((0..500).map(|row| event(number * 500 + row, 0).id("all").id(&format!("m-{number}-{row}"))))
    };
    let mut stored = 0;
    let error = loop {
        match store.append(batch_of(stored)).await {
            Ok(appended) => assert_eq!(appended.rows, 500),
            Err(error) => break error,
        }
        stored += 1;
    };
    assert_eq!(error.fault(), StoreFault::Full, "{error}: {:?}", std::error::Error::source(&error));
    assert!(error.is_retryable() && error.to_string().contains("free space"), "{error}");
    assert!(store.condition().unwrap_err().contains("no room"));
    // What is stored is read while the disk is full.
    let last = format!("m-{}-499", stored - 1);
    assert_eq!(found(&store, &last).await.len(), 1);
    assert_eq!(store.append(batch_of(stored)).await.unwrap_err().fault(), StoreFault::Full);
    fs::remove_file(&ballast).unwrap();
    assert_eq!(store.append(batch_of(stored)).await.unwrap().rows, 500);
    assert_eq!(store.append(batch_of(stored)).await.unwrap().rows, 0);
    let count = "SELECT count(*) FROM imchannel_timeline.rows";
    let rows: i64 = server.sql("rows").await.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(rows, i64::try_from((stored + 1) * 500).unwrap());
    assert_eq!(store.condition(), Ok(()));
    eprintln!("the disk was full");
}
