//! Which of the expectations that rows open were met already, by rows that are stored: the streams are read independently
//! of one another, so that a report may be stored before its result.

use std::collections::HashSet;

use rusqlite::Connection;

use crate::row::Row;
use crate::rules::{self, Expectation};
use crate::store::NewRow;
use crate::store::error::StoreError;
use crate::store::sqlite::columns;
use crate::store::sqlite::day::Day;
use crate::store::sqlite::fault::Sql;
use crate::store::sqlite::files::Files;
use crate::store::sqlite::find;
use crate::store::sqlite::open::{RuleKey, is_same_channel};

/// How long before its beginning an expectation may have been met, in hours: the ledger of sends keeps an undecided command
/// for 26 hours, and its report may be stored before the result of its recovery.
const MET_BEFORE_HOURS: i64 = 26;

/// What is expected after these rows and was met before.
pub(super) fn met(files: &Files, rows: &[NewRow]) -> Result<HashSet<(RuleKey, String)>, StoreError> {
    let mut expected: Vec<&Expectation> = rows.iter().flat_map(|new| &new.expected).collect();
    let mut met = HashSet::new();
    let Some(since) = expected.iter().map(|expectation| expectation.since).min() else { return Ok(met) };
    let earliest = since.saturating_sub(jiff::Span::new().hours(MET_BEFORE_HOURS));
    let first_day = earliest.map_or(Day::of(since), Day::of);
    // Sorted, so that neighbors in the file are read one after the other.
    expected.sort_unstable_by_key(|expectation| expectation.key);
    for known in files.catalog.all() {
        if known.day < first_day {
            continue;
        }
        let may_have = |expectation: &&&Expectation| known.may_have(columns::prefix(&expectation.key.0));
        let asked: Vec<&Expectation> = expected.iter().filter(may_have).copied().collect();
        if asked.is_empty() {
            continue;
        }
        if let Some(found) = files.read(known.day, |day| met_in(day, &asked))? {
            met.extend(found);
        }
    }
    Ok(met)
}

fn met_in(day: &Connection, expected: &[&Expectation]) -> Sql<Vec<(RuleKey, String)>> {
    let mut met = Vec::new();
    let mut finder = find::Finder::new(day)?;
    for expectation in expected {
        if finder.has(expectation.key, |row| meets(expectation, row))? {
            met.push(((expectation.rule, expectation.key), expectation.channel.clone()));
        }
    }
    Ok(met)
}

fn meets(expectation: &Expectation, row: &Row) -> bool {
    is_same_channel(&row.channel, &expectation.channel) && rules::is_met_by(expectation.rule, row)
}
