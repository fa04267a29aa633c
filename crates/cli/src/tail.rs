//! `imchannel tail`: shows the decoded messages of the streams.

use std::time::Duration;

use anyhow::bail;
use bsp::mask::{self as body_mask, Unmasked};
use bsp::{BspId, ChannelId, registry};
use bus::read::{self, StartAt};
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, StreamDefinition, WEBHOOKS};
use bus::subject::Filter;
use bus::{Bus, Delivery, EventKind, Subject, headers, registry as registries};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use prost::Message;
use proto::v1::{InboundMessage, MediaFetched, Referral, ReportEvent, ReportStatus, SendOutcome, SendResult};
use serde_json::{Value, json};

use crate::duration::{self, Moment};
use crate::output::{BAD, DIM, GOOD, ODD, Out, STRONG, Text, styled, text};
use crate::target::Target;
use crate::words::pluralize;
use crate::{Exit, mask, notice};

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
            Source::Sends => (&EVENTS, vec![filter.events(EventKind::Interactive)]),
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
        let (object, line) = match self.what {
            Source::Webhooks => webhook(delivery, self.unmask),
            Source::Reports => report(delivery, self.unmask),
            Source::Messages => message(delivery, self.unmask),
            Source::Sends => sent(delivery, self.unmask),
            Source::Media => fetched(delivery),
            Source::Account => notice::account(delivery, self.unmask),
            Source::Customers => notice::customer(delivery, self.unmask),
            Source::Commands => command(delivery, self.unmask),
            Source::Deadletters => dead_letter(delivery, self.unmask),
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

pub(crate) type Shown = (Value, Text);

/// A report, as JSON and as text.
pub(crate) fn report(delivery: &Delivery, unmask: bool) -> Shown {
    let mut event = match ReportEvent::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    if !unmask {
        mask::report(&mut event);
    }
    let style = match event.status() {
        ReportStatus::Delivered | ReportStatus::Read => GOOD,
        ReportStatus::Failed => BAD,
        ReportStatus::Unrecognized | ReportStatus::Unspecified => ODD,
        ReportStatus::Pending | ReportStatus::Sent | ReportStatus::Deleted => STRONG,
    };
    let status = event.status().as_str_name().trim_start_matches("REPORT_STATUS_");
    let errors = event.errors.iter().map(|error| format!(" error {} {}", error.code, error.description));
    let line = text!(
        "{} {} {} {} message {} to {}{}{}",
        time_of(delivery),
        styled(DIM, &format!("{}/{}", event.bsp, event.channel_id)),
        styled(STRONG, "report"),
        styled(style, status),
        event.message_id,
        event.recipient,
        named("of the group", &event.participant),
        errors.collect::<String>(),
    );
    (serde_json::to_value(&event).unwrap_or_default(), line)
}

/// A part of a line, or nothing if its value is empty.
pub(crate) fn named(words: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" {words} {value}") }
}

/// A customer's message, as JSON and as text.
pub(crate) fn message(delivery: &Delivery, unmask: bool) -> Shown {
    let mut event = match InboundMessage::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    if !unmask {
        mask::message(&mut event);
    }
    let object = serde_json::to_value(&event).unwrap_or_default();
    let content =
        serde_json::to_value(InboundMessage { content: event.content.clone(), ..InboundMessage::default() });
    let line = text!(
        "{} {} {} {} from {}{}{}{} {}",
        time_of(delivery),
        styled(DIM, &format!("{}/{}", event.bsp, event.channel_id)),
        styled(STRONG, "message"),
        event.message_id,
        event.sender,
        named("in group", &event.group_id),
        named("answers", event.context.as_ref().map_or("", |context| &context.message_id)),
        event.referral.as_ref().map(referral).unwrap_or_default(),
        content.unwrap_or_default(),
    );
    (object, line)
}

fn referral(referral: &Referral) -> String {
    format!(" came by {} {} {}", referral.source_type, referral.source_id, referral.headline)
}

/// The result of a command, as JSON and as text.
pub(crate) fn sent(delivery: &Delivery, unmask: bool) -> Shown {
    let mut event = match SendResult::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    if !unmask {
        mask::result(&mut event);
    }
    let style = match event.outcome() {
        SendOutcome::Accepted => GOOD,
        SendOutcome::Rejected | SendOutcome::Expired => BAD,
        SendOutcome::Unknown | SendOutcome::Unspecified => ODD,
    };
    let outcome = event.outcome().as_str_name().trim_start_matches("SEND_OUTCOME_");
    let error = event.error.as_ref().map(|error| format!(" {} {}", error.code, error.description));
    // If the result names no channel or no id, the subject and the sequence of the command do.
    let place = delivery.subject.strip_prefix("imchannel.event.send.").unwrap_or_default().replace('.', "/");
    let id = if event.command_id.is_empty() {
        format!("{} of COMMANDS", event.command_sequence)
    } else {
        event.command_id.clone()
    };
    let line = text!(
        "{} {} {} {} command {id} message {} after {}{}",
        time_of(delivery),
        styled(DIM, &place),
        styled(STRONG, "send"),
        styled(style, outcome),
        event.message_id,
        pluralize(event.attempts, "call"),
        error.unwrap_or_default(),
    );
    (serde_json::to_value(&event).unwrap_or_default(), line)
}

