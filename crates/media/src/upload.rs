//! Accepts a file. Token, kind and size are checked before the first byte is stored. The bytes go to Redis in
//! windows.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, StatusCode};
use blob::store::CHUNK_BYTES;
use blob::{BlobError, Meta};
use bsp::media::{self, MediaId, MediaKind, SNIFFED_BYTES};
use bus::rate_limited_log::RateLimitedLog;
use bytes::BytesMut;
use channel::Channel;
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::json;
use service::Caller;
use service::drain_body::{BodyState, drain_body};
use service::failures::ResponseDelay;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};

use crate::disposition;
use crate::response::{self, Failure, NOSNIFF, TypeFault};
use crate::state::Media;
use crate::tokens::TokenScope;

/// Timeout of the next piece of a body.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of an upload. One second is added for every [`BYTES_PER_SECOND_MIN`] bytes.
const TIME_MIN: Duration = Duration::from_secs(60);
/// Slowest rate of a large upload, in bytes per second.
const BYTES_PER_SECOND_MIN: u64 = 16 * 1024;
/// Longest time before received bytes are written, so that the unfinished file does not expire.
const WRITE_AFTER: Duration = Duration::from_secs(20);

static NOT_STORED: RateLimitedLog = RateLimitedLog::new();
static WRONG_TOKEN: RateLimitedLog = RateLimitedLog::new();
static OUT_OF_MEMORY: RateLimitedLog = RateLimitedLog::new();

/// An upload that may begin.
struct AcceptedUpload {
    kind: MediaKind,
    content_type: &'static str,
    file_name: String,
    channel: std::sync::Arc<Channel>,
}

impl Media {
    /// Accepts a file.
    pub(crate) async fn upload(&self, tenant: &str, parts: Parts, mut body: Body) -> Response<Body> {
        let admitted = self.admit_upload(tenant, &parts);
        let kind = admitted.as_ref().map(|admitted| admitted.kind).ok();
        let permit = self.uploads.try_acquire().map_err(|_| Failure::Overloaded);
        let (taken, state) = match (admitted, permit) {
            (Ok(admitted), Ok(_permit)) => (self.store(&admitted, &mut body).await, BodyState::Begun),
            (Err(failure), _) | (_, Err(failure)) => (Err(failure), BodyState::Unread),
        };
        self.metrics.uploaded(kind, taken.as_ref().map_or_else(|failure| failure.outcome(), |_| "stored"));
        match taken {
            Ok(response) => response,
            Err(failure @ (Failure::TooSlow | Failure::Broken)) => response::failure_and_close(failure),
            Err(Failure::Unauthorized) => self.reject_token(&parts, body).await,
            Err(failure) if drain_body(&parts.headers, body, state).await => response::failure(failure),
            Err(failure) => response::failure_and_close(failure),
        }
    }

    /// Responds to an upload without a valid token. After too many failures of its caller, the response is
    /// delayed and the connection is closed.
    async fn reject_token(&self, parts: &Parts, body: Body) -> Response<Body> {
        let mut delay = ResponseDelay::AtOnce;
        if let Some(caller) = parts.extensions.get::<Caller>() {
            caller.release_permit();
            delay = self.failed.count(caller, "upload");
            if let Some(turn) = WRONG_TOKEN.next() {
                let from = self.settings.addresses.log.show(caller.address());
                tracing::warn!(
                    function = "media",
                    "rejected an upload: missing or wrong token; it came from {from}{turn}"
                );
            }
        }
        let (is_reusable, ()) =
            tokio::join!(drain_body(&parts.headers, body, BodyState::Unread), delay.wait());
        if is_reusable && delay == ResponseDelay::AtOnce {
            return response::failure(Failure::Unauthorized);
        }
        response::failure_and_close(Failure::Unauthorized)
    }

