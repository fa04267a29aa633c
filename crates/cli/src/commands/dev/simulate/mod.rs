//! `imchannel simulate webhooks`: simulated BSPs that post to a gateway, and the check that the right events come out.

pub(crate) mod show;
pub(crate) mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bsp::{BspId, SettingsContext};
use channel::Secrets;
use channel::file::ChannelSpec;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use simulator::{Mix, Plan, RunTag, Simulator, TwilioRetries, Verdict};
use tokio_util::sync::CancellationToken;

use crate::commands::dev::simulate::watch::Watch;
use crate::commands::{channel as channels, health, tail};
use crate::duration;
use crate::exit::Exit;
use crate::output::Out;
use crate::target::Target;

/// Interval of the checks whether every expected event has come.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Retries {
    /// `#rc=5&rp=all` in the callback URL, as recommended.
    All,
    /// One retry, of failed connections only.
    Default,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Channels to post to, with their passwords (TOML).
    #[arg(long, value_name = "FILE")]
    channels: PathBuf,
    /// URL of the gateway's ingress.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    gateway: String,
    /// Webhooks a second over all channels.
    #[arg(long, default_value = "20", value_name = "N", value_parser = duration::rate)]
    rate: f64,
    /// Stop after this number of webhooks.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop after this time (90s, 15m, 2h).
    #[arg(long = "for", value_name = "SPAN", value_parser = duration::span, conflicts_with = "count")]
    span: Option<Duration>,
    /// Only this BSP.
    #[arg(long, value_parser = tail::parse_bsp)]
    bsp: Option<BspId>,
    /// Random seed: the same seed makes the same choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Tag in every message id, eight hexadecimal digits [default: a new one, which identifies the run].
    #[arg(long, value_name = "TAG")]
    run: Option<RunTag>,
    /// Divisor of the BSPs' delays between retries: with 60, a minute takes a second.
    #[arg(long, default_value_t = 60.0, value_name = "FACTOR")]
    speed: f64,
    /// Retry settings in Twilio's callback URLs.
    #[arg(long, default_value = "all", value_enum)]
    twilio_retries: Retries,
    #[command(flatten)]
    mix: Shares,
    /// Listen address for `imchannel health`, which checks whether the gateway accepts webhooks [default: none].
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Do not read events: they are not checked, and no NATS is needed.
    #[arg(long)]
    no_check: bool,
    /// How long to wait for missing events after the last webhook.
    #[arg(long, default_value = "60s", value_name = "SPAN", value_parser = duration::span)]
    settle: Duration,
}

/// Mix of webhooks, in percent.
#[derive(Debug, Args)]
struct Shares {
    /// Customers' messages, in percent.
    #[arg(long, default_value = "20", value_name = "PERCENT", value_parser = duration::percent)]
    inbound_pct: f64,
    /// Webhooks about the account and customers, in percent, of the BSPs that post them.
    #[arg(long, default_value = "2", value_name = "PERCENT", value_parser = duration::percent)]
    notices_pct: f64,
    /// Messages that fail, in percent.
    #[arg(long, default_value = "6", value_name = "PERCENT", value_parser = duration::percent)]
    failed_pct: f64,
    /// Unknown values, in percent.
    #[arg(long, default_value = "1", value_name = "PERCENT", value_parser = duration::percent)]
    unknown_pct: f64,
    /// Items that cannot be parsed, in percent.
    #[arg(long, default_value = "0.5", value_name = "PERCENT", value_parser = duration::percent)]
    malformed_pct: f64,
    /// Webhooks that are posted again although they were answered 200, in percent.
    #[arg(long, default_value = "2", value_name = "PERCENT", value_parser = duration::percent)]
    duplicate_pct: f64,
    /// Reports that overtake the previous one, in percent.
    #[arg(long, default_value = "10", value_name = "PERCENT", value_parser = duration::percent)]
    reorder_pct: f64,
    /// Most items in one body of Infobip.
    #[arg(long, default_value_t = 5, value_name = "N")]
    batch_max: usize,
}

impl Shares {
    fn to_mix(&self) -> Mix {
        Mix {
            inbound: self.inbound_pct / 100.0,
            notices: self.notices_pct / 100.0,
            failed: self.failed_pct / 100.0,
            unknown: self.unknown_pct / 100.0,
            broken: self.malformed_pct / 100.0,
            repeated: self.duplicate_pct / 100.0,
            shuffled: self.reorder_pct / 100.0,
            batch_max: self.batch_max,
            ..Mix::default()
        }
    }
}

