//! Generates what happens in a run, one webhook after another: messages with their reports, customers' messages,
//! invalid items. It depends only on the plan and its seed.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use crate::bsp_client::Body;
use crate::event::{Content, Event, Ids, Message, Notice, NoticeKind, Report, Step};
use crate::expected::Expected;
use crate::plan::Plan;
use crate::target::Target;

/// Most messages of a channel in transit at once. Their reports are mixed.
const SENT_MESSAGES_MAX: usize = 16;
/// Most webhooks that may be posted a second time.
const REPEATABLE_MAX: usize = 64;
/// Customers of a channel.
const CUSTOMERS: u32 = 500;

const NAMES: [&str; 6] = ["Asha", "Björn", "Chiara", "Đức", "Zoë", "李雷"];
const TEXTS: [&str; 8] = [
    "Hello",
    "Where is my parcel?",
    "Grüße & mehr: 1+1=2, 50 %",
    "Line one\nline two",
    "She said \"no\" \\ and left",
    "🎉👍🏽",
    "नमस्ते",
    "Please call me back at three",
];

/// A webhook to post.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its place in the list of targets.
    pub(crate) target: usize,
    pub(crate) body: Body,
}

impl Webhook {
    /// Position of its channel in the list of targets.
    pub fn target(&self) -> usize {
        self.target
    }

    /// What it must become.
    pub fn expected(&self) -> &[Expected] {
        &self.body.expected
    }

    /// The exact body.
    pub fn bytes(&self) -> &[u8] {
        &self.body.bytes
    }
}

/// A message in transit.
#[derive(Debug)]
struct SentMessage {
    ids: Ids,
    customer: String,
    steps: VecDeque<Step>,
}

/// The endless sequence of webhooks of a run.
#[derive(Debug)]
pub struct Traffic {
    plan: Plan,
    targets: Vec<Target>,
    start: Timestamp,
    random: fastrand::Rng,
    sent_messages: Vec<Vec<SentMessage>>,
    recent: VecDeque<Webhook>,
    /// Webhooks made.
    made: u64,
    /// Number of started messages and invalid items.
    number: u64,
}

impl Traffic {
    /// The webhooks of `plan` for `targets`, from `start` on.
    pub fn new(plan: Plan, targets: Vec<Target>, start: Timestamp) -> Self {
        let random = fastrand::Rng::with_seed(plan.seed);
        let sent_messages = targets.iter().map(|_| Vec::new()).collect();
        Self { plan, targets, start, random, sent_messages, recent: VecDeque::new(), made: 0, number: 0 }
    }

    fn chance(&mut self, share: f64) -> bool {
        self.random.f64() < share
    }

