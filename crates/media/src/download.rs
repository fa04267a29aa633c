//! Serves a file. One round trip to Redis reads its metadata and its first window. Each further window needs
//! one more, which starts when the last window has been sent.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use blob::store::CHUNK_BYTES;
use blob::{BlobError, BlobStore, Opened, meta};
use bsp::media::{self, MediaId, MediaKind, SNIFFED_BYTES};
use bus::rate_limited_log::RateLimitedLog;
use bytes::Bytes;
use futures_util::stream;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::disposition;
use crate::fetch::{Fetch, log_function};
use crate::fetch_recorder::FetchRecorder;
use crate::range::{self, Part};
use crate::response::{self, Failure, NOSNIFF};
use crate::state::Media;

static UNREAD: RateLimitedLog = RateLimitedLog::new();
static BROKE_OFF: RateLimitedLog = RateLimitedLog::new();

/// A request for a file.
pub(crate) struct FileRequest<'r> {
    pub(crate) tenant: &'r str,
    pub(crate) kind: MediaKind,
    pub(crate) id: MediaId,
    pub(crate) is_head: bool,
    pub(crate) headers: &'r HeaderMap,
}

/// A file that may be served to the caller.
struct Found {
    content_type: String,
    etag: String,
    opened: Opened,
}

impl Media {
    /// Serves a file, or the error response.
    pub(crate) async fn download(&self, wanted: FileRequest<'_>) -> Response<Body> {
        let function = log_function(wanted.kind);
        let id = &wanted.id;
        tracing::info!(function, media_id = id.as_str(), "Request received for ID [{id}]");
        let method = if wanted.is_head { Method::HEAD } else { Method::GET };
        let permit = self.downloads.clone().try_acquire_owned();
        let answered = match permit {
            Ok(permit) => self.find(&wanted).await.map(|found| self.respond(&wanted, found, permit)),
            Err(_) => Err(Failure::Overloaded),
        };
        let (response, outcome) = match answered {
            Ok((response, outcome)) => (response, outcome),
            Err(failure) => (response::failure(failure), failure.outcome()),
        };
        self.metrics.fetched(Some(wanted.kind), &method, outcome);
        response
    }

    async fn find(&self, wanted: &FileRequest<'_>) -> Result<Found, Failure> {
        let (function, id) = (log_function(wanted.kind), &wanted.id);
        tracing::info!(
            function,
            media_id = id.as_str(),
            "[REDIS] Get message with key [{}]",
            meta::data_key(id)
        );
        let found = if wanted.is_head { self.blobs.stat(id).await } else { self.blobs.open(id).await };
        let opened = match found {
            Ok(opened) => opened.ok_or(Failure::NotFound)?,
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                if let Some(turn) = UNREAD.next() {
                    tracing::error!(
                        function,
                        media_id = id.as_str(),
                        "cannot read file {id}: {error} {source}{turn}"
                    );
                }
                return Err(Failure::from(&error));
            }
        };
        self.admit(wanted, opened).ok_or(Failure::NotFound)
    }

    /// The file, if it belongs to the tenant and is of the kind in the URL.
    fn admit(&self, wanted: &FileRequest<'_>, opened: Opened) -> Option<Found> {
        if let Some(meta) = &opened.meta {
            // A file that has lost some of its bytes does not count as found.
            let is_theirs =
                meta.tenant == wanted.tenant && meta.kind == wanted.kind && meta.size == opened.size;
            let (content_type, etag) = (meta.content_type.clone(), format!("\"{}\"", meta.sha256));
            return is_theirs.then_some(Found { content_type, etag, opened });
        }
        // An older IMChannel stored no metadata. Its files are served to one configured tenant, with the type
        // that their bytes show.
        let is_theirs = self.settings.legacy_tenant.as_deref() == Some(wanted.tenant);
        let head = &opened.first[..opened.first.len().min(SNIFFED_BYTES)];
        let content_type = media::sniff(wanted.kind, head).filter(|_| is_theirs)?.to_owned();
        // The bytes of an id never change.
        let etag = format!("\"{}-{}\"", wanted.id, opened.size);
        Some(Found { content_type, etag, opened })
    }

    fn respond(
        &self,
        wanted: &FileRequest<'_>,
        found: Found,
        permit: OwnedSemaphorePermit,
    ) -> (Response<Body>, &'static str) {
        let size = found.opened.size;
        let mut response = Response::new(Body::empty());
        describe(response.headers_mut(), &found);
        if range::is_known(wanted.headers, &found.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return (response, "not_modified");
        }
        let part = if wanted.is_head { Part::Whole } else { range::part(wanted.headers, size, &found.etag) };
        let bytes = match part {
            Part::Whole => 0..size,
            Part::Bytes(bytes) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let text = format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1);
                insert(response.headers_mut(), CONTENT_RANGE, &text);
                bytes
            }
            Part::Unsatisfiable => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{size}"));
                response.headers_mut().remove(CONTENT_TYPE);
                return (response, "range_not_satisfiable");
            }
        };
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start));
        let fetch = Fetch::new(wanted.kind, wanted.id.clone(), wanted.is_head, &found.opened, bytes.clone());
        if wanted.is_head {
            self.fetches.finished(fetch);
            return (response, "served");
        }
        *response.body_mut() = self.stream(fetch, bytes, found.opened.first, permit);
        (response, "served")
    }

    fn file_stream(&self, fetch: Fetch, left: Range<u64>, permit: OwnedSemaphorePermit) -> FileStream {
        let (blobs, fetches) = (self.blobs.clone(), self.fetches.clone());
        FileStream { blobs, fetches, fetch: Some(fetch), next: left.start, end: left.end, _permit: permit }
    }

    /// The bytes of a file. The first window is already read, unless a range begins after it.
    fn stream(&self, fetch: Fetch, bytes: Range<u64>, first: Bytes, permit: OwnedSemaphorePermit) -> Body {
        let have = bytes.start.min(first.len() as u64)..bytes.end.min(first.len() as u64);
        let first = first.slice(have.start as usize..have.end as usize);
        let mut fetch = fetch;
        let is_whole = first.len() as u64 == bytes.end - bytes.start;
        if is_whole {
            fetch.handed_over(first.len());
            let rest = self.file_stream(fetch, bytes.end..bytes.end, permit);
            return Body::new(FullBody { bytes: Some(first), _rest: rest });
        }
        self.fetches.started(&fetch);
        let next = bytes.start + first.len() as u64;
        let sending = self.file_stream(fetch, next..bytes.end, permit);
        let first = (!first.is_empty()).then_some(first);
        Body::from_stream(stream::unfold((sending, first), |(mut sending, first)| async move {
            let window = sending.window(first).await?;
            Some((window, (sending, None)))
        }))
    }
}

