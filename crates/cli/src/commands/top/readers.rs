//! The readers behind `top`: they count what is stored, by subject and without the bodies, and the results of commands by their
//! outcome.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bsp::{NO_BSP, registry};
use bus::read::{self, ReadError, StartAt};
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, NORMALIZER, StreamDefinition, WEBHOOKS};
use bus::{Bus, Delivery, Subject, headers, lag};
use prost::Message as _;
use proto::v1::{SendOutcome, SendResult};
use tokio::task::JoinHandle;

use super::model::{Name, Row};
use crate::output;

/// Most pending webhooks that are counted by channel. Older ones are counted only in the sum.
const WAITING_MAX: u64 = 200_000;
/// Time without a message after which a reader is created again.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Delay after a failed attempt to read.
const PAUSE: Duration = Duration::from_millis(500);

/// Counts since the beginning.
#[derive(Debug, Default)]
struct Counted {
    rows: BTreeMap<Name, Row>,
    /// Commands by channel: their subjects do not name the BSP.
    commands: BTreeMap<String, u64>,
    /// Webhooks by sequence that the normalizer had not been given at the last look.
    waiting: VecDeque<(u64, Name)>,
}

/// The readers, and what they have counted. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Readers {
    counted: Arc<Mutex<Counted>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What was counted since the beginning.
pub(super) struct Counts {
    pub(super) rows: BTreeMap<Name, Row>,
    /// Commands by channel.
    pub(super) commands: BTreeMap<String, u64>,
}

impl Readers {
    /// Starts to count. Webhooks are read from the first one on that the normalizer has not been given.
    pub(super) async fn start(bus: &Bus) -> Result<Self, ReadError> {
        let given = lag::delivered_sequence(bus, &NORMALIZER).await?;
        let next = async |stream| Ok::<_, ReadError>(read::last_sequence(bus, stream).await? + 1);
        let [of_webhooks, of_commands, of_events, of_letters] =
            [next(&WEBHOOKS).await?, next(&COMMANDS).await?, next(&EVENTS).await?, next(&DEADLETTERS).await?];
        let first = (given + 1).max(of_webhooks.saturating_sub(WAITING_MAX)).max(1);
        let counted = Arc::new(Mutex::new(Counted::default()));
        let mut tasks = Vec::new();
        for (source, from, counts_from) in [
            (&OF_WEBHOOKS, first, of_webhooks),
            (&OF_COMMANDS, of_commands, 0),
            (&OF_EVENTS, of_events, 0),
            (&OF_RESULTS, of_events, 0),
            (&OF_LETTERS, of_letters, 0),
        ] {
            let reader = Reader { bus: bus.clone(), source, counts_from, counted: Arc::clone(&counted) };
            tasks.push(tokio::spawn(reader.run(from)));
        }
        Ok(Self { counted, tasks })
    }

    /// The counts now. `given` is the last webhook that the normalizer was given, if that is known.
    pub(super) fn counts(&self, given: Option<u64>) -> Counts {
        let mut counted = lock(&self.counted);
        if let Some(given) = given {
            counted.forget_given(given);
        }
        Counts { rows: counted.rows.clone(), commands: counted.commands.clone() }
    }
}

impl Counted {
    /// A webhook that waits. Beyond the limit the oldest are no longer counted by channel.
    fn add_waiting(&mut self, sequence: u64, name: Name) {
        self.rows.entry(name.clone()).or_default().waiting += 1;
        self.waiting.push_back((sequence, name));
        if self.waiting.len() as u64 > WAITING_MAX {
            self.forget_oldest();
        }
    }

    /// The normalizer was given everything up to here.
    fn forget_given(&mut self, given: u64) {
        while self.waiting.front().is_some_and(|(sequence, _)| *sequence <= given) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, name)) = self.waiting.pop_front() else { return };
        if let Some(row) = self.rows.get_mut(&name) {
            row.waiting -= 1;
        }
    }
}

fn lock(counted: &Mutex<Counted>) -> MutexGuard<'_, Counted> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a reader reads.
#[derive(Debug)]
struct Source {
    stream: &'static StreamDefinition,
    filter: &'static str,
    /// Whether payloads are read: they hold the outcomes.
    has_payloads: bool,
}

