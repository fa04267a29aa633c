//! What a batch changes in what is expected: computed here from the stored expectations that it can touch, and written in
//! the batch's transaction.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Span;
use tokio_postgres::Transaction;

use crate::row::{LookupKey, Row};
use crate::rules::{self, Expectation, RuleName, Settled};
use crate::store::NewRow;
use crate::store::error::StoreError;
use crate::store::postgres::columns::{self, EXPECTATION, nanoseconds, of_rule};
use crate::store::postgres::overdue;

/// How long before its beginning an expectation may have been met, in hours: the ledger of sends keeps an undecided command
/// for 26 hours, and its report may be stored before the result of its recovery.
const MET_BEFORE_HOURS: i64 = 26;

/// What identifies an expectation.
type Name = (RuleName, LookupKey, String);

fn name(expectation: &Expectation) -> Name {
    (expectation.rule, expectation.key, expectation.channel.clone())
}

/// What a batch changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    /// Stored ones that rows met.
    removed: Vec<Expectation>,
    /// Those that stay open.
    opened: Vec<Expectation>,
    /// All that were met, in the order of the rows.
    met: Vec<Expectation>,
}

/// Opens and removes what follows from rows that are not stored yet. Returns what they met.
pub(super) async fn apply(
    transaction: &Transaction<'_>,
    rows: &[&NewRow],
) -> Result<Vec<Expectation>, StoreError> {
    let expected = rows.iter().flat_map(|new| new.expected.iter().map(|expectation| expectation.key));
    let settled = rows.iter().flat_map(|new| new.settled.iter().map(|settlement| settlement.key));
    let keys: HashSet<LookupKey> = expected.chain(settled).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    settle_files(transaction, rows).await?;
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.0.as_slice()).collect();
    let query = format!("SELECT {EXPECTATION} FROM expectations WHERE key = ANY($1)");
    let found = transaction.query(&query, &[&keys]).await?;
    let stored =
        found.iter().filter_map(|row| columns::expectation(row).transpose()).collect::<Result<_, _>>()?;
    let mut met_before = met_before(transaction, rows).await?;
    met_before.extend(met_by_file(transaction, rows).await?);
    let change = change(stored, rows, &met_before);
    write(transaction, &change).await?;
    Ok(change.met)
}

/// Ends what is expected of files, and keeps that it came: of messages that name them later nothing is expected. So the order of
/// rows does not matter here.
async fn settle_files(transaction: &Transaction<'_>, rows: &[&NewRow]) -> Result<(), StoreError> {
    let (mut files, mut rules, mut channels, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for new in rows {
        for settled in new.settled.iter().filter(|settled| settled.of == Settled::File) {
            files.push(settled.key.0.as_slice());
            rules.push(of_rule(settled.rule));
            channels.push(new.row.channel.as_bytes());
            times.push(nanoseconds(new.row.stored_at));
        }
    }
    if files.is_empty() {
        return Ok(());
    }
    let keep = "INSERT INTO met_files AS m (file, rule, channel, since)
        SELECT file, rule, channel, min(since)
        FROM unnest($1::bytea[], $2::int2[], $3::bytea[], $4::int8[]) AS n (file, rule, channel, since) GROUP BY 1, 2, 3
        ON CONFLICT (file, rule, channel) DO UPDATE SET since = least(m.since, excluded.since)";
    transaction.execute(keep, &[&files, &rules, &channels, &times]).await?;
    let remove = "DELETE FROM expectations e USING unnest($1::bytea[], $2::int2[], $3::bytea[]) AS n (file, rule, channel)
        WHERE e.file = n.file AND e.rule = n.rule AND (n.channel = e.channel OR n.channel = '' OR e.channel = '')";
    transaction.execute(remove, &[&files, &rules, &channels]).await?;
    Ok(())
}

/// What rows expect of files of which it came before.
async fn met_by_file(transaction: &Transaction<'_>, rows: &[&NewRow]) -> Result<HashSet<Name>, StoreError> {
    let expected: Vec<&Expectation> =
        rows.iter().flat_map(|new| &new.expected).filter(|expected| expected.file.is_some()).collect();
    if expected.is_empty() {
        return Ok(HashSet::new());
    }
    let files: HashSet<LookupKey> = expected.iter().filter_map(|expected| expected.file).collect();
    let files: Vec<LookupKey> = files.into_iter().collect();
    let met = overdue::met_files(transaction.client(), &files).await?;
    let mut by_file: HashMap<(RuleName, LookupKey), Vec<String>> = HashMap::new();
    for met in met {
        by_file.entry((met.rule, met.file)).or_default().push(met.channel);
    }
    let is_met = |expected: &&Expectation| {
        let channels = expected.file.and_then(|file| by_file.get(&(expected.rule, file)));
        channels.into_iter().flatten().any(|channel| is_same_channel(channel, &expected.channel))
    };
    Ok(expected.into_iter().filter(is_met).map(name).collect())
}

/// What rows expect that was met before, by rows that are stored: the streams are read independently of one another, so that
/// a report may be stored before its result.
async fn met_before(transaction: &Transaction<'_>, rows: &[&NewRow]) -> Result<HashSet<Name>, StoreError> {
    let mut by_key: HashMap<LookupKey, Vec<&Expectation>> = HashMap::new();
    for expectation in rows.iter().flat_map(|new| &new.expected) {
        by_key.entry(expectation.key).or_default().push(expectation);
    }
    let Some(since) = by_key.values().flatten().map(|expectation| expectation.since).min() else {
        return Ok(HashSet::new());
    };
    let since = since.saturating_sub(Span::new().hours(MET_BEFORE_HOURS)).unwrap_or(since);
    let keys: Vec<&[u8]> = by_key.keys().map(|key| key.0.as_slice()).collect();
    let query = format!(
        "WITH place AS MATERIALIZED (
           SELECT DISTINCT stored_at, stream, sequence, part FROM ids WHERE key = ANY($1) AND stored_at >= $2
         )
         SELECT {} FROM place p JOIN rows r USING (stream, sequence, stored_at, part)",
        columns::ROW
    );
    let found = columns::rows(&transaction.query(&query, &[&keys, &nanoseconds(since)]).await?)?;
    let mut met = HashSet::new();
    for row in &found {
        let expected = row.links.iter().filter_map(|link| by_key.get(&link.key)).flatten();
        met.extend(
            expected.filter(|expectation| meets(expectation, row)).map(|expectation| name(expectation)),
        );
    }
    Ok(met)
}

