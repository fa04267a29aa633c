//! Stores webhooks, and measures how fast a program processes them while they wait, and the CPU time of that.

use std::time::Duration;

use anyhow::{bail, ensure};
use async_nats::jetstream;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::baseline;
use crate::bench_channel::CHANNEL;
use crate::body::Bodies;
use crate::cpu_time;
use crate::environment::{Environment, Program};
use crate::suite::purge;

/// Interval of the checks how far the durable consumer is.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Publishes in flight while the webhooks are stored.
const IN_FLIGHT: usize = 1024;
/// Time without a processed webhook after which the measurement fails.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// How fast waiting webhooks were processed, and what it cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drained {
    webhooks: f64,
    seconds: f64,
    /// CPU time of the program, in seconds.
    program_s: f64,
    /// CPU time of nats-server, in seconds.
    nats_s: f64,
    /// Most memory of the program; `None` if the system does not report it.
    pub(super) peak_mib: Option<f64>,
}

impl Drained {
    pub(super) fn per_second(self) -> f64 {
        self.webhooks / self.seconds
    }

    /// CPU time of the program for a webhook, in microseconds.
    pub(super) fn program_us(self) -> f64 {
        self.program_s / self.webhooks * 1e6
    }

    /// CPU time of nats-server for a webhook, in microseconds.
    pub(super) fn nats_us(self) -> f64 {
        self.nats_s / self.webhooks * 1e6
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            webhooks: self.webhooks + other.webhooks,
            seconds: self.seconds + other.seconds,
            program_s: self.program_s + other.program_s,
            nats_s: self.nats_s + other.nats_s,
            peak_mib: self.peak_mib.into_iter().chain(other.peak_mib).reduce(f64::max),
        }
    }
}

/// Stores webhooks, and has the normalizer process them.
pub(super) async fn ours(
    place: &Environment,
    jetstream: &jetstream::Context,
    webhooks: u64,
    settings: &[(&str, &str)],
) -> anyhow::Result<Drained> {
    store(place, jetstream, "WEBHOOKS", webhooks).await?;
    let program = place.program("imchannel-normalizer", settings)?;
    drain(place, jetstream, Consumer { stream: "WEBHOOKS", durable: "normalizer" }, program).await
}

/// Stores webhooks, and has the baseline loop process them.
pub(super) async fn bare(
    place: &Environment,
    jetstream: &jetstream::Context,
    webhooks: u64,
) -> anyhow::Result<Drained> {
    store(place, jetstream, baseline::RAW, webhooks).await?;
    let program = place.baseline(&["baseline-normalize"])?;
    drain(place, jetstream, Consumer { stream: baseline::RAW, durable: baseline::DURABLE }, program).await
}

/// Fills an empty stream like ingress does.
async fn store(
    place: &Environment,
    jetstream: &jetstream::Context,
    stream: &str,
    count: u64,
) -> anyhow::Result<()> {
    purge(place, &["WEBHOOKS", "EVENTS", baseline::RAW, baseline::OUT]).await?;
    let subject = if stream == baseline::RAW {
        "raw.infobip.x".to_owned()
    } else {
        format!("imchannel.webhook.infobip.{CHANNEL}")
    };
    let bodies = Bodies::new();
    let received_at = jiff::Timestamp::now().to_string();
    let publish = |number: u64| {
        let mut body = Vec::new();
        bodies.write(bodies.next_number(), &mut body);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{stream}-{received_at}-{number}"));
        headers.insert("Imchannel-Route", "report");
        headers.insert("Imchannel-Received-At", received_at.as_str());
        headers.insert("Content-Type", "application/json; charset=UTF-8");
        let subject = subject.clone();
        async move {
            jetstream.publish_with_headers(subject, headers, body.into()).await?.await?;
            anyhow::Ok(())
        }
    };
    let publishing = futures_util::stream::iter(0..count).map(publish).buffer_unordered(IN_FLIGHT);
    publishing.try_for_each(|()| async { Ok(()) }).await
}

/// A durable consumer of a stream.
#[derive(Debug, Clone, Copy)]
struct Consumer {
    stream: &'static str,
    durable: &'static str,
}

/// CPU time that was used so far.
#[derive(Debug, Clone, Copy)]
struct CpuTime {
    program: Duration,
    nats: Duration,
}

impl CpuTime {
    fn now(program: &Program, place: &Environment) -> Self {
        Self { program: program.cpu_time(), nats: cpu_time::of_process(place.nats.pid()) }
    }

    /// The middle of two readings.
    fn midway(self, later: Self) -> Self {
        Self { program: (self.program + later.program) / 2, nats: (self.nats + later.nats) / 2 }
    }
}

/// The state when the first webhook was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Instant,
    left: u64,
    cpu_time: CpuTime,
}

impl Begun {
    /// What was processed since, and at which cost.
    fn until_now(self, program: &Program, place: &Environment) -> Drained {
        let now = CpuTime::now(program, place);
        Drained {
            webhooks: self.left as f64,
            seconds: self.at.elapsed().as_secs_f64(),
            program_s: (now.program - self.cpu_time.program).as_secs_f64(),
            nats_s: (now.nats - self.cpu_time.nats).as_secs_f64(),
            peak_mib: program.peak_mib(),
        }
    }
}

/// Waits until all webhooks are processed. What it measures is from the first acknowledged one to the last.
async fn drain(
    place: &Environment,
    jetstream: &jetstream::Context,
    of: Consumer,
    mut program: Program,
) -> anyhow::Result<Drained> {
    let stream = jetstream.get_stream(of.stream).await?;
    let mut begun: Option<Begun> = None;
    let (mut whole, mut before, mut moved_at) = (0, 0, Instant::now());
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        program.check()?;
        let asked = CpuTime::now(&program, place);
        let Ok(info) = stream.consumer_info(of.durable).await else { continue };
        let left = info.num_pending + info.num_ack_pending as u64;
        whole = whole.max(left);
        ensure!(whole > 0, "stream {} is empty", of.stream);
        if left != before {
            (before, moved_at) = (left, Instant::now());
        }
        ensure!(moved_at.elapsed() < STALL_LIMIT, "{left} of {whole} webhooks are not processed");
        match begun {
            None if left == 0 => {
                bail!("{whole} webhooks took less than {} ms: measure more", POLL_INTERVAL.as_millis());
            }
            None if left < whole => {
                // The server counted them some time between the two readings.
                let cpu_time = asked.midway(CpuTime::now(&program, place));
                begun = Some(Begun { at: Instant::now(), left, cpu_time });
            }
            Some(begun) if left == 0 => {
                let drained = begun.until_now(&program, place);
                program.end().await;
                return Ok(drained);
            }
            _ => {}
        }
    }
}
