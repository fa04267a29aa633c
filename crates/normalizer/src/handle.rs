//! The life of a webhook in the normalizer: parse, log, publish everything, and only then say that it is done.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bsp::{Bsp, BspId, ChannelId, Item, Outcome, Parsed, Reject, Webhook, registry};
use bus::{Bus, Delivery, PublishError, Subject, Verdict, headers};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use opentelemetry::trace::SpanKind;
use service::{LogPayloads, Span, Tracing};

use crate::dead_letter::{self, Letter};
use crate::metrics::NormalizerMetrics;
use crate::{event, line};

/// How long storing one event may take before the webhook is given back.
const STORE_LIMIT: Duration = Duration::from_secs(5);
/// Items of one body that are published at once.
const ITEMS_AT_ONCE: usize = 64;
/// After so many attempts, the last ones a minute apart, a webhook that JetStream refuses to have stored is given up:
/// what it came to becomes a dead letter. An outage is no refusal, and is waited out.
const ATTEMPTS_MAX: u64 = 10;

/// Everything that handling needs.
#[derive(Debug)]
pub(crate) struct Normalizer {
    pub(crate) bus: Bus,
    pub(crate) metrics: NormalizerMetrics,
    pub(crate) payloads: LogPayloads,
    pub(crate) tracing: Tracing,
}

/// What all items of a webhook have in common.
struct Origin<'d> {
    delivery: &'d Delivery,
    bsp: Option<BspId>,
    /// `None` where the subject names none.
    channel: Option<ChannelId>,
    received_at: Timestamp,
    traceparent: Option<String>,
}

impl Normalizer {
    /// Handles one webhook.
    pub(crate) async fn handle(&self, delivery: Delivery) -> Verdict {
        let mut span = self.tracing.start(
            "process webhook",
            SpanKind::Consumer,
            delivery.headers.get(headers::TRACEPARENT),
        );
        let (bsp, channel) = match delivery.address() {
            Some(Subject::Webhook(bsp, channel)) => (Some(bsp), Some(channel)),
            _ => (None, last_token(&delivery.subject)),
        };
        let origin = Origin {
            bsp,
            channel,
            received_at: received_at(&delivery),
            traceparent: span.traceparent(),
            delivery: &delivery,
        };
        let parsed = match (bsp.map(registry::get), &origin.channel) {
            (Some(bsp), Some(channel)) => self.parse((bsp, channel), &origin, &span),
            _ => whole_body_rejected(
                "unknown_subject",
                "no BSP of this version posts to this subject",
                &delivery.payload,
            ),
        };
        let verdict = self.publish_all(&parsed.items, &origin).await;
        if !matches!(verdict, Verdict::Done) {
            span.fail("not_stored");
            return verdict;
        }
        self.count(&parsed, &origin);
        verdict
    }

