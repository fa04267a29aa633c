//! Checks how full the streams are, and when they will be full at the current rate.

use std::time::Duration;

use bus::StreamId;
use bus::inspect::{ConsumerInfo, StreamInfo};

use super::finding::{Check, Finding, bytes, percent, span};
use super::probe::Probe;

const FILL: Check = Check("streams.fill");
const RATE: Check = Check("streams.rate");

/// Used share of a stream from which it is a warning, for a stream that is purged. Processed messages are purged above
/// 70 %, so slightly more is still normal.
const SHARE_WARNING_KEPT: f64 = 0.75;
/// Share of its bytes from which a stream is a warning.
const SHARE_WARNING: f64 = 0.70;
/// Share of its bytes from which a stream is an error.
const SHARE_WRONG: f64 = 0.90;
/// Share of its bytes from which a stream refuses messages.
const SHARE_REFUSED: f64 = 0.95;
/// Outage of a reader that a stream must have room for: a night.
const OUTAGE: Duration = Duration::from_secs(12 * 3600);

/// Messages that were stored recently.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) stream: StreamId,
    pub(super) messages: u64,
    pub(super) within: Duration,
}

impl Rate {
    fn bytes_per_s(self, stream: &StreamInfo) -> f64 {
        let bytes_each = stream.bytes as f64 / stream.messages.max(1) as f64;
        self.messages as f64 * bytes_each / self.within.as_secs_f64().max(1.0)
    }
}

pub(super) fn evaluate(
    streams: &Probe<Vec<StreamInfo>>,
    durables: &[ConsumerInfo],
    rates: &Probe<Vec<Rate>>,
) -> Vec<Finding> {
    let streams = match streams {
        Ok(streams) => streams,
        Err(error) => return vec![FILL.unseen(error), RATE.unseen(error)],
    };
    let mut findings: Vec<Finding> = streams.iter().filter_map(evaluate_fill).collect();
    match rates {
        Ok(rates) => findings.extend(rates.iter().filter_map(|rate| {
            let stream = streams.iter().find(|stream| stream.id == rate.stream)?;
            evaluate_rate(stream, unread(stream, durables), *rate)
        })),
        Err(error) => findings.push(RATE.unseen(error)),
    }
    findings
}

/// Estimates the bytes of unprocessed messages; all bytes if no consumer reads the stream.
fn unread(stream: &StreamInfo, durables: &[ConsumerInfo]) -> u64 {
    let mut all = durables.iter().filter(|durable| durable.stream == stream.id).peekable();
    if all.peek().is_none() {
        return stream.bytes;
    }
    // Lanes read a part each. A consumer of the whole stream is the only one.
    let messages: u64 = all.map(|durable| durable.pending + durable.held).sum();
    (stream.bytes as f64 / stream.messages.max(1) as f64 * messages as f64) as u64
}

fn is_kept(stream: &StreamInfo) -> bool {
    matches!(stream.id, StreamId::Webhooks | StreamId::Events | StreamId::Commands)
}

/// Returns the impact of a full stream, and the remedy.
fn when_full(id: StreamId) -> (&'static str, &'static str) {
    match id {
        StreamId::Webhooks => (
            "When it is full, ingress answers 503, and webhooks are lost when the BSPs stop retrying.",
            "Check the normalizers first (durables.normalizer). Then raise IMCHANNEL_WEBHOOKS_MAX_SIZE and run `imchannel streams apply`.",
        ),
        StreamId::Events => (
            "When it is full, the normalizers pause, and results of sends are delayed.",
            "Check the AICC back end first (durables.aicc). Then raise IMCHANNEL_EVENTS_MAX_SIZE and run `imchannel streams apply`.",
        ),
        StreamId::Commands => (
            "When it is full, NATS refuses publishes of the AICC back end.",
            "See `imchannel lanes list` first. Then raise IMCHANNEL_COMMANDS_MAX_SIZE and run `imchannel streams apply`.",
        ),
        StreamId::DeadLetters => (
            "When it is full, the normalizers pause. Dead letters are never deleted to make room.",
            "List them with `imchannel deadletter list`, then replay or drop them, or raise IMCHANNEL_DEADLETTERS_MAX_SIZE.",
        ),
        // Of the buckets only the ledger has a limit.
        StreamId::Sends | StreamId::Channels | StreamId::Lanes | StreamId::Marks => (
            "Above 90 % no channel sends anything new: the remaining room is reserved for outcomes.",
            "Size it for 26 hours of sends, at least 430 bytes each: check that the NATS servers have enough memory (docs/operations.md, Sizing), raise IMCHANNEL_SENDS_MAX_SIZE and run `imchannel streams apply`.",
        ),
    }
}

fn title(stream: &StreamInfo) -> &'static str {
    if stream.id == StreamId::Sends { "the ledger of sends" } else { stream.name() }
}

