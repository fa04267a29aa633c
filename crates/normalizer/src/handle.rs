//! The processing of a webhook in the normalizer: parse it, log it, publish all events, and then acknowledge
//! it.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bsp::{Bsp, BspId, ChannelId, Item, Outcome, Parsed, RejectedItem, UNKNOWN_CHANNEL, Webhook, registry};
use bus::{Bus, Delivery, Disposition, PublishError, Subject, headers};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use opentelemetry::trace::SpanKind;
use prometheus_client::registry::Registry;
use service::{LogPayloads, Span, SpanTracer};
use tokio::time::Instant;

use crate::dead_letter::{self, Bad, Content, Source};
use crate::metrics::NormalizerMetrics;
use crate::waiting::{self, WaitingForOutput};
use crate::{event, webhook_log};

/// Timeout of storing one event, after which the webhook is retried.
const STORE_LIMIT: Duration = Duration::from_secs(5);
/// Most items of one body that are published concurrently.
const ITEMS_AT_ONCE: usize = 64;
/// Attempts (the last ones a minute apart) after which a webhook becomes a dead letter because JetStream
/// rejects its events. An outage is not a rejection; it is retried without limit.
const ATTEMPTS_MAX: u64 = 10;

/// Handles webhooks.
#[derive(Debug)]
pub struct Normalizer {
    bus: Bus,
    metrics: NormalizerMetrics,
    payloads: LogPayloads,
    tracing: SpanTracer,
    waiting: WaitingForOutput,
}

/// The data that all items of a webhook share.
struct WebhookContext<'d> {
    delivery: &'d Delivery,
    bsp: Option<BspId>,
    /// `None` if the subject contains no valid channel id.
    channel: Option<ChannelId>,
    received_at: Timestamp,
    traceparent: Option<String>,
}

impl Normalizer {
    /// Creates a handler and registers its metrics in `registry`.
    pub fn new(bus: Bus, registry: &mut Registry, payloads: LogPayloads, tracing: SpanTracer) -> Self {
        Self::new_with_metrics(bus, NormalizerMetrics::register(registry), payloads, tracing)
    }

    pub(crate) fn new_with_metrics(
        bus: Bus,
        metrics: NormalizerMetrics,
        payloads: LogPayloads,
        tracing: SpanTracer,
    ) -> Self {
        Self { bus, metrics, payloads, tracing, waiting: WaitingForOutput::default() }
    }

    /// Handles one webhook.
    pub async fn handle(&self, delivery: Delivery) -> Disposition {
        let mut span = self.tracing.start(
            "process webhook",
            SpanKind::Consumer,
            delivery.headers.get(headers::TRACEPARENT),
        );
        let origin = WebhookContext::of(&delivery, span.traceparent());
        let parsed = match (origin.bsp.map(registry::get), &origin.channel) {
            (Some(bsp), Some(channel)) => self.parse(bsp, channel, &origin, &span),
            _ => whole_body_rejected(
                "unknown_subject",
                "unknown BSP in the subject of the webhook",
                &delivery.payload,
            ),
        };
        let verdict = self.store(&parsed.items, &origin).await;
        if !matches!(verdict, Disposition::Done) {
            span.set_error("not_stored");
            return verdict;
        }
        self.count(&parsed, &origin);
        verdict
    }

    /// Gives up a webhook on which [`Normalizer::handle`] panics repeatedly. It becomes one dead letter.
    pub async fn give_up(&self, delivery: Delivery) -> Disposition {
        let traceparent = delivery.headers.get_limited(headers::TRACEPARENT).map(str::to_owned);
        let origin = WebhookContext::of(&delivery, traceparent);
        let reason = "the normalizer panicked repeatedly on this webhook";
        let parsed = whole_body_rejected("panicked", reason, &delivery.payload);
        Box::pin(self.dead_letter(&bad_of(&parsed.items), &origin)).await
    }

