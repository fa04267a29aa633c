//! The rows that both stores of the timeline have.

use std::iter::once;

use hdrhistogram::Histogram;

use crate::results::{Aim, Measured, Row};
use crate::suite::timeline_rows::ROWS_PER_MESSAGE;

/// Look-ups of each kind.
pub(super) const LOOK_UPS: u64 = 5000;
/// Limits of the 99th percentile of a look-up by id, and of a listing by number, in milliseconds.
pub(super) const LOOK_UP_MS_MAX: f64 = 100.0;
pub(super) const LISTING_MS_MAX: f64 = 300.0;

/// What was measured of a store.
#[derive(Debug)]
pub(super) struct StoreFigures {
    /// Rows stored.
    pub(super) rows: u64,
    /// Rows stored a second, without the time in which they were generated.
    pub(super) rows_per_second: f64,
    /// The aim for it.
    pub(super) rows_per_second_min: f64,
    /// Bytes on the disk, with filters and indexes.
    pub(super) bytes: u64,
    /// Duration of a look-up by id, in nanoseconds.
    pub(super) look_ups: Histogram<u64>,
    /// Duration of a listing by number, in nanoseconds.
    pub(super) customers: Histogram<u64>,
}

impl StoreFigures {
    /// The rows of the page.
    pub(super) fn measured(&self) -> Measured {
        let stored = Row::alone("stored", "rows/s stored", once(self.rows_per_second));
        let per_row = to_f64(self.bytes) / to_f64(self.rows);
        let mut rows: Vec<Row> = Vec::new();
        rows.extend(stored.map(|row| row.with_aim(Aim::AtLeast(self.rows_per_second_min))));
        rows.extend(times("look-up", "look-up by id", &self.look_ups, LOOK_UP_MS_MAX));
        rows.extend(times("listing", "listing by number", &self.customers, LISTING_MS_MAX));
        rows.extend(Row::alone("row-bytes", "bytes of a row with its keys and indexes", once(per_row)));
        let per_message = per_row * to_f64(ROWS_PER_MESSAGE);
        rows.extend(Row::alone("message-bytes", "bytes of a message", once(per_message)));
        let millions = to_f64(self.rows) / 1e6;
        let remark = format!("{millions} million rows, {ROWS_PER_MESSAGE} of each message.");
        Measured { rows, remarks: vec![remark], ..Measured::default() }
    }
}

pub(super) fn times(
    id: &str,
    name: &str,
    histogram: &Histogram<u64>,
    p99_ms_max: f64,
) -> impl Iterator<Item = Row> {
    let row = |suffix: &str, what: &str, nanoseconds: u64| {
        Row::alone(&format!("{id}-{suffix}"), &format!("{name}, {what}, ms"), once(to_f64(nanoseconds) / 1e6))
    };
    let median = row("median", "median", histogram.value_at_quantile(0.5));
    let p99 = row("p99", "99th percentile", histogram.value_at_quantile(0.99));
    let longest = row("longest", "longest", histogram.max());
    [median, p99.map(|row| row.with_aim(Aim::Below(p99_ms_max))), longest].into_iter().flatten()
}

#[expect(clippy::cast_precision_loss, reason = "counts and durations far below 2^53")]
fn to_f64(number: u64) -> f64 {
    number as f64
}
