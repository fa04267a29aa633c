//! `imchannel doctor`: checks a running installation from outside, and reports what is wrong, the impact and the
//! remedy.
//!
//! [`collect`] reads the state. Each of the other files checks one part of it, by pure functions from state to findings.

mod finding;
mod probe;
mod collect;
mod server;
mod monitor;
mod durability;
mod ledger;
mod drift;
mod sequences;
mod replicas;
mod capacity;
mod progress;
mod lanes;
mod deadletters;
mod channels;
mod references;
mod redis;
mod media;
mod services;
mod spool;
mod clock;

use std::path::{Path, PathBuf};
use std::time::Duration;

use blob::RedisOptions;
use bus::versions::ServerVersion;
use clap::Args;
use serde_json::json;

use self::collect::{Nats, Observed};
use self::finding::{Check, Finding, Level};
use crate::duration;
use crate::exit::Exit;
use crate::output::{BAD, DIM, GOOD, ODD, Out, Text, styled, text};
use crate::redis_target::RedisTarget;
use crate::target::{DATA_FOLDER_DEFAULT, MEDIA_URL_FILE, Target, WrongUser};
use crate::words::causes;

const CONNECTION: Check = Check("nats.connection");

/// Width of the column of levels, in characters.
const LEVEL_WIDTH: usize = 8;
/// Width of the column of checks, in characters.
const CHECK_WIDTH: usize = 25;

#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    redis: RedisTarget,
    /// URL at which the BSP reaches media [default: that of the `up` in this folder].
    #[arg(long, env = "IMCHANNEL_MEDIA_PUBLIC_URL", value_name = "URL")]
    media_public_url: Option<String>,
    /// URLs of the monitoring ports of the NATS servers, such as http://nats:8222.
    #[arg(long, env = "IMCHANNEL_NATS_MONITOR_URL", value_delimiter = ',', value_name = "URLS")]
    nats_monitor_url: Vec<String>,
    /// Folder of the secrets that channels name as file:NAME.
    #[arg(long, env = "IMCHANNEL_SECRETS_DIR", value_name = "DIR")]
    secrets_dir: Option<PathBuf>,
    /// Folder of the spool of ingress, if it is on this machine.
    #[arg(long, env = "IMCHANNEL_SPOOL_DIR", value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// URLs of the admin ports of the services [default: that of the `up` in this folder].
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    admin: Vec<String>,
    /// How long to watch whether readers make progress.
    #[arg(long, value_name = "SPAN", default_value = "3s", value_parser = duration::span)]
    watch_for: Duration,
}

// URL and password may be secret.
impl std::fmt::Debug for Doctor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doctor").field("watch_for", &self.watch_for).finish_non_exhaustive()
    }
}

/// The options, completed from files and from the data folder of an `up`.
struct Options {
    redis: Option<RedisOptions>,
    media_public_url: Option<String>,
    nats_monitor_url: Vec<String>,
    secrets_dir: Option<PathBuf>,
    spool_dir: Option<PathBuf>,
    admin: Vec<String>,
    watch_for: Duration,
}

impl Doctor {
    fn read(self, target: &Target) -> anyhow::Result<Options> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let is_ups = target.nats_url.is_none();
        let media_of_up = || {
            let text = std::fs::read_to_string(Path::new(DATA_FOLDER_DEFAULT).join(MEDIA_URL_FILE)).ok()?;
            is_ups.then(|| text.trim().to_owned())
        };
        let admin =
            if self.admin.is_empty() { target.admin_of_up().into_iter().collect() } else { self.admin };
        Ok(Options {
            redis: self.redis.read()?,
            media_public_url: given(self.media_public_url).or_else(media_of_up),
            nats_monitor_url: self.nats_monitor_url.into_iter().filter(|url| !url.is_empty()).collect(),
            secrets_dir: self.secrets_dir.filter(|folder| !folder.as_os_str().is_empty()),
            spool_dir: self.spool_dir.filter(|folder| !folder.as_os_str().is_empty()),
            admin,
            watch_for: self.watch_for,
        })
    }
}

pub(crate) async fn run(command: Doctor, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let key = match target.key_text().and_then(|text| text.map(|_| target.key()).transpose()) {
        Ok(key) => key.map(|key| key.fingerprint()),
        Err(error) => return Ok(out.faulty(&causes(&error))),
    };
    let options = match command.read(target) {
        Ok(options) => options,
        Err(error) => return Ok(out.faulty(&causes(&error))),
    };
    // With a wrong user, all further findings would be wrong.
    let bus = match target.connect().await {
        Err(error) if error.is::<WrongUser>() => return Err(error),
        bus => bus.map_err(|error| causes(&error)),
    };
    let observed = Box::pin(collect::everything(&options, bus)).await?;
    let findings = evaluate(&observed, key.as_deref(), options.watch_for);
    for finding in &findings {
        show(finding, out);
    }
    let count = |level| findings.iter().filter(|found| found.level == level).count();
    let counts = Level::ALL.map(|level| (level, count(level)));
    let mut summary = Text::default();
    for (level, number) in counts.iter().filter(|(_, number)| *number > 0) {
        let comma = if summary == Text::default() { "" } else { ", " };
        summary = text!("{summary}{comma}{}", styled(style(*level), &format!("{number} {}", level.word())));
    }
    out.print(&summary);
    let counts = counts.map(|(level, number)| (level.word().to_owned(), json!(number)));
    out.object(&json!({ "findings": serde_json::Map::from_iter(counts) }));
    anyhow::ensure!(
        observed.has_answer(),
        "no server or service responded, so almost nothing could be checked; check the URLs"
    );
    Ok(if count(Level::Error) > 0 { Exit::Drift } else { Exit::Ok })
}