impl Source {
    const fn heads(stream: &'static StreamDefinition, filter: &'static str) -> Self {
        Self { stream, filter, has_payloads: false }
    }
}

static OF_WEBHOOKS: Source = Source::heads(&WEBHOOKS, "imchannel.webhook.>");
static OF_COMMANDS: Source = Source::heads(&COMMANDS, "imchannel.command.>");
static OF_EVENTS: Source = Source::heads(&EVENTS, "imchannel.event.>");
// Not `send.>`: nats-server 2.9 refuses a filter that is wider than the subjects of the stream in its last part.
static OF_RESULTS: Source =
    Source { stream: &EVENTS, filter: "imchannel.event.send.*.*", has_payloads: true };
static OF_LETTERS: Source = Source::heads(&DEADLETTERS, "imchannel.deadletter.>");

/// Reads one source.
struct Reader {
    bus: Bus,
    source: &'static Source,
    /// Webhooks before this sequence were stored before `top` began: they wait, and are not counted.
    counts_from: u64,
    counted: Arc<Mutex<Counted>>,
}

impl Reader {
    async fn run(self, mut next: u64) {
        loop {
            let Source { stream, filter, has_payloads } = *self.source;
            let (filter, from) = (filter.to_owned(), StartAt::Sequence(next));
            let opened = match has_payloads {
                true => read::subscribe(&self.bus, stream, filter, from).await,
                false => read::subscribe_headers(&self.bus, stream, filter, from).await,
            };
            let Ok(mut messages) = opened else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            while let Ok(Some(Ok(read))) = tokio::time::timeout(SILENCE_MAX, messages.next()).await {
                next = read.delivery.sequence + 1;
                match has_payloads {
                    true => self.count_result(&read.delivery),
                    false => self.count(&read.delivery),
                }
            }
        }
    }

    fn count(&self, delivery: &Delivery) {
        let Some(subject) = delivery.address() else { return };
        let channel = subject.channel_token().to_owned();
        let mut counted = lock(&self.counted);
        match subject {
            Subject::Webhook(bsp, _) => {
                let name = Name { bsp: bsp.to_string(), channel };
                let row = counted.rows.entry(name.clone()).or_default();
                row.webhooks += u64::from(delivery.sequence >= self.counts_from);
                counted.add_waiting(delivery.sequence, name);
            }
            Subject::Event(_, bsp, _) => {
                counted.rows.entry(Name { bsp: bsp.to_string(), channel }).or_default().events += 1;
            }
            Subject::ResultWithoutBsp(_) => {
                counted.rows.entry(Name { bsp: NO_BSP.to_owned(), channel }).or_default().events += 1;
            }
            Subject::Command(..) => *counted.commands.entry(channel).or_default() += 1,
            Subject::DeadLetter(..) => {
                let bsp = delivery.headers.get(headers::BSP).and_then(registry::find);
                let bsp = bsp.map_or_else(|| output::UNKNOWN.to_owned(), |bsp| bsp.profile().id.to_string());
                counted.rows.entry(Name { bsp, channel }).or_default().dead_letters += 1;
            }
        }
    }

    fn count_result(&self, delivery: &Delivery) {
        let Some(subject) = delivery.address() else { return };
        let bsp = subject.bsp().map_or_else(|| NO_BSP.to_owned(), |bsp| bsp.to_string());
        let outcome = SendResult::decode(delivery.payload.clone()).map(|result| result.outcome());
        let mut counted = lock(&self.counted);
        let name = Name { bsp, channel: subject.channel_token().to_owned() };
        let results = &mut counted.rows.entry(name).or_default().results;
        match outcome {
            Ok(SendOutcome::Accepted) => results.accepted += 1,
            Ok(SendOutcome::Rejected) => results.rejected += 1,
            Ok(SendOutcome::Expired) => results.expired += 1,
            Ok(SendOutcome::Unknown | SendOutcome::Unspecified) | Err(_) => results.unknown += 1,
        }
    }
}