fn meets(expectation: &Expectation, row: &Row) -> bool {
    is_same_channel(&row.channel, &expectation.channel) && rules::is_met_by(expectation.rule, row)
}

/// Whether a row of one channel can meet what is expected in another. An empty one is not known.
fn is_same_channel(one: &str, other: &str) -> bool {
    one == other || one.is_empty() || other.is_empty()
}

fn change(stored: Vec<Expectation>, rows: &[&NewRow], met_before: &HashSet<Name>) -> Change {
    let mut change = Change::default();
    // Whether each is stored.
    let mut open: BTreeMap<Name, (Expectation, bool)> =
        stored.into_iter().map(|expectation| (name(&expectation), (expectation, true))).collect();
    let mut met_here: HashMap<(RuleName, LookupKey), Vec<&str>> = HashMap::new();
    for new in rows {
        for expected in &new.expected {
            let channels = met_here.get(&(expected.rule, expected.key)).into_iter().flatten();
            let mut channels = channels.copied();
            let is_met_here = channels.any(|channel| is_same_channel(channel, &expected.channel));
            if !is_met_here && !met_before.contains(&name(expected)) {
                open.entry(name(expected)).or_insert_with(|| (expected.clone(), false));
            }
        }
        let channel = new.row.channel.as_str();
        for settled in new.settled.iter().filter(|settled| settled.of == Settled::Id) {
            let first = (settled.rule, settled.key, String::new());
            let of_key = open
                .range(first..)
                .take_while(|((rule, key, _), _)| (*rule, *key) == (settled.rule, settled.key));
            let met: Vec<Name> = of_key
                .filter(|((_, _, expected), _)| is_same_channel(channel, expected))
                .map(|(name, _)| name.clone())
                .collect();
            for name in met {
                let Some((expectation, is_stored)) = open.remove(&name) else { continue };
                if is_stored {
                    change.removed.push(expectation.clone());
                }
                change.met.push(expectation);
            }
            met_here.entry((settled.rule, settled.key)).or_default().push(channel);
        }
    }
    change.opened = open.into_values().filter(|(_, is_stored)| !is_stored).map(|(new, _)| new).collect();
    change
}

async fn write(transaction: &Transaction<'_>, change: &Change) -> Result<(), StoreError> {
    if !change.removed.is_empty() {
        let (rules, keys, channels) = names(&change.removed);
        let remove = "DELETE FROM expectations e
            USING unnest($1::int2[], $2::bytea[], $3::bytea[]) AS n (rule, key, channel)
            WHERE e.key = n.key AND e.rule = n.rule AND e.channel = n.channel";
        transaction.execute(remove, &[&rules, &keys, &channels]).await?;
    }
    if !change.opened.is_empty() {
        let (rules, keys, channels) = names(&change.opened);
        let times = |time: fn(&Expectation) -> jiff::Timestamp| -> Vec<i64> {
            change.opened.iter().map(|expectation| nanoseconds(time(expectation))).collect()
        };
        let (since, due) = (times(|of| of.since), times(|of| of.due));
        let files: Vec<Option<&[u8]>> =
            change.opened.iter().map(|of| of.file.as_ref().map(|file| file.0.as_slice())).collect();
        let open = format!(
            "INSERT INTO expectations ({EXPECTATION})
             SELECT * FROM unnest($1::int2[], $2::bytea[], $3::bytea[], $4::int8[], $5::int8[], $6::bytea[]) ON CONFLICT DO NOTHING"
        );
        transaction.execute(&open, &[&rules, &keys, &channels, &since, &due, &files]).await?;
    }
    Ok(())
}

/// The columns rule, key and channel.
fn names(all: &[Expectation]) -> (Vec<i16>, Vec<&[u8]>, Vec<&[u8]>) {
    let rules = all.iter().map(|of| of_rule(of.rule)).collect();
    let keys = all.iter().map(|of| of.key.0.as_slice()).collect();
    (rules, keys, all.iter().map(|of| of.channel.as_bytes()).collect())
}