    /// When the current webhook is due, in whole milliseconds.
    fn now(&self) -> Timestamp {
        let offset = Duration::from_secs_f64(self.made as f64 / self.plan.rate_per_s.max(0.001));
        let millisecond = (self.start + offset).as_millisecond();
        Timestamp::from_millisecond(millisecond).unwrap_or(self.start)
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn body(&mut self, target: usize) -> Body {
        let most = self.targets[target].client.batch_max(&self.plan).max(1);
        let count = self.random.usize(1..=most);
        let events: Vec<Event> = (0..count).map(|_| self.event(target)).collect();
        self.targets[target].client.body(&self.targets[target].endpoint, &events)
    }

    fn event(&mut self, target: usize) -> Event {
        let mix = self.plan.mix;
        if self.chance(mix.broken) {
            let number = self.next_number();
            return Event::Broken(format!("{}-broken-{number:012x}", self.plan.run));
        }
        if self.chance(mix.inbound) {
            return Event::Message(self.message(target));
        }
        Event::Report(self.report(target))
    }

    fn ids(&mut self, target: usize) -> Ids {
        let number = self.next_number();
        self.targets[target].client.ids(self.plan.run, number, &mut self.random)
    }

    fn customer(&mut self, target: usize) -> String {
        format!("49151{target:03}{:05}", self.random.u32(..CUSTOMERS))
    }

    /// Sometimes returns a body about the account or a customer, for a BSP that has one.
    fn notice(&mut self, target: usize) -> Option<Body> {
        if !self.chance(self.plan.mix.notices) {
            return None;
        }
        let what = NoticeKind::ALL[self.random.usize(..NoticeKind::ALL.len())];
        let notice = Notice {
            id: self.ids(target).message,
            customer: self.customer(target),
            business: business(target),
            at: self.now(),
            what,
        };
        let target = &self.targets[target];
        target.client.notice(&target.endpoint, &notice)
    }

    fn message(&mut self, target: usize) -> Message {
        let ids = self.ids(target);
        let url = format!("https://media.example/{}", ids.message);
        let is_unknown = self.chance(self.plan.mix.unknown);
        let text = TEXTS[self.random.usize(..TEXTS.len())].to_owned();
        let content = match self.random.u32(..10) {
            _ if is_unknown => Content::Unknown,
            0 | 1 => Content::Image { url, caption: text },
            2 => Content::Document { url, name: "invoice 7.pdf".to_owned() },
            3 => Content::Place {
                latitude: f64::from(self.random.i32(-90_000..90_000)) / 1000.0,
                longitude: f64::from(self.random.i32(-180_000..180_000)) / 1000.0,
                name: "Platz der Republik 1".to_owned(),
            },
            4 => Content::Button { id: "yes".to_owned(), title: "Yes, please".to_owned() },
            _ => Content::Text(text),
        };
        Message {
            ids,
            customer: self.customer(target),
            name: NAMES[self.random.usize(..NAMES.len())].to_owned(),
            business: business(target),
            at: self.now(),
            content,
        }
    }

    fn report(&mut self, target: usize) -> Report {
        if self.sent_messages[target].len() < SENT_MESSAGES_MAX {
            let message = self.sent_message(target);
            self.sent_messages[target].push(message);
        }
        let place = self.random.usize(..self.sent_messages[target].len());
        let overtakes = self.chance(self.plan.mix.shuffled);
        let at = self.now();
        let message = &mut self.sent_messages[target][place];
        if overtakes && message.steps.len() > 1 {
            message.steps.swap(0, 1);
        }
        let step = message.steps.pop_front().unwrap_or(Step::Delivered);
        let report = Report {
            ids: message.ids.clone(),
            customer: message.customer.clone(),
            business: business(target),
            step,
            callback_data: String::new(),
            at,
        };
        if message.steps.is_empty() {
            self.sent_messages[target].swap_remove(place);
        }
        report
    }

    /// The steps of a new message, if its BSP reports them.
    fn sent_message(&mut self, target: usize) -> SentMessage {
        let mix = self.plan.mix;
        let mut steps = vec![Step::Pending, Step::Sent];
        if self.chance(mix.failed) {
            steps.push(Step::Failed(self.random.usize(..100)));
        } else {
            steps.push(Step::Delivered);
            if self.chance(0.8) {
                steps.push(Step::Read);
            }
            if self.chance(mix.deleted) {
                steps.push(Step::Deleted);
            }
        }
        if self.chance(mix.unknown) {
            steps.insert(self.random.usize(..steps.len()), Step::Unknown);
        }
        let client = self.targets[target].client;
        let steps = steps.into_iter().filter(|step| client.reports(*step)).collect();
        SentMessage { ids: self.ids(target), customer: self.customer(target), steps }
    }
}

impl Iterator for Traffic {
    type Item = Webhook;

    fn next(&mut self) -> Option<Webhook> {
        if self.targets.is_empty() {
            return None;
        }
        self.made += 1;
        if !self.recent.is_empty() && self.chance(self.plan.mix.repeated) {
            let place = self.random.usize(..self.recent.len());
            return self.recent.get(place).cloned();
        }
        let target = self.random.usize(..self.targets.len());
        let body = self.notice(target).unwrap_or_else(|| self.body(target));
        let webhook = Webhook { target, body };
        if self.recent.len() == REPEATABLE_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(webhook.clone());
        Some(webhook)
    }
}

/// Our number on a channel.
fn business(target: usize) -> String {
    format!("4930{target:07}")
}
