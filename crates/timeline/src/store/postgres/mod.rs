//! The shared store: PostgreSQL, which several replicas use at once.
//!
//! | table | what is in it |
//! |---|---|
//! | `rows`, `ids` | rows and the ids by which they are found; one partition a day (UTC), which is dropped whole |
//! | `positions`, `gaps` | how far each stream is stored, and what was missed |
//! | `progress` | up to what time each stream is read, for the processes that do not read it |
//! | `expectations`, `met_files` | what is expected, and what came of files |
//! | `audit`, `replays` | the audit log, and what replays have published |
//! | `form` | version of the schema, and a check value of the secret of hashes |
//!
//! Everything is in the schema `imchannel_timeline`. A batch is one transaction, so that a crash of either side leaves all
//! of it or nothing ([`append`]). Times and keys are numbers and bytes, as in the embedded store. It needs a connection of
//! its own to the server: a pooler that gives each transaction another session loses the leases. PostgreSQL 14 is the oldest that has
//! every setting of the sessions.

mod address;
mod append;
mod audit;
mod columns;
mod days;
mod erase;
mod expect;
mod fault;
mod leases;
mod lock;
mod overdue;
mod pool;
mod progress;
mod read;
mod replays;
mod schema;
mod tls;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;

use crate::progress::StreamProgress;
use crate::row::{Keys, LookupKey, RecipientKey, Row, StreamNumber};
use crate::rules::{Expectation, Judged};
use crate::store::audit::{AuditEntry, AuditQuery, Audited};
use crate::store::error::{StoreError, StoreFault};
use crate::store::lease::Lease;
use crate::store::postgres::columns::nanoseconds;
use crate::store::postgres::days::Day;
use crate::store::postgres::leases::Leases;
use crate::store::postgres::lock::Lock;
use crate::store::postgres::pool::{Pool, Purpose};
use crate::store::{
    Answer, Appended, Batch, ErasedRows, Expired, Found, Gaps, Listing, MetFile, OverdueCount, OverdueQuery,
    Place, Position, SequenceQuery, SharedStore, Store,
};

/// What the check value in the database is the hash of.
const CHECKED: &str = "check value of the timeline's secret";

/// The shared store.
#[derive(Debug)]
pub struct PostgresStore {
    database: Arc<Database>,
    /// Where all work runs, on whichever runtime it is asked for.
    runtime: Handle,
}

/// What the work needs.
#[derive(Debug)]
struct Database {
    pool: Pool,
    leases: Leases,
}

impl PostgresStore {
    /// Connects to the database of a URL and makes its schema the current one. All that is asked of it later runs on the runtime
    /// that calls this.
    ///
    /// # Errors
    /// The server does not answer, the schema is of a later version, or the rows were written with other keys.
    pub async fn open(url: &str, keys: &Keys) -> Result<Self, StoreError> {
        let pool = Pool::new(url)?;
        let mut client = pool.lend(Purpose::Write).await?;
        let migrated = schema::migrate(&mut client, &keys.id(CHECKED).0).await;
        client.give_back(migrated)?;
        let database = Arc::new(Database { pool, leases: Leases::default() });
        Ok(Self { database, runtime: Handle::current() })
    }

    /// Runs work on the runtime of the store. A batch takes hundreds of steps, and each would wait for a thread that sleeps between
    /// them, as that of the readers of streams does. The work is canceled when the answer is dropped.
    fn run<T: Send + 'static, W: Future<Output = Result<T, StoreError>> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Database>) -> W + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(async move {
            let work = work(Arc::clone(&self.database));
            match AbortOnDropHandle::new(self.runtime.spawn(work)).await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(stopped) => {
                        let text = "the store is closed";
                        Err(StoreError::new(StoreFault::Unavailable, text, Some(Box::new(stopped))))
                    }
                },
            }
        })
    }

    /// Gives what `answer` finds over a connection for answers.
    fn answer<T: Send + 'static>(
        &self,
        answer: impl for<'c> FnOnce(&'c Client) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    ) -> Answer<'_, T> {
        self.run(|database| async move {
            let client = database.pool.lend(Purpose::Answer).await?;
            let found = answer(&client).await;
            client.give_back(found)
        })
    }

    /// Changes what `change` changes over the connection for writing.
    fn write<T: Send + 'static>(
        &self,
        change: impl for<'c> FnOnce(&'c mut Client) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    ) -> Answer<'_, T> {
        self.run(|database| async move {
            let mut client = database.pool.lend(Purpose::Write).await?;
            let changed = change(&mut client).await;
            client.give_back(changed)
        })
    }

    /// The right that a lock stands for.
    fn lease_of(&self, lock: Lock) -> Answer<'_, Option<Lease>> {
        self.run(move |database| async move { database.leases.take(&database.pool, lock).await })
    }
}

