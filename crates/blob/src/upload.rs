//! Writes a file in windows. Readers see it only when it is complete.

use std::time::Duration;

use bsp::media::MediaId;
use redis::aio::ConnectionManager;
use redis::{Pipeline, pipe};

use crate::meta::{Meta, data_key, meta_key, unfinished_key};
use crate::store::{BlobError, BlobStore};

/// TTL of the data of an unfinished upload.
const UNFINISHED_TTL: Duration = Duration::from_secs(120);

/// A file that is being written. If it is dropped, the server removes the data after two minutes.
pub struct Upload {
    connection: ConnectionManager,
    id: MediaId,
    unfinished: String,
    size: u64,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("id", &self.id).field("size", &self.size).finish_non_exhaustive()
    }
}

impl BlobStore {
    /// Starts to write a file.
    ///
    /// # Examples
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use blob::{BlobStore, Meta};
    /// use bsp::media::MediaId;
    ///
    /// # async fn example(store: &BlobStore, meta: &Meta) -> Result<(), blob::BlobError> {
    /// let mut upload = store.upload(MediaId::from_random([7; 16]));
    /// upload.append(b"first bytes").await?;
    /// upload.append(b", last bytes").await?;
    /// upload.finish(meta, Duration::from_secs(24 * 3600)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn upload(&self, id: MediaId) -> Upload {
        Upload { connection: self.connection(), unfinished: unfinished_key(&id), id, size: 0 }
    }
}

impl Upload {
    /// Appends bytes. The first command already sets the key's TTL.
    ///
    /// # Errors
    /// [`BlobError`]. The upload cannot continue after an error.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let mut pipeline = Pipeline::with_capacity(3);
        if self.size == 0 {
            pipeline
                .cmd("SET")
                .arg(&self.unfinished)
                .arg("")
                .arg("EX")
                .arg(UNFINISHED_TTL.as_secs())
                .ignore();
        }
        pipeline.cmd("APPEND").arg(&self.unfinished).arg(bytes);
        pipeline.cmd("EXPIRE").arg(&self.unfinished).arg(UNFINISHED_TTL.as_secs()).ignore();
        let (size,): (u64,) = pipeline.query_async(&mut self.connection).await?;
        self.size += bytes.len() as u64;
        if size != self.size { Err(BlobError::Expired) } else { Ok(()) }
    }

    /// Makes the file and its metadata visible in one step. `lives` is the file's TTL.
    ///
    /// # Errors
    /// [`BlobError`]. The data is then deleted, if Redis is reachable.
    pub async fn finish(mut self, meta: &Meta, lives: Duration) -> Result<(), BlobError> {
        let finished = self.make_visible(meta, lives).await;
        if finished.is_err() {
            self.remove().await;
        }
        finished
    }

    async fn make_visible(&mut self, meta: &Meta, lives: Duration) -> Result<(), BlobError> {
        let lives_ms = i64::try_from(lives.as_millis()).unwrap_or(i64::MAX);
        let (data, about) = (data_key(&self.id), meta_key(&self.id));
        let mut transaction = pipe();
        transaction.atomic();
        transaction.rename(&self.unfinished, &data).ignore();
        transaction.pexpire(&data, lives_ms).ignore();
        transaction.cmd("HSET").arg(&about).arg(&meta.to_fields()).ignore();
        transaction.pexpire(&about, lives_ms).ignore();
        transaction.exec_async(&mut self.connection).await?;
        Ok(())
    }

    /// Deletes the data that was written.
    pub async fn abandon(mut self) {
        self.remove().await;
    }

    /// Also deletes the keys of the finished file: its transaction may have succeeded in part, or without a
    /// response.
    async fn remove(&mut self) {
        let keys = [&self.unfinished, &data_key(&self.id), &meta_key(&self.id)];
        let _ = redis::cmd("UNLINK").arg(&keys).exec_async(&mut self.connection).await;
    }
}