/// Returns `None` for a stream without a limit.
fn evaluate_fill(stream: &StreamInfo) -> Option<Finding> {
    let max = stream.max_bytes?;
    let share = stream.bytes as f64 / max as f64;
    let what =
        format!("{} holds {} of {} ({})", title(stream), bytes(stream.bytes), bytes(max), percent(share));
    let warns_at = if is_kept(stream) { SHARE_WARNING_KEPT } else { SHARE_WARNING };
    let (why, remedy) = when_full(stream.id);
    let finding = match share {
        _ if share > SHARE_WRONG => FILL.error(what, why, remedy),
        _ if share > warns_at => FILL.warning(what, why, remedy),
        _ => FILL.ok(what),
    };
    Some(finding.about([stream.name()]))
}

/// Returns `None` for a stream without a limit.
fn evaluate_rate(stream: &StreamInfo, unread: u64, rate: Rate) -> Option<Finding> {
    let max = stream.max_bytes?;
    let per_s = rate.bytes_per_s(stream);
    let (why, remedy) = when_full(stream.id);
    let mut what = format!("{} receives {}/s", title(stream), bytes(per_s as u64));
    if per_s < 1.0 {
        what = format!("{} receives almost nothing", title(stream));
        return Some(RATE.ok(what).about([stream.name()]));
    }
    if !is_kept(stream) {
        // Messages leave it only by their age.
        let (at_last, age) = (per_s * stream.max_age.as_secs_f64(), span(stream.max_age));
        let share = at_last / max as f64;
        what.push_str(&format!(
            ": in {age}, {} of {} ({})",
            bytes(at_last as u64),
            bytes(max),
            percent(share)
        ));
        let finding = if share > SHARE_WARNING { RATE.warning(what, why, remedy) } else { RATE.ok(what) };
        return Some(finding.about([stream.name()]));
    }
    let room = (max as f64 * SHARE_REFUSED - unread as f64).max(0.0);
    let lasts = Duration::from_secs_f64((room / per_s).min(stream.max_age.as_secs_f64()));
    if lasts >= stream.max_age {
        what.push_str(&format!(": not full within its max_age of {}", span(stream.max_age)));
    } else {
        what.push_str(&format!(": full after {} without its reader", span(lasts)));
    }
    let finding = if lasts < OUTAGE.min(stream.max_age) {
        let needed = (per_s * OUTAGE.as_secs_f64() / SHARE_REFUSED) as u64;
        what.push_str(&format!("; {} would be enough for {}", bytes(needed), span(OUTAGE)));
        RATE.warning(what, why, remedy)
    } else {
        RATE.ok(what)
    };
    Some(finding.about([stream.name()]))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    /// A stream with this many bytes of this limit.
    pub(in crate::doctor) fn stream(id: StreamId, bytes: u64, max: u64) -> StreamInfo {
        StreamInfo {
            messages: bytes / 1000,
            bytes,
            max_bytes: Some(max),
            max_age: Duration::from_secs(72 * 3600),
            duplicate_window: Duration::from_secs(40),
            last_sequence: bytes / 1000,
            ..StreamInfo::new(id)
        }
    }

    #[test]
    fn a_fill_below_the_purge_threshold_is_not_a_warning() {
        let level = |id, bytes| evaluate_fill(&stream(id, bytes, 100_000)).unwrap().level;
        assert_eq!(level(StreamId::Webhooks, 72_000), Level::Ok);
        assert_eq!(level(StreamId::Webhooks, 76_000), Level::Warning);
        assert_eq!(level(StreamId::Webhooks, 91_000), Level::Error);
        assert_eq!(level(StreamId::DeadLetters, 72_000), Level::Warning);
        assert_eq!(level(StreamId::Sends, 91_000), Level::Error);
        assert!(evaluate_fill(&StreamInfo { max_bytes: None, ..stream(StreamId::Lanes, 1, 1) }).is_none());
    }

    #[test]
    fn a_stream_without_room_for_an_outage_of_its_reader_is_a_warning() {
        let gigabyte = 1_000_000_000;
        let evaluated = |id, unread, per_s: u64| {
            let rate = Rate { stream: id, messages: per_s * 300, within: Duration::from_secs(300) };
            evaluate_rate(&stream(id, gigabyte / 2, gigabyte), unread, rate).unwrap()
        };
        // 1 kB each: 0.95 GB last 950,000 s at one a second, and 9,500 s at a hundred.
        assert_eq!(evaluated(StreamId::Webhooks, 0, 1).level, Level::Ok);
        let full = evaluated(StreamId::Webhooks, 0, 100);
        assert_eq!(full.level, Level::Warning);
        assert!(full.message.contains("full after 2.6 h"), "{}", full.message);
        assert_eq!(evaluated(StreamId::Events, 940_000_000, 1).level, Level::Warning);
        // The ledger is not purged: 72 h here, so 2.6 GB at ten a second.
        assert_eq!(evaluated(StreamId::Sends, 0, 10).level, Level::Warning);
        assert_eq!(evaluated(StreamId::Sends, 0, 1).level, Level::Ok);
        assert_eq!(evaluated(StreamId::Webhooks, 0, 0).level, Level::Ok);
    }
}
