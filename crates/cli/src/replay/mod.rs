//! `imchannel replay webhooks`: stored webhooks once more through the parser of this version. With `--dry-run` it shows
//! what that would change against what was published; without, it publishes.

mod compare;
mod dry_run;
pub(crate) mod published;
pub(crate) mod publish;
mod show;

use anyhow::Context as _;
use bsp::{BspId, ChannelId, Parsed, Webhook, registry};
use bus::read::{self, From, Read};
use bus::streams::WEBHOOKS;
use bus::subject::Filter;
use bus::{Bus, Delivery, Subject};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use crate::out::Out;
use crate::target::Target;
use crate::when::{self, Moment};
use crate::{Done, tail};

#[derive(Debug, Subcommand)]
pub(crate) enum Replay {
    /// Parse stored webhooks again and publish their events again, or show what would be different.
    Webhooks(Webhooks),
}

#[derive(Debug, Args)]
pub(crate) struct Webhooks {
    #[command(flatten)]
    selection: Selection,
    /// Publish nothing: show what this version makes of the webhooks against what was published. Exit code 3 when there
    /// are differences.
    #[arg(long)]
    dry_run: bool,
    /// Differences that are shown in full; all are counted.
    #[arg(long, default_value_t = 10, value_name = "N", requires = "dry_run")]
    examples: usize,
    /// Show numbers, names and texts.
    #[arg(long)]
    reveal: bool,
    /// Webhooks a second at most.
    #[arg(long, default_value_t = 500.0, value_name = "N")]
    rate: f64,
    /// Number of this replay. The same number again does not publish twice what was published within the stream's
    /// duplicate window, so an interrupted replay can be taken up [default: seconds since 1970].
    #[arg(long, value_name = "N")]
    number: Option<u64>,
}

/// Which webhooks.
#[derive(Debug, Args)]
struct Selection {
    /// Only this BSP.
    #[arg(long, value_parser = tail::parse_bsp)]
    bsp: Option<BspId>,
    /// Only this channel.
    #[arg(long, value_parser = |text: &str| ChannelId::parse(text))]
    channel: Option<ChannelId>,
    /// Stored then or later (90s, 15m, 2h, 3d ago, or a time such as 2026-03-01T10:00:00Z).
    #[arg(long, value_name = "WHEN", value_parser = when::moment, conflicts_with = "from_sequence")]
    since: Option<Moment>,
    /// Stored before then.
    #[arg(long, value_name = "WHEN", value_parser = when::moment)]
    until: Option<Moment>,
    /// From this sequence in stream WEBHOOKS.
    #[arg(long, value_name = "N")]
    from_sequence: Option<u64>,
    /// To this sequence, it included.
    #[arg(long, value_name = "N")]
    to_sequence: Option<u64>,
    /// So many at most, the oldest first.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    limit: u64,
}

pub(crate) async fn run(command: Replay, target: &Target, out: &Out) -> anyhow::Result<Done> {
    let Replay::Webhooks(command) = command;
    if !(command.rate > 0.0 && command.rate.is_finite()) {
        return Ok(out.faulty("--rate must be more than 0"));
    }
    let bus = target.connect().await?;
    let webhooks = command.selection.open(&bus).await?;
    if command.dry_run {
        return dry_run::run(&bus, webhooks, command.examples, command.reveal, out).await;
    }
    let number =
        command.number.unwrap_or_else(|| u64::try_from(Timestamp::now().as_second()).unwrap_or_default());
    publish::run(&bus, webhooks, number, command.rate, out).await
}

impl Selection {
    async fn open(&self, bus: &Bus) -> anyhow::Result<Selected> {
        let now = Timestamp::now();
        let from = match (self.from_sequence, self.since) {
            (Some(sequence), _) => From::Sequence(sequence),
            (None, Some(since)) => From::Time(since.from(now)),
            (None, None) => From::Start,
        };
        // What comes in while the replay runs is not replayed.
        let last = read::last_sequence(bus, &WEBHOOKS).await?;
        let last = self.to_sequence.map_or(last, |to| to.min(last));
        let filter = Filter { bsp: self.bsp, channel: self.channel.clone() }.webhooks();
        let messages = read::follow(bus, &WEBHOOKS, filter, from).await?;
        let is_over = messages.pending() == 0 || self.limit == 0;
        let until = self.until.map(|until| until.from(now));
        Ok(Selected { messages, until, last, left: self.limit, is_over })
    }
}

/// The selected webhooks, oldest first.
struct Selected {
    messages: read::Messages,
    until: Option<Timestamp>,
    last: u64,
    left: u64,
    is_over: bool,
}

impl Selected {
    /// How many there are at most.
    fn count(&self) -> u64 {
        if self.is_over { 0 } else { self.messages.pending().min(self.left) }
    }

    /// The next one, or `None` at the end.
    async fn next(&mut self) -> anyhow::Result<Option<Delivery>> {
        if self.is_over || self.left == 0 {
            return Ok(None);
        }
        let next = tokio::time::timeout(tail::SILENCE_MAX, self.messages.next()).await;
        let Some(read) = next.context("the bus has gone silent")? else { return Ok(None) };
        let Read { delivery, pending } = read?;
        if delivery.sequence > self.last || self.until.is_some_and(|until| delivery.stored_at >= until) {
            return Ok(None);
        }
        self.left -= 1;
        self.is_over = pending == 0;
        Ok(Some(delivery))
    }
}

/// What this version makes of a stored webhook; `None` when its subject is none of ours.
pub(crate) fn parse(delivery: &Delivery) -> Option<(BspId, ChannelId, Parsed)> {
    let Some(Subject::Webhook(bsp, channel)) = delivery.address() else { return None };
    let webhook = Webhook {
        channel: &channel,
        body: &delivery.payload,
        received_at: normalizer::received_at(delivery),
        sequence: delivery.sequence,
    };
    let parsed = normalizer::parse(registry::get(bsp), &webhook);
    Some((bsp, channel, parsed))
}

/// A bar on standard error; nothing for programs.
pub(crate) fn bar(count: u64, what: &str, out: &Out) -> ProgressBar {
    let bar = ProgressBar::new(count);
    if out.is_json() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = format!("{what} {{bar:30}} {{pos}} of {{len}}  {{per_sec}}  {{eta}} left  {{msg}}");
    bar.with_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
