//! A store with rows, the router over it, and requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bus::Bus;
use channel::Channels;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use proto::v1::{ReportStatus, SendOutcome};
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::Caller;
use service::addresses::LogAddresses;
use service::failures::FailedCredentials;
use service::limits::PortMetrics;
use timeline::admin::AdminView;
use timeline::extract::Bodies;
use timeline::health::{Health, Lanes};
use timeline::http::access::Access;
use timeline::http::answer::Problem;
use timeline::http::{ApiState, router};
use timeline::life::{Finished, Floors};
use timeline::observed::Observed;
use timeline::progress::Progress;
use timeline::row::{IdKind, Keys, Link, Pointer, Recipient, Row, RowKind, Status, StreamNumber, shown};
use timeline::rules;
use timeline::store::sqlite::SqliteStore;
use timeline::store::{BATCH_ROWS_MAX, Batch, Gap, NewRow, Position, Store};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Rows that a client may be behind.
pub(crate) const LIVE_ROWS: usize = 4;
/// The customer of every message.
pub(crate) const NUMBER: &str = "4915112345678";

/// When every story begins.
pub(crate) fn start() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// A time in seconds after the start.
pub(crate) fn at(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

/// The clock of the port: an hour after the start.
fn now() -> Timestamp {
    at(3600)
}

/// Floors of a normalizer that has finished every webhook up to the clock, while nothing is known of the back end.
fn all_finished() -> Floors {
    Floors { finished: Some(Finished { sequence: 0, until: Some(now()) }), ..Floors::default() }
}

pub(crate) struct Stage {
    pub(crate) store: SqliteStore,
    pub(crate) keys: Keys,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) floors: watch::Sender<Floors>,
    pub(crate) live: broadcast::Sender<Arc<Row>>,
    pub(crate) channels: watch::Sender<Option<Arc<Channels>>>,
    pub(crate) lanes: watch::Sender<Option<Lanes>>,
    pub(crate) admin: watch::Sender<Arc<AdminView>>,
    pub(crate) stop: CancellationToken,
    pub(crate) router: Router,
    next: HashMap<StreamNumber, u64>,
    pub(crate) folder: tempfile::TempDir,
}

/// What a port is made with.
pub(crate) struct Parts {
    pub(crate) access: Access,
    pub(crate) bus: Option<Bus>,
    pub(crate) bodies: Bodies,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem of a refusal with this status.
    pub(crate) fn problem(&self, status: u16) -> Problem {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!((problem.status, problem.kind.as_str()), (status, "about:blank"));
        assert!(!problem.title.is_empty() && !problem.detail.is_empty());
        problem
    }
}

impl Stage {
    /// A port without rows, read up to its clock.
    pub(crate) async fn new() -> Self {
        Self::with_access(Access::Open).await
    }

    pub(crate) async fn with_access(access: Access) -> Self {
        Self::with(Parts { access, bus: None, bodies: Bodies::Masked }).await
    }

    pub(crate) async fn with(parts: Parts) -> Self {
        let Parts { access, bus, bodies } = parts;
        let folder = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(folder.path().to_owned()).await.unwrap();
        let keys = Keys::of_secret(&[7; 32]);
        let mut progress = Progress::default();
        for stream in StreamNumber::ALL {
            progress.of_mut(stream).read_until = Some(now());
        }
        let (progress, progress_seen) = watch::channel(progress);
        let (floors, floors_seen) = watch::channel(all_finished());
        let (live, stop) = (broadcast::Sender::new(LIVE_ROWS), CancellationToken::new());
        let (channels, channels_seen) = watch::channel(None);
        let (lanes, lanes_seen) = watch::channel(None);
        let (admin, admin_seen) = watch::channel(Arc::default());
        let health = Health {
            channels: channels_seen,
            lanes: lanes_seen,
            admin: admin_seen,
            recent: Default::default(),
        };
        let observed = Observed {
            progress: progress_seen,
            floors: floors_seen,
            halted_lanes: watch::channel(Arc::default()).1,
            rules: watch::channel(Arc::default()).1,
            live: live.clone(),
            health,
        };
        let router = router(ApiState {
            store: Arc::new(store.clone()),
            keys: keys.clone(),
            observed,
            bus,
            bodies,
            erasures: None,
            access,
            failed: Arc::new(FailedCredentials::new(PortMetrics::default(), LogAddresses::Masked)),
            hosts: "localhost,timeline.example".parse().unwrap(),
            stop: stop.clone(),
            now,
        });
        Self {
            store,
            keys,
            progress,
            floors,
            live,
            channels,
            lanes,
            admin,
            stop,
            router,
            next: HashMap::new(),
            folder,
        }
    }

