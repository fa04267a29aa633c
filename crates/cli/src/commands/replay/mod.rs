//! `imchannel replay webhooks`: parses stored webhooks again with this version. It shows the differences from the
//! published events, or publishes the events with `--publish`.

pub(crate) mod by;
mod compare;
mod dry_run;
pub(crate) mod history;
pub(crate) mod publish;
mod show;

use bsp::{BspId, ChannelId, Parsed, Webhook, registry};
use bus::read::{self, StartAt};
use bus::replay::RUN_MAX;
use bus::streams::WEBHOOKS;
use bus::subject::Filter;
use bus::{Bus, Delivery, Subject};
use clap::{ArgGroup, Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;

use self::by::By;
use self::dry_run::ReportOptions;
use crate::commands::tail;
use crate::confirm::is_confirmed;
use crate::duration::{self, Moment};
use crate::exit::Exit;
use crate::mask::PersonalData;
use crate::output::{ODD, Out, styled, text};
use crate::target::Target;
use crate::words::pluralize;

#[derive(Debug, Subcommand)]
pub(crate) enum Replay {
    /// Parse stored webhooks again and show the differences from the published events; with --publish, publish their
    /// events again. Exit code 3 if there are differences.
    Webhooks(Webhooks),
}

#[derive(Debug, Args)]
pub(crate) struct Webhooks {
    #[command(flatten)]
    selection: Selection,
    /// Publish nothing. This is the default.
    #[arg(long, conflicts_with = "publish")]
    dry_run: bool,
    /// Publish the events of these webhooks again, after asking.
    #[arg(long)]
    publish: bool,
    /// Do not ask.
    #[arg(long, requires = "publish")]
    yes: bool,
    /// Number of differences that are shown in full; all are counted.
    #[arg(long, default_value_t = 10, value_name = "N", conflicts_with = "publish")]
    examples: usize,
    /// Show phone numbers, names and texts.
    #[arg(long)]
    unmask: bool,
    /// Most webhooks a second when they are published.
    #[arg(long, default_value = "500", value_name = "N", value_parser = duration::rate)]
    rate: f64,
    /// Number of this replay. Within the duplicate window of the stream, the same number does not publish the same
    /// event twice, so an interrupted replay can be continued [default: seconds since 1970].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=RUN_MAX))]
    number: Option<u64>,
    #[command(flatten)]
    by: By,
}

/// Selection of webhooks. The start is required.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("begin").required(true).args(["since", "from_sequence"]))]
struct Selection {
    /// Only this BSP.
    #[arg(long, value_parser = tail::parse_bsp)]
    bsp: Option<BspId>,
    /// Only this channel.
    #[arg(long, value_parser = |text: &str| ChannelId::parse(text))]
    channel: Option<ChannelId>,
    /// Stored at this time or later (90s, 15m, 2h, 3d ago, or a time such as 2026-03-01T10:00:00Z).
    #[arg(long, value_name = "WHEN", value_parser = duration::moment)]
    since: Option<Moment>,
    /// Stored before this time.
    #[arg(long, value_name = "WHEN", value_parser = duration::moment)]
    until: Option<Moment>,
    /// From this sequence of stream WEBHOOKS; 1 for all that are stored.
    #[arg(long, value_name = "N")]
    from_sequence: Option<u64>,
    /// Up to and including this sequence.
    #[arg(long, value_name = "N")]
    to_sequence: Option<u64>,
    /// Most webhooks, the oldest first.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    limit: u64,
}

pub(crate) async fn run(command: Replay, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    let Replay::Webhooks(command) = command;
    let bus = target.connect().await?;
    let webhooks = command.selection.open(&bus).await?;
    if !command.publish {
        let filter = Filter { bsp: command.selection.bsp, channel: command.selection.channel.clone() };
        let report =
            ReportOptions { examples: command.examples, personal: PersonalData::of_flag(command.unmask) };
        return dry_run::run(&bus, webhooks, &filter, report, out).await;
    }
    let question = format!("Publish the events of up to {} again?", pluralize(webhooks.count(), "webhook"));
    if !is_confirmed(command.yes, &question)? {
        return Ok(out.faulty("nothing was published; use --yes to publish without asking"));
    }
    // Read again from the start: the server deletes a consumer that is idle while the question waits for an answer.
    let webhooks = command.selection.open(&bus).await?;
    let run = command.by.run(command.number.unwrap_or_else(number_of_now));
    publish::run(&bus, webhooks, &run, command.rate, out).await
}

impl Selection {
    async fn open(&self, bus: &Bus) -> anyhow::Result<Selected> {
        let now = Timestamp::now();
        let from = match (self.from_sequence, self.since) {
            (Some(sequence), _) => StartAt::Sequence(sequence),
            (None, Some(since)) => StartAt::Time(since.from(now)),
            (None, None) => StartAt::Start,
        };
        // Webhooks that arrive during the replay are not replayed.
        let last = read::last_sequence(bus, &WEBHOOKS).await?;
        let last = self.to_sequence.map_or(last, |to| to.min(last));
        let filter = Filter { bsp: self.bsp, channel: self.channel.clone() }.webhooks();
        let messages = read::subscribe(bus, &WEBHOOKS, filter, from).await?;
        if messages.pending() == 0 {
            tail::refuse_unknown(bus, self.channel.as_ref()).await?;
        }
        let until = self.until.map(|until| until.from(now));
        Ok(Selected { messages, until, last, left: self.limit, cut_at: None })
    }
}

/// The number of a run that begins now: seconds since 1970.
pub(crate) fn number_of_now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or_default().min(RUN_MAX)
}

/// The selected webhooks, oldest first.
pub(super) struct Selected {
    messages: read::Messages,
    until: Option<Timestamp>,
    last: u64,
    left: u64,
    /// First webhook beyond the limit.
    cut_at: Option<u64>,
}

impl Selected {
    /// Returns an upper bound of their number.
    fn count(&self) -> u64 {
        self.messages.pending().min(self.left)
    }

    /// Returns the next one, or `None` at the end.
    async fn next(&mut self) -> anyhow::Result<Option<Delivery>> {
        let Some(delivery) = self.messages.next_stored().await? else { return Ok(None) };
        if delivery.sequence > self.last || self.until.is_some_and(|until| delivery.stored_at >= until) {
            return Ok(None);
        }
        if self.left == 0 {
            self.cut_at = Some(delivery.sequence);
            return Ok(None);
        }
        self.left -= 1;
        Ok(Some(delivery))
    }

    /// Prints a note if the limit has left webhooks out.
    fn say_cut(&self, out: &Out) {
        let Some(sequence) = self.cut_at else { return };
        let last = self.last;
        out.object(&json!({ "limit_reached_before": sequence, "to_sequence": last }));
        let rest = format!("--from-sequence {sequence} --to-sequence {last}, or a larger --limit");
        out.print(&text!(
            "{} more webhooks match; continue with {rest}",
            styled(ODD, "the limit was reached:")
        ));
    }
}

/// Parses a stored webhook; `None` if its subject is not a subject of imchannel.
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

/// A progress bar on standard error, or nothing for programs.
pub(crate) fn bar(count: u64, what: &str, out: &Out) -> ProgressBar {
    let bar = ProgressBar::new(count);
    if out.is_json() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = format!("{what} {{bar:30}} {{pos}} of {{len}}  {{per_sec}}  {{eta}} left  {{msg}}");
    bar.with_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
