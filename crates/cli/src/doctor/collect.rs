//! Reads the state of everything, concurrently and each within a time limit. A server that does not respond does not
//! affect the others.

use std::collections::HashMap;
use std::time::Duration;

use bsp::ChannelId;
use bus::inspect::{self, ConsumerInfo, LeaseInfo, ServerInfo, StreamInfo};
use bus::provision::{self, Difference, Object, Scope};
use bus::registry::{self, StoredChannel};
use bus::streams::{DEADLETTERS, STREAMS};
use bus::{Bus, StreamId, command_consumers, headers, message_store, repair};
use channel::{Channel, Secrets};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::capacity::Rate;
use super::channels::readable;
use super::clock::Reading;
use super::lanes::Lane;
use super::monitor::Monitor;
use super::probe::{Moves, Probe};
use super::redis::Redis;
use super::references::Named;
use super::server::Versions;
use super::services::Service;
use super::spool::Spools;
use super::{Options, media, monitor, redis, references, services};
use crate::spooled::{self, Folder};
use crate::words::causes;

/// Timeout of all requests to one server.
const LIMIT: Duration = Duration::from_secs(15);
/// Time over which the rate of a stream is measured.
const RATE_SPAN: Duration = Duration::from_secs(5 * 60);
/// Shortest time over which a rate is measured, so that a burst into an empty stream does not count as one.
const RATE_SPAN_MIN: Duration = Duration::from_secs(60);
/// Most lanes that are read concurrently.
const LANES_AT_ONCE: usize = 16;

/// State of the bus.
#[derive(Debug)]
pub(super) struct Nats {
    pub(super) server: ServerInfo,
    pub(super) versions: Probe<Versions>,
    pub(super) account: Probe<Value>,
    pub(super) stored: Probe<Vec<StoredChannel>>,
    pub(super) channels: Vec<Channel>,
    pub(super) lanes: Vec<Lane>,
    pub(super) differences: Probe<Vec<Difference>>,
    pub(super) streams: Probe<Vec<StreamInfo>>,
    /// Whether JetStream has answered the request for a stream with an error.
    pub(super) refuses_streams: bool,
    pub(super) sequences: Probe<Vec<repair::StreamPosition>>,
    pub(super) rates: Probe<Vec<Rate>>,
    pub(super) moves: Probe<Vec<Moves>>,
    pub(super) subjects: Probe<Vec<(String, usize)>>,
    pub(super) leases: Probe<Vec<LeaseInfo>>,
    /// Reason of the newest dead letter.
    pub(super) reason: Option<String>,
    /// By the clock of NATS.
    pub(super) now: Timestamp,
    pub(super) clock: Option<Reading>,
    pub(super) references: Vec<Named>,
    pub(super) hosts: Vec<Named>,
}

/// All state that was read.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) nats: Probe<Nats>,
    pub(super) monitors: Vec<(String, Probe<Monitor>)>,
    pub(super) redis: Option<Probe<Redis>>,
    pub(super) media: Option<(String, Probe<media::Answer>)>,
    pub(super) services: Vec<(String, Probe<Service>)>,
    pub(super) spool_folders: Option<Probe<Vec<Folder>>>,
}

impl Observed {
    /// Whether anything has responded. A server that accepts a user without permissions does not count.
    pub(super) fn has_answer(&self) -> bool {
        self.nats.as_ref().is_ok_and(|nats| nats.stored.is_ok() || nats.streams.is_ok())
            || matches!(self.redis, Some(Ok(_)))
            || matches!(self.media, Some((_, Ok(_))))
            || self.monitors.iter().any(|(_, monitor)| monitor.is_ok())
            || self.services.iter().any(|(_, service)| service.is_ok())
    }
}

impl Observed {
    /// What the services report about their spools, and the folder on this machine.
    pub(super) fn spools(&self) -> Spools {
        let of_service =
            |(url, service): &(String, Probe<Service>)| Some((url.clone(), service.as_ref().ok()?.spooled?));
        let of_services = self.services.iter().filter_map(of_service).collect();
        Spools { of_services, folders: self.spool_folders.clone() }
    }
}

fn words(error: impl Into<anyhow::Error>) -> String {
    causes(&error.into())
}

