//! The partitions of days (UTC) of the tables `rows` and `ids`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio_postgres::{Client, Transaction};

use crate::store::error::StoreError;
use crate::store::postgres::columns::{nanoseconds, of_nanoseconds};
use crate::store::postgres::lock::{self, Lock};

/// Tables that have a partition for each day.
const TABLES: [&str; 2] = ["ids", "rows"];

/// A day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(Date);

impl Day {
    /// The day of a time.
    pub(super) fn of(time: Timestamp) -> Self {
        Self(TimeZone::UTC.to_datetime(of_nanoseconds(nanoseconds(time))).date())
    }

    fn of_name(name: &str) -> Option<Self> {
        let (_, date) = name.split_once('_')?;
        date.parse().ok().map(Self)
    }

    fn name(self, table: &str) -> String {
        format!("{table}_{}", self.0.strftime("%Y%m%d"))
    }

    /// Its first nanosecond; `None` if it is before all that the tables can have.
    pub(super) fn start(self) -> Option<i64> {
        let start = TimeZone::UTC.to_timestamp(self.0.at(0, 0, 0, 0)).ok()?;
        i64::try_from(start.as_nanosecond()).ok()
    }

    /// The first nanosecond after it; `None` if it is after all that the tables can have.
    fn end(self) -> Option<i64> {
        Self(self.0.tomorrow().ok()?).start()
    }
}

/// Makes the partitions of days that are missing. The transaction has the lock for writing. A partition is attached, because
/// that lets readers go on.
pub(super) async fn make(transaction: &Transaction<'_>, days: &BTreeSet<Day>) -> Result<(), StoreError> {
    for day in days {
        for table in TABLES {
            let name = day.name(table);
            if exists(transaction, &name).await? {
                continue;
            }
            let start = day.start().map_or("MINVALUE".to_owned(), |start| format!("'{start}'"));
            let end = day.end().map_or("MAXVALUE".to_owned(), |end| format!("'{end}'"));
            let make = format!(
                "CREATE TABLE {name} (LIKE {table} INCLUDING ALL);
                 ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})"
            );
            transaction.batch_execute(&make).await?;
        }
    }
    Ok(())
}

/// Whether there is a table now. `to_regclass` may not see yet what another session did before it gave the lock back.
async fn exists(transaction: &Transaction<'_>, name: &str) -> Result<bool, StoreError> {
    let query = "SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = $1";
    Ok(transaction.query_opt(query, &[&name]).await?.is_some())
}

/// Drops the partitions of the days that end before a time. Returns the number of days. Each partition is dropped in a
/// transaction of its own: none waits for one table's readers while it holds the other table.
pub(super) async fn drop_before(client: &mut Client, before: Timestamp) -> Result<usize, StoreError> {
    let before = nanoseconds(before);
    let mut days = 0;
    for table in TABLES {
        let query = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                     WHERE i.inhparent = to_regclass($1) ORDER BY 1";
        let mut dropped = 0;
        for row in client.query(query, &[&table]).await? {
            let name: String = row.try_get(0)?;
            let has_ended = |day: Day| day.end().is_some_and(|end| end <= before);
            if !Day::of_name(&name).is_some_and(has_ended) {
                continue;
            }
            let transaction = client.transaction().await?;
            lock::wait(&transaction, Lock::Write).await?;
            // While it waits for one long look-up, every other look-up would wait for it. Waiting for writers, before, delays none.
            transaction.batch_execute("SET LOCAL lock_timeout = '5s'").await?;
            // Another replica may have dropped it since.
            if exists(&transaction, &name).await? {
                transaction.batch_execute(&format!("DROP TABLE {name}")).await?;
                dropped += 1;
            }
            transaction.commit().await?;
        }
        days = days.max(dropped);
    }
    Ok(days)
}
