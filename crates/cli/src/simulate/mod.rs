//! `imchannel simulate webhooks`: simulated BSPs in front of a gateway, and the ledger of what they were promised.

pub(crate) mod show;
pub(crate) mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bsp::{BspId, SettingsContext};
use channel::Secrets;
use channel::file::Described;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use simulator::{Mix, Plan, RunTag, Simulator, TwilioRetries, Verdict};
use tokio_util::sync::CancellationToken;

use crate::out::Out;
use crate::simulate::watch::Watch;
use crate::target::Target;
use crate::{Done, channel as channels, health, tail, when};

/// Interval of the checks whether every expected event has come.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Retries {
    /// `#rc=5&rp=all` in the callback URL, as recommended.
    All,
    /// One repeat, of failed connections only.
    Default,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The channels to post to, with their passwords (TOML).
    #[arg(long, value_name = "FILE")]
    channels: PathBuf,
    /// Where the gateway takes webhooks.
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    gateway: String,
    /// Webhooks a second, over all channels.
    #[arg(long, default_value = "20", value_name = "N", value_parser = when::rate)]
    rate: f64,
    /// Stop after so many webhooks.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop after this time (90s, 15m, 2h).
    #[arg(long = "for", value_name = "SPAN", value_parser = when::span, conflicts_with = "count")]
    span: Option<Duration>,
    /// Only this BSP.
    #[arg(long, value_parser = tail::parse_bsp)]
    bsp: Option<BspId>,
    /// The same seed makes the same choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Tag in every message id, eight hexadecimal digits [default: a new one, so that a run is told from all others].
    #[arg(long, value_name = "TAG")]
    run: Option<RunTag>,
    /// Divides the BSPs' waits before repeats: with 60, a minute lasts a second.
    #[arg(long, default_value_t = 60.0, value_name = "FACTOR")]
    speed: f64,
    /// How Twilio's callback URLs are written.
    #[arg(long, default_value = "all", value_enum)]
    twilio_retries: Retries,
    #[command(flatten)]
    mix: Shares,
    /// Where `imchannel health` asks whether the gateway takes what is posted [default: nowhere].
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Do not read what comes out: the ledger is not checked, and no NATS is needed.
    #[arg(long)]
    no_check: bool,
    /// After the last webhook, how long to wait for what has not come out yet.
    #[arg(long, default_value = "60s", value_name = "SPAN", value_parser = when::span)]
    settle: Duration,
}

/// What is among the webhooks, in per cent.
#[derive(Debug, Args)]
struct Shares {
    /// Customers' messages, in per cent.
    #[arg(long, default_value = "20", value_name = "PERCENT", value_parser = when::percent)]
    inbound_pct: f64,
    /// Webhooks about the account and customers, in per cent, of the BSPs that post such.
    #[arg(long, default_value = "2", value_name = "PERCENT", value_parser = when::percent)]
    notices_pct: f64,
    /// Messages that fail, in per cent.
    #[arg(long, default_value = "6", value_name = "PERCENT", value_parser = when::percent)]
    failed_pct: f64,
    /// Values that nobody knows, in per cent.
    #[arg(long, default_value = "1", value_name = "PERCENT", value_parser = when::percent)]
    unknown_pct: f64,
    /// Items that cannot be understood, in per cent.
    #[arg(long, default_value = "0.5", value_name = "PERCENT", value_parser = when::percent)]
    malformed_pct: f64,
    /// Webhooks that come again although they were answered, in per cent.
    #[arg(long, default_value = "2", value_name = "PERCENT", value_parser = when::percent)]
    duplicate_pct: f64,
    /// Reports that overtake the one before, in per cent.
    #[arg(long, default_value = "10", value_name = "PERCENT", value_parser = when::percent)]
    reorder_pct: f64,
    /// Items in one of Infobip's bodies at most.
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

pub(crate) async fn run(command: Simulate, target: &Target, out: &Out) -> anyhow::Result<Done> {
    if command.speed.is_nan() || command.speed < 1.0 {
        return Ok(out.faulty("--speed must be at least 1"));
    }
    let context = SettingsContext { extra_hosts: target.infobip_hosts.clone() };
    let Some(mut described) = channels::read_file(&command.channels, &context, out)? else {
        return Ok(Done::Faulty);
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
        out.error("the gateway has answered none of the webhooks 200");
    }
    let Some(watch) = watch else { return Ok(if is_taken { Done::Well } else { Done::Different }) };
    let verdict = settle(&simulator, &watch, command.settle, &stop).await;
    show::verdict(&verdict, out);
    Ok(if is_taken && verdict.is_clean() { Done::Well } else { Done::Different })
}

/// What is asked of a simulation that is well: the gateway has answered a webhook 200.
fn is_taken(simulator: &Simulator) -> health::Condition {
    let simulator = simulator.clone();
    health::Condition::new("webhooks", move || {
        let is_taken = simulator.tally().counts().iter().any(|counts| counts.taken > 0);
        if is_taken { Ok(()) } else { Err("the gateway has answered none of them 200".to_owned()) }
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

/// A tag that no other run has, as far as chance allows.
pub(crate) fn new_run() -> anyhow::Result<RunTag> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(RunTag(u32::from_be_bytes(bytes)))
}

/// The channels behind a gateway.
pub(crate) fn targets(gateway: &str, channels: &[Described]) -> anyhow::Result<Vec<simulator::Target>> {
    if !gateway.starts_with("http://") && !gateway.starts_with("https://") {
        bail!("the gateway's URL begins with http:// or https://");
    }
    let secrets = Secrets { folder: std::env::var_os("IMCHANNEL_SECRETS_DIR").map(PathBuf::from) };
    let targets = channels.iter().map(|channel| {
        let id = channel.id();
        simulator::Target::new(gateway, channel, &secrets)
            .with_context(|| format!("channel {id} cannot be simulated"))
    });
    targets.collect()
}

/// Posts, and shows how far it is.
async fn drive(command: &Simulate, simulator: &Simulator, stop: CancellationToken, out: &Out) {
    let count = simulator.plan().count;
    let bar = show::bar(count, !command.no_check, out);
    let mut running = std::pin::pin!(simulator.run(Timestamp::now(), stop));
    let mut ticks = tokio::time::interval(LOOK_AGAIN);
    // Said at once, and again at each tenfold: a run may have no end.
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

/// Waits until everything promised has come out and nothing more comes, or the time is up, or nobody wants to wait.
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