    /// Parses and logs.
    fn parse(
        &self,
        (bsp, channel): (&'static dyn Bsp, &ChannelId),
        origin: &Origin<'_>,
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
        // A log line is not worth a webhook.
        let written = AssertUnwindSafe(|| line::write(bsp.profile(), &webhook, &parsed, self.payloads, span));
        if std::panic::catch_unwind(written).is_err() {
            tracing::error!(
                function = "normalizer",
                "the log line of webhook {} panicked",
                delivery.sequence
            );
        }
        parsed
    }

    /// Publishes every item; the first that could not be stored decides.
    async fn publish_all(&self, items: &[Item], origin: &Origin<'_>) -> Verdict {
        // Most bodies have one item.
        if let [item] = items {
            return self.publish(item, origin).await;
        }
        let mut publishing = FuturesUnordered::new();
        let mut waiting = items.iter();
        loop {
            while publishing.len() < ITEMS_AT_ONCE
                && let Some(item) = waiting.next()
            {
                publishing.push(self.publish(item, origin));
            }
            match publishing.next().await {
                None => break,
                Some(Verdict::Done) => {}
                Some(verdict) => return verdict,
            }
        }
        Verdict::Done
    }

    async fn publish(&self, item: &Item, origin: &Origin<'_>) -> Verdict {
        if let Outcome::Rejected(reject) = &item.outcome {
            return self.reject(item.index, reject, origin).await;
        }
        let (Some(event), Some(bsp), Some(channel)) = (event::of_item(item), origin.bsp, &origin.channel)
        else {
            return Verdict::Done;
        };
        let subject = Subject::Event(event.kind, bsp, channel.clone());
        let headers = || event.headers(bsp, channel, origin.traceparent.as_deref());
        match self.bus.store_once_permitted(&subject, headers, &event.payload, STORE_LIMIT).await {
            Ok(_) => Verdict::Done,
            Err(PublishError::Full) => Verdict::pause("stream EVENTS is full"),
            Err(PublishError::GoneBack) => Verdict::pause("the sequence of stream EVENTS has gone back"),
            Err(error) if is_hopeless(&error, origin) => {
                let (kind, reason) = (error.kind(), format!("its event was not stored: {error}"));
                let reject = Reject { kind, reason, raw: origin.delivery.payload.clone() };
                self.reject(item.index, &reject, origin).await
            }
            Err(error) => Verdict::retry(format!("an event was not stored: {error}")),
        }
    }

    /// Stores a dead letter.
    async fn reject(&self, index: u32, reject: &Reject, origin: &Origin<'_>) -> Verdict {
        match self.store_letter(index, reject, &reject.raw, origin).await {
            Err(PublishError::Full) => Verdict::pause("stream DEADLETTERS is full"),
            Err(PublishError::GoneBack) => Verdict::pause("the sequence of stream DEADLETTERS has gone back"),
            Err(error) if is_hopeless(&error, origin) => {
                // The reason at least; the bytes lie in WEBHOOKS, whose sequence the letter names.
                match self.store_letter(index, reject, &Bytes::new(), origin).await {
                    Ok(()) => Verdict::Done,
                    Err(error) => Verdict::retry(format!("a dead letter was not stored: {error}")),
                }
            }
            Err(error) => Verdict::retry(format!("a dead letter was not stored: {error}")),
            Ok(()) => Verdict::Done,
        }
    }

    async fn store_letter(
        &self,
        index: u32,
        reject: &Reject,
        raw: &Bytes,
        origin: &Origin<'_>,
    ) -> Result<(), PublishError> {
        let letter = Letter { reject, index, delivery: origin.delivery, bsp: origin.bsp };
        let now = Timestamp::now();
        let subject = Subject::DeadLetter(bus::Origin::Webhook, origin.channel.clone());
        self.bus.store_once_permitted(&subject, || letter.headers(now), raw, STORE_LIMIT).await?;
        dead_letter::warn(&letter, subject.channel_token());
        self.metrics.dead_letter(origin.bsp, reject.kind);
        Ok(())
    }

    /// Counts what a finished webhook came to.
    fn count(&self, parsed: &Parsed, origin: &Origin<'_>) {
        let (Some(bsp), Some(channel)) = (origin.bsp, &origin.channel) else { return };
        for item in &parsed.items {
            self.metrics.item(bsp, &item.outcome);
        }
        for unrecognised in &parsed.unrecognised {
            self.metrics.unrecognised(bsp, unrecognised.field);
            line::warn_unrecognised(bsp, channel, unrecognised);
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

/// Whether storing will never work: the message is too large, or JetStream has refused it again and again.
fn is_hopeless(error: &PublishError, origin: &Origin<'_>) -> bool {
    match error {
        PublishError::TooLarge => true,
        PublishError::Refused(_) => origin.delivery.attempt >= ATTEMPTS_MAX,
        _ => false,
    }
}

/// What a webhook comes to. A parser that panics would do so again: its body is refused as a whole.
pub fn parse(bsp: &dyn Bsp, webhook: &Webhook<'_>) -> Parsed {
    let parsed = std::panic::catch_unwind(AssertUnwindSafe(|| bsp.parse(webhook)));
    parsed
        .unwrap_or_else(|_| whole_body_rejected("panicked", "the parser panicked on this body", webhook.body))
}

fn whole_body_rejected(kind: &'static str, reason: &str, body: &Bytes) -> Parsed {
    let reject = Reject { kind, reason: reason.to_owned(), raw: body.clone() };
    Parsed { items: vec![Item { index: 0, outcome: Outcome::Rejected(reject) }], ..Parsed::default() }
}

/// By ingress's clock; by the stream's, for a webhook that something else put there.
pub fn received_at(delivery: &Delivery) -> Timestamp {
    let header = delivery.headers.get(headers::RECEIVED_AT);
    header.and_then(|text| text.parse().ok()).unwrap_or(delivery.stored_at)
}

fn last_token(subject: &str) -> Option<ChannelId> {
    ChannelId::parse(subject.rsplit('.').next().unwrap_or_default()).ok()
}
