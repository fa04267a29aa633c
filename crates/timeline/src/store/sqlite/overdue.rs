//! What is overdue in the file of what is expected. Each channel is asked for its own, by an index, so that the cost does not grow
//! with what is overdue or waits in a slow lane.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use crate::row::LookupKey;
use crate::rules::{DueOrder, Expectation, Judged, RuleName};
use crate::store::sqlite::columns;
use crate::store::sqlite::day::{nanoseconds, of_nanoseconds};
use crate::store::sqlite::fault::Sql;
use crate::store::{MetFile, OVERDUE_COUNTED_MAX, OverdueCount, OverdueQuery};

/// The columns that [`expectation`] reads.
pub(super) const COLUMNS: &str = "rule, key, channel, since, due, file";

/// What is overdue, in the order of [`DueOrder`].
pub(super) fn overdue(open: &Connection, query: &OverdueQuery) -> Sql<Vec<Expectation>> {
    let channels = match &query.channel {
        Some(channel) => vec![channel.clone()],
        None => channels(open)?,
    };
    let mut statement = open.prepare(&format!(
        "SELECT {COLUMNS} FROM expectations
         WHERE channel = ?1 AND rule = ?2 AND due <= ?3 AND due >= ?4 AND (due, key) > (?4, ?5) ORDER BY due, key LIMIT ?6"
    ))?;
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let mut found: Vec<Expectation> = Vec::new();
    for judged in &query.judged {
        for channel in &channels {
            let until = nanoseconds(judged.until_in(channel));
            let (due, key) = start(query.after.as_ref(), judged.rule, channel);
            let of_channel = statement
                .query_map(params![channel, judged.rule as u8, until, due, key, limit], expectation)?;
            for expectation in of_channel {
                found.extend(expectation?);
            }
            // Of many channels no more is held than the answer needs.
            if found.len() > query.limit.saturating_mul(2) {
                found.sort_unstable_by_key(Expectation::order);
                found.truncate(query.limit);
            }
        }
    }
    found.sort_unstable_by_key(Expectation::order);
    found.truncate(query.limit);
    Ok(found)
}

/// The time and key after which a channel's expectations of a rule follow a place.
fn start(after: Option<&DueOrder>, rule: RuleName, channel: &str) -> (i64, Vec<u8>) {
    // Before every key.
    let Some(after) = after else { return (i64::MIN, Vec::new()) };
    let due = nanoseconds(after.due);
    if (rule, channel) <= (after.rule, after.channel.as_str()) {
        return (due, after.key.0.to_vec());
    }
    // With the same time and key, this channel's is after the place: its key is the first one after the key before it.
    let before = u128::from_be_bytes(after.key.0).checked_sub(1);
    (due, before.map(|key| key.to_be_bytes().to_vec()).unwrap_or_default())
}

/// How much is overdue, by channel and rule, up to [`OVERDUE_COUNTED_MAX`] each.
pub(super) fn counts(open: &Connection, all: &[Judged]) -> Sql<Vec<OverdueCount>> {
    let channels = channels(open)?;
    let mut statement = open.prepare(
        "SELECT count(*) FROM (SELECT 1 FROM expectations WHERE channel = ?1 AND rule = ?2 AND due <= ?3 LIMIT ?4)",
    )?;
    let limit = i64::try_from(OVERDUE_COUNTED_MAX).unwrap_or(i64::MAX);
    let mut counts = Vec::new();
    for judged in all {
        for channel in &channels {
            let until = nanoseconds(judged.until_in(channel));
            let count: i64 =
                statement.query_row(params![channel, judged.rule as u8, until, limit], |row| row.get(0))?;
            if count > 0 {
                let count = count.cast_unsigned();
                counts.push(OverdueCount { channel: channel.clone(), rule: judged.rule, count });
            }
        }
    }
    Ok(counts)
}

/// The channels in which anything is expected, each found by the one before it.
fn channels(open: &Connection) -> Sql<Vec<String>> {
    let mut next =
        open.prepare("SELECT channel FROM expectations WHERE channel > ?1 ORDER BY channel LIMIT 1")?;
    let has_unknown = open.prepare("SELECT 1 FROM expectations WHERE channel = '' LIMIT 1")?.exists([])?;
    let mut channels: Vec<String> = has_unknown.then(String::new).into_iter().collect();
    let mut last = String::new();
    while let Some(channel) = next.query_row([&last], |row| row.get::<_, String>(0)).optional()? {
        last.clone_from(&channel);
        channels.push(channel);
    }
    Ok(channels)
}

/// An expectation; `None` for one of a rule that only a later version has.
pub(super) fn expectation(columns: &SqlRow<'_>) -> Sql<Option<Expectation>> {
    let Some(rule) = RuleName::of_stored(columns.get(0)?) else { return Ok(None) };
    Ok(Some(Expectation {
        rule,
        key: LookupKey(columns.get(1)?),
        channel: columns.get(2)?,
        since: of_nanoseconds(columns.get(3)?),
        due: of_nanoseconds(columns.get(4)?),
        file: columns.get::<_, Option<_>>(5)?.map(LookupKey),
    }))
}

/// What was expected of files and came.
pub(super) fn met_files(open: &Connection, files: &[LookupKey]) -> Sql<Vec<MetFile>> {
    let query = "SELECT file, rule, channel, since FROM met_files WHERE file = ?1";
    let mut met = Vec::new();
    for file in files {
        met.extend(columns::all(open, query, &[&file.0], met_file)?);
    }
    Ok(met)
}

fn met_file(columns: &SqlRow<'_>) -> Sql<Option<MetFile>> {
    let Some(rule) = RuleName::of_stored(columns.get(1)?) else { return Ok(None) };
    Ok(Some(MetFile {
        rule,
        file: LookupKey(columns.get(0)?),
        channel: columns.get(2)?,
        since: of_nanoseconds(columns.get(3)?),
    }))
}