/// A file whose bytes are all read.
struct FullBody {
    bytes: Option<Bytes>,
    /// Dropped with the last byte, or before.
    _rest: FileStream,
}

impl http_body::Body for FullBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// A file that is being sent. Dropping it, at the end or before, ends the fetch.
struct FileStream {
    blobs: BlobStore,
    fetches: FetchRecorder,
    fetch: Option<Fetch>,
    next: u64,
    end: u64,
    _permit: OwnedSemaphorePermit,
}

impl FileStream {
    /// The next window; `None` at the end.
    async fn window(&mut self, first: Option<Bytes>) -> Option<Result<Bytes, BlobError>> {
        let bytes = match first {
            Some(first) => first,
            None if self.next >= self.end => return None,
            None => {
                let fetch = self.fetch.as_ref()?;
                let length = (self.end - self.next).min(CHUNK_BYTES as u64) as usize;
                let window = match self.blobs.read_range(fetch.id(), self.next, length).await {
                    Ok(bytes) if bytes.len() == length => Ok(bytes),
                    Ok(_) => Err(BlobError::Expired),
                    Err(error) => Err(error),
                };
                match window {
                    Ok(bytes) => {
                        self.next += length as u64;
                        bytes
                    }
                    Err(error) => {
                        if let Some(turn) = BROKE_OFF.next() {
                            let id = fetch.id();
                            tracing::error!(
                                function = "media",
                                "the download of file {id} was interrupted: {error}{turn}"
                            );
                        }
                        self.next = self.end;
                        return Some(Err(error));
                    }
                }
            }
        };
        if let Some(fetch) = &mut self.fetch {
            fetch.handed_over(bytes.len());
        }
        Some(Ok(bytes))
    }
}

impl Drop for FileStream {
    fn drop(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            self.fetches.finished(fetch);
        }
    }
}

fn describe(headers: &mut HeaderMap, found: &Found) {
    insert(headers, CONTENT_TYPE, &found.content_type);
    insert(headers, ETAG, &found.etag);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    headers.insert(NOSNIFF.0, NOSNIFF.1);
    let name = found.opened.meta.as_ref().map(|meta| meta.file_name.as_str()).unwrap_or_default();
    if !name.is_empty() {
        insert(headers, CONTENT_DISPOSITION, &disposition::write(name));
    }
}

fn insert(headers: &mut HeaderMap, name: axum::http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