    fn admit_upload(&self, tenant: &str, parts: &Parts) -> Result<AcceptedUpload, Failure> {
        let token = self.token(tenant, &parts.headers).ok_or(Failure::Unauthorized)?;
        let mut kind = None;
        let mut channel_id = None;
        for pair in parts.uri.query().unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some(("kind", value)) => kind = MediaKind::find(value),
                Some(("channel", value)) => channel_id = Some(value),
                _ => {}
            }
        }
        let kind = kind.ok_or(Failure::BadRequest)?;
        let channels = self.channels.borrow().clone().ok_or(Failure::Unavailable)?;
        let channel = channels.get(channel_id.ok_or(Failure::BadRequest)?);
        let channel = channel.filter(|channel| channel.tenant == tenant).ok_or(Failure::NotFound)?;
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.and_then(|text| kind.allowed(text));
        let content_type = content_type.ok_or(Failure::Type(TypeFault::NotTaken(kind)))?;
        let announced =
            parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > kind.bytes_max()) {
            return Err(Failure::TooLarge);
        }
        let file_name = disposition::read(&parts.headers);
        self.metrics.token_used(tenant, token);
        Ok(AcceptedUpload { kind, content_type, file_name, channel: std::sync::Arc::clone(channel) })
    }

    /// The valid token of the upload for this tenant, if any.
    fn token(&self, tenant: &str, headers: &HeaderMap) -> Option<TokenScope> {
        let value = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let (scheme, token) = value.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        self.tokens.find(tenant, token.trim_ascii())
    }

    async fn store(&self, admitted: &AcceptedUpload, body: &mut Body) -> Result<Response<Body>, Failure> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(|_| Failure::Unavailable)?;
        let id = MediaId::from_random(bits);
        let mut upload = self.blobs.upload(id.clone());
        let (size, sha256) = match copy(admitted, body, &mut upload).await {
            Ok(copied) => copied,
            Err(failure) => {
                upload.abandon().await;
                if failure == Failure::OutOfMemory {
                    warn_out_of_memory();
                }
                return Err(failure);
            }
        };
        let now = Timestamp::now();
        let channel = &admitted.channel;
        let meta = Meta {
            tenant: channel.tenant.clone(),
            kind: admitted.kind,
            content_type: admitted.content_type.to_owned(),
            size,
            sha256,
            file_name: admitted.file_name.clone(),
            created_at: now,
            bsp: channel.bsp.profile().id.as_str().to_owned(),
            channel: channel.id.as_str().to_owned(),
            command: String::new(),
        };
        if let Err(error) = upload.finish(&meta, self.settings.ttl).await {
            let failure = failed(&error);
            if failure == Failure::OutOfMemory {
                warn_out_of_memory();
            }
            return Err(failure);
        }
        self.metrics.bytes_taken.inc_by(size);
        tracing::info!(
            function = "media",
            media_id = id.as_str(),
            channel = meta.channel,
            "channel {}: stored {} {id} of {size} bytes",
            meta.channel,
            admitted.kind.name()
        );
        Ok(self.created(&id, &meta))
    }

    fn created(&self, id: &MediaId, meta: &Meta) -> Response<Body> {
        let url = format!("{}{}", self.settings.public_url, media::path(&meta.tenant, meta.kind, id));
        let body = json!({
            "id": id.as_str(), "url": url, "content_type": meta.content_type, "size": meta.size,
            "sha256": meta.sha256, "expires_at": (meta.created_at + self.settings.ttl).to_string(),
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(NOSNIFF.0, NOSNIFF.1);
        if let Ok(url) = HeaderValue::from_str(&url) {
            headers.insert(LOCATION, url);
        }
        response
    }
}

/// Copies a body to Redis. Returns its size and SHA-256.
async fn copy(
    admitted: &AcceptedUpload,
    body: &mut Body,
    upload: &mut blob::Upload,
) -> Result<(u64, String), Failure> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let began = Instant::now();
    let mut written_at = began;
    let mut window = BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        let frame = timeout(PIECE_TIMEOUT, body.frame()).await.map_err(|_| Failure::TooSlow)?;
        let piece = match frame {
            Some(frame) => frame.map_err(|_| Failure::Broken)?.into_data().unwrap_or_default(),
            None => break,
        };
        size += piece.len() as u64;
        if began.elapsed() > TIME_MIN + Duration::from_secs(size / BYTES_PER_SECOND_MIN) {
            return Err(Failure::TooSlow);
        }
        if size > admitted.kind.bytes_max() {
            return Err(Failure::TooLarge);
        }
        hash.update(&piece);
        window.extend_from_slice(&piece);
        // The first bytes are checked together, however slowly they arrive. Before that nothing is stored, so
        // nothing can expire.
        let is_due = written_at.elapsed() > WRITE_AFTER && size >= SNIFFED_BYTES as u64;
        if window.len() >= CHUNK_BYTES || is_due {
            written_at = Instant::now();
            write(admitted, upload, &mut window, size).await?;
        }
    }
    if size == 0 {
        return Err(Failure::BadRequest);
    }
    if !window.is_empty() {
        write(admitted, upload, &mut window, size).await?;
    }
    Ok((size, hex::encode(hash.finalize())))
}

async fn write(
    admitted: &AcceptedUpload,
    upload: &mut blob::Upload,
    window: &mut BytesMut,
    size: u64,
) -> Result<(), Failure> {
    let is_first = size == window.len() as u64;
    // WhatsApp rejects a file whose bytes do not match its declared type, and reports that only later.
    if is_first {
        media::check_first_bytes(admitted.content_type, window)
            .map_err(|other| Failure::Type(TypeFault::OtherFormat(other)))?;
    }
    upload.append(window).await.map_err(|error| failed(&error))?;
    window.clear();
    Ok(())
}

fn failed(error: &BlobError) -> Failure {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if let Some(turn) = NOT_STORED.next() {
        tracing::error!(function = "media", "cannot store an upload: {error} {source}{turn}");
    }
    Failure::from(error)
}

fn warn_out_of_memory() {
    let Some(turn) = OUT_OF_MEMORY.next() else { return };
    tracing::error!(
        function = "media",
        "Redis is out of memory: uploads are answered 507 until files expire or maxmemory is raised{turn}"
    );
}
