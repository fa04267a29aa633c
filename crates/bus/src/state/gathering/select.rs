//! Which of the messages that wait can be one batch. Pure.

use std::collections::{HashMap, HashSet, VecDeque};

use async_nats::header::NATS_MESSAGE_ID;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::state::gathering::{Answer, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, Outgoing, Waiting};

/// A message of a batch, with everyone who waits for it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) message: Outgoing,
    pub(crate) id: Option<u64>,
    pub(crate) bytes: usize,
    /// The earliest deadline of those who wait for it.
    pub(crate) deadline: Instant,
    pub(crate) answer: oneshot::Sender<Answer>,
    /// Others with the same id, which the server would call duplicates.
    pub(crate) repeats: Vec<oneshot::Sender<Answer>>,
}

/// Takes messages for one batch out of the queue, in its order: each id and each subject with an expectation once, because the server
/// refuses a batch that has one of them twice. Messages with the same id share one answer. What cannot be in the batch stays in the queue,
/// in its order. Those whose caller waits no more are left out.
pub(crate) fn select(queue: &mut VecDeque<Waiting>) -> Vec<Member> {
    let mut batch: Vec<Member> = Vec::with_capacity(queue.len().min(BATCH_MESSAGES_MAX));
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut expected: HashSet<u64> = HashSet::new();
    let mut left = VecDeque::new();
    let mut bytes = 0;
    while let Some(next) = queue.pop_front() {
        if next.answer.is_closed() {
            continue;
        }
        if let Some(first) = next.id.and_then(|id| places.get(&id)).map(|place| &mut batch[*place]) {
            if first.has_same_id(&next.message) {
                first.deadline = first.deadline.min(next.deadline);
                first.repeats.push(next.answer);
            } else {
                left.push_back(next);
            }
            continue;
        }
        if next.expectation.is_some_and(|subject| expected.contains(&subject)) {
            left.push_back(next);
            continue;
        }
        if batch.len() == BATCH_MESSAGES_MAX || bytes + next.bytes > BATCH_BYTES_MAX {
            left.push_back(next);
            break;
        }
        bytes += next.bytes;
        expected.extend(next.expectation);
        if let Some(id) = next.id {
            places.insert(id, batch.len());
        }
        let Waiting { message, id, bytes, deadline, answer, .. } = next;
        batch.push(Member { message, id, bytes, deadline, answer, repeats: Vec::new() });
    }
    left.append(queue);
    *queue = left;
    batch
}

impl Member {
    fn has_same_id(&self, other: &Outgoing) -> bool {
        self.message.headers.get(NATS_MESSAGE_ID) == other.headers.get(NATS_MESSAGE_ID)
    }

    /// Whether anyone waits for it.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.answer.is_closed() || self.repeats.iter().any(|repeat| !repeat.is_closed())
    }

    /// Tells everyone who waits for it.
    pub(crate) fn answer(self, answer: impl Fn() -> Answer) {
        // An error says that this caller waits no more.
        let _ = self.answer.send(answer());
        for repeat in self.repeats {
            let _ = repeat.send(answer());
        }
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use bytes::Bytes;

    use super::*;

    struct Queue {
        waiting: VecDeque<Waiting>,
        answers: Vec<oneshot::Receiver<Answer>>,
    }

    impl Queue {
        fn new() -> Self {
            Self { waiting: VecDeque::new(), answers: Vec::new() }
        }

        fn push(&mut self, subject: &str, id: Option<&str>, bytes: usize) -> &mut Waiting {
            let (answer, receiver) = oneshot::channel();
            self.answers.push(receiver);
            let mut headers = HeaderMap::new();
            if let Some(id) = id {
                headers.insert(NATS_MESSAGE_ID, id);
            }
            let message = Outgoing { subject: subject.into(), headers, payload: Bytes::new() };
            let id = id.map(|id| id.bytes().map(u64::from).sum());
            let deadline = Instant::now() + std::time::Duration::from_secs(3);
            self.waiting.push_back(Waiting {
                ticket: 0,
                message,
                bytes,
                id,
                expectation: None,
                deadline,
                answer,
            });
            self.waiting.back_mut().unwrap()
        }

        fn select(&mut self) -> Vec<String> {
            select(&mut self.waiting).iter().map(|member| member.message.subject.to_string()).collect()
        }
    }

    #[tokio::test]
    async fn a_batch_has_a_limit_of_messages_and_of_bytes_and_keeps_the_order() {
        let mut queue = Queue::new();
        for number in 0..=BATCH_MESSAGES_MAX {
            queue.push(&format!("s.{number}"), None, 10);
        }
        queue.push("last", None, 10);
        assert_eq!(queue.select().len(), BATCH_MESSAGES_MAX);
        assert_eq!(queue.select(), [format!("s.{BATCH_MESSAGES_MAX}"), "last".to_owned()]);

        queue.push("large", None, BATCH_BYTES_MAX - 10);
        queue.push("fits", None, 10);
        queue.push("next", None, 1);
        queue.push("after", None, 1);
        assert_eq!(queue.select(), ["large", "fits"]);
        assert_eq!(queue.select(), ["next", "after"]);
        assert!(queue.select().is_empty());
    }

    #[tokio::test]
    async fn messages_with_one_id_share_one_answer() {
        let mut queue = Queue::new();
        queue.push("s", Some("ab"), 1);
        // The sum of its bytes, which is the hash here, is the same.
        queue.push("other", Some("ba"), 1);
        queue.push("s", Some("ab"), 1);
        let mut batch = select(&mut queue.waiting);
        assert_eq!((batch.len(), batch[0].repeats.len(), queue.waiting.len()), (1, 1, 1));
        batch.remove(0).answer(|| Answer::Stored(9));
        assert!(matches!(queue.answers[0].try_recv(), Ok(Answer::Stored(9))));
        assert!(matches!(queue.answers[2].try_recv(), Ok(Answer::Stored(9))));
        assert!(queue.answers[1].try_recv().is_err());
        assert_eq!(queue.select(), ["other"]);
    }

    #[tokio::test]
    async fn a_subject_with_an_expectation_is_in_a_batch_once() {
        let mut queue = Queue::new();
        for subject in ["key", "key", "another", "key"] {
            queue.push(subject, None, 1).expectation = Some(subject.len() as u64);
        }
        assert_eq!(queue.select(), ["key", "another"]);
        assert_eq!(queue.select(), ["key"]);
        assert_eq!(queue.select(), ["key"]);
    }

    #[tokio::test]
    async fn who_waits_no_more_is_left_out() {
        let mut queue = Queue::new();
        queue.push("gone", Some("a"), 1);
        queue.push("here", Some("b"), 1);
        drop(queue.answers.remove(0));
        assert_eq!(queue.select(), ["here"]);
    }
}