async fn limited<T, E: Into<anyhow::Error>>(
    limit: Duration,
    asking: impl Future<Output = Result<T, E>>,
) -> Probe<T> {
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer.map_err(words),
        Err(_) => Err(format!("timed out after {} s", limit.as_secs())),
    }
}

pub(super) async fn everything(options: &Options, bus: Probe<Bus>) -> anyhow::Result<Observed> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let stored = match &bus {
        Ok(bus) => limited(LIMIT, registry::list(bus)).await,
        Err(error) => Err(error.clone()),
    };
    let channels = stored.as_ref().map(|stored| readable(stored)).unwrap_or_default();
    // A load balancer may route by tenant. Without a channel any tenant will do.
    let tenant = channels.first().map_or_else(|| "tenant".to_owned(), |channel| channel.tenant.clone());
    let nats = async {
        match bus {
            Ok(bus) => Ok(Box::pin(look_at_nats(&bus, options, stored, channels)).await),
            Err(error) => Err(error),
        }
    };
    let monitors = options.nats_monitor_url.iter().map(|url| async {
        let asked = limited(LIMIT, async { monitor::ask(&client, url).await.map_err(anyhow::Error::msg) });
        (url.clone(), asked.await)
    });
    let services = options.admin.iter().map(|url| async {
        let asked = limited(LIMIT, async { services::ask(&client, url).await.map_err(anyhow::Error::msg) });
        (url.clone(), asked.await)
    });
    let redis = async {
        let at = options.redis.as_ref()?;
        Some(limited(LIMIT, async { redis::ask(at).await.map_err(anyhow::Error::msg) }).await)
    };
    let media = async {
        let url = options.media_public_url.as_ref()?;
        let asked =
            limited(LIMIT, async { media::ask(&client, url, &tenant).await.map_err(anyhow::Error::msg) });
        Some((url.clone(), asked.await))
    };
    let spool_folders = async {
        let folder = options.spool_dir.clone()?;
        Some(limited(LIMIT, spooled::read_folders(folder)).await)
    };
    let (nats, monitors, services, redis, media, spool_folders) = tokio::join!(
        nats,
        futures_util::future::join_all(monitors),
        futures_util::future::join_all(services),
        redis,
        media,
        spool_folders
    );
    Ok(Observed { nats, monitors, redis, media, services, spool_folders })
}

async fn look_at_nats(
    bus: &Bus,
    options: &Options,
    stored: Probe<Vec<StoredChannel>>,
    channels: Vec<Channel>,
) -> Nats {
    let sending: Vec<ChannelId> = channels
        .iter()
        .filter(|channel| channel.bsp.sending().is_some())
        .map(|channel| channel.id.clone())
        .collect();
    // A channel without an account has consumers, and its lane has no owner.
    let lanes = channels.iter().filter(|channel| {
        channel.bsp.sending().is_some_and(|sending| sending.account(&channel.settings).is_some())
    });
    let lanes: Vec<Lane> =
        lanes.map(|channel| Lane { channel: channel.id.clone(), is_paused: channel.is_paused }).collect();
    let secrets = Secrets { folder: options.secrets_dir.clone() };
    let (
        versions,
        sequences,
        account,
        differences,
        streams,
        counts,
        moves,
        subjects,
        leases,
        references,
        hosts,
    ) = tokio::join!(
        limited(LIMIT, inspect::server_versions(bus)),
        limited(LIMIT, repair::inspect_all(bus)),
        limited(LIMIT, account(bus)),
        limited(LIMIT, differences(bus, &sending)),
        limited(LIMIT, async { anyhow::Ok(inspect::streams(bus).await) }),
        limited(LIMIT, recent(bus)),
        limited(LIMIT + options.watch_for, moves(bus, &sending, options.watch_for)),
        limited(LIMIT, inspect::webhook_subjects(bus)),
        limited(LIMIT, inspect::leases(bus)),
        references::resolve(&channels, &secrets),
        references::find_hosts(&channels),
    );
    let refuses_streams = matches!(&streams, Ok(Err(error)) if error.is_jetstream_error());
    let streams = streams.and_then(|streams| streams.map_err(words));
    let clock = counts.as_ref().ok().and_then(|counts| counts.first()).map(|(_, _, time)| *time);
    let clock = clock.map(|time| Reading::new("NATS", time.asked_at, time.said, time.heard_at));
    let ahead = clock.as_ref().map_or(0, |reading| reading.ahead_ms);
    let rates = counts.map(|counts| rates(&counts, streams.as_deref().unwrap_or_default()));
    Nats {
        server: inspect::server(bus),
        versions,
        sequences,
        account,
        stored,
        channels,
        lanes,
        differences,
        reason: newest_reason(bus, streams.as_deref().unwrap_or_default()).await,
        streams,
        refuses_streams,
        rates,
        moves,
        subjects,
        leases,
        now: Timestamp::now() + SignedDuration::from_millis(ahead),
        clock,
        references,
        hosts,
    }
}

