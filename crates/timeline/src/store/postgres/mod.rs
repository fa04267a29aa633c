//! The shared store: PostgreSQL, which several replicas use at once.
//!
//! | table | what is in it |
//! |---|---|
//! | `rows`, `ids` | rows and the ids by which they are found; one partition a day (UTC), which is dropped whole |
//! | `positions`, `gaps` | how far each stream is read, and what was missed |
//! | `expectations`, `met_files` | what is expected, and what came of files |
//! | `audit` | the audit log |
//! | `form` | version of the schema, and a check value of the secret of hashes |
//!
//! Everything is in the schema `imchannel_timeline`. A batch is one transaction, so that a crash of either side leaves all
//! of it or nothing ([`append`]). Times and keys are numbers and bytes, as in the embedded store. It needs a connection of
//! its own to the server: a pooler that gives each transaction another session loses the leases.

mod append;
mod audit;
mod columns;
mod days;
mod expect;
mod fault;
mod lock;
mod overdue;
mod pool;
mod read;
mod schema;
mod tls;

use jiff::Timestamp;

use crate::row::{Keys, LookupKey, RecipientKey, Row, StreamNumber};
use crate::rules::{Expectation, Judged};
use crate::store::audit::{AuditEntry, AuditQuery, Audited};
use crate::store::error::StoreError;
use crate::store::lease::Lease;
use crate::store::postgres::columns::nanoseconds;
use crate::store::postgres::days::Day;
use crate::store::postgres::lock::Lock;
use crate::store::postgres::pool::Pool;
use crate::store::{
    Answer, Appended, Batch, Expired, Found, Gaps, Listing, MetFile, OverdueCount, OverdueQuery, Position,
    SequenceQuery, Store,
};

/// What the check value in the database is the hash of.
const CHECKED: &str = "check value of the timeline's secret";

/// The shared store.
#[derive(Debug)]
pub struct PostgresStore {
    pool: Pool,
}

impl PostgresStore {
    /// Connects to the database of a URL and makes its schema the current one.
    ///
    /// # Errors
    /// The server does not answer, the schema is of a later version, or the rows were written with other keys.
    pub async fn open(url: &str, keys: &Keys) -> Result<Self, StoreError> {
        let pool = Pool::new(url)?;
        schema::migrate(&mut *pool.lend().await?, &keys.id(CHECKED).0).await?;
        Ok(Self { pool })
    }

    async fn expire_before(&self, before: Timestamp) -> Result<Expired, StoreError> {
        let mut client = self.pool.lend().await?;
        let remove = "DELETE FROM expectations WHERE since < $1";
        let expectations = client.execute(remove, &[&nanoseconds(before)]).await?;
        client.execute("DELETE FROM met_files WHERE since < $1", &[&nanoseconds(before)]).await?;
        let first_kept = Day::of(before).start().unwrap_or(i64::MIN);
        client.execute("DELETE FROM gaps WHERE before < $1", &[&first_kept]).await?;
        let days = days::drop_before(&mut client, before).await?;
        Ok(Expired { days, expectations: usize::try_from(expectations).unwrap_or(usize::MAX) })
    }

    async fn take_lease(&self, stream: StreamNumber) -> Result<Option<Lease>, StoreError> {
        let (client, ended) = self.pool.connect().await?;
        let is_taken = lock::take(&client, Lock::Stream(stream)).await?;
        Ok(is_taken.then(|| Lease::until(Box::new(client), ended)))
    }
}

impl Store for PostgresStore {
    fn positions(&self) -> Answer<'_, Vec<Position>> {
        Box::pin(async move { read::positions(&*self.pool.lend().await?).await })
    }

    fn append(&self, batch: Batch) -> Answer<'_, Appended> {
        Box::pin(async move { append::append(&mut *self.pool.lend().await?, &batch).await })
    }

    fn find(&self, keys: Vec<LookupKey>, limit: usize) -> Answer<'_, Found> {
        Box::pin(async move { read::find(&*self.pool.lend().await?, &keys, limit).await })
    }

    fn find_brief(&self, keys: Vec<LookupKey>, limit: usize) -> Answer<'_, Found> {
        Box::pin(async move {
            let mut found = read::find(&*self.pool.lend().await?, &keys, limit).await?;
            found.rows.iter_mut().for_each(|row| row.body = String::new());
            Ok(found)
        })
    }

    fn by_sequence(&self, query: SequenceQuery) -> Answer<'_, Vec<Row>> {
        Box::pin(async move { read::by_sequence(&*self.pool.lend().await?, &query).await })
    }

    fn met_files(&self, files: Vec<LookupKey>) -> Answer<'_, Vec<MetFile>> {
        Box::pin(async move { overdue::met_files(&*self.pool.lend().await?, &files).await })
    }

    fn of_recipient(&self, recipient: RecipientKey, listing: Listing) -> Answer<'_, Vec<Row>> {
        Box::pin(async move { read::of_recipient(&*self.pool.lend().await?, recipient, &listing).await })
    }

    fn beginnings(&self, channel: Option<String>, listing: Listing) -> Answer<'_, Vec<Row>> {
        Box::pin(
            async move { read::beginnings(&*self.pool.lend().await?, channel.as_deref(), &listing).await },
        )
    }

    fn overdue(&self, query: OverdueQuery) -> Answer<'_, Vec<Expectation>> {
        Box::pin(async move { overdue::overdue(&*self.pool.lend().await?, &query).await })
    }

    fn overdue_counts(&self, judged: Vec<Judged>) -> Answer<'_, Vec<OverdueCount>> {
        Box::pin(async move { overdue::counts(&*self.pool.lend().await?, &judged).await })
    }

    fn gaps(&self, limit: usize) -> Answer<'_, Gaps> {
        Box::pin(async move { read::gaps(&*self.pool.lend().await?, limit).await })
    }

    fn expire(&self, before: Timestamp) -> Answer<'_, Expired> {
        Box::pin(self.expire_before(before))
    }

    fn size(&self) -> Answer<'_, u64> {
        Box::pin(async move { read::size(&*self.pool.lend().await?).await })
    }

    fn record(&self, entry: AuditEntry) -> Answer<'_, u64> {
        let entry = entry.cleaned();
        Box::pin(async move { audit::add(&*self.pool.lend().await?, &entry).await })
    }

    fn audit(&self, query: AuditQuery) -> Answer<'_, Vec<Audited>> {
        Box::pin(async move { audit::list(&*self.pool.lend().await?, query).await })
    }

    fn expire_audit(&self, before: Timestamp) -> Answer<'_, usize> {
        Box::pin(async move { audit::expire(&*self.pool.lend().await?, before).await })
    }

    fn lease(&self, stream: StreamNumber) -> Answer<'_, Option<Lease>> {
        Box::pin(self.take_lease(stream))
    }
}
