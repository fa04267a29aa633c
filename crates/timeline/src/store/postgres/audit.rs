//! The audit log, which is in one table for all replicas. The database itself refuses that an entry is changed, or removed before
//! its time.

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient, Row as SqlRow};

use crate::store::audit::{AuditAction, AuditEntry, AuditQuery, Audited, ReplayCounts};
use crate::store::error::StoreError;
use crate::store::postgres::columns::{nanoseconds, of_nanoseconds};

/// The table, and what keeps its entries as they are. 34,560,000 seconds are [`crate::store::audit::KEPT`].
pub(super) const TABLES: &str = "
CREATE TABLE audit (
  number int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at int8 NOT NULL, actor text NOT NULL, role text NOT NULL,
  address text NOT NULL, action text NOT NULL, target text NOT NULL, reason text NOT NULL, details text NOT NULL
);
CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.at <= (floor(extract(epoch FROM now()))::int8 - 34560000) * 1000000000 THEN RETURN OLD; END IF;
    RAISE EXCEPTION 'an entry of the audit log cannot be removed before 400 days';
  END IF;
  RAISE EXCEPTION 'an entry of the audit log cannot be changed';
END $$;
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_is_kept BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
";

/// Adds an entry, and returns its number.
pub(super) async fn add(client: &impl GenericClient, entry: &AuditEntry) -> Result<u64, StoreError> {
    let text = "INSERT INTO audit (at, actor, role, address, action, target, reason, details)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING number";
    let (at, action) = (nanoseconds(entry.at), entry.action.name());
    let values: [&(dyn ToSql + Sync); 8] = [
        &at,
        &entry.user,
        &entry.role,
        &entry.address,
        &action,
        &entry.target,
        &entry.reason,
        &entry.details,
    ];
    let row = client.query_one(text, &values).await?;
    Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
}

/// Entries from the newest to the oldest.
pub(super) async fn list(client: &Client, query: AuditQuery) -> Result<Vec<Audited>, StoreError> {
    let text = "SELECT number, a.at, actor, role, address, action, target, reason, details, events, commands, last_at
        FROM audit a LEFT JOIN replays ON entry = number
        WHERE number < $1 AND ($2::text IS NULL OR action = $2) ORDER BY number DESC LIMIT $3";
    let before = query.before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let found = client.query(text, &[&before, &query.action.map(AuditAction::name), &limit]).await?;
    found.iter().map(audited).collect()
}

/// Removes the entries before a time, and returns how many.
pub(super) async fn expire(client: &Client, before: Timestamp) -> Result<usize, StoreError> {
    let remove = "WITH counts AS (DELETE FROM replays WHERE at < $1) DELETE FROM audit WHERE at < $1";
    let removed = client.execute(remove, &[&nanoseconds(before)]).await?;
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}

fn audited(columns: &SqlRow) -> Result<Audited, StoreError> {
    Ok(Audited {
        number: columns.try_get::<_, i64>(0)?.cast_unsigned(),
        entry: AuditEntry {
            at: of_nanoseconds(columns.try_get(1)?),
            user: columns.try_get(2)?,
            role: columns.try_get(3)?,
            address: columns.try_get(4)?,
            action: AuditAction::of_name(columns.try_get(5)?),
            target: columns.try_get(6)?,
            reason: columns.try_get(7)?,
            details: columns.try_get(8)?,
        },
        replayed: counts(columns)?,
    })
}

/// The counts in the columns 9 to 11 of an entry; `None` if it is not of a replay.
fn counts(columns: &SqlRow) -> Result<Option<ReplayCounts>, StoreError> {
    let Some(events) = columns.try_get::<_, Option<i64>>(9)? else { return Ok(None) };
    let commands: i64 = columns.try_get(10)?;
    let last_at = of_nanoseconds(columns.try_get(11)?);
    Ok(Some(ReplayCounts { events: events.cast_unsigned(), commands: commands.cast_unsigned(), last_at }))
}
