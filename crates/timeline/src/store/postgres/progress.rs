//! How far the streams are read, for the processes that do not read them, and the rows that these have not seen yet.

use jiff::{Span, Timestamp};
use tokio_postgres::Client;

use crate::progress::StreamProgress;
use crate::row::{Row, StreamNumber};
use crate::store::error::StoreError;
use crate::store::postgres::columns::{self, nanoseconds, of_nanoseconds, of_sequence, of_stream};

/// Age of the oldest rows that are new to another process, in hours: a reader that was away begins with what the streams
/// still hold. Older partitions are not searched.
const NEW_ROWS_HOURS: i64 = 96;

/// Stores how far a stream is read.
pub(super) async fn publish(client: &Client, progress: &StreamProgress) -> Result<(), StoreError> {
    let store = "INSERT INTO progress AS p (stream, sequence, read_until, behind) VALUES ($1, $2, $3, $4)
        ON CONFLICT (stream) DO UPDATE SET sequence = excluded.sequence, behind = excluded.behind,
          read_until = greatest(excluded.read_until, p.read_until)";
    let (sequence, behind) = (of_sequence(progress.sequence), of_sequence(progress.behind));
    let read_until = progress.read_until.map(nanoseconds);
    client.execute(store, &[&of_stream(progress.stream), &sequence, &read_until, &behind]).await?;
    Ok(())
}

/// How far a stream is read.
pub(super) async fn published(
    client: &Client,
    stream: StreamNumber,
) -> Result<Option<StreamProgress>, StoreError> {
    let query = "SELECT sequence, read_until, behind FROM progress WHERE stream = $1";
    let Some(found) = client.query_opt(query, &[&of_stream(stream)]).await? else { return Ok(None) };
    Ok(Some(StreamProgress {
        stream,
        sequence: columns::sequence(found.try_get(0)?),
        read_until: found.try_get::<_, Option<i64>>(1)?.map(of_nanoseconds),
        behind: columns::sequence(found.try_get(2)?),
    }))
}

/// The youngest rows of a stream after a sequence, in its order. The rows of the first message may be more than fit: then it is left out.
pub(super) async fn rows_after(
    client: &Client,
    stream: StreamNumber,
    sequence: u64,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    let query = format!(
        "SELECT {} FROM rows r WHERE r.stream = $1 AND r.sequence > $2 AND r.stored_at >= $3
         ORDER BY r.sequence DESC, r.stored_at DESC, r.part DESC LIMIT $4",
        columns::ROW
    );
    let since = Timestamp::now().saturating_sub(Span::new().hours(NEW_ROWS_HOURS)).unwrap_or(Timestamp::MIN);
    // One more than the limit says whether there are more.
    let most = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&of_stream(stream), &of_sequence(sequence), &nanoseconds(since), &most];
    let mut rows = columns::rows(&client.query(&query, &parameters).await?)?;
    if rows.len() > limit {
        let cut = rows.last().map_or(0, |row| row.pointer.sequence);
        rows.retain(|row| row.pointer.sequence != cut);
    }
    rows.reverse();
    Ok(rows)
}