    /// Stores the events first and then the dead letters, so that the valid items of a body do not wait for
    /// the bad ones.
    async fn store(&self, items: &[Item], origin: &WebhookContext<'_>) -> Disposition {
        let key = waiting::Key::of(origin.delivery);
        let mut bad = bad_of(items);
        let has_come_before = origin.delivery.attempt > 1;
        let failed = if has_come_before && self.waiting.has(key) {
            Vec::new()
        } else {
            match self.publish_all(items, origin).await {
                Ok(failed) => failed,
                Err(verdict) => return verdict,
            }
        };
        let are_events_stored = failed.is_empty();
        bad.extend(failed);
        if bad.is_empty() {
            return Disposition::Done;
        }
        bad.sort_by_key(|bad| bad.index);
        // Boxed: few webhooks have dead letters, and otherwise the future of every webhook would reserve
        // memory for them.
        let verdict = Box::pin(self.dead_letter(&bad, origin)).await;
        match verdict {
            Disposition::Done if has_come_before => self.waiting.remove(key),
            Disposition::Done => {}
            _ if are_events_stored => self.waiting.add(key, Instant::now()),
            _ => {}
        }
        verdict
    }

    /// Parses and logs.
    fn parse(
        &self,
        bsp: &'static dyn Bsp,
        channel: &ChannelId,
        origin: &WebhookContext<'_>,
        span: &Span,
    ) -> Parsed {
        let delivery = origin.delivery;
        let webhook = Webhook {
            channel,
            body: &delivery.payload,
            received_at: origin.received_at,
            sequence: delivery.sequence,
        };
        let parsed = parse(bsp, &webhook);
        // A failed log line must not fail the webhook.
        let written =
            AssertUnwindSafe(|| webhook_log::write(bsp.profile(), &webhook, &parsed, self.payloads, span));
        if std::panic::catch_unwind(written).is_err() {
            tracing::error!(
                function = "normalizer",
                "writing the log line of webhook {} panicked",
                delivery.sequence
            );
        }
        parsed
    }

    /// Publishes the event of every item. Returns the items whose events can never be stored. The first event
    /// that cannot be stored now decides the verdict.
    async fn publish_all(
        &self,
        items: &[Item],
        origin: &WebhookContext<'_>,
    ) -> Result<Vec<Bad<'static>>, Disposition> {
        // Most bodies have one item.
        if let [item] = items {
            return Ok(self.publish(item, origin).await?.into_iter().collect());
        }
        let mut failed = Vec::new();
        let mut publishing = FuturesUnordered::new();
        let mut waiting = items.iter();
        loop {
            while publishing.len() < ITEMS_AT_ONCE
                && let Some(item) = waiting.next()
            {
                publishing.push(self.publish(item, origin));
            }
            match publishing.next().await {
                None => return Ok(failed),
                Some(published) => failed.extend(published?),
            }
        }
    }

    async fn publish(
        &self,
        item: &Item,
        origin: &WebhookContext<'_>,
    ) -> Result<Option<Bad<'static>>, Disposition> {
        let (Some(event), Some(bsp), Some(channel)) = (event::of_item(item), origin.bsp, &origin.channel)
        else {
            return Ok(None);
        };
        let subject = Subject::Event(event.kind, bsp, channel.clone());
        let headers = || event.headers(bsp, channel, origin.traceparent.as_deref());
        match self.bus.store_once_permitted(&subject, headers, &event.payload, STORE_LIMIT).await {
            Ok(_) => Ok(None),
            Err(PublishError::Full) => Err(Disposition::pause("stream EVENTS is full")),
            Err(PublishError::GoneBack) => {
                Err(Disposition::pause("the sequence of stream EVENTS has gone back"))
            }
            Err(error) if is_permanent(&error, origin) => {
                let (kind, reason) = (error.kind(), format!("cannot store its event: {error}"));
                let reject = RejectedItem { kind, reason, raw: origin.delivery.payload.clone() };
                Ok(Some(Bad { index: item.index, reject: Cow::Owned(reject) }))
            }
            Err(error) => Err(Disposition::retry(format!("cannot store an event: {error}"))),
        }
    }

    /// Stores the dead letters of a webhook, in the order of its items.
    async fn dead_letter(&self, bad: &[Bad<'_>], origin: &WebhookContext<'_>) -> Disposition {
        let stored = match self.store_letters(bad, Content::Whole, origin).await {
            // Store at least the reasons. The bytes are in WEBHOOKS, under the sequence in the dead letters.
            Err(error) if is_permanent(&error, origin) => {
                self.store_letters(bad, Content::None, origin).await
            }
            stored => stored,
        };
        match stored {
            Ok(()) => Disposition::Done,
            Err(PublishError::GoneBack) => {
                Disposition::pause("the sequence of stream DEADLETTERS has gone back")
            }
            Err(error @ (PublishError::Full | PublishError::ChannelFull)) => {
                let channel = origin.channel.as_ref().map_or(UNKNOWN_CHANNEL, ChannelId::as_str);
                self.metrics.letters_refused(origin.bsp, channel, error.kind());
                Disposition::postpone(format!("channel {channel}: cannot store its dead letter: {error}"))
            }
            Err(error) => Disposition::retry(format!("cannot store a dead letter: {error}")),
        }
    }

    async fn store_letters(
        &self,
        bad: &[Bad<'_>],
        content: Content,
        origin: &WebhookContext<'_>,
    ) -> Result<(), PublishError> {
        let from = Source { delivery: origin.delivery, bsp: origin.bsp };
        let letters = dead_letter::of(bad, from, content, Timestamp::now());
        let channel = origin.channel.as_ref();
        let mut room = self.bus.reserve_dead_letters(bus::Origin::Webhook, channel, &letters).await?;
        for letter in &letters {
            self.bus.store_dead_letter(&mut room, letter).await?;
        }
        dead_letter::warn(bad, from, channel.map_or(UNKNOWN_CHANNEL, ChannelId::as_str));
        for bad in bad {
            self.metrics.dead_letter(origin.bsp, bad.reject.kind);
        }
        Ok(())
    }

    /// Counts the results of a finished webhook.
    fn count(&self, parsed: &Parsed, origin: &WebhookContext<'_>) {
        let (Some(bsp), Some(channel)) = (origin.bsp, &origin.channel) else { return };
        for item in &parsed.items {
            self.metrics.item(bsp, &item.outcome);
        }
        for unrecognized in &parsed.unrecognized {
            self.metrics.unrecognized(bsp, unrecognized.field);
            webhook_log::warn_unrecognized(bsp, channel, unrecognized);
        }
        for field in &parsed.replaced {
            self.metrics.replaced(bsp, field);
        }
        for (path, times) in &parsed.unread {
            self.metrics.unread(bsp, path, *times);
        }
        let age = Timestamp::now().duration_since(origin.received_at);
        self.metrics.finished(Duration::try_from(age).unwrap_or_default());
    }
}

impl<'d> WebhookContext<'d> {
    fn of(delivery: &'d Delivery, traceparent: Option<String>) -> Self {
        let (bsp, channel) = match delivery.address() {
            Some(Subject::Webhook(bsp, channel)) => (Some(bsp), Some(channel)),
            _ => (None, last_token(&delivery.subject)),
        };
        Self { bsp, channel, received_at: received_at(delivery), traceparent, delivery }
    }
}

/// The items that could not be parsed.
fn bad_of(items: &[Item]) -> Vec<Bad<'_>> {
    let mut bad = Vec::new();
    for item in items {
        if let Outcome::Rejected(reject) = &item.outcome {
            bad.push(Bad { index: item.index, reject: Cow::Borrowed(reject) });
        }
    }
    bad
}

