//! A store in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use timeline::store::Store;
use timeline::store::sqlite::SqliteStore;

use crate::engine::Engine;

/// Longest wait for a store that was dropped to end its work in the background.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A folder, and copies of it.
pub(crate) struct Embedded {
    folder: TempDir,
    copies: Mutex<Vec<TempDir>>,
}

impl Embedded {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), copies: Mutex::new(Vec::new()) }
    }

    /// The folder of the store.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("timeline")
    }

    /// Opens the store of the folder.
    pub(crate) async fn store(&self) -> SqliteStore {
        opened(&self.path()).await
    }

    /// A copy of the files as they are now: what a killed process leaves.
    pub(crate) fn copy(&self) -> PathBuf {
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(self.path()).unwrap() {
            let file = file.unwrap();
            // The index of a WAL is memory that processes share: it is made again.
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
        }
        let path = copy.path().to_owned();
        self.copies.lock().unwrap().push(copy);
        path
    }
}

/// Opens the store of a folder, when the one before is closed.
pub(crate) async fn opened(path: &Path) -> SqliteStore {
    let started = Instant::now();
    loop {
        match SqliteStore::open(path.to_owned()).await {
            Ok(store) => return store,
            Err(error) if error.to_string().contains("another") && started.elapsed() < CLOSE_TIMEOUT => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
    }
}

impl Engine for Embedded {
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
        async { Box::new(self.store().await) as Box<dyn Store> }.boxed()
    }

    fn killed(&self) -> BoxFuture<'_, Box<dyn Store>> {
        async { Box::new(opened(&self.copy()).await) as Box<dyn Store> }.boxed()
    }
}
