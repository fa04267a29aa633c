//! Stores a batch in one transaction: its rows, what follows from them, what the audit log counts of them, its gaps and its position.
//!
//! Writers take turns, those of other replicas too. A batch whose rows are stored already, because the connection ended at the
//! commit or because two replicas read the same stream, adds nothing.

use std::collections::{BTreeSet, HashSet};
use std::pin::pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

use crate::row::{LookupKey, Row, stored};
use crate::store::error::StoreError;
use crate::store::postgres::columns::{self, POSITION, nanoseconds, of_sequence, of_stream};
use crate::store::postgres::days::{self, Day};
use crate::store::postgres::expect;
use crate::store::postgres::lock::{self, Lock};
use crate::store::postgres::replays;
use crate::store::{Appended, Batch, Gap, NewRow, Place, Position};

/// Stores a batch.
pub(super) async fn append(client: &mut Client, batch: &Batch) -> Result<Appended, StoreError> {
    let transaction = client.transaction().await?;
    lock::wait(&transaction, Lock::Write).await?;
    let rows = new_rows(&transaction, batch).await?;
    let met = expect::apply(&transaction, &rows).await?;
    replays::count(&transaction, &rows).await?;
    if !rows.is_empty() {
        let days: BTreeSet<Day> = rows.iter().map(|new| Day::of(new.row.stored_at)).collect();
        days::make(&transaction, &days).await?;
        copy_rows(&transaction, &rows).await?;
        copy_ids(&transaction, &rows).await?;
    }
    for gap in &batch.gaps {
        store_gap(&transaction, gap).await?;
    }
    store_position(&transaction, &batch.position).await?;
    transaction.commit().await?;
    Ok(Appended { rows: rows.len(), met })
}

/// The rows of a batch that are not stored, each once.
async fn new_rows<'a>(
    transaction: &Transaction<'_>,
    batch: &'a Batch,
) -> Result<Vec<&'a NewRow>, StoreError> {
    let mut known = BTreeSet::new();
    if may_be_stored(transaction, batch).await? {
        known = stored_places(transaction, &batch.rows).await?;
    }
    Ok(batch.rows.iter().filter(|new| known.insert(Place::of(&new.row))).collect())
}

/// Whether a row with a sequence of the batch is stored: only then is it worth a look at each.
async fn may_be_stored(transaction: &Transaction<'_>, batch: &Batch) -> Result<bool, StoreError> {
    let (Some(first), Some(last)) = (sequences(batch).min(), sequences(batch).max()) else {
        return Ok(false);
    };
    let times = || batch.rows.iter().map(|new| nanoseconds(new.row.stored_at));
    let (Some(since), Some(until)) = (times().min(), times().max()) else { return Ok(false) };
    let query = "SELECT FROM rows WHERE stream = $1 AND sequence >= $2 AND sequence <= $3
        AND stored_at >= $4 AND stored_at <= $5 LIMIT 1";
    let stream = of_stream(batch.position.stream);
    let found = transaction.query_opt(query, &[&stream, &first, &last, &since, &until]).await?;
    Ok(found.is_some())
}

fn sequences(batch: &Batch) -> impl Iterator<Item = i64> + '_ {
    batch.rows.iter().map(|new| of_sequence(new.row.pointer.sequence))
}

async fn stored_places(
    transaction: &Transaction<'_>,
    rows: &[NewRow],
) -> Result<BTreeSet<Place>, StoreError> {
    let streams: Vec<i16> = rows.iter().map(|new| of_stream(new.row.pointer.stream)).collect();
    let sequences: Vec<i64> = rows.iter().map(|new| of_sequence(new.row.pointer.sequence)).collect();
    let times: Vec<i64> = rows.iter().map(|new| nanoseconds(new.row.stored_at)).collect();
    let parts: Vec<i64> = rows.iter().map(|new| i64::from(new.row.pointer.part)).collect();
    let query = "SELECT r.stored_at, r.stream, r.sequence, r.part
        FROM unnest($1::int2[], $2::int8[], $3::int8[], $4::int8[]) AS p (stream, sequence, stored_at, part)
        JOIN rows r USING (stream, sequence, stored_at, part)";
    let found = transaction.query(query, &[&streams, &sequences, &times, &parts]).await?;
    found.iter().filter_map(|row| columns::place(row).transpose()).collect()
}

