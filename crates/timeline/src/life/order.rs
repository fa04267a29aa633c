//! The order of a life's rows.
//!
//! Rows are ordered by the time at which their stream stored them ([`time_of`]). These times can contradict the steps of a message:
//! the servers that lead two streams have different clocks, a BSP's report may be stored before the sender's result, and BSPs post
//! reports in any order. So a row is moved back, behind
//! - each row of an earlier step (`step_rank`) that was stored at most [`TOLERANCE`] after it, and where that one is moved too;
//! - the first command of the message, and the webhook that it was made from, however much later they were stored: nothing can
//!   happen before its cause.
//!
//! Everything else stays in the order of time: a DELIVERED report that comes an hour after READ is after it. A webhook is before
//! what was made from it and is not compared with other steps, because each report has a webhook of its own. A replayed row is where
//! its time is, because an operator's replay is no step of the message.
//!
//! The order depends on the rows only, not on the order in which they come.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::life::source::is_made_from;
use crate::row::kind::step_rank;
use crate::row::{IdKind, Pointer, Row, RowKind};

/// Largest difference of times that does not count against the order of steps.
pub(super) const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// Differences between a row's own time and its stream's that are smaller than this are not shown.
const CLOCK_DIFFERENCE_MIN: SignedDuration = SignedDuration::from_secs(2);

/// When a row happened in the order of its life: when its stream stored it. An attempt is stored with its result only, so its time
/// is that of the call by the sender's clock, at the latest that of the result.
pub fn time_of(row: &Row) -> Timestamp {
    match row.happened_at {
        Some(called_at) if row.kind == RowKind::Attempt => called_at.min(row.stored_at),
        _ => row.stored_at,
    }
}

/// How much the time that a row names differs from the time at which its stream stored it, when that is 2 s or more. Positive: the
/// clock of the BSP or gateway is ahead. Negative: it is behind, or the message came late.
pub fn clock_difference(row: &Row) -> Option<SignedDuration> {
    if row.kind == RowKind::Attempt {
        return None;
    }
    let difference = row.happened_at?.duration_since(row.stored_at);
    (difference.abs() >= CLOCK_DIFFERENCE_MIN).then_some(difference)
}

/// Time from each row to the one before it, by [`time_of`]; zero for the first and for rows that were moved.
pub(super) fn gaps(rows: &[Row]) -> Vec<Duration> {
    let between = |pair: &[Row]| {
        Duration::try_from(time_of(&pair[1]).duration_since(time_of(&pair[0]))).unwrap_or_default()
    };
    let first = rows.first().map(|_| Duration::ZERO);
    first.into_iter().chain(rows.windows(2).map(between)).collect()
}

/// Brings the rows of one life into order.
pub fn order(rows: &mut [Row]) {
    rows.sort_by_key(|row| (rank(row), time_of(row), row.stored_at, row.pointer));
    let first_command = first_command(rows);
    let mut moved: Vec<Timestamp> = Vec::with_capacity(rows.len());
    for row in &*rows {
        let earlier = rows.iter().zip(&moved).filter(|(cause, _)| must_precede(cause, row, first_command));
        let behind = earlier.map(|(_, time)| *time).max();
        moved.push(behind.map_or(time_of(row), |time| time.max(time_of(row))));
    }
    let mut at: Vec<(Timestamp, u8, usize)> =
        rows.iter().zip(&moved).enumerate().map(|(index, (row, time))| (*time, rank(row), index)).collect();
    at.sort_unstable();
    let ordered: Vec<Row> = at.iter().map(|(_, _, index)| rows[*index].clone()).collect();
    rows.clone_from_slice(&ordered);
}

fn rank(row: &Row) -> u8 {
    step_rank(row.kind, row.status)
}

fn first_command(rows: &[Row]) -> Option<Pointer> {
    let mut commands = rows.iter().filter(|row| row.kind == RowKind::Command && !row.is_replayed);
    commands.next().map(|row| row.pointer)
}

fn must_precede(cause: &Row, row: &Row, first_command: Option<Pointer>) -> bool {
    if cause.is_replayed || row.is_replayed || rank(cause) >= rank(row) {
        return false;
    }
    if cause.kind == RowKind::Webhook {
        return is_made_from(row, cause);
    }
    if row.kind == RowKind::Webhook {
        return false;
    }
    let is_of_command = row.key(IdKind::Command).is_some() || row.kind == RowKind::Attempt;
    let is_its_command = Some(cause.pointer) == first_command && is_of_command;
    is_its_command || time_of(cause).duration_since(time_of(row)) <= TOLERANCE
}
