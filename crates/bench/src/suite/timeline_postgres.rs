//! The timeline's shared store: rows a second into PostgreSQL, look-ups over many days, and bytes.

use std::time::Duration;

use servers::PostgresServer;
use timeline::row::Keys;
use timeline::store::Store;
use timeline::store::postgres::PostgresStore;

use crate::output;
use crate::results::Measured;
use crate::suite::Effort;
use crate::suite::timeline::{fill, list, look_up, per_second};
use crate::suite::timeline_figures::StoreFigures;
use crate::suite::timeline_rows::{DAYS, Generator, SECRET};

/// Share of the rows of the embedded store that is stored here, to save time.
const SHARE: u64 = 4;
/// The server as Debian installs it, with memory for a machine of this size. It syncs each commit.
const SERVER: [&str; 4] = ["-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"];

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let args = SERVER.map(str::to_owned).to_vec();
    let mut server = PostgresServer::start(folder.path().to_owned(), args).await?;
    let store = PostgresStore::open(&server.url("postgres"), &Keys::of_secret(&SECRET)).await?;
    let mut generator = Generator::of_rows(effort.rows / SHARE);
    let (mut rows, mut time) = (0, Duration::ZERO);
    for day in 0..DAYS {
        let (day_rows, day_time) = fill(&store, &mut generator, day).await?;
        output::say(&format!("  day {day}: {:.0} rows/s", per_second(day_rows, day_time)));
        rows += day_rows;
        time += day_time;
    }
    let look_ups = look_up(&store, generator.per_day).await?;
    let customers = list(&store).await?;
    let bytes = store.size().await?;
    drop(store);
    server.stop().await;
    let rows_per_second = per_second(rows, time);
    let figures =
        StoreFigures { rows, rows_per_second, rows_per_second_min: 10_000.0, bytes, look_ups, customers };
    Ok(figures.measured())
}