    /// Stores rows, with what the rules expect after them. Rows get the next sequences of their streams.
    pub(crate) async fn store(&mut self, rows: Vec<Row>) -> Vec<Row> {
        let mut stored = Vec::new();
        for mut row in rows {
            let next = self.next.entry(row.pointer.stream).or_default();
            *next += 1;
            row.pointer.sequence = *next;
            let (name, sequence) = (row.pointer.stream.name(), row.pointer.sequence);
            row.links.push(self.link(IdKind::Stored, &format!("{name}/{sequence}")));
            let position = Position {
                stream: row.pointer.stream,
                created_at: at(-86_400),
                reading: 0,
                missed_after: 0,
                sequence,
                stored_at: row.stored_at,
            };
            self.progress.send_modify(|progress| progress.of_mut(row.pointer.stream).sequence = sequence);
            let followed = rules::follow(&row);
            let new = NewRow {
                row: Arc::new(row.clone()),
                expected: followed.expected,
                settled: followed.settled,
                replayed: None,
            };
            self.store.append(Batch { rows: vec![new], position, gaps: Vec::new() }).await.unwrap();
            stored.push(row);
        }
        stored
    }

    /// Stores a row many times, each with the next sequence of its stream.
    pub(crate) async fn store_copies(&mut self, row: Row, count: u64) {
        let next = self.next.entry(row.pointer.stream).or_default();
        let first = *next + 1;
        *next += count;
        let (last, stream, stored_at) = (*next, row.pointer.stream, row.stored_at);
        let copy = |sequence| {
            let row = Row { pointer: Pointer { sequence, ..row.pointer }, ..row.clone() };
            NewRow { row: Arc::new(row), expected: Vec::new(), settled: Vec::new(), replayed: None }
        };
        let all: Vec<NewRow> = (first..=last).map(copy).collect();
        for rows in all.chunks(BATCH_ROWS_MAX) {
            let sequence = rows.last().map_or(last, |new| new.row.pointer.sequence);
            let position = Position {
                stream,
                created_at: at(-86_400),
                reading: 0,
                missed_after: 0,
                sequence,
                stored_at,
            };
            let batch = Batch { rows: rows.to_vec(), position, gaps: Vec::new() };
            self.store.append(batch).await.unwrap();
        }
        self.progress.send_modify(|progress| progress.of_mut(stream).sequence = last);
    }

    /// Notes ranges of EVENTS that were missed.
    pub(crate) async fn miss(&mut self, ranges: u64) {
        let stream = StreamNumber::Events;
        let next = self.next.entry(stream).or_default();
        let first = *next + 1;
        *next += ranges * 2;
        let seconds = |number: u64| at(90_000 + i64::try_from(number).unwrap());
        let gap = |number| {
            let sequence = first + number * 2;
            Gap { stream, first: sequence, last: sequence, after: None, before: seconds(number) }
        };
        let position = Position {
            stream,
            created_at: at(-86_400),
            reading: 0,
            missed_after: 0,
            sequence: *next,
            stored_at: seconds(ranges),
        };
        let gaps = (0..ranges).map(gap).collect();
        self.store.append(Batch { rows: Vec::new(), position, gaps }).await.unwrap();
    }

