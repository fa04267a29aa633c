//! The schema in the database, and how an older one becomes the current one.
//!
//! Times are nanoseconds since 1970. Channels are bytes, because a text of PostgreSQL cannot have every character.

use tokio_postgres::{Client, Transaction};

use crate::store::error::{StoreError, StoreFault};
use crate::store::postgres::lock::{self, Lock};
use crate::store::postgres::{audit, replays};

/// Name of the schema.
pub(super) const SCHEMA: &str = "imchannel_timeline";

/// What makes each version of the one before. Once released, an entry never changes.
const MIGRATIONS: [&str; 3] = [ROWS, audit::TABLES, replays::TABLES];

/// Rows and what is known of them.
const ROWS: &str = "
CREATE TABLE rows (
  stream int2 NOT NULL, sequence int8 NOT NULL, stored_at int8 NOT NULL, part int8 NOT NULL, kind int2 NOT NULL,
  channel bytea NOT NULL, recipient bytea, blob bytea NOT NULL,
  PRIMARY KEY (stream, sequence, stored_at, part)
) PARTITION BY RANGE (stored_at);
CREATE INDEX ON rows (recipient, stored_at, stream, sequence, part) WHERE recipient IS NOT NULL;
CREATE INDEX ON rows (stored_at, stream, sequence, part) WHERE kind IN (1, 7);
CREATE INDEX ON rows (channel, stored_at, stream, sequence, part) WHERE kind IN (1, 7);
CREATE TABLE ids (
  key bytea NOT NULL, stored_at int8 NOT NULL, stream int2 NOT NULL, sequence int8 NOT NULL, part int8 NOT NULL
) PARTITION BY RANGE (stored_at);
CREATE INDEX ON ids (key, stored_at);
CREATE TABLE positions (
  stream int2 PRIMARY KEY, created_at int8 NOT NULL, reading int8 NOT NULL, missed_after int8 NOT NULL,
  sequence int8 NOT NULL, stored_at int8 NOT NULL
);
CREATE TABLE progress (stream int2 PRIMARY KEY, sequence int8 NOT NULL, read_until int8, behind int8 NOT NULL);
CREATE TABLE gaps (
  stream int2 NOT NULL, first int8 NOT NULL, last int8 NOT NULL, after int8, before int8 NOT NULL,
  PRIMARY KEY (stream, before, first)
);
CREATE TABLE expectations (
  rule int2 NOT NULL, key bytea NOT NULL, channel bytea NOT NULL, since int8 NOT NULL, due int8 NOT NULL, file bytea,
  PRIMARY KEY (key, rule, channel)
);
CREATE INDEX ON expectations (channel, rule, due, key);
CREATE INDEX ON expectations (since);
CREATE INDEX ON expectations (file, rule) WHERE file IS NOT NULL;
CREATE TABLE met_files (
  file bytea NOT NULL, rule int2 NOT NULL, channel bytea NOT NULL, since int8 NOT NULL, PRIMARY KEY (file, rule, channel)
);
CREATE INDEX ON met_files (since);
";

/// Makes the schema the current one. `check` is a value of the secret of hashes: rows are found only with the secret that
/// they were written with.
///
/// # Errors
/// The schema is of a later version, or its rows were written with another secret.
pub(super) async fn migrate(client: &mut Client, check: &[u8]) -> Result<(), StoreError> {
    let transaction = client.transaction().await?;
    lock::wait(&transaction, Lock::Schema).await?;
    if transaction.query_opt("SELECT FROM pg_namespace WHERE nspname = $1", &[&SCHEMA]).await?.is_none() {
        transaction.batch_execute(&format!("CREATE SCHEMA {SCHEMA}")).await?;
    }
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS form (version int4 NOT NULL, secret_check bytea NOT NULL)")
        .await?;
    let form = transaction.query_opt("SELECT version, secret_check FROM form", &[]).await?;
    let stored = match form {
        None => 0,
        Some(form) => {
            let stored_check: &[u8] = form.try_get(1)?;
            if stored_check != check {
                return Err(refused(
                    "the timeline's rows in PostgreSQL were written with another secret; give every imchannel-timeline of \
                     the database the same IMCHANNEL_TIMELINE_KEY",
                ));
            }
            form.try_get::<_, i32>(0)?
        }
    };
    apply(&transaction, stored, check).await?;
    transaction.commit().await?;
    Ok(())
}

async fn apply(transaction: &Transaction<'_>, stored: i32, check: &[u8]) -> Result<(), StoreError> {
    let done = usize::try_from(stored).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(done..) else {
        return Err(refused(&format!(
            "the timeline's schema in PostgreSQL has version {stored}, and this program knows up to {}; start the later \
             imchannel-timeline, or use another database",
            MIGRATIONS.len()
        )));
    };
    for migration in missing {
        transaction.batch_execute(migration).await?;
    }
    if !missing.is_empty() {
        let version = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        transaction.execute("DELETE FROM form", &[]).await?;
        transaction.execute("INSERT INTO form VALUES ($1, $2)", &[&version, &check]).await?;
    }
    Ok(())
}

fn refused(text: &str) -> StoreError {
    StoreError::new(StoreFault::Refused, text, None)
}
