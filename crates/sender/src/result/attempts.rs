//! The calls of a command as its result shows them: which of them are kept, and how they are made to fit. Pure.
//! [`bsp_client`](mod@crate::bsp_client) says what is shown of one call.

use std::borrow::Cow;
use std::collections::VecDeque;

use bsp::mask;
use prost::Message;
use proto::v1::{Attempt, SendResult};

/// Number of the first calls that are kept.
const FIRST_MAX: usize = 3;
/// Number of the latest calls that are kept.
const LATEST_MAX: usize = 7;
/// Longest request or response of a call, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 2 * 1024;
/// Most bytes of all calls of a result.
const CALLS_BYTES_MAX: usize = 32 * 1024;
/// Most bytes of a call in a result besides its bodies and its encoded length: two times, the id of the call, numbers.
const CALL_MARGIN_BYTES: usize = 192;
/// Bytes of the tag and the length of a call in a result.
const CALL_PREFIX_BYTES: usize = 4;
// Without the requests of all calls but one, they fit.
const _: () = assert!(
    (FIRST_MAX + LATEST_MAX) * (BODY_BYTES_MAX + CALL_MARGIN_BYTES + CALL_PREFIX_BYTES) + BODY_BYTES_MAX
        <= CALLS_BYTES_MAX
);
/// A body that was left out.
const LEFT_OUT: &str = mask::CUT;

/// The calls of a command in this process.
#[derive(Debug, Default)]
pub(crate) struct CallHistory {
    first: Vec<Attempt>,
    latest: VecDeque<Attempt>,
}

impl CallHistory {
    /// Adds a call.
    pub(crate) fn record(&mut self, call: Attempt) {
        if self.first.len() < FIRST_MAX {
            self.first.push(call);
            return;
        }
        if self.latest.len() == LATEST_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(call);
    }

    /// Moves the calls to the result, in order and within their limits.
    pub(crate) fn move_to(&mut self, result: &mut SendResult) {
        let mut calls = std::mem::take(&mut self.first);
        calls.extend(self.latest.drain(..));
        limit(&mut calls);
        result.attempts_made = calls;
    }
}

/// Leaves out the requests of the middle calls until the calls are within their limit. The requests of a command are the
/// same in every call, except for a setting that was changed in between.
fn limit(calls: &mut [Attempt]) {
    let mut bytes: usize = calls.iter().map(|call| call.encoded_len() + CALL_PREFIX_BYTES).sum();
    if bytes <= CALLS_BYTES_MAX {
        return;
    }
    let middle = calls.len() / 2;
    let mut order: Vec<usize> = (0..calls.len()).collect();
    order.sort_by_key(|at| at.abs_diff(middle));
    for at in order {
        let call = &mut calls[at];
        if bytes <= CALLS_BYTES_MAX {
            return;
        }
        bytes -= call.request.len().saturating_sub(LEFT_OUT.len());
        leave_out(&mut call.request);
    }
}

/// Makes a result smaller that the server refuses because of its size: without the bodies of its calls, or else without its
/// calls. Returns whether it is smaller now.
pub(crate) fn shrink(result: &mut SendResult) -> bool {
    let calls = &mut result.attempts_made;
    let has_body =
        |call: &Attempt| [&call.request, &call.response].iter().any(|body| body.len() > LEFT_OUT.len());
    if calls.iter().any(has_body) {
        for call in calls {
            leave_out(&mut call.request);
            leave_out(&mut call.response);
        }
        return true;
    }
    let has_calls = !calls.is_empty();
    calls.clear();
    has_calls
}

fn leave_out(body: &mut String) {
    if body.len() > LEFT_OUT.len() {
        LEFT_OUT.clone_into(body);
    }
}