async fn copy_rows(transaction: &Transaction<'_>, rows: &[&NewRow]) -> Result<(), StoreError> {
    let into =
        "COPY rows (stream, sequence, stored_at, part, kind, channel, recipient, blob) FROM STDIN BINARY";
    let types =
        [Type::INT2, Type::INT8, Type::INT8, Type::INT8, Type::INT2, Type::BYTEA, Type::BYTEA, Type::BYTEA];
    let sink = transaction.copy_in(into).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for NewRow { row, .. } in rows {
        let (stream, sequence, stored_at, part) = place(row);
        let recipient = row.recipient.as_ref().map(|recipient| recipient.key.0.as_slice());
        let values: [&(dyn ToSql + Sync); 8] = [
            &stream,
            &sequence,
            &stored_at,
            &part,
            &i16::from(row.kind as u8),
            &row.channel.as_bytes(),
            &recipient,
            &stored::encode(row),
        ];
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn copy_ids(transaction: &Transaction<'_>, rows: &[&NewRow]) -> Result<(), StoreError> {
    let into = "COPY ids (key, stored_at, stream, sequence, part) FROM STDIN BINARY";
    let types = [Type::BYTEA, Type::INT8, Type::INT2, Type::INT8, Type::INT8];
    let sink = transaction.copy_in(into).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for NewRow { row, .. } in rows {
        let (stream, sequence, stored_at, part) = place(row);
        // Two kinds of id may be the same.
        let keys: HashSet<LookupKey> = row.links.iter().map(|link| link.key).collect();
        for key in keys {
            let key = key.0.as_slice();
            writer.as_mut().write(&[&key, &stored_at, &stream, &sequence, &part]).await?;
        }
    }
    writer.finish().await?;
    Ok(())
}

fn place(row: &Row) -> (i16, i64, i64, i64) {
    let pointer = row.pointer;
    let (stream, sequence) = (of_stream(pointer.stream), of_sequence(pointer.sequence));
    (stream, sequence, nanoseconds(row.stored_at), i64::from(pointer.part))
}

async fn store_gap(transaction: &Transaction<'_>, gap: &Gap) -> Result<(), StoreError> {
    let store = "INSERT INTO gaps (stream, first, last, after, before) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let (first, last) = (of_sequence(gap.first), of_sequence(gap.last));
    let (after, before) = (gap.after.map(nanoseconds), nanoseconds(gap.before));
    transaction.execute(store, &[&of_stream(gap.stream), &first, &last, &after, &before]).await?;
    Ok(())
}

/// Stores a position unless a later one is there ([`Position::is_later`]).
async fn store_position(transaction: &Transaction<'_>, position: &Position) -> Result<(), StoreError> {
    let store = format!(
        "INSERT INTO positions AS p ({POSITION}) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (stream) DO UPDATE
        SET created_at = excluded.created_at, reading = excluded.reading, missed_after = excluded.missed_after,
          sequence = excluded.sequence, stored_at = excluded.stored_at
        WHERE (excluded.reading, excluded.created_at, excluded.sequence) > (p.reading, p.created_at, p.sequence)"
    );
    let (created_at, stored_at) = (nanoseconds(position.created_at), nanoseconds(position.stored_at));
    let (missed_after, sequence) = (of_sequence(position.missed_after), of_sequence(position.sequence));
    let (stream, reading) = (of_stream(position.stream), i64::from(position.reading));
    let values: [&(dyn ToSql + Sync); 6] =
        [&stream, &created_at, &reading, &missed_after, &sequence, &stored_at];
    transaction.execute(&store, &values).await?;
    Ok(())
}
