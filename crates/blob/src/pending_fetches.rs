//! Tracks the files whose message was sent and that the BSP has not fetched yet. A file that expires without
//! a fetch is counted: the recipient did not get the complete message.
//!
//! The files are in one sorted set, ordered by the time of the next check. The check asks Redis whether the
//! file still exists; the time in the set is only a reminder.

use std::time::Duration;

use bsp::media::MediaId;
use jiff::Timestamp;
use redis::Pipeline;

use crate::meta::data_key;
use crate::store::{BlobError, BlobStore};

/// Sorted set of the files that the BSP has not fetched yet.
const KEY: &str = "IMChannel:MultimediaMessage:unfetched";
/// Most files that one check reads.
const BATCH_MAX: usize = 500;

fn to_score(time: Timestamp, after: Duration) -> i64 {
    time.as_millisecond().saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
}

impl BlobStore {
    /// Tracks a file whose message is sent. `lives` is the file's TTL.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn track_fetch(&self, id: &MediaId, now: Timestamp, lives: Duration) -> Result<(), BlobError> {
        let mut command = redis::cmd("ZADD");
        command.arg(KEY).arg(to_score(now, lives)).arg(id.as_str());
        command.exec_async(&mut self.connection()).await?;
        Ok(())
    }

    /// Stops tracking files that were fetched, or whose message was not sent.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn untrack_fetches<'i>(&self, ids: impl Iterator<Item = &'i MediaId>) -> Result<(), BlobError> {
        let ids: Vec<&str> = ids.map(MediaId::as_str).collect();
        if ids.is_empty() {
            return Ok(());
        }
        redis::cmd("ZREM").arg(KEY).arg(ids).exec_async(&mut self.connection()).await?;
        Ok(())
    }

    /// Counts the tracked files that expired without a fetch, and stops tracking them. Each file is counted
    /// once across all replicas.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn count_expired_unfetched(&self, now: Timestamp) -> Result<u64, BlobError> {
        let mut connection = self.connection();
        let mut due = redis::cmd("ZRANGE");
        due.arg(KEY).arg("-inf").arg(now.as_millisecond()).arg("BYSCORE").arg("LIMIT").arg(0).arg(BATCH_MAX);
        let due: Vec<String> = due.query_async(&mut connection).await?;
        let due: Vec<MediaId> = due.iter().filter_map(|id| MediaId::parse(id)).collect();
        if due.is_empty() {
            return Ok(0);
        }
        let mut lives = Pipeline::with_capacity(due.len());
        for id in &due {
            lives.pttl(data_key(id));
        }
        let lives: Vec<i64> = lives.query_async(&mut connection).await?;
        let mut expired = 0;
        for (id, left_ms) in due.iter().zip(lives) {
            // PTTL returns -1 for a key without a TTL, and -2 for a missing key.
            match u64::try_from(left_ms) {
                Ok(left_ms) => {
                    // Only if the file is still tracked: it may have been fetched since the read.
                    let mut again = redis::cmd("ZADD");
                    again
                        .arg(KEY)
                        .arg("XX")
                        .arg(to_score(now, Duration::from_millis(left_ms)))
                        .arg(id.as_str());
                    again.exec_async(&mut connection).await?;
                }
                Err(_) => {
                    let mut forget = redis::cmd("ZREM");
                    let removed: u64 = forget.arg(KEY).arg(id.as_str()).query_async(&mut connection).await?;
                    expired += if left_ms == -2 { removed } else { 0 };
                }
            }
        }
        Ok(expired)
    }
}