async fn expire(client: &mut Client, before: Timestamp) -> Result<Expired, StoreError> {
    let remove = "DELETE FROM expectations WHERE since < $1";
    let expectations = client.execute(remove, &[&nanoseconds(before)]).await?;
    client.execute("DELETE FROM met_files WHERE since < $1", &[&nanoseconds(before)]).await?;
    let first_kept = Day::of(before).start().unwrap_or(i64::MIN);
    client.execute("DELETE FROM gaps WHERE before < $1", &[&first_kept]).await?;
    let days = days::drop_before(client, before).await?;
    Ok(Expired { days, expectations: usize::try_from(expectations).unwrap_or(usize::MAX) })
}

impl Store for PostgresStore {
    fn positions(&self) -> Answer<'_, Vec<Position>> {
        self.answer(|client| Box::pin(read::positions(client)))
    }

    fn append(&self, batch: Batch) -> Answer<'_, Appended> {
        self.write(move |client| Box::pin(async move { append::append(client, &batch).await }))
    }

    fn find(&self, keys: Vec<LookupKey>, limit: usize) -> Answer<'_, Found> {
        self.answer(move |client| Box::pin(async move { read::find(client, &keys, limit).await }))
    }

    fn find_brief(&self, keys: Vec<LookupKey>, limit: usize) -> Answer<'_, Found> {
        self.answer(move |client| {
            Box::pin(async move {
                let mut found = read::find(client, &keys, limit).await?;
                found.rows.iter_mut().for_each(|row| row.body = String::new());
                Ok(found)
            })
        })
    }

    fn by_sequence(&self, query: SequenceQuery) -> Answer<'_, Vec<Row>> {
        self.answer(move |client| Box::pin(async move { read::by_sequence(client, &query).await }))
    }

    fn met_files(&self, files: Vec<LookupKey>) -> Answer<'_, Vec<MetFile>> {
        self.answer(move |client| Box::pin(async move { overdue::met_files(client, &files).await }))
    }

    fn of_recipient(&self, recipient: RecipientKey, listing: Listing) -> Answer<'_, Vec<Row>> {
        self.answer(move |client| {
            Box::pin(async move { read::of_recipient(client, recipient, &listing).await })
        })
    }

    fn beginnings(&self, channel: Option<String>, listing: Listing) -> Answer<'_, Vec<Row>> {
        self.answer(move |client| {
            Box::pin(async move { read::beginnings(client, channel.as_deref(), &listing).await })
        })
    }

    fn overdue(&self, query: OverdueQuery) -> Answer<'_, Vec<Expectation>> {
        self.answer(move |client| Box::pin(async move { overdue::overdue(client, &query).await }))
    }

    fn overdue_counts(&self, judged: Vec<Judged>) -> Answer<'_, Vec<OverdueCount>> {
        self.answer(move |client| Box::pin(async move { overdue::counts(client, &judged).await }))
    }

    fn gaps(&self, limit: usize) -> Answer<'_, Gaps> {
        self.answer(move |client| Box::pin(read::gaps(client, limit)))
    }

    fn expire(&self, before: Timestamp) -> Answer<'_, Expired> {
        self.run(move |database| async move {
            let mut client = database.pool.lend(Purpose::Answer).await?;
            let expired = expire(&mut client, before).await;
            client.give_back(expired)
        })
    }

    fn erase(&self, places: Vec<Place>) -> Answer<'_, ErasedRows> {
        self.write(move |client| Box::pin(async move { erase::erase(client, &places).await }))
    }

    fn size(&self) -> Answer<'_, u64> {
        self.answer(|client| Box::pin(read::size(client)))
    }

    fn record(&self, entry: AuditEntry) -> Answer<'_, u64> {
        let entry = entry.cleaned();
        self.answer(move |client| Box::pin(async move { audit::add(client, &entry).await }))
    }

    fn audit(&self, query: AuditQuery) -> Answer<'_, Vec<Audited>> {
        self.answer(move |client| Box::pin(audit::list(client, query)))
    }

    fn expire_audit(&self, before: Timestamp) -> Answer<'_, usize> {
        self.answer(move |client| Box::pin(audit::expire(client, before)))
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

impl SharedStore for PostgresStore {
    fn lease(&self, stream: StreamNumber) -> Answer<'_, Option<Lease>> {
        self.lease_of(Lock::Stream(stream))
    }

    fn erasing(&self) -> Answer<'_, Option<Lease>> {
        self.lease_of(Lock::Erasure)
    }

    fn publish(&self, progress: StreamProgress) -> Answer<'_, ()> {
        self.write(move |client| Box::pin(async move { progress::publish(client, &progress).await }))
    }

    fn published(&self, stream: StreamNumber) -> Answer<'_, Option<StreamProgress>> {
        self.answer(move |client| Box::pin(progress::published(client, stream)))
    }

    fn rows_after(&self, stream: StreamNumber, sequence: u64, limit: usize) -> Answer<'_, Vec<Row>> {
        self.answer(move |client| Box::pin(progress::rows_after(client, stream, sequence, limit)))
    }

    fn condition(&self) -> Result<(), String> {
        self.database.pool.condition()
    }
}
