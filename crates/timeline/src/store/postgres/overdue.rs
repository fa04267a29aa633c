//! What is overdue, and what came of files. Each channel is asked for its own, by an index, so that the cost does not grow with what
//! is overdue or waits in a slow lane.

use tokio_postgres::Client;

use crate::row::LookupKey;
use crate::rules::{DueOrder, Expectation, Judged, RuleName};
use crate::store::error::StoreError;
use crate::store::postgres::columns::{self, nanoseconds, of_nanoseconds, of_rule};
use crate::store::postgres::read::most;
use crate::store::{MetFile, OVERDUE_COUNTED_MAX, OverdueCount, OverdueQuery};

/// A rule and channel to ask for.
#[derive(Debug, Default)]
struct Asked<'a> {
    rules: Vec<i16>,
    channels: Vec<&'a [u8]>,
    untils: Vec<i64>,
    /// Only what is after these times and keys.
    dues: Vec<i64>,
    keys: Vec<Vec<u8>>,
}

impl<'a> Asked<'a> {
    fn of(judged: &[Judged], channels: &'a [String], after: Option<&DueOrder>) -> Self {
        let mut asked = Self::default();
        for judged in judged {
            for channel in channels {
                let (due, key) = start(after, judged.rule, channel);
                asked.rules.push(of_rule(judged.rule));
                asked.channels.push(channel.as_bytes());
                asked.untils.push(nanoseconds(judged.until_in(channel)));
                asked.dues.push(due);
                asked.keys.push(key);
            }
        }
        asked
    }
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

/// What is overdue, in the order of [`DueOrder`].
pub(super) async fn overdue(client: &Client, query: &OverdueQuery) -> Result<Vec<Expectation>, StoreError> {
    let channels = match &query.channel {
        Some(channel) => vec![channel.clone()],
        None => channels(client).await?,
    };
    let Asked { rules, channels, untils, dues, keys } =
        Asked::of(&query.judged, &channels, query.after.as_ref());
    let text = "SELECT e.* FROM unnest($1::int2[], $2::bytea[], $3::int8[], $4::int8[], $5::bytea[])
             AS q (rule, channel, until, due, key)
           CROSS JOIN LATERAL (
             SELECT rule, key, channel, since, due, file FROM expectations
             WHERE channel = q.channel AND rule = q.rule AND due <= q.until AND (due, key) > (q.due, q.key)
             ORDER BY due, key LIMIT $6
           ) e
         ORDER BY e.due, e.key, e.rule, e.channel LIMIT $6";
    let found = client.query(text, &[&rules, &channels, &untils, &dues, &keys, &most(query.limit)]).await?;
    found.iter().filter_map(|row| columns::expectation(row).transpose()).collect()
}

/// How much is overdue, by channel and rule, up to [`OVERDUE_COUNTED_MAX`] each.
pub(super) async fn counts(client: &Client, judged: &[Judged]) -> Result<Vec<OverdueCount>, StoreError> {
    let channels = channels(client).await?;
    let Asked { rules, channels: asked, untils, .. } = Asked::of(judged, &channels, None);
    let text = "SELECT q.rule, q.channel, c.number FROM unnest($1::int2[], $2::bytea[], $3::int8[]) AS q (rule, channel, until)
           CROSS JOIN LATERAL (
             SELECT count(*) AS number FROM (
               SELECT FROM expectations WHERE channel = q.channel AND rule = q.rule AND due <= q.until LIMIT $4
             ) o
           ) c
         WHERE c.number > 0 ORDER BY q.rule, q.channel";
    let limit = i64::try_from(OVERDUE_COUNTED_MAX).unwrap_or(i64::MAX);
    let mut counts = Vec::new();
    for row in client.query(text, &[&rules, &asked, &untils, &limit]).await? {
        let Some(rule) = RuleName::of_stored(i64::from(row.try_get::<_, i16>(0)?)) else { continue };
        let count = row.try_get::<_, i64>(2)?.cast_unsigned();
        counts.push(OverdueCount { channel: columns::channel(&row, 1)?, rule, count });
    }
    Ok(counts)
}

/// The channels in which anything is expected, each found by the one before it.
async fn channels(client: &Client) -> Result<Vec<String>, StoreError> {
    let query = "WITH RECURSIVE known AS (
           (SELECT channel FROM expectations ORDER BY channel LIMIT 1)
           UNION ALL
           SELECT (SELECT e.channel FROM expectations e WHERE e.channel > k.channel ORDER BY e.channel LIMIT 1)
           FROM known k WHERE k.channel IS NOT NULL
         )
         SELECT channel FROM known WHERE channel IS NOT NULL";
    client.query(query, &[]).await?.iter().map(|row| columns::channel(row, 0)).collect()
}

/// What was expected of files and came.
pub(super) async fn met_files(client: &Client, files: &[LookupKey]) -> Result<Vec<MetFile>, StoreError> {
    let files: Vec<&[u8]> = files.iter().map(|file| file.0.as_slice()).collect();
    let query = "SELECT file, rule, channel, since FROM met_files WHERE file = ANY($1)";
    let mut met = Vec::new();
    for row in client.query(query, &[&files]).await? {
        let Some(rule) = RuleName::of_stored(i64::from(row.try_get::<_, i16>(1)?)) else { continue };
        let (file, channel) = (columns::key(row.try_get(0)?)?, columns::channel(&row, 2)?);
        met.push(MetFile { rule, file, channel, since: of_nanoseconds(row.try_get(3)?) });
    }
    Ok(met)
}