/// Reads a server's name and its storage limit in bytes from its monitoring port; `None` if it does not report them.
pub(crate) async fn storage_limit(monitor_url: &str) -> Option<(String, u64)> {
    let client = reqwest::Client::builder().no_proxy().build().ok()?;
    let seen = monitor::ask(&client, monitor_url).await.ok()?;
    Some((seen.name, seen.storage_max?))
}

/// Returns all findings, always in the same order.
fn evaluate(observed: &Observed, key: Option<&str>, watched: Duration) -> Vec<Finding> {
    let mut findings = match &observed.nats {
        Ok(nats) => evaluate_nats(nats, observed, key, watched),
        Err(error) => vec![CONNECTION.error(
            error.clone(),
            "Without NATS no webhook is stored and nothing is sent. Streams, channels and lanes could not be checked.",
            "Start nats-server, or check IMCHANNEL_NATS_URL and the network.",
        )],
    };
    findings.extend(redis::evaluate(observed.redis.as_ref()));
    findings.extend(media::evaluate(observed.media.as_ref()));
    findings.extend(services::evaluate(&observed.services, version::NUMBER));
    findings.extend(spool::evaluate(&observed.spools()));
    let nats = observed.nats.as_ref().ok().and_then(|nats| nats.clock.clone());
    let monitors = observed.monitors.iter().filter_map(|(_, monitor)| monitor.as_ref().ok()?.clock.clone());
    let redis = observed.redis.iter().flatten().filter_map(|redis| redis.clock.clone());
    let media = observed.media.iter().filter_map(|(_, answer)| answer.as_ref().ok()?.clock.clone());
    let services = observed.services.iter().filter_map(|(_, service)| service.as_ref().ok()?.clock.clone());
    let clocks: Vec<_> = nats.into_iter().chain(monitors).chain(redis).chain(media).chain(services).collect();
    findings.push(clock::evaluate(&clocks));
    findings
}

fn evaluate_nats(nats: &Nats, observed: &Observed, key: Option<&str>, watched: Duration) -> Vec<Finding> {
    let mut findings = vec![CONNECTION.ok("NATS answers")];
    findings.extend(server::evaluate(&nats.server, &nats.versions, &nats.account));
    findings.extend(monitor::evaluate(&observed.monitors));
    let (version, least) = (ServerVersion::parse(&nats.server.version), replicas::least(&nats.streams));
    findings.push(durability::evaluate(&observed.monitors, version, least));
    findings.extend(ledger::evaluate(&nats.streams, &observed.monitors));
    findings.extend(drift::evaluate(&nats.differences, &nats.streams));
    findings.push(sequences::evaluate(&nats.sequences));
    let sizes = observed.monitors.iter().filter_map(|(_, monitor)| monitor.as_ref().ok()?.cluster_size);
    let size = sizes.max();
    let has_peers = nats.streams.iter().flatten().any(|stream| !stream.peers.is_empty());
    let is_cluster = size.is_some_and(|size| size > 1) || has_peers || nats.server.cluster.is_some();
    let cluster = replicas::Cluster { is_cluster, size, refuses_streams: nats.refuses_streams };
    findings.extend(replicas::evaluate(&nats.streams, &cluster));
    let durables: Vec<_> = nats.moves.iter().flatten().map(|moves| moves.after.clone()).collect();
    findings.extend(capacity::evaluate(&nats.streams, &durables, &nats.rates));
    findings.extend(progress::evaluate(&nats.moves, watched, nats.now));
    findings.extend(deadletters::evaluate(&nats.streams, nats.reason.as_deref(), nats.now));
    findings.push(channels::evaluate_records(&nats.stored));
    if let Err(error) = &nats.stored {
        // The channels are unknown, which differs from having none.
        findings.extend(references::unseen(error));
        findings.push(lanes::unseen(error));
        return findings;
    }
    findings.extend(channels::evaluate_key(&nats.channels, key));
    findings.extend(channels::evaluate_silent(&nats.channels, &nats.subjects, &nats.streams, nats.now));
    findings.extend(references::evaluate_references(&nats.references));
    findings.extend(references::evaluate_hosts(&nats.hosts));
    findings.extend(lanes::evaluate(&nats.lanes, &nats.leases, &nats.moves, watched, nats.now));
    findings
}

fn style(level: Level) -> anstyle::Style {
    match level {
        Level::Ok => GOOD,
        Level::Unknown => DIM,
        Level::Warning => ODD,
        Level::Error => BAD,
    }
}

fn show(finding: &Finding, out: &Out) {
    out.object(&finding.to_json());
    let level = styled(style(finding.level), &format!("{:<LEVEL_WIDTH$}", finding.level.word()));
    out.print(&text!("{level}{:<CHECK_WIDTH$}{}", finding.check, finding.message));
    for (word, text) in [("impact", &finding.impact), ("remedy", &finding.remedy)] {
        if !text.is_empty() {
            out.print(&text!("{:LEVEL_WIDTH$}{} {text}", "", styled(DIM, word)));
        }
    }
}
