//! The section about the timeline's embedded store.

use std::fmt::Write as _;

use crate::suite::timeline::{DAYS, Measured, ROWS_PER_MESSAGE};

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
    let millis = |nanoseconds: u64| to_f64(nanoseconds) / 1e6;
    for (name, histogram, aim) in
        [("look-up by id", look_ups, "< 100"), ("listing by number", customers, "< 300")]
    {
        for (quantile, percentile) in [(0.5, "median"), (0.99, "99th percentile")] {
            let aim = if quantile > 0.9 { aim } else { "" };
            writeln!(
                text,
                "| {name}, {percentile}, ms | {:.2} | {aim} |",
                millis(histogram.value_at_quantile(quantile))
            )?;
        }
        writeln!(text, "| {name}, longest, ms | {:.2} | |", millis(histogram.max()))?;
    }
    writeln!(text, "| files read by a look-up, mean | {:.2} | ≤ 3 |", measured.files_per_look_up)?;
    let per_row = to_f64(*bytes) / to_f64(*rows);
    writeln!(text, "| bytes of a row with its keys and filter | {per_row:.0} | |")?;
    writeln!(text, "| bytes of a message | {:.0} | |", per_row * to_f64(ROWS_PER_MESSAGE))?;
    if let Some(peak) = peak_mib {
        writeln!(text, "| most memory, with the generator, MiB | {peak:.0} | < 128 |")?;
    }
    writeln!(text)
}

#[expect(clippy::cast_precision_loss, reason = "counts and durations far below 2^53")]
fn to_f64(number: u64) -> f64 {
    number as f64
}
