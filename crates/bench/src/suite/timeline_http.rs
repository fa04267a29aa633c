//! The timeline as a program over a filled store: look-ups and listings by HTTP, as people and `imchannel trace` ask, and its memory.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::environment::{Environment, Program, free_address};
use crate::results::{Aim, Row};
use crate::suite::Effort;
use crate::suite::timeline_figures::{LISTING_MS_MAX, LOOK_UP_MS_MAX, LOOK_UPS, times};
use crate::suite::timeline_rows::{DAYS, Purpose, SECRET, customer, id, mixed};

/// Most memory of the program, in MiB.
const MEMORY_MIB_MAX: f64 = 128.0;
/// Time until the program serves.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The program, and a client of it.
pub(super) struct Service {
    program: Program,
    client: reqwest::Client,
    url: String,
}

/// Starts the program over a folder with `per_day` messages a day, and asks.
pub(super) async fn measure(effort: Effort, folder: &Path, per_day: u64) -> anyhow::Result<Vec<Row>> {
    let place = Environment::start(effort.layout).await?;
    let service = Service::start(&place, folder).await?;
    let mut lives = Histogram::new(3)?;
    for number in 0..LOOK_UPS {
        let message = id(Purpose::Message, mixed(number) % (DAYS * per_day));
        let started = Instant::now();
        let answer = service.get(&format!("/v1/timeline/{message}")).await?;
        lives.record(u64::try_from(started.elapsed().as_nanos())?)?;
        let rows = answer.pointer("/lives/0/rows").and_then(Value::as_array).map_or(0, Vec::len);
        ensure!(rows >= 6, "{message} has {rows} rows: {answer}");
    }
    let mut numbers = Histogram::new(3)?;
    let mut listed = 0;
    for number in 0..LOOK_UPS {
        let started = Instant::now();
        listed += service.list(&customer(number)).await?;
        numbers.record(u64::try_from(started.elapsed().as_nanos())?)?;
    }
    ensure!(listed > 0, "no customer has messages");
    let peak = service.program.peak_mib();
    service.end().await?;
    let mut rows: Vec<Row> = times("http-look-up", "GET /v1/timeline/{id}", &lives, LOOK_UP_MS_MAX).collect();
    rows.extend(times("http-listing", "by number, search and its list", &numbers, LISTING_MS_MAX));
    let memory = Row::alone("program-memory", "most memory of the program, MiB", peak.into_iter());
    rows.extend(memory.map(|row| row.with_aim(Aim::Below(MEMORY_MIB_MAX))));
    Ok(rows)
}

impl Service {
    pub(super) async fn start(place: &Environment, folder: &Path) -> anyhow::Result<Self> {
        let address = free_address()?;
        let (listen, secret) = (address.to_string(), hex::encode(SECRET));
        let variables = [
            ("IMCHANNEL_TIMELINE_DIR", folder.to_str().context("the folder's name is no text")?),
            ("IMCHANNEL_TIMELINE_KEY", &secret),
            ("IMCHANNEL_TIMELINE_LISTEN", &listen),
            // The first rows are as old as the default retention.
            ("IMCHANNEL_TIMELINE_RETENTION", "60d"),
        ];
        let program = place.program("imchannel-timeline", &variables)?;
        let mut service = Self { program, client: reqwest::Client::new(), url: format!("http://{address}") };
        let deadline = Instant::now() + START_LIMIT;
        while service.get("/v1/problems").await.is_err() {
            service.program.check()?;
            ensure!(Instant::now() < deadline, "the timeline does not serve");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(service)
    }

    /// Ends it, and says if it has ended before.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.program.check()?;
        self.program.end().await;
        Ok(())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await?;
        Ok(serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?)
    }

    /// Lists the messages of a customer. Returns their number.
    async fn list(&self, number: &str) -> anyhow::Result<usize> {
        let request = self.client.post(format!("{}/v1/searches", self.url));
        let since = jiff::Timestamp::now() - jiff::Span::new().hours(31 * 24);
        let body = json!({ "number": number, "since": since.to_string() }).to_string();
        // As a program that is no page of another origin.
        let request = request.header("sec-fetch-site", "none").header("content-type", "application/json");
        let request = request.body(body);
        let answer = request.send().await?.error_for_status()?;
        let search: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let id = search["id"].as_str().context("a search has an id")?;
        let found = self.get(&format!("/v1/searches/{id}")).await?;
        Ok(found["messages"].as_array().map_or(0, Vec::len))
    }
}