pub(crate) async fn run(command: Simulate, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    if command.speed.is_nan() || command.speed < 1.0 {
        return Ok(out.faulty("--speed must be at least 1"));
    }
    let context = SettingsContext { extra_hosts: target.infobip_hosts.clone() };
    let Some(mut described) = channels::read_file(&command.channels, &context, out)? else {
        return Ok(Exit::InvalidInput);
    };
    described.retain(|channel| command.bsp.is_none_or(|bsp| bsp == channel.bsp().profile().id));
    if described.is_empty() {
        return Ok(out.faulty("the file has no channel of that BSP"));
    }
    let (plan, targets) = (command.plan()?, targets(&command.gateway, &described)?);
    let simulator =
        if command.no_check { Simulator::unwatched(plan, targets) } else { Simulator::new(plan, targets) }?;
    let stop = service::process::stop_on_signal()?;
    let _admin = match command.admin_listen {
        Some(address) => Some(health::serve(address, &stop, is_taken(&simulator), out).await?),
        None => None,
    };
    let watch =
        if command.no_check { None } else { Some(Watch::start(target.connect().await?, &simulator).await?) };
    show::begins(&command.gateway, command.seed, simulator.run_tag(), out);
    drive(&command, &simulator, stop.clone(), out).await;
    let total = show::counts(&simulator, out);
    if total.dropped() > 0 {
        out.error(&show::dropped(&total));
    }
    let is_taken = total.posted == 0 || total.taken > 0;
    if !is_taken {
        out.error("the gateway answered no webhook 200; check its log, the URL and the passwords");
    }
    let Some(watch) = watch else { return Ok(if is_taken { Exit::Ok } else { Exit::Drift }) };
    let verdict = settle(&simulator, &watch, command.settle, &stop).await;
    show::verdict(&verdict, out);
    Ok(if is_taken && verdict.is_clean() { Exit::Ok } else { Exit::Drift })
}

/// Readiness of a simulation: the gateway has answered a webhook 200.
fn is_taken(simulator: &Simulator) -> health::Condition {
    let simulator = simulator.clone();
    health::Condition::new("webhooks", move || {
        let is_taken = simulator.tally().counts().iter().any(|counts| counts.taken > 0);
        if is_taken { Ok(()) } else { Err("the gateway has answered no webhook 200 yet".to_owned()) }
    })
}

impl Simulate {
    fn plan(&self) -> anyhow::Result<Plan> {
        let count = self.span.map(|span| (span.as_secs_f64() * self.rate).ceil() as u64);
        Ok(Plan {
            rate_per_s: self.rate,
            count: self.count.or(count),
            seed: self.seed,
            run: match self.run {
                Some(run) => run,
                None => new_run()?,
            },
            speed: self.speed,
            mix: self.mix.to_mix(),
            twilio_retries: match self.twilio_retries {
                Retries::All => TwilioRetries::All,
                Retries::Default => TwilioRetries::Default,
            },
        })
    }
}

/// Returns a random tag for the run.
pub(crate) fn new_run() -> anyhow::Result<RunTag> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("cannot get random numbers from the system: {error}"))?;
    Ok(RunTag(u32::from_be_bytes(bytes)))
}

/// Returns the channels to post to.
pub(crate) fn targets(gateway: &str, channels: &[ChannelSpec]) -> anyhow::Result<Vec<simulator::Target>> {
    if !gateway.starts_with("http://") && !gateway.starts_with("https://") {
        bail!("invalid URL of the gateway: it must begin with http:// or https://");
    }
    let secrets = Secrets { folder: std::env::var_os("IMCHANNEL_SECRETS_DIR").map(PathBuf::from) };
    let targets = channels.iter().map(|channel| {
        let id = channel.id();
        simulator::Target::new(gateway, channel, &secrets)
            .with_context(|| format!("channel {id} cannot be simulated"))
    });
    targets.collect()
}

/// Posts webhooks, and shows the progress.
async fn drive(command: &Simulate, simulator: &Simulator, stop: CancellationToken, out: &Out) {
    let count = simulator.plan().count;
    let bar = show::bar(count, !command.no_check, out);
    let mut running = std::pin::pin!(simulator.run(Timestamp::now(), stop));
    let mut ticks = tokio::time::interval(LOOK_AGAIN);
    // Printed immediately, and again at each tenfold, because a run may have no end.
    let mut say_from = 1;
    loop {
        tokio::select! {
            () = &mut running => break,
            _ = ticks.tick() => {
                let total = show::tick(&bar, simulator);
                if total.dropped() >= say_from {
                    say_from = total.dropped().saturating_mul(10);
                    bar.suspend(|| out.error(&show::dropped(&total)));
                }
            }
        }
    }
    show::tick(&bar, simulator);
    bar.finish_and_clear();
}

/// Waits until all expected events have come out and no more come, or the time is up, or the operator stops the wait.
async fn settle(simulator: &Simulator, watch: &Watch, limit: Duration, stop: &CancellationToken) -> Verdict {
    let settled = async {
        while simulator.ledger().counts().missing > 0 || !watch.is_processed().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        () = settled => {}
        () = tokio::time::sleep(limit) => {}
        () = stop.cancelled() => {}
    }
    simulator.ledger().verdict()
}