/// A fetch, as JSON and as text. It contains no personal data.
pub(crate) fn fetched(delivery: &Delivery) -> Shown {
    let event = match MediaFetched::decode(delivery.payload.clone()) {
        Ok(event) => event,
        Err(error) => return undecodable(delivery, &error),
    };
    let range = if event.range.is_empty() { String::new() } else { format!(" of range {}", event.range) };
    let line = text!(
        "{} {} {} {} file {} {}{range} command {}",
        time_of(delivery),
        styled(DIM, &format!("{}/{}", event.bsp, event.channel_id)),
        styled(STRONG, "media"),
        event.method,
        event.media_id,
        pluralize(event.bytes, "byte"),
        event.command_id,
    );
    (serde_json::to_value(&event).unwrap_or_default(), line)
}

/// A stored command. Only its id and its kind are not personal.
fn command(delivery: &Delivery, unmask: bool) -> Shown {
    let content_type = delivery.headers.get(headers::CONTENT_TYPE);
    let decoded = bsp::command::decode(content_type, &delivery.payload).ok();
    // From the subject, even if no lane reads it.
    let place = delivery.subject.strip_prefix("imchannel.command.").unwrap_or_default();
    let (queue, channel) = place.split_once('.').unwrap_or((place, ""));
    let mut body =
        decoded.as_ref().and_then(|command| serde_json::to_value(command).ok()).unwrap_or_default();
    if !unmask {
        let keys = &["commandId", "channelId", "notAfter", "mediaId", "language"];
        let readable = Unmasked { keys, texts: &[] };
        let masked = body_mask::body("application/json", body.to_string().as_bytes(), readable);
        body = serde_json::from_str(&masked).unwrap_or_default();
    }
    let line = text!(
        "{} {} {} {body}",
        time_of(delivery),
        styled(DIM, &format!("{queue}/{channel}")),
        styled(STRONG, &format!("command {}", delivery.sequence)),
    );
    let object =
        json!({ "sequence": delivery.sequence, "queue": queue, "channel": channel, "command": body });
    (object, line)
}

pub(crate) fn undecodable(delivery: &Delivery, error: &prost::DecodeError) -> Shown {
    let line = text!("{} cannot decode the message of {}: {error}", time_of(delivery), delivery.subject);
    (json!({ "subject": delivery.subject, "sequence": delivery.sequence, "error": error.to_string() }), line)
}

fn webhook(delivery: &Delivery, unmask: bool) -> Shown {
    let address = delivery.address();
    let bsp = address.as_ref().and_then(Subject::bsp);
    let channel = address.as_ref().map(|address| address.channel_token().to_owned()).unwrap_or_default();
    let body = body_text(bsp, delivery, unmask);
    let bsp = bsp.map(BspId::as_str).unwrap_or_default();
    let route = delivery.headers.get(headers::ROUTE).unwrap_or_default();
    let line = text!(
        "{} {} {} {route} {body}",
        time_of(delivery),
        styled(DIM, &format!("{bsp}/{channel}")),
        styled(STRONG, &format!("webhook {}", delivery.sequence)),
    );
    let object = json!({
        "sequence": delivery.sequence,
        "bsp": bsp,
        "channel": channel,
        "route": route,
        "received_at": delivery.headers.get(headers::RECEIVED_AT),
        "content_type": delivery.headers.get(headers::CONTENT_TYPE),
        "bytes": delivery.payload.len(),
        "body": body,
    });
    (object, line)
}

pub(crate) fn dead_letter(delivery: &Delivery, unmask: bool) -> Shown {
    let header = |name| delivery.headers.get(name).unwrap_or_default();
    let bsp = registry::find(header(headers::BSP)).map(|bsp| bsp.profile().id);
    let channel = delivery.address().map(|address| address.channel_token().to_owned()).unwrap_or_default();
    let body = body_text(bsp, delivery, unmask);
    let line = text!(
        "{} {} {} {} from {}: {body}",
        time_of(delivery),
        styled(DIM, &format!("{}/{channel}", header(headers::BSP))),
        styled(BAD, &format!("dead letter {}", delivery.sequence)),
        header(headers::REASON),
        header(headers::ORIGIN),
    );
    let object = json!({
        "sequence": delivery.sequence,
        "bsp": header(headers::BSP),
        "channel": channel,
        "reason_kind": header(headers::REASON_KIND),
        "reason": header(headers::REASON),
        "origin": header(headers::ORIGIN),
        "time": header(headers::TIME),
        "bytes": delivery.payload.len(),
        "body": body,
    });
    (object, line)
}

fn body_text(bsp: Option<BspId>, delivery: &Delivery, unmask: bool) -> String {
    if unmask {
        return body_mask::unmasked(&delivery.payload);
    }
    match bsp.map(|bsp| registry::get(bsp).profile()) {
        Some(profile) => profile.masked(&delivery.payload),
        None => format!("({} bytes)", delivery.payload.len()),
    }
}

pub(crate) fn time_of(delivery: &Delivery) -> Text {
    styled(DIM, &format!("{:.3}", delivery.stored_at))
}
