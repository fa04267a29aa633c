//! The order of the questions to one message log. Pure.
//!
//! Questions about outcomes go first, because the next message to the recipient waits for them. Those about reports have requests of
//! their own, at a part of the rate, so that a question about an outcome finds the account free, and no answer about another message
//! makes the response to it unreadable.

use std::collections::VecDeque;

use tokio::time::Instant;

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Whether the message was accepted.
    Outcome,
    /// What became of an accepted message.
    Report,
}

/// A question with its urgency, whose asker may have left.
pub(super) trait Question {
    fn urgency(&self) -> Urgency;
    fn is_abandoned(&self) -> bool;
}

/// The questions that wait.
#[derive(Debug)]
pub(super) struct LogQueue<Q> {
    outcomes: VecDeque<Q>,
    reports: VecDeque<Q>,
    /// When a request for reports may be made.
    reports_at: Instant,
}

impl<Q: Question> LogQueue<Q> {
    pub(super) fn new(now: Instant) -> Self {
        Self { outcomes: VecDeque::new(), reports: VecDeque::new(), reports_at: now }
    }

    pub(super) fn push(&mut self, question: Q) {
        match question.urgency() {
            Urgency::Outcome => self.outcomes.push_back(question),
            Urgency::Report => self.reports.push_back(question),
        }
    }

    /// Removes questions whose asker has left, such as a lane that was closed.
    pub(super) fn remove_abandoned(&mut self) {
        self.outcomes.retain(|question| !question.is_abandoned());
        self.reports.retain(|question| !question.is_abandoned());
    }

    /// Returns when the next request may be made; `None` if no question waits.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        if !self.outcomes.is_empty() {
            return Some(now);
        }
        (!self.reports.is_empty()).then(|| self.reports_at.max(now))
    }

    /// The question that the next request begins with.
    pub(super) fn first(&self) -> Option<&Q> {
        self.outcomes.front().or(self.reports.front())
    }

    /// Takes the questions of the next request, which are of one urgency.
    pub(super) fn take(&mut self, count_max: usize) -> Vec<Q> {
        let questions = if self.outcomes.is_empty() { &mut self.reports } else { &mut self.outcomes };
        let count = questions.len().min(count_max);
        questions.drain(..count).collect()
    }

    /// Makes no request for reports until then.
    pub(super) fn rest_reports(&mut self, until: Instant) {
        self.reports_at = until;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Asked {
        number: u32,
        urgency: Urgency,
        is_abandoned: bool,
    }

    impl Question for Asked {
        fn urgency(&self) -> Urgency {
            self.urgency
        }
        fn is_abandoned(&self) -> bool {
            self.is_abandoned
        }
    }

    fn asked(number: u32, urgency: Urgency) -> Asked {
        Asked { number, urgency, is_abandoned: false }
    }

    fn numbers(questions: &[Asked]) -> Vec<u32> {
        questions.iter().map(|question| question.number).collect()
    }

    #[test]
    fn outcomes_go_first_and_share_no_request_with_reports() {
        let now = Instant::now();
        let mut queue = LogQueue::new(now);
        for number in 0..4 {
            queue.push(asked(number, Urgency::Report));
        }
        for number in 10..12 {
            queue.push(asked(number, Urgency::Outcome));
        }
        assert_eq!(queue.first().unwrap().number, 10);
        assert_eq!(numbers(&queue.take(3)), [10, 11]);
        assert_eq!(numbers(&queue.take(3)), [0, 1, 2]);
        assert_eq!(numbers(&queue.take(3)), [3]);
        assert_eq!((queue.next_at(now), queue.first()), (None, None));
    }

    #[test]
    fn reports_wait_and_outcomes_do_not() {
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        let mut queue = LogQueue::new(now);
        queue.push(asked(1, Urgency::Report));
        assert_eq!(queue.next_at(now), Some(now));
        queue.rest_reports(later);
        assert_eq!(queue.next_at(now), Some(later));
        queue.push(Asked { is_abandoned: true, ..asked(2, Urgency::Outcome) });
        assert_eq!(queue.next_at(now), Some(now));
        queue.remove_abandoned();
        assert_eq!(queue.next_at(now), Some(later));
    }
}