async fn account(bus: &Bus) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&inspect::account(bus).await?)?)
}

async fn differences(bus: &Bus, sending: &[ChannelId]) -> anyhow::Result<Vec<Difference>> {
    let mut differences = provision::check(bus, Scope::Contract).await?;
    let commands = Object::Stream(StreamId::Commands);
    if differences.iter().any(|found| found.object == commands) {
        return Ok(differences);
    }
    let checks = stream::iter(sending).map(|channel| command_consumers::check(bus, channel));
    let of_lanes: Vec<_> = checks.buffered(LANES_AT_ONCE).try_collect().await?;
    differences.extend(of_lanes.into_iter().flatten());
    Ok(differences)
}

/// Number of recent messages of a stream, since when, and the server's time.
type Recent = (StreamId, u64, inspect::ClockSample);

async fn recent(bus: &Bus) -> anyhow::Result<Vec<Recent>> {
    let ids = STREAMS.iter().map(|stream| stream.id).chain([StreamId::Sends]);
    let mut recent = Vec::new();
    for id in ids {
        let since = Timestamp::now() - RATE_SPAN;
        // Another check reports a missing stream.
        if let Ok((messages, time)) = inspect::stored_since(bus, id, since).await {
            recent.push((id, messages, time));
        }
    }
    anyhow::ensure!(!recent.is_empty(), "no stream reported how many messages it stored recently");
    Ok(recent)
}

fn rates(counts: &[Recent], streams: &[StreamInfo]) -> Vec<Rate> {
    let rates = counts.iter().map(|(id, messages, time)| {
        let first = streams.iter().find(|stream| stream.id == *id).and_then(|stream| stream.first_time);
        let held = first.and_then(|first| Duration::try_from(time.said.duration_since(first)).ok());
        let within = held.map_or(RATE_SPAN, |held| held.clamp(RATE_SPAN_MIN, RATE_SPAN));
        Rate { stream: *id, messages: *messages, within }
    });
    rates.collect()
}

async fn moves(bus: &Bus, sending: &[ChannelId], watch_for: Duration) -> anyhow::Result<Vec<Moves>> {
    let before = durables(bus, sending).await?;
    tokio::time::sleep(watch_for).await;
    let mut before: HashMap<_, _> =
        before.into_iter().map(|before| ((before.stream, before.name.clone()), before)).collect();
    let moves = durables(bus, sending).await?.into_iter().filter_map(|after| {
        let before = before.remove(&(after.stream, after.name.clone()))?;
        Some(Moves { before, after })
    });
    Ok(moves.collect())
}

async fn durables(bus: &Bus, sending: &[ChannelId]) -> anyhow::Result<Vec<ConsumerInfo>> {
    let mut all = inspect::durables(bus).await?;
    let lanes = stream::iter(sending.iter().cloned().map(|channel| {
        let bus = bus.clone();
        async move { inspect::lane_durables(&bus, &channel).await }
    }));
    let lanes: Vec<Vec<ConsumerInfo>> = lanes.buffer_unordered(LANES_AT_ONCE).try_collect().await?;
    all.extend(lanes.into_iter().flatten());
    Ok(all)
}

async fn newest_reason(bus: &Bus, streams: &[StreamInfo]) -> Option<String> {
    let stream = streams.iter().find(|stream| stream.id == StreamId::DeadLetters && stream.messages > 0)?;
    let asking = message_store::get(bus, &DEADLETTERS, stream.last_sequence);
    let letter = limited(LIMIT, asking).await.ok()??;
    letter.headers.get(headers::REASON_KIND).map(str::to_owned)
}
