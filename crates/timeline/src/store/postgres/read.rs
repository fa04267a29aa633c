//! Answers: rows by id, listings, what is overdue, gaps.

use jiff::Timestamp;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::row::{LookupKey, RecipientKey, Row};
use crate::rules::{Expectation, RuleName};
use crate::store::error::StoreError;
use crate::store::postgres::columns::{self, EXPECTATION, nanoseconds, of_rule, of_sequence, of_stream};
use crate::store::{Found, Gap, Listing, OverdueCount, OverdueQuery, Position};

/// Most expectations with the same time and key: there is one for each rule and channel.
const SAME_PLACE_MAX: usize = 64;

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// How far each stream is stored.
pub(super) async fn positions(client: &Client) -> Result<Vec<Position>, StoreError> {
    let query = "SELECT stream, created_at, sequence, stored_at FROM positions ORDER BY stream";
    let found = client.query(query, &[]).await?;
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
    columns::rows(&client.query(&query, &parameters).await?)
}

/// What is overdue, the longest overdue first. A group with the same time and key is not divided, because the listing goes
/// on after a time and key.
pub(super) async fn overdue(client: &Client, query: &OverdueQuery) -> Result<Vec<Expectation>, StoreError> {
    let limit = query.limit.saturating_add(SAME_PLACE_MAX);
    let mut found = Vec::new();
    for (rule, until) in &query.judged {
        found.extend(overdue_of(client, query, *rule, *until, limit).await?);
    }
    found.sort_by(|one, other| one.order().cmp(&other.order()).then_with(|| one.channel.cmp(&other.channel)));
    if found.len() > query.limit {
        let next = found[query.limit].order();
        let whole = found[..query.limit].partition_point(|expectation| expectation.order() < next);
        let end =
            if whole > 0 { whole } else { found.partition_point(|expectation| expectation.order() <= next) };
        found.truncate(if query.limit == 0 { 0 } else { end });
    }
    Ok(found)
}

async fn overdue_of(
    client: &Client,
    query: &OverdueQuery,
    rule: RuleName,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Expectation>, StoreError> {
    let (due, key) = match &query.after {
        Some((due, key)) => (nanoseconds(*due), key.0.as_slice()),
        // Before every key.
        None => (i64::MIN, [].as_slice()),
    };
    let (rule, until, limit) = (of_rule(rule), nanoseconds(until), most(limit));
    let channel = query.channel.as_deref().map(str::as_bytes);
    let of_channel = if channel.is_some() { "channel = $6 AND" } else { "" };
    let text = format!(
        "SELECT {EXPECTATION} FROM expectations
         WHERE {of_channel} rule = $1 AND due <= $2 AND (due, key) > ($3, $4) ORDER BY due, key LIMIT $5"
    );
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&rule, &until, &due, &key, &limit];
    if let Some(channel) = &channel {
        parameters.push(channel);
    }
    let found = client.query(&text, &parameters).await?;
    found.iter().filter_map(|row| columns::expectation(row).transpose()).collect()
}

/// How much is overdue, by channel and rule.
pub(super) async fn overdue_counts(
    client: &Client,
    judged: &[(RuleName, Timestamp)],
) -> Result<Vec<OverdueCount>, StoreError> {
    let query = "SELECT channel, count(*) FROM expectations WHERE rule = $1 AND due <= $2 GROUP BY channel ORDER BY channel";
    let mut counts = Vec::new();
    for (rule, until) in judged {
        for row in client.query(query, &[&of_rule(*rule), &nanoseconds(*until)]).await? {
            let count = row.try_get::<_, i64>(1)?.cast_unsigned();
            counts.push(OverdueCount { channel: columns::channel(&row, 0)?, rule: *rule, count });
        }
    }
    Ok(counts)
}

/// Every range of messages that was missed, in the order of time.
pub(super) async fn gaps(client: &Client) -> Result<Vec<Gap>, StoreError> {
    let query = "SELECT stream, first, last, after, before FROM gaps ORDER BY before, stream, first";
    let found = client.query(query, &[]).await?;
    found.iter().filter_map(|row| columns::gap(row).transpose()).collect()
}

/// Bytes of the tables and their indexes.
pub(super) async fn size(client: &Client) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::int8 FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'";
    let row = client.query_one(query, &[]).await?;
    Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
}
