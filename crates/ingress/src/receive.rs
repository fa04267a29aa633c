//! The processing of a webhook in ingress, in order: the channel, the credential, the body, the signature,
//! the bus or the spool, the response.
//!
//! Types enforce the order. Only [`Authenticated`] lets a body be read, only a [`Verified`] webhook is stored, and
//! only [`Stored`] becomes a 200.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use bsp::{Bsp, BspId, SignedRequest, registry};
use bus::{Bus, Headers, PublishError, Subject, headers};
use bytes::Bytes;
use channel::Credentials;
use jiff::Timestamp;
use opentelemetry::trace::SpanKind;
use service::drain_body::{BodyState, drain_body};
use service::failures::FailedCredentials;
use service::{Caller, Span, SpanTracer};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::body;
use crate::body_memory::BodyMemory;
use crate::channel_cache::{ChannelCache, ChannelEntry, ChannelMap};
use crate::encoding;
use crate::memory_limit::MemoryLimit;
use crate::metrics::IngressMetrics;
use crate::response::{self, Rejection};
use crate::settings::Settings;
use crate::spooling::{SpooledWebhook, Spooling};
use crate::stored::Stored;

/// The address of a webhook in its URL.
#[derive(Debug)]
pub(crate) struct Address<'p> {
    /// The BSP's name.
    pub(crate) bsp: &'p str,
    /// The channel's id.
    pub(crate) channel: &'p str,
    /// `report` or `message`.
    pub(crate) route: &'static str,
}

/// The dependencies of receiving.
#[derive(Debug)]
pub(crate) struct Ingress {
    pub(crate) settings: Settings,
    bus: Bus,
    pub(crate) channels: ChannelCache,
    metrics: Arc<IngressMetrics>,
    tracing: SpanTracer,
    requests: MemoryLimit,
    memory: MemoryLimit,
    dummy_credentials: Credentials,
    pub(crate) failed: FailedCredentials,
    /// `None` without a folder for it.
    spooling: Option<Spooling>,
}

/// What ingress stores webhooks with.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) bus: Bus,
    pub(crate) spooling: Option<Spooling>,
}

/// Shortest time after which a webhook that timed out was tried on the bus, and not given up before.
const TRIED_FOR: Duration = Duration::from_millis(300);

/// When a request came, and for how long it waited for the first reading of the registry.
struct Arrival {
    received_at: Timestamp,
    waited: Duration,
}

/// A request whose sender has presented a credential of the channel.
struct Authenticated<'h> {
    entry: &'h ChannelEntry,
}

/// A webhook whose body is complete, and whose signature is verified if the channel requires it.
struct Verified<'h> {
    entry: &'h ChannelEntry,
    body: Bytes,
    // Held until the webhook is stored.
    _memory: BodyMemory<'h>,
}

impl Ingress {
    pub(crate) fn new(
        settings: Settings,
        stores: Stores,
        channels: ChannelCache,
        metrics: Arc<IngressMetrics>,
        tracing: SpanTracer,
    ) -> Self {
        let requests = MemoryLimit::new(settings.requests_max, metrics.requests_in_progress.clone());
        let memory = MemoryLimit::new(settings.body_memory_bytes, metrics.body_bytes_held.clone());
        let failed = FailedCredentials::new(metrics.port.clone(), settings.addresses.log);
        let Stores { bus, spooling } = stores;
        Self {
            settings,
            bus,
            channels,
            metrics,
            tracing,
            requests,
            memory,
            dummy_credentials: Credentials::dummy(),
            failed,
            spooling,
        }
    }