/// Whether storing can never succeed: the message is too large, or JetStream has rejected it repeatedly.
fn is_permanent(error: &PublishError, origin: &WebhookContext<'_>) -> bool {
    match error {
        PublishError::TooLarge => true,
        PublishError::Refused(_) => origin.delivery.attempt >= ATTEMPTS_MAX,
        _ => false,
    }
}

/// Parses a webhook. If the parser panics, the whole body is rejected, because a retry would panic too.
pub fn parse(bsp: &dyn Bsp, webhook: &Webhook<'_>) -> Parsed {
    let parsed = std::panic::catch_unwind(AssertUnwindSafe(|| bsp.parse(webhook)));
    parsed
        .unwrap_or_else(|_| whole_body_rejected("panicked", "the parser panicked on this body", webhook.body))
}

fn whole_body_rejected(kind: &'static str, reason: &str, body: &Bytes) -> Parsed {
    let reject = RejectedItem { kind, reason: reason.to_owned(), raw: body.clone() };
    Parsed { items: vec![Item { index: 0, outcome: Outcome::Rejected(reject) }], ..Parsed::default() }
}

/// The time when ingress received the webhook. For a message of another program, the time when the stream
/// stored it.
pub fn received_at(delivery: &Delivery) -> Timestamp {
    let header = delivery.headers.get(headers::RECEIVED_AT);
    header.and_then(|text| text.parse().ok()).unwrap_or(delivery.stored_at)
}

fn last_token(subject: &str) -> Option<ChannelId> {
    ChannelId::parse(subject.rsplit('.').next().unwrap_or_default()).ok()
}
