//! The rows of the calls of a result.

use std::time::Duration;

use proto::v1::{Attempt, AttemptOutcome, SendResult};

use crate::extract::{Bodies, body, text, time};
use crate::row::{Pointer, Row, RowKind, Status};

/// Most calls of a result that have a row: the sender shows no more.
const ATTEMPTS_MAX: usize = 10;

/// One row for each call of the BSP, from part 1, made of the row of the result. The calls are removed from the result, whose
/// body does not repeat them. Their bodies are masked by the sender.
pub(super) fn rows(bodies: Bodies, result_row: &Row, result: &mut SendResult) -> Vec<Row> {
    let made = std::mem::take(&mut result.attempts_made);
    let row = |(attempt, part): (&Attempt, u32)| Row {
        pointer: Pointer { part, ..result_row.pointer },
        kind: RowKind::Attempt,
        happened_at: time(attempt.at.as_ref()),
        status: AttemptOutcome::try_from(attempt.outcome).ok().map(Status::Attempt),
        error: None,
        summary: summary(attempt),
        body: body::of_attempt(bodies, attempt),
        ..result_row.clone()
    };
    made.iter().take(ATTEMPTS_MAX).zip(1..).map(row).collect()
}

/// Such as `HTTP 200 in 123 ms`.
fn summary(attempt: &Attempt) -> String {
    let answer = match attempt.http_status {
        0 => "no response".to_owned(),
        status => format!("HTTP {status}"),
    };
    let duration = attempt.duration.as_ref().and_then(duration);
    let after = duration.map(|duration| format!(" in {} ms", duration.as_millis())).unwrap_or_default();
    let id = match attempt.provider_trace_id.as_str() {
        "" => String::new(),
        id => format!(", the BSP's id {}", text::words(id)),
    };
    format!("{answer}{after}{id}")
}

/// `None` for what is no duration.
fn duration(sent: &pbjson_types::Duration) -> Option<Duration> {
    let nanoseconds = u32::try_from(sent.nanos).ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(sent.seconds).ok()?, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_says_what_was_answered_and_how_long_it_took() {
        let duration = Some(pbjson_types::Duration { seconds: 1, nanos: 250_000_000 });
        let attempt = Attempt { http_status: 503, duration, ..Attempt::default() };
        assert_eq!(summary(&attempt), "HTTP 503 in 1250 ms");
        let attempt = Attempt { provider_trace_id: "t\u{1b}1".to_owned(), ..Attempt::default() };
        assert_eq!(summary(&attempt), "no response, the BSP's id t\u{fffd}1");
        // Values that no sender writes.
        for (seconds, nanos) in [(-1, 0), (i64::MAX, i32::MAX), (0, -1)] {
            let duration = Some(pbjson_types::Duration { seconds, nanos });
            assert_eq!(summary(&Attempt { duration, ..Attempt::default() }), "no response");
        }
    }
}