    /// Receives one webhook and responds to it.
    pub(crate) async fn receive(
        &self,
        address: Address<'_>,
        caller: &Caller,
        parts: &Parts,
        mut body: Body,
    ) -> Response<Body> {
        let Some(bsp) = registry::find(address.bsp) else {
            return self.reject(None, Rejection::NotFound, caller, parts, body).await;
        };
        let id = bsp.profile().id;
        let parent = parts.headers.get(headers::TRACEPARENT.as_str()).and_then(|value| value.to_str().ok());
        let mut span = self.tracing.start("receive webhook", SpanKind::Server, parent);
        span.set("imchannel.bsp", id.as_str());
        match self.process(bsp, &address, caller, parts, &mut body, &span).await {
            Ok(stored) => response::stored(stored),
            Err(rejection) => {
                span.set_error(rejection.outcome());
                self.count_for_channel(id, address.channel, rejection);
                if rejection.is_unauthorized() {
                    return self.reject_credential(rejection, id, address.channel, caller, parts, body).await;
                }
                self.reject(Some(id), rejection, caller, parts, body).await
            }
        }
    }

    /// Processes a webhook in all its steps.
    async fn process(
        &self,
        bsp: &'static dyn Bsp,
        address: &Address<'_>,
        caller: &Caller,
        parts: &Parts,
        body: &mut Body,
        span: &Span,
    ) -> Result<Stored, Rejection> {
        let _place = self.requests.try_acquire(1).ok_or(Rejection::Overloaded)?;
        let received_at = Timestamp::now();
        // Nothing of the body is read meanwhile.
        let (channels, waited) = self.channels.first().await.ok_or(Rejection::NotReady)?;
        let arrival = Arrival { received_at, waited };
        let authenticated = self.authenticate(bsp, address.channel, caller, &parts.headers, &channels)?;
        if !can_be_stored(&parts.headers) {
            return Err(Rejection::HeaderTooLarge);
        }
        if !is_media_type(&parts.headers, bsp.profile().media_type) {
            return Err(Rejection::WrongMediaType);
        }
        if encoding::is_encoded(&parts.headers) {
            return Err(Rejection::WrongEncoding);
        }
        let checked = self.read(authenticated, caller, parts, body).await?;
        self.store(checked, address.route, &parts.headers, arrival, span).await
    }

