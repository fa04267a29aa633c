//! `imchannel tail`: shows the decoded messages of the streams.

use std::time::Duration;

use anyhow::bail;
use bsp::{BspId, ChannelId, registry};
use bus::read::{self, StartAt};
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, StreamDefinition, WEBHOOKS};
use bus::subject::Filter;
use bus::{Bus, Delivery, EventKind, registry as registries};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::duration::{self, Moment};
use crate::exit::Exit;
use crate::mask::PersonalData;
use crate::output::Out;
use crate::show;
use crate::target::Target;

/// Timeout of each message with `--no-follow`.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// Raw webhooks as they are stored.
    Webhooks,
    /// Reports about sent messages.
    Reports,
    /// Customers' messages.
    Messages,
    /// Results of commands.
    Sends,
    /// Files that were fetched.
    Media,
    /// Changes of templates, numbers and the account.
    Account,
    /// Other actions of customers: opting in or out, a new number, a payment.
    Customers,
    /// Commands as they are stored.
    Commands,
    /// Dead letters.
    Deadletters,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Kind of messages to show.
    what: Source,
    /// Only this channel.
    #[arg(long, value_parser = |text: &str| ChannelId::parse(text))]
    channel: Option<ChannelId>,
    /// Only this BSP.
    #[arg(long, value_parser = parse_bsp)]
    bsp: Option<BspId>,
    /// Start with the oldest stored message.
    #[arg(long, conflicts_with = "since")]
    from_beginning: bool,
    /// Start this long ago (90s, 15m, 2h, 3d) or at a time (2026-03-01T10:00:00Z).
    #[arg(long, value_name = "WHEN", value_parser = duration::moment)]
    since: Option<Moment>,
    /// Stop at the end of the stored messages.
    #[arg(long)]
    no_follow: bool,
    /// Stop after this number of messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Show phone numbers, names and texts.
    #[arg(long)]
    unmask: bool,
}

pub(crate) async fn run(command: Tail, target: &Target, out: &Out) -> anyhow::Result<Exit> {
    if command.what == Source::Commands && command.bsp.is_some() {
        return Ok(out.faulty("commands do not name a BSP; select them by --channel"));
    }
    let from = command.from(Timestamp::now());
    let bus = target.connect().await?;
    let (stream, filters) = command.source();
    let mut messages = read::subscribe_all(&bus, stream, filters, from).await?;
    if messages.pending() == 0 {
        refuse_unknown(&bus, command.channel.as_ref()).await?;
    }
    if command.no_follow && messages.pending() == 0 {
        return Ok(Exit::Ok);
    }
    let mut shown = 0;
    while command.count.is_none_or(|count| shown < count) {
        let next = tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            next = messages.next() => next,
            () = tokio::time::sleep(SILENCE_MAX), if command.no_follow => bail!("timed out waiting for the next message from NATS"),
        };
        let Some(message) = next else { break };
        let message = message?;
        if command.show(&message.delivery, out) {
            shown += 1;
        }
        if command.no_follow && message.pending == 0 {
            break;
        }
    }
    Ok(Exit::Ok)
}

/// Fails for an unknown channel without stored messages, which is usually a typing error.
pub(crate) async fn refuse_unknown(bus: &Bus, channel: Option<&ChannelId>) -> anyhow::Result<()> {
    let Some(channel) = channel else { return Ok(()) };
    if registries::read(bus, channel.as_str()).await?.is_none() {
        bail!(
            "channel {channel} does not exist, and none of its messages are stored here; `imchannel channel list` shows all \
             channels, and `imchannel tail … --from-beginning` shows what is stored of one that was removed"
        );
    }
    Ok(())
}

impl Tail {
    fn source(&self) -> (&'static StreamDefinition, Vec<String>) {
        let filter = Filter { bsp: self.bsp, channel: self.channel.clone() };
        match self.what {
            Source::Webhooks => (&WEBHOOKS, vec![filter.webhooks()]),
            Source::Reports => (&EVENTS, vec![filter.events(EventKind::Report)]),
            Source::Messages => (&EVENTS, vec![filter.events(EventKind::Message)]),
            Source::Sends => (&EVENTS, vec![filter.events(EventKind::SendResult)]),
            Source::Media => (&EVENTS, vec![filter.events(EventKind::Media)]),
            Source::Account => (&EVENTS, vec![filter.events(EventKind::Account)]),
            Source::Customers => (&EVENTS, vec![filter.events(EventKind::Customer)]),
            Source::Commands => (&COMMANDS, filter.commands()),
            Source::Deadletters => (&DEADLETTERS, vec![filter.dead_letters()]),
        }
    }

    fn from(&self, now: Timestamp) -> StartAt {
        match self.since {
            _ if self.from_beginning => StartAt::Start,
            Some(moment) => StartAt::Time(moment.from(now)),
            // Without --follow, the stored messages are meant.
            None if self.no_follow => StartAt::Start,
            None => StartAt::Now,
        }
    }

    /// Shows one message. Returns whether it was selected.
    fn show(&self, delivery: &Delivery, out: &Out) -> bool {
        let personal = PersonalData::of_flag(self.unmask);
        let (object, line) = match self.what {
            Source::Webhooks => show::webhook(delivery, personal),
            Source::Reports => show::report(delivery, personal),
            Source::Messages => show::message(delivery, personal),
            Source::Sends => show::sent(delivery, personal),
            Source::Media => show::fetched(delivery),
            Source::Account => show::account(delivery, personal),
            Source::Customers => show::customer(delivery, personal),
            Source::Commands => show::command(delivery, personal),
            Source::Deadletters => show::dead_letter(delivery, personal),
        };
        // The subject of a dead letter does not name the BSP.
        let is_other = |bsp: BspId| object["bsp"].as_str() != Some(bsp.as_str());
        if self.what == Source::Deadletters && self.bsp.is_some_and(is_other) {
            return false;
        }
        out.object(&object);
        out.print(&line);
        true
    }
}

pub(crate) fn parse_bsp(name: &str) -> Result<BspId, String> {
    let found = registry::find(name).map(|bsp| bsp.profile().id);
    found.ok_or_else(|| {
        let known: Vec<_> = registry::REGISTRY.iter().map(|bsp| bsp.profile().id.as_str()).collect();
        format!("must be one of {}", known.join(", "))
    })
}
