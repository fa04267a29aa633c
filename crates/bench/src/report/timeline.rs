//! The sections about the timeline's stores.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::suite::timeline::{DAYS, Measured, ROWS_PER_MESSAGE};
use crate::suite::timeline_postgres;

/// Writes the section.
pub(super) fn section(text: &mut String, measured: &Measured) -> std::fmt::Result {
    let Measured { rows, rows_per_second, bytes, look_ups, customers, peak_mib, .. } = measured;
    let millions = to_f64(*rows) / 1e6;
    writeln!(text, "## The timeline's store\n")?;
    writeln!(
        text,
        "SQLite, filled in batches of {} rows with the lives of sent messages ({ROWS_PER_MESSAGE} rows each: command, \
         attempt, result, three reports and their webhooks) over {DAYS} days; then look-ups of random messages by three \
         ids, and listings of random customers, one after the other. {millions} million rows.\n",
        timeline::store::BATCH_ROWS_MAX
    )?;
    writeln!(text, "| | imchannel | aim |\n|---|---|---|")?;
    writeln!(text, "| rows/s stored | {rows_per_second:.0} | ≥ 20,000 |")?;
    times(text, "look-up by id", look_ups, "< 100")?;
    times(text, "listing by number", customers, "< 300")?;
    writeln!(text, "| files read by a look-up, mean | {:.2} | ≤ 3 |", measured.files_per_look_up)?;
    size(text, *bytes, *rows, "filter")?;
    if let Some(peak) = peak_mib {
        writeln!(text, "| most memory, with the generator, MiB | {peak:.0} | < 128 |")?;
    }
    writeln!(text)
}

/// Writes the section about PostgreSQL.
pub(super) fn postgres(text: &mut String, measured: &timeline_postgres::Measured) -> std::fmt::Result {
    let timeline_postgres::Measured { rows, rows_per_second, bytes, look_ups, customers } = measured;
    let millions = to_f64(*rows) / 1e6;
    writeln!(text, "## The timeline's store in PostgreSQL\n")?;
    writeln!(
        text,
        "The same, one batch after the other, into a PostgreSQL server on the same machine that syncs each commit. {millions} million rows.\n"
    )?;
    writeln!(text, "| | imchannel | aim |\n|---|---|---|")?;
    writeln!(text, "| rows/s stored | {rows_per_second:.0} | ≥ 10,000 |")?;
    times(text, "look-up by id", look_ups, "< 100")?;
    times(text, "listing by number", customers, "< 300")?;
    size(text, *bytes, *rows, "indexes")?;
    writeln!(text)
}

fn times(text: &mut String, name: &str, histogram: &Histogram<u64>, aim: &str) -> std::fmt::Result {
    let millis = |nanoseconds: u64| to_f64(nanoseconds) / 1e6;
    for (quantile, percentile) in [(0.5, "median"), (0.99, "99th percentile")] {
        let aim = if quantile > 0.9 { aim } else { "" };
        let value = millis(histogram.value_at_quantile(quantile));
        writeln!(text, "| {name}, {percentile}, ms | {value:.2} | {aim} |")?;
    }
    writeln!(text, "| {name}, longest, ms | {:.2} | |", millis(histogram.max()))
}

fn size(text: &mut String, bytes: u64, rows: u64, with: &str) -> std::fmt::Result {
    let per_row = to_f64(bytes) / to_f64(rows);
    writeln!(text, "| bytes of a row with its keys and {with} | {per_row:.0} | |")?;
    writeln!(text, "| bytes of a message | {:.0} | |", per_row * to_f64(ROWS_PER_MESSAGE))
}

#[expect(clippy::cast_precision_loss, reason = "counts and durations far below 2^53")]
fn to_f64(number: u64) -> f64 {
    number as f64
}
