//! Removes the rows of a customer, their ids, and what is expected after them, in one transaction.
//!
//! PostgreSQL keeps removed rows in their pages until the space is used again, and in its WAL: the answer says so.

use tokio_postgres::Client;

use crate::store::error::StoreError;
use crate::store::postgres::columns::{self, nanoseconds, of_sequence, of_stream};
use crate::store::postgres::lock::{self, Lock};
use crate::store::{ErasedRows, Place};

/// What is said of every erasure.
const DEAD_ROWS: &str = "dead rows and the WAL of PostgreSQL, until vacuum and new rows use their space, at the latest until the \
                         partition of their day is dropped after IMCHANNEL_TIMELINE_RETENTION; `VACUUM FULL` removes them earlier";

/// Rows at places, as arguments of a query.
const PLACES: &str =
    "unnest($1::int2[], $2::int8[], $3::int8[], $4::int8[]) AS p (stream, sequence, stored_at, part)";

/// Removes the rows at these places.
pub(super) async fn erase(client: &mut Client, places: &[Place]) -> Result<ErasedRows, StoreError> {
    let streams: Vec<i16> = places.iter().map(|place| of_stream(place.pointer.stream)).collect();
    let sequences: Vec<i64> = places.iter().map(|place| of_sequence(place.pointer.sequence)).collect();
    let times: Vec<i64> = places.iter().map(|place| nanoseconds(place.stored_at)).collect();
    let parts: Vec<i64> = places.iter().map(|place| i64::from(place.pointer.part)).collect();
    let transaction = client.transaction().await?;
    lock::wait(&transaction, Lock::Write).await?;
    let query = format!(
        "SELECT {} FROM {PLACES} JOIN rows r USING (stream, sequence, stored_at, part)",
        columns::ROW
    );
    let found = columns::rows(&transaction.query(&query, &[&streams, &sequences, &times, &parts]).await?)?;
    let mut keys: Vec<&[u8]> = Vec::new();
    let mut channels: Vec<&[u8]> = Vec::new();
    for row in &found {
        keys.extend(row.links.iter().map(|link| link.key.0.as_slice()));
        channels.resize(keys.len(), row.channel.as_bytes());
    }
    let remove = "DELETE FROM expectations e USING unnest($1::bytea[], $2::bytea[]) AS n (key, channel)
        WHERE e.key = n.key AND (e.channel = n.channel OR e.channel = '')";
    let expectations = transaction.execute(remove, &[&keys, &channels]).await?;
    let mut rows = 0;
    for table in ["ids", "rows"] {
        let remove = format!(
            "DELETE FROM {table} r USING {PLACES}
             WHERE r.stored_at = p.stored_at AND r.stream = p.stream AND r.sequence = p.sequence AND r.part = p.part"
        );
        // The last of the tables is that of the rows.
        rows = transaction.execute(&remove, &[&streams, &sequences, &times, &parts]).await?;
    }
    transaction.commit().await?;
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(ErasedRows { rows: count(rows), expectations: count(expectations), remains: vec![DEAD_ROWS] })
}
