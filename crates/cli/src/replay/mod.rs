//! `imchannel replay webhooks`: stored webhooks once more through the parser of this version. It shows what that would change
//! against what was published; with `--publish` it publishes.

mod compare;
mod dry_run;
pub(crate) mod published;
pub(crate) mod publish;
mod show;

use bsp::{BspId, ChannelId, Parsed, Webhook, registry};
use bus::read::{self, From};
use bus::streams::WEBHOOKS;
use bus::subject::Filter;
use bus::{Bus, Delivery, Subject};
use clap::{ArgGroup, Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;

use crate::confirm::is_confirmed;
use crate::out::{ODD, Out, styled, text};
use crate::target::Target;
use crate::when::{self, Moment};
use crate::words::counted;
use crate::{Done, tail};

#[derive(Debug, Subcommand)]
pub(crate) enum Replay {
    /// Parse stored webhooks again and show what would be different from what was published; with --publish, publish their
    /// events again. Exit code 3 when there are differences.
    Webhooks(Webhooks),
}

#[derive(Debug, Args)]
pub(crate) struct Webhooks {
    #[command(flatten)]
    selection: Selection,
    /// Publish nothing, which is the default.
    #[arg(long, conflicts_with = "publish")]
    dry_run: bool,
    /// Publish the events of these webhooks again, after asking.
    #[arg(long)]
    publish: bool,
    /// Do not ask.
    #[arg(long, requires = "publish")]
    yes: bool,
    /// Differences that are shown in full; all are counted.
    #[arg(long, default_value_t = 10, value_name = "N", conflicts_with = "publish")]
    examples: usize,
    /// Show numbers, names and texts.
    #[arg(long)]
    unmask: bool,
    /// Webhooks a second at most, when they are published.
    #[arg(long, default_value = "500", value_name = "N", value_parser = when::rate)]
    rate: f64,
    /// Number of this replay. The same number again does not publish twice what was published within the stream's
    /// duplicate window, so an interrupted replay can be taken up [default: seconds since 1970].
    #[arg(long, value_name = "N")]
    number: Option<u64>,
}

/// Which webhooks. Where they begin has to be said.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("begin").required(true).args(["since", "from_sequence"]))]
struct Selection {
    /// Only this BSP.
    #[arg(long, value_parser = tail::parse_bsp)]
    bsp: Option<BspId>,
    /// Only this channel.
    #[arg(long, value_parser = |text: &str| ChannelId::parse(text))]
    channel: Option<ChannelId>,
    /// Stored then or later (90s, 15m, 2h, 3d ago, or a time such as 2026-03-01T10:00:00Z).
    #[arg(long, value_name = "WHEN", value_parser = when::moment)]
    since: Option<Moment>,
    /// Stored before then.
    #[arg(long, value_name = "WHEN", value_parser = when::moment)]
    until: Option<Moment>,
    /// From this sequence in stream WEBHOOKS; 1 for all that are stored.
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
    let bus = target.connect().await?;
    let webhooks = command.selection.open(&bus).await?;
    if !command.publish {
        let filter = Filter { bsp: command.selection.bsp, channel: command.selection.channel.clone() };
        return dry_run::run(&bus, webhooks, &filter, (command.examples, command.unmask), out).await;
    }
    let question = format!("Publish the events of up to {} again?", counted(webhooks.count(), "webhook"));
    if !is_confirmed(command.yes, &question)? {
        return Ok(out.faulty("nothing was published; --yes publishes without asking"));
    }
    // Read again from the start: the server forgets a reader that waits for an answer.
    let webhooks = command.selection.open(&bus).await?;
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
        if messages.pending() == 0 {
            tail::refuse_unknown(bus, self.channel.as_ref()).await?;
        }
        let until = self.until.map(|until| until.from(now));
        Ok(Selected { messages, until, last, left: self.limit, cut_at: None })
    }
}

/// The selected webhooks, oldest first.
pub(super) struct Selected {
    messages: read::Messages,
    until: Option<Timestamp>,
    last: u64,
    left: u64,
    /// The first webhook that was left out because of the limit.
    cut_at: Option<u64>,
}

impl Selected {
    /// How many there are at most.
    fn count(&self) -> u64 {
        self.messages.pending().min(self.left)
    }

    /// The next one, or `None` at the end.
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

    /// Says so when the limit has left something out.
    fn say_cut(&self, out: &Out) {
        let Some(sequence) = self.cut_at else { return };
        let last = self.last;
        out.object(&json!({ "limit_reached_before": sequence, "to_sequence": last }));
        let rest = format!("--from-sequence {sequence} --to-sequence {last}, or a larger --limit");
        out.say(&text!("{} more were selected; go on with {rest}", styled(ODD, "the limit was reached:")));
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
