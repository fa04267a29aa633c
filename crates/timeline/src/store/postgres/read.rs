//! Answers: rows by id, listings, gaps.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::row::{LookupKey, RecipientKey, Row};
use crate::store::error::StoreError;
use crate::store::postgres::columns::{self, POSITION, nanoseconds, of_sequence, of_stream};
use crate::store::{End, Found, Gap, Gaps, Listing, Position, SequenceQuery};

pub(super) fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// How far each stream is stored.
pub(super) async fn positions(client: &Client) -> Result<Vec<Position>, StoreError> {
    let query = format!("SELECT {POSITION} FROM positions ORDER BY stream");
    let found = client.query(&query, &[]).await?;
    found.iter().filter_map(|row| columns::position(row).transpose()).collect()
}

/// The rows that have any of the keys, oldest first.
pub(super) async fn find(client: &Client, keys: &[LookupKey], limit: usize) -> Result<Found, StoreError> {
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.0.as_slice()).collect();
    let query = format!(
        "WITH place AS MATERIALIZED (
           SELECT DISTINCT stored_at, stream, sequence, part FROM ids WHERE key = ANY($1)
           ORDER BY stored_at, stream, sequence, part LIMIT $2
         )
         SELECT {} FROM place p JOIN rows r USING (stream, sequence, stored_at, part)
         ORDER BY r.stored_at, r.stream, r.sequence, r.part",
        columns::ROW
    );
    // One more than the limit says whether there are more.
    let found = client.query(&query, &[&keys, &most(limit.saturating_add(1))]).await?;
    let is_cut = found.len() > limit;
    let mut rows = columns::rows(&found)?;
    rows.truncate(limit);
    Ok(Found { rows, is_cut })
}

/// A customer's rows, newest first.
pub(super) async fn of_recipient(
    client: &Client,
    recipient: RecipientKey,
    listing: &Listing,
) -> Result<Vec<Row>, StoreError> {
    list(client, "r.recipient = $7", Some(&recipient.0.as_slice()), listing).await
}

/// The rows that begin a message, newest first.
pub(super) async fn beginnings(
    client: &Client,
    channel: Option<&str>,
    listing: &Listing,
) -> Result<Vec<Row>, StoreError> {
    match channel {
        None => list(client, "r.kind IN (1, 7)", None, listing).await,
        Some(channel) => {
            list(client, "r.kind IN (1, 7) AND r.channel = $7", Some(&channel.as_bytes()), listing).await
        }
    }
}

async fn list(
    client: &Client,
    condition: &str,
    parameter: Option<&(dyn ToSql + Sync)>,
    listing: &Listing,
) -> Result<Vec<Row>, StoreError> {
    let until = (nanoseconds(listing.until), 0, 0, 0);
    let after = listing.after.map(|after| {
        let pointer = after.pointer;
        let (stream, sequence) = (of_stream(pointer.stream), of_sequence(pointer.sequence));
        (nanoseconds(after.stored_at), stream, sequence, i64::from(pointer.part))
    });
    let (stored_at, stream, sequence, part) = after.map_or(until, |after| after.min(until));
    // The second condition on the time leaves out the partitions of later days.
    let query = format!(
        "SELECT {} FROM rows r WHERE {condition} AND r.stored_at >= $1 AND r.stored_at <= $2
           AND (r.stored_at, r.stream, r.sequence, r.part) < ($2, $3, $4, $5)
         ORDER BY r.stored_at DESC, r.stream DESC, r.sequence DESC, r.part DESC LIMIT $6",
        columns::ROW
    );
    let (since, limit) = (nanoseconds(listing.since), most(listing.limit));
    let mut parameters: Vec<&(dyn ToSql + Sync)> =
        vec![&since, &stored_at, &stream, &sequence, &part, &limit];
    parameters.extend(parameter);
    Ok(brief(columns::rows(&client.query(&query, &parameters).await?)?))
}

/// Rows of a stream by their sequences.
pub(super) async fn by_sequence(client: &Client, query: &SequenceQuery) -> Result<Vec<Row>, StoreError> {
    let order = match query.from {
        End::Oldest => "ASC",
        End::Newest => "DESC",
    };
    let text = format!(
        "SELECT {} FROM rows r WHERE r.stream = $1 AND r.sequence > $2 AND r.stored_at >= $3
         ORDER BY r.stream {order}, r.sequence {order}, r.stored_at {order}, r.part {order} LIMIT $4",
        columns::ROW
    );
    let (stream, after) = (of_stream(query.stream), of_sequence(query.after));
    let (since, limit) = (nanoseconds(query.since), most(query.limit));
    let found = client.query(&text, &[&stream, &after, &since, &limit]).await?;
    Ok(brief(columns::rows(&found)?))
}

/// The rows without bodies.
fn brief(mut rows: Vec<Row>) -> Vec<Row> {
    rows.iter_mut().for_each(|row| row.body = String::new());
    rows
}

/// The last ranges of messages that were missed, in the order of time.
pub(super) async fn gaps(client: &Client, limit: usize) -> Result<Gaps, StoreError> {
    let query = "SELECT stream, first, last, after, before FROM gaps ORDER BY before DESC, stream DESC, first DESC LIMIT $1";
    let found = client.query(query, &[&most(limit)]).await?;
    let mut ranges: Vec<Gap> =
        found.iter().filter_map(|row| columns::gap(row).transpose()).collect::<Result<_, _>>()?;
    ranges.reverse();
    let all: i64 = client.query_one("SELECT count(*) FROM gaps", &[]).await?.try_get(0)?;
    let left_out = all.cast_unsigned().saturating_sub(ranges.len() as u64);
    Ok(Gaps { ranges, left_out })
}

/// Bytes of the tables and their indexes.
pub(super) async fn size(client: &Client) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::int8 FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'";
    let row = client.query_one(query, &[]).await?;
    Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
}
