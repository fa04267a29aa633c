//! Timelines that share a PostgreSQL server: it is away, restarted and killed; a timeline is killed; one takes over from another.

use std::time::Duration;

use bus::streams::{EVENTS, StreamDefinition, WEBHOOKS};
use futures_util::StreamExt as _;
use serde_json::Value;
use servers::PostgresServer;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::harness::files::client;
use crate::harness::timeline::{RunningTimeline, store_folder};
use crate::harness::{Installation, Posting, Webhook, eventually, within};

/// The secret of every timeline of a database.
pub(super) const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";
/// Limit of the time from the end of the timeline that reads until another one reads.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);
/// Events that came while no timeline ran.
const BACKLOG: usize = 2000;
/// Length of their text: a row of this length is sent to the server in a piece of its own.
const LONG_BYTES: usize = 4096;

/// A server, and the folders of the timelines that use it.
pub(super) struct Database {
    server: PostgresServer,
    _folder: TempDir,
}

impl Database {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A killed server loses nothing: the system keeps what was written.
        let args = ["-c", "fsync=off"].map(str::to_owned).to_vec();
        let server = PostgresServer::start(folder.path().to_owned(), args).await.unwrap();
        Self { server, _folder: folder }
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        self.server.url("postgres")
    }

    async fn timeline(&self, installation: &Installation) -> Replica {
        self.timeline_with(installation, &[]).await
    }

    async fn timeline_with(&self, installation: &Installation, more: &[(&str, &str)]) -> Replica {
        let folder = store_folder();
        let url = self.server.url("postgres");
        let mut variables = vec![("IMCHANNEL_TIMELINE_URL", url.as_str()), ("IMCHANNEL_TIMELINE_KEY", KEY)];
        variables.extend(more);
        let (timeline, admin) = RunningTimeline::start_with_admin(installation, &folder, &variables).await;
        Replica { timeline, admin, _folder: folder }
    }

    /// The sequences of a stream's rows, with duplicates.
    async fn sequences(&self, stream: i16) -> Vec<i64> {
        let url = self.server.url("postgres");
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let query = "SELECT sequence FROM imchannel_timeline.rows WHERE stream = $1 ORDER BY 1";
        client.query(query, &[&stream]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Waits until the streams are read to their ends. Then no row is missing and none is there twice.
    async fn has_each_row_once(&self, installation: &Installation, replica: &Replica) {
        installation.until_processed().await;
        for (number, stream) in [(1, &WEBHOOKS), (2, &EVENTS)] {
            let last = bus::read::last_sequence(&installation.bus, stream).await.unwrap();
            replica.until_read(stream, last).await;
            let expected: Vec<i64> = (1..=i64::try_from(last).unwrap()).collect();
            assert_eq!(self.sequences(number).await, expected, "{}", stream.name);
        }
    }
}

struct Replica {
    timeline: RunningTimeline,
    admin: String,
    _folder: TempDir,
}

impl Replica {
    async fn admin(&self, path: &str) -> (u16, String) {
        let answer = client().get(format!("http://{}{path}", self.admin)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn until_ready_is(&self, status: u16, text: &str) {
        eventually(&format!("/ready is {status} with {text:?}"), || async {
            let (found, answer) = self.admin("/ready").await;
            (found == status && answer.contains(text)).then_some(())
        })
        .await;
    }

    async fn until_read(&self, stream: &StreamDefinition, sequence: u64) {
        eventually(&format!("{} is read up to {sequence}", stream.name), || async {
            (self.read_until(stream).await?["sequence"].as_u64()? >= sequence).then_some(())
        })
        .await;
    }

    /// How far a stream is read.
    async fn read_until(&self, stream: &StreamDefinition) -> Option<Value> {
        let (_, answer) = self.timeline.get("/v1/problems").await;
        answer["read_until"].as_array()?.iter().find(|of| of["stream"] == stream.name).cloned()
    }
}

fn report(number: usize) -> Webhook {
    Webhook::infobip(format!(
        r#"{{"results":[{{"messageId":"m-{number}","to":"49151","status":{{"groupName":"DELIVERED"}}}}]}}"#
    ))
}

/// Posts reports in the background, one after the other.
fn post(address: std::net::SocketAddr, numbers: std::ops::Range<usize>) -> JoinHandle<()> {
    tokio::spawn(async move {
        for number in numbers {
            assert_eq!(report(number).post(address).await.status, 200);
        }
    })
}

#[tokio::test]
async fn a_database_that_is_away_stopped_and_killed_loses_nothing_and_has_nothing_twice() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let mut database = Database::start().await;
    database.server.stop().await;
    let replica = database.timeline(&installation).await;
    replica.until_ready_is(503, "PostgreSQL does not answer the timeline now").await;
    database.server.start_again().await.unwrap();
    replica.until_ready_is(200, "").await;
    let posting = Posting::start(ingress.address, 1, report);
    for is_killed in [true, false, true] {
        let last = bus::read::last_sequence(&installation.bus, &WEBHOOKS).await.unwrap();
        replica.until_read(&WEBHOOKS, last + 20).await;
        if is_killed {
            database.server.kill().await;
        } else {
            database.server.stop().await;
        }
        replica.until_ready_is(503, "PostgreSQL does not answer the timeline now").await;
        let (status, _) = replica.timeline.get("/v1/timeline/m-1").await;
        assert_eq!(status.as_u16(), 503);
        database.server.start_again().await.unwrap();
        replica.until_ready_is(200, "").await;
    }
    posting.end().await;
    database.has_each_row_once(&installation, &replica).await;
    let (_, metrics) = replica.admin("/metrics").await;
    let failures = "imchannel_timeline_store_failures_total{fault=\"unavailable\"}";
    let failures = metrics.lines().find(|line| line.starts_with(failures)).unwrap();
    assert!(!failures.ends_with(" 0"), "{failures}");
}

#[tokio::test]
async fn a_timeline_that_is_killed_while_it_stores_in_a_database_has_each_row_once() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let database = Database::start().await;
    let posting = Posting::start(ingress.address, 1, report);
    for _ in 0..3 {
        let mut replica = database.timeline(&installation).await;
        let last = bus::read::last_sequence(&installation.bus, &WEBHOOKS).await.unwrap();
        replica.until_read(&WEBHOOKS, last).await;
        replica.timeline.program.kill().await;
    }
    posting.end().await;
    let replica = database.timeline(&installation).await;
    database.has_each_row_once(&installation, &replica).await;
}

#[tokio::test]
async fn the_thread_that_reads_does_not_write_to_a_database() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let normalizer = installation.normalizer().await;
    let text = "x".repeat(LONG_BYTES);
    let message = Webhook::infobip(format!(
        r#"{{"results":[{{"from":"49151","to":"49152","messageId":"m-1","message":{{"type":"TEXT","text":"{text}"}}}}]}}"#
    ));
    assert_eq!(message.post(ingress.address).await.status, 200);
    installation.until_processed().await;
    normalizer.stop().await;
    let messages = installation.stored(&EVENTS, "imchannel.event.message.*.*").await;
    installation.repeat(&messages[0], BACKLOG).await;
    let database = Database::start().await;
    let replica = database.timeline_with(&installation, &[("IMCHANNEL_TIMELINE_BODIES", "full")]).await;
    database.has_each_row_once(&installation, &replica).await;
    // The thread that reads sleeps 10 ms at a time. When it also wrote, it slept for every second row.
    let waits = replica.timeline.program.waits();
    let waits: u64 =
        waits.iter().filter(|(thread, _)| thread.name == "timeline-read").map(|(_, waits)| waits).sum();
    assert!((1..BACKLOG as u64 / 8).contains(&waits), "the thread waited {waits} times for {BACKLOG} rows");
}