/// Returns the result with the number of calls that it does not show.
pub(crate) fn counted(result: &SendResult) -> Cow<'_, SendResult> {
    let shown = u32::try_from(result.attempts_made.len()).unwrap_or(u32::MAX);
    let left_out = result.attempts.saturating_sub(shown);
    if left_out == result.attempts_left_out {
        return Cow::Borrowed(result);
    }
    Cow::Owned(SendResult { attempts_left_out: left_out, ..result.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A result with calls whose status is their number, from 1.
    fn of_calls(calls: u32, body: &str) -> SendResult {
        let mut history = CallHistory::default();
        for number in 1..=calls {
            let (request, response) = (body.to_owned(), body.to_owned());
            history.record(Attempt { http_status: number, request, response, ..Attempt::default() });
        }
        let mut result = SendResult { attempts: calls, ..SendResult::default() };
        history.move_to(&mut result);
        counted(&result).into_owned()
    }

    fn numbers(result: &SendResult) -> Vec<u32> {
        result.attempts_made.iter().map(|call| call.http_status).collect()
    }

    fn bytes(result: &SendResult) -> usize {
        SendResult { attempts_made: result.attempts_made.clone(), ..SendResult::default() }.encoded_len()
    }

    #[test]
    fn the_first_three_and_the_latest_seven_calls_are_shown_in_order() {
        assert_eq!((numbers(&of_calls(0, "")), of_calls(0, "").attempts_left_out), (vec![], 0));
        assert_eq!((numbers(&of_calls(3, "")), of_calls(3, "").attempts_left_out), (vec![1, 2, 3], 0));
        for calls in 4..=10 {
            assert_eq!(numbers(&of_calls(calls, "")), (1..=calls).collect::<Vec<_>>());
            assert_eq!(of_calls(calls, "").attempts_left_out, 0);
        }
        let twelve = of_calls(12, "");
        assert_eq!(numbers(&twelve), [1, 2, 3, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(twelve.attempts_left_out, 2);
        assert_eq!(of_calls(1_000, "").attempts_left_out, 990);
    }

    #[test]
    fn large_calls_fit_their_limit_and_the_middle_ones_lose_their_requests() {
        let longest = "x".repeat(BODY_BYTES_MAX);
        let mut full = Attempt {
            at: Some(proto::Timestamp { seconds: i64::MAX, nanos: i32::MAX }),
            duration: Some(std::time::Duration::MAX.into()),
            http_status: u32::MAX,
            outcome: i32::MAX,
            provider_trace_id: "t".repeat(128),
            ..Attempt::default()
        };
        assert!(full.encoded_len() + 6 <= CALL_MARGIN_BYTES, "{}", full.encoded_len());
        (full.request, full.response) = (longest.clone(), longest.clone());
        let mut history = CallHistory::default();
        (0..10).for_each(|_| history.record(full.clone()));
        let mut result = SendResult::default();
        history.move_to(&mut result);
        assert!(bytes(&result) <= CALLS_BYTES_MAX, "{}", bytes(&result));
        let has_request: Vec<bool> =
            result.attempts_made.iter().map(|call| call.request == longest).collect();
        let left = |from: usize, to: usize| has_request[from..to].iter().all(|has| !has);
        let kept = |from: usize, to: usize| has_request[from..to].iter().all(|has| *has);
        assert!(kept(0, 2) && left(3, 8) && kept(8, 10), "{has_request:?}");
        let others = result.attempts_made.iter().filter(|call| call.request != longest);
        assert!(others.into_iter().all(|call| call.request == LEFT_OUT));
        assert!(result.attempts_made.iter().all(|call| call.response == longest));
        // What fits stays whole.
        let small = "x".repeat(1_500);
        let whole = of_calls(10, &small);
        assert!(whole.attempts_made.iter().all(|call| call.request == small && call.response == small));
    }

    #[test]
    fn a_result_that_is_too_large_loses_its_bodies_and_then_its_calls() {
        let mut large = of_calls(12, "body of a call");
        assert!(shrink(&mut large));
        assert_eq!(numbers(&large).len(), 10);
        assert!(large.attempts_made.iter().all(|call| call.request == "…" && call.response == "…"));
        assert!(shrink(&mut large));
        assert!(large.attempts_made.is_empty());
        assert_eq!(counted(&large).attempts_left_out, 12);
        assert!(!shrink(&mut large));
        // A body that is empty was not left out.
        let mut unanswered = of_calls(1, "body of a call");
        unanswered.attempts_made[0].response.clear();
        assert!(shrink(&mut unanswered));
        assert_eq!(unanswered.attempts_made[0].response, "");
    }

    #[test]
    fn calls_of_other_senders_count_as_left_out() {
        let mut result = of_calls(2, "");
        result.attempts = 5;
        assert_eq!(counted(&result).attempts_left_out, 3);
        result.attempts = 1;
        assert_eq!(counted(&result).attempts_left_out, 0);
        let alone = SendResult { attempts: 4, ..SendResult::default() };
        assert_eq!(counted(&alone).attempts_left_out, 4);
    }
}
