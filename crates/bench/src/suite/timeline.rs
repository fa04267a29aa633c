//! The timeline's embedded store: rows a second, look-ups over many days, and bytes.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use timeline::row::StreamNumber;
use timeline::store::sqlite::SqliteStore;
use timeline::store::{BATCH_ROWS_MAX, Listing, Store};

use crate::output;
use crate::results::{self, Aim, Measured};
use crate::suite::Effort;
use crate::suite::timeline_figures::{LOOK_UPS, StoreFigures};
use crate::suite::timeline_http;
use crate::suite::timeline_rows::{DAYS, Generator, Purpose, customer_key, key, mixed};

/// Rows of a listing.
const LISTED_ROWS: usize = 100;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    // The process's peak memory begins again: earlier parts used more (proc_pid_clear_refs(5)).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let folder = tempfile::tempdir()?;
    let rows_folder = folder.path().join("timeline");
    let store = SqliteStore::open(rows_folder.clone()).await?;
    let mut generator = Generator::of_rows(effort.rows);
    let per_day = generator.per_day;
    let (mut rows, mut time) = (0, Duration::ZERO);
    for day in 0..DAYS {
        let (day_rows, day_time) = fill(&store, &mut generator, day).await?;
        output::say(&format!("  day {day}: {:.0} rows/s", per_second(day_rows, day_time)));
        rows += day_rows;
        time += day_time;
    }
    let started = Instant::now();
    store.close_days(Duration::ZERO).await?;
    output::say(&format!("  filters written in {:.1} s", started.elapsed().as_secs_f64()));
    let files_before = store.files_read();
    let look_ups = look_up(&store, per_day).await?;
    let files = store.files_read() - files_before;
    let customers = list(&store).await?;
    let figures = StoreFigures {
        rows,
        rows_per_second: per_second(rows, time),
        rows_per_second_min: 20_000.0,
        bytes: store.size().await?,
        look_ups,
        customers,
    };
    let mut measured = figures.measured();
    let files = per_second(files, Duration::from_secs(LOOK_UPS));
    let files = results::Row::alone("files", "files read by a look-up, mean", std::iter::once(files));
    let memory =
        results::Row::alone("memory", "most memory, with the generator, MiB", peak_mib().into_iter());
    measured.rows.extend(files.map(|row| row.with_aim(Aim::AtMost(3.0))));
    measured.rows.extend(memory);
    drop(store);
    measured.rows.extend(timeline_http::measure(effort, &rows_folder, per_day).await?);
    Ok(measured)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Stores the rows of a day, a batch of each stream after the other. Returns their number, and the time that it took.
pub(super) async fn fill(
    store: &dyn Store,
    generator: &mut Generator,
    day: u64,
) -> anyhow::Result<(u64, Duration)> {
    let (mut rows, mut time) = (0, Duration::ZERO);
    // As many messages as fill a batch of the stream that has most rows of each.
    let step = u64::try_from(BATCH_ROWS_MAX / 5)?;
    let mut first = 0;
    while first < generator.per_day {
        let messages = first..(first + step).min(generator.per_day);
        for stream in [StreamNumber::Commands, StreamNumber::Webhooks, StreamNumber::Events] {
            let batch = generator.batch(stream, day, messages.clone());
            let started = Instant::now();
            rows += u64::try_from(store.append(batch).await?.rows)?;
            time += started.elapsed();
        }
        first += step;
    }
    Ok((rows, time))
}

/// Looks up random messages, by the three ids that their rows share.
pub(super) async fn look_up(store: &dyn Store, per_day: u64) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    for number in 0..LOOK_UPS {
        let message = mixed(number) % (DAYS * per_day);
        let keys = vec![
            key(Purpose::Command, message),
            key(Purpose::Message, message),
            key(Purpose::Provider, message),
        ];
        let started = Instant::now();
        let found = store.find(keys, 1000).await?;
        times.record(u64::try_from(started.elapsed().as_nanos())?)?;
        anyhow::ensure!(found.rows.len() == 6, "{} rows of message {message}", found.rows.len());
    }
    Ok(times)
}

/// Lists the rows of random customers.
pub(super) async fn list(store: &dyn Store) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    for number in 0..LOOK_UPS {
        let recipient = customer_key(number);
        let listing =
            Listing { since: Timestamp::MIN, until: Timestamp::MAX, after: None, limit: LISTED_ROWS };
        let started = Instant::now();
        store.of_recipient(recipient, listing).await?;
        times.record(u64::try_from(started.elapsed().as_nanos())?)?;
    }
    Ok(times)
}

fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}
