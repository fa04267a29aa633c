//! Counts of replays, beside the audit log, in the transaction of the rows. Only rows that are not stored yet are counted, and
//! writers take turns: each message is counted once, by any replica. The database itself refuses that a count shrinks.

use tokio_postgres::Transaction;

use crate::store::NewRow;
use crate::store::audit::ReplayCounts;
use crate::store::error::StoreError;
use crate::store::postgres::audit;
use crate::store::postgres::columns::nanoseconds;
use crate::store::replays::{RUNS_PER_HOUR_MAX, Run, runs};

/// The table, and what keeps its counts. 34,560,000 seconds are [`crate::store::audit::KEPT`].
pub(super) const TABLES: &str = "
CREATE TABLE replays (
  entry int8 PRIMARY KEY, key text NOT NULL UNIQUE, at int8 NOT NULL, events int8 NOT NULL, commands int8 NOT NULL,
  last_at int8 NOT NULL
);
CREATE INDEX ON replays (at);
CREATE FUNCTION replays_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.at <= (floor(extract(epoch FROM now()))::int8 - 34560000) * 1000000000 THEN RETURN OLD; END IF;
    RAISE EXCEPTION 'the counts of a replay in the audit log cannot be removed before 400 days';
  END IF;
  IF TG_OP = 'UPDATE' AND (NEW.entry, NEW.key, NEW.at) = (OLD.entry, OLD.key, OLD.at)
    AND NEW.events >= OLD.events AND NEW.commands >= OLD.commands AND NEW.last_at >= OLD.last_at THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'the counts of a replay in the audit log only grow';
END $$;
CREATE TRIGGER replays_stay BEFORE UPDATE OR DELETE ON replays FOR EACH ROW EXECUTE FUNCTION replays_stay();
CREATE TRIGGER replays_are_kept BEFORE TRUNCATE ON replays FOR EACH STATEMENT EXECUTE FUNCTION replays_stay();
";

/// Counts the rows whose messages were published again. None of them may be stored yet.
pub(super) async fn count(transaction: &Transaction<'_>, rows: &[&NewRow]) -> Result<(), StoreError> {
    for run in runs(rows.iter().copied()) {
        add(transaction, run).await?;
    }
    Ok(())
}

/// Adds a run to its entry, which it gets if it has none.
async fn add(transaction: &Transaction<'_>, run: Run) -> Result<(), StoreError> {
    if grow(transaction, &run).await? {
        return Ok(());
    }
    let hour = run.hour();
    let count = "SELECT count(*) FROM replays WHERE at >= $1 AND at < $2";
    let (since, until) = (nanoseconds(hour.since), nanoseconds(hour.until));
    let begun: i64 = transaction.query_one(count, &[&since, &until]).await?.try_get(0)?;
    let run = if begun.cast_unsigned() < RUNS_PER_HOUR_MAX { run } else { run.among_further() };
    if grow(transaction, &run).await? {
        return Ok(());
    }
    let entry = audit::add(transaction, &run.entry).await?.cast_signed();
    let ReplayCounts { events, commands, last_at } = run.counts;
    let (events, commands) = (events.cast_signed(), commands.cast_signed());
    let (at, last_at) = (nanoseconds(run.entry.at), nanoseconds(last_at));
    let store =
        "INSERT INTO replays (entry, key, at, events, commands, last_at) VALUES ($1, $2, $3, $4, $5, $6)";
    transaction.execute(store, &[&entry, &run.key, &at, &events, &commands, &last_at]).await?;
    Ok(())
}

/// Adds a run to its entry. Returns whether it has one.
async fn grow(transaction: &Transaction<'_>, run: &Run) -> Result<bool, StoreError> {
    let ReplayCounts { events, commands, last_at } = run.counts;
    let (events, commands) = (events.cast_signed(), commands.cast_signed());
    let add =
        "UPDATE replays SET events = events + $2, commands = commands + $3, last_at = greatest(last_at, $4)
        WHERE key = $1";
    let grown = transaction.execute(add, &[&run.key, &events, &commands, &nanoseconds(last_at)]).await?;
    Ok(grown > 0)
}