#[tokio::test]
async fn of_two_timelines_one_reads_both_answer_and_the_other_takes_over() {
    let installation = Installation::start().await;
    let ingress = installation.ingress().await;
    let _normalizer = installation.normalizer().await;
    let database = Database::start().await;
    let mut reading = database.timeline(&installation).await;
    for _ in bus::streams::STREAMS {
        reading.timeline.program.line_with("no other timeline of the database does").await;
    }
    let mut other = database.timeline(&installation).await;
    other.until_ready_is(200, "").await;
    let live = client().get(format!("{}/v1/live", other.timeline.url)).send().await.unwrap();
    let mut live = live.bytes_stream();
    // The first event says that it follows.
    live.next().await.unwrap().unwrap();
    post(ingress.address, 0..50).await.unwrap();
    database.has_each_row_once(&installation, &other).await;
    let (_, answer) = other.timeline.get("/v1/timeline/m-49").await;
    assert_eq!(answer["lives"][0]["rows"].as_array().map(Vec::len), Some(2), "{answer:#}");
    let mut shown = String::new();
    eventually_shown(&mut live, &mut shown, "EVENTS/50").await;
    // Idle streams are read up to now, for the one that does not read too.
    let first = other.read_until(&EVENTS).await.unwrap()["until"].clone();
    eventually("the time goes on", || async {
        (other.read_until(&EVENTS).await?["until"].as_str()? > first.as_str()?).then_some(())
    })
    .await;
    let posting = post(ingress.address, 50..150);
    reading.timeline.program.kill().await;
    other.timeline.program.line_within(TAKEOVER_MAX, "no other timeline of the database does").await;
    let last = bus::read::last_sequence(&installation.bus, &WEBHOOKS).await.unwrap();
    within(TAKEOVER_MAX, "the other reads", || async {
        (other.read_until(&WEBHOOKS).await?["sequence"].as_u64()? >= last).then_some(())
    })
    .await;
    posting.await.unwrap();
    database.has_each_row_once(&installation, &other).await;
    eventually_shown(&mut live, &mut shown, "EVENTS/150").await;
    for number in 1..=150 {
        let pointer = format!("\"pointer\":\"EVENTS/{number}\"");
        assert_eq!(shown.matches(&pointer).count(), 1, "{pointer} in the live view");
    }
}

async fn eventually_shown(
    live: &mut (impl futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    shown: &mut String,
    pointer: &str,
) {
    let wait = async {
        while !shown.contains(&format!("\"pointer\":\"{pointer}\"")) {
            let piece = live.next().await.unwrap().unwrap();
            shown.push_str(&String::from_utf8_lossy(&piece));
        }
    };
    tokio::time::timeout(crate::harness::TIMEOUT, wait).await.unwrap();
}