    /// Checks the credential. An unknown channel is rejected like a wrong password, after the same work.
    fn authenticate<'h>(
        &self,
        bsp: &'static dyn Bsp,
        channel: &str,
        caller: &Caller,
        headers: &HeaderMap,
        channels: &'h ChannelMap,
    ) -> Result<Authenticated<'h>, Rejection> {
        let found = channels.get(channel);
        let entry = found.filter(|entry| entry.channel.bsp.profile().id == bsp.profile().id);
        let missing = match (entry, found) {
            (None, Some(other)) => {
                warn_about_wrong_bsp(bsp, other);
                Some(Rejection::OtherBsp)
            }
            (None, None) => Some(Rejection::UnknownChannel),
            (Some(_), _) => None,
        };
        let Some(presented) = bsp.presented_credential(headers) else {
            let is_asked_first =
                bsp.profile().challenge.is_some() && !headers.contains_key(header::AUTHORIZATION);
            if is_asked_first {
                return Err(Rejection::Challenged);
            }
            if let Some(entry) = entry {
                self.warn_about_rejected(entry, caller, "no credential");
            }
            return Err(missing.unwrap_or(Rejection::NoCredential));
        };
        let digest = self.settings.credential_key.digest(&presented);
        let credentials = entry.map_or(&self.dummy_credentials, |entry| &entry.channel.credentials);
        let position = credentials.position(&digest);
        match (entry, position) {
            (Some(entry), Some(position)) => {
                entry.credential_used[position].inc();
                Ok(Authenticated { entry })
            }
            (Some(entry), None) => {
                self.warn_about_rejected(entry, caller, "the credential does not belong to the channel");
                Err(Rejection::WrongCredential)
            }
            (None, _) => Err(missing.unwrap_or(Rejection::UnknownChannel)),
        }
    }

    /// Reads the body of an authenticated webhook and checks its signature and charset.
    async fn read<'h>(
        &'h self,
        authenticated: Authenticated<'h>,
        caller: &Caller,
        parts: &Parts,
        body: &mut Body,
    ) -> Result<Verified<'h>, Rejection> {
        let limit = self.settings.body_limit_bytes;
        let announced = body::announced_length(&parts.headers);
        if announced.is_some_and(|length| length > limit) {
            return Err(Rejection::BodyTooLarge);
        }
        let entry = authenticated.entry;
        let mut memory = BodyMemory::new(&entry.memory, &self.memory);
        let read = body::read(body, limit, self.settings.body_timeout, &mut memory).await;
        if matches!(read, Err(Rejection::ChannelOverloaded)) && entry.should_log() {
            let share = entry.memory.limit();
            warn(
                entry,
                &format!(
                    "answered 503 to a webhook: the channel's bodies have reached its share of memory ({share} bytes)"
                ),
            );
        }
        let body = read?;
        if let Err(rejection) = check_signature(entry, parts, &body) {
            if rejection == Rejection::WrongSignature {
                self.warn_about_rejected(entry, caller, "invalid signature");
            }
            return Err(rejection);
        }
        let media_type = entry.channel.bsp.profile().media_type;
        if encoding::names_another_charset(&parts.headers) && !bsp::utf8::is_utf8(media_type, &body) {
            return Err(Rejection::WrongCharset);
        }
        Ok(Verified { entry, body, _memory: memory })
    }

    /// Stores a webhook before its BSP's deadline: on the bus, or in the spool if the bus does not and the channel asks for it.
    async fn store(
        &self,
        webhook: Verified<'_>,
        route: &'static str,
        request_headers: &HeaderMap,
        Arrival { received_at, waited }: Arrival,
        span: &Span,
    ) -> Result<Stored, Rejection> {
        let channel = &webhook.entry.channel;
        let profile = channel.bsp.profile();
        let subject = Subject::Webhook(profile.id, channel.id.clone());
        let message_id = message_id(profile.id, channel.id.as_str(), &webhook.body);
        let received_at_text = format!("{received_at:.6}");
        let content_type = request_headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let traceparent = span.traceparent();
        let headers = || {
            Headers::new()
                .with(headers::MESSAGE_ID, &message_id)
                .with(headers::ROUTE, route)
                .with(headers::RECEIVED_AT, &received_at_text)
                .with_optional(headers::CONTENT_TYPE, content_type)
                .with_optional(headers::TRACEPARENT, traceparent.as_deref())
        };
        let started = Instant::now();
        let deadline = started + profile.store_deadline.saturating_sub(waited);
        let spooling = self.spooling.as_ref().filter(|_| channel.spools());
        let outcome = match spooling {
            None => self.bus.store(&subject, headers, &webhook.body, deadline).await,
            Some(_) => self.bus.store_while_available(&subject, headers, &webhook.body, deadline).await,
        };
        match outcome {
            Ok(stored) => {
                self.metrics.stored(profile.id, stored.is_duplicate(), started.elapsed());
                Ok(stored.into())
            }
            Err(error) => {
                let (bsp, body) = (profile.id, &webhook.body);
                let spooled =
                    SpooledWebhook { bsp, subject: &subject, headers: headers(), body, received_at };
                let was_tried = matches!(error, PublishError::TimedOut) && started.elapsed() >= TRIED_FOR;
                let rejection = match self.spool(webhook.entry, spooled, spooling, error).await {
                    Ok(stored) => return Ok(stored),
                    Err(rejection) => rejection,
                };
                // It was given up for the spool only because the bus fell silent. The spool has no room: the bus may answer in time.
                if spooling.is_none() || !was_tried || Instant::now() >= deadline {
                    return Err(rejection);
                }
                let again = self.bus.store(&subject, headers, body, deadline).await;
                again.map(Stored::from).map_err(|_| rejection)
            }
        }
    }

    /// Spools a webhook that the bus did not store, or rejects it. It may be on the bus too: both have the same id, and give
    /// the same events.
    async fn spool(
        &self,
        entry: &ChannelEntry,
        webhook: SpooledWebhook<'_>,
        spooling: Option<&Spooling>,
        error: PublishError,
    ) -> Result<Stored, Rejection> {
        if let Some(spooling) = spooling.filter(|_| error.is_transient())
            && let Some(synced) = spooling.store(&webhook).await
        {
            self.metrics.spooled(webhook.bsp);
            return Ok(synced.into());
        }
        if entry.should_log() {
            warn(entry, &format!("answered 503 to a webhook: {error}"));
        }
        Err(match error {
            PublishError::Overloaded => Rejection::Overloaded,
            PublishError::TooLarge => Rejection::BodyTooLarge,
            _ => Rejection::NotStored,
        })
    }

    /// Only known channels have a separate count: requests to invented channels must not fill the memory.
    fn count_for_channel(&self, bsp: BspId, channel: &str, rejection: Rejection) {
        let Some(channels) = self.channels.current() else { return };
        let is_counted =
            |entry: &&ChannelEntry| entry.channel.bsp.profile().id == bsp || rejection == Rejection::OtherBsp;
        if let Some(entry) = channels.get(channel).filter(is_counted) {
            self.metrics.channel_rejected(bsp, &entry.channel.id, rejection);
        }
    }

    /// Responds to a rejected request after its body is drained.
    pub(crate) async fn reject(
        &self,
        bsp: Option<BspId>,
        rejection: Rejection,
        caller: &Caller,
        parts: &Parts,
        body: Body,
    ) -> Response<Body> {
        caller.release_permit();
        self.metrics.rejected(bsp, rejection);
        let challenge = bsp.and_then(|bsp| registry::get(bsp).profile().challenge);
        let mut response = rejection.to_response(challenge);
        let is_hopeless = matches!(rejection, Rejection::BodyTooSlow | Rejection::BodyBroken);
        let was_announced_too_large =
            body::announced_length(&parts.headers) > Some(self.settings.body_limit_bytes);
        let state = match rejection.comes_after_body() && !was_announced_too_large {
            true => BodyState::Begun,
            false => BodyState::Unread,
        };
        if is_hopeless || !drain_body(&parts.headers, body, state).await {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

fn check_signature(entry: &ChannelEntry, parts: &Parts, body: &[u8]) -> Result<(), Rejection> {
    let Some(check) = &entry.signature else {
        return Ok(());
    };
    if check.keys.is_empty() {
        return Err(Rejection::NotReady);
    }
    let keys: Vec<&[u8]> = check.keys.iter().map(channel::Secret::expose).collect();
    let request = SignedRequest {
        public_url: &check.public_url,
        path_and_query: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
        headers: &parts.headers,
        body,
    };
    if entry.channel.bsp.verify_signature(&keys, &request) {
        return Ok(());
    }
    Err(Rejection::WrongSignature)
}

/// Whether the stored headers of the request fit into a NATS message with the largest body, and into its dead
/// letter. A `traceparent` has a fixed length, and all other stored headers come from imchannel.
fn can_be_stored(request_headers: &HeaderMap) -> bool {
    let content_type = request_headers.get(header::CONTENT_TYPE);
    content_type.is_none_or(|value| value.len() <= headers::COPIED_LENGTH_MAX)
}

/// Compares the media type without parameters and case.
fn is_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(wanted)
}

/// The same body for the same channel has the same id, so that a BSP's retry is recognized. The id is 128
/// bits of SHA-256; the lengths keep the parts apart.
fn message_id(bsp: BspId, channel: &str, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [bsp.as_str().as_bytes(), channel.as_bytes(), body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}

/// The URL is wrong at that BSP, whose log shows only a 401. The id is that of a known channel.
fn warn_about_wrong_bsp(bsp: &dyn Bsp, other: &ChannelEntry) {
    if !other.should_log_wrong_bsp() {
        return;
    }
    let (channel, posts, owner) =
        (other.channel.id.as_str(), bsp.profile().id, other.channel.bsp.profile().id);
    tracing::warn!(
        function = "ingress",
        channel,
        "{posts} posts to channel {channel}, which is a channel of {owner}: correct the URL at {posts}"
    );
}

pub(crate) fn warn(entry: &ChannelEntry, message: &str) {
    let channel = entry.channel.id.as_str();
    tracing::warn!(function = "ingress", channel, "channel {channel}: {message}");
}