    /// Damages the tables of a day, as a disk does.
    pub(crate) fn damage(&self, day: &str) {
        let path = self.folder.path().join(format!("{day}.sqlite"));
        // Rows may be in the WAL only.
        let file = rusqlite::Connection::open(&path).unwrap();
        file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0xa5);
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn link(&self, kind: IdKind, id: &str) -> Link {
        Link { kind, key: self.keys.id(id), shown: shown::id(id) }
    }

    /// A row of channel `sales` and of the customer.
    pub(crate) fn row(&self, kind: RowKind, seconds: i64) -> Row {
        let stream = match kind {
            RowKind::Command => StreamNumber::Commands,
            RowKind::Webhook => StreamNumber::Webhooks,
            RowKind::DeadLetter => StreamNumber::DeadLetters,
            _ => StreamNumber::Events,
        };
        let key = self.keys.recipient(NUMBER);
        Row {
            pointer: Pointer { stream, sequence: 0, part: 0 },
            stored_at: at(seconds),
            happened_at: None,
            kind,
            is_replayed: false,
            is_bulk: false,
            is_whole: false,
            bsp: "infobip".to_owned(),
            channel: "sales".to_owned(),
            tenant: "acme".to_owned(),
            status: None,
            error: None,
            links: Vec::new(),
            recipient: Some(Recipient { key, last_digits: shown::last_digits(NUMBER) }),
            summary: String::new(),
            body: String::new(),
        }
    }

    /// A command that the BSP accepted: stored at a time, accepted a second later.
    pub(crate) fn accepted(&self, command: &str, seconds: i64) -> Vec<Row> {
        let mut stored = self.row(RowKind::Command, seconds);
        stored.links = vec![self.link(IdKind::Command, command)];
        stored.summary = "text".to_owned();
        stored.body = "{\"text\":\"***\"}".to_owned();
        let mut result = self.row(RowKind::Result, seconds + 1);
        result.status = Some(Status::Outcome(SendOutcome::Accepted));
        result.links = self.ids(command);
        vec![stored, result]
    }

    /// The same with a report of its delivery two seconds later.
    pub(crate) fn delivered(&self, command: &str, seconds: i64) -> Vec<Row> {
        let mut rows = self.accepted(command, seconds);
        let mut report = self.row(RowKind::Report, seconds + 2);
        report.status = Some(Status::Report(ReportStatus::Delivered));
        report.links = self.ids(command);
        rows.push(report);
        rows
    }

    fn ids(&self, command: &str) -> Vec<Link> {
        vec![self.link(IdKind::Command, command), self.link(IdKind::Message, &format!("imc-{command}"))]
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.send(Request::get(path)).await
    }

    pub(crate) async fn send(&self, request: axum::http::request::Builder) -> Got {
        self.call(request.header("host", "localhost:8082").body(Body::empty()).unwrap()).await
    }

    /// Posts as a client that is no browser.
    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Got {
        let request = Request::post(path).header("host", "localhost").header("sec-fetch-site", "none");
        self.call(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Got {
        let got = self.call_unmasked(request).await;
        assert!(!String::from_utf8_lossy(&got.body).contains("1511234"), "an answer has the number");
        got
    }

    /// The same for an answer that may have the number.
    pub(crate) async fn call_unmasked(&self, mut request: Request<Body>) -> Got {
        let address: IpAddr = [127, 0, 0, 1].into();
        if request.extensions().get::<Caller>().is_none() {
            request.extensions_mut().insert(Caller::direct(address));
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Got { status: parts.status, headers: parts.headers, body }
    }
}

/// The texts of a field of every entry.
pub(crate) fn texts(list: &[Value], field: &str) -> Vec<String> {
    list.iter().map(|entry| entry[field].as_str().unwrap_or_default().to_owned()).collect()
}
