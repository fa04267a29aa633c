//! Subjects as types: every subject that imchannel publishes to or reads from, with its parser and its text form.

use std::fmt;

use bsp::{BspId, ChannelId, NO_BSP, UNKNOWN_CHANNEL, registry};

use crate::schema::stream_id::StreamId;

/// What kind of event a subject carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// `imchannel.v1.ReportEvent`.
    Report,
    /// `imchannel.v1.InboundMessage`.
    Message,
    /// `imchannel.v1.SendResult`.
    SendResult,
    /// `imchannel.v1.MediaFetched`.
    Media,
    /// `imchannel.v1.AccountEvent`.
    Account,
    /// `imchannel.v1.CustomerEvent`.
    Customer,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Report, Self::Message, Self::SendResult, Self::Media, Self::Account, Self::Customer];

    /// The kinds that webhooks become: the normalizer publishes them, and a replay publishes them again.
    pub const OF_WEBHOOKS: [Self; 4] = [Self::Report, Self::Message, Self::Account, Self::Customer];

    /// The token in the subject.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Message => "message",
            Self::SendResult => "send",
            Self::Media => "media",
            Self::Account => "account",
            Self::Customer => "customer",
        }
    }

    /// Full name of the protobuf message, as `ce-type` has it.
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Report => "imchannel.v1.ReportEvent",
            Self::Message => "imchannel.v1.InboundMessage",
            Self::SendResult => "imchannel.v1.SendResult",
            Self::Media => "imchannel.v1.MediaFetched",
            Self::Account => "imchannel.v1.AccountEvent",
            Self::Customer => "imchannel.v1.CustomerEvent",
        }
    }

    fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.token() == token)
    }
}

/// Where a dead letter comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A stored webhook.
    Webhook,
    /// A command.
    Command,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Command];

    /// The token in the subject.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Command => "command",
        }
    }

    fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.token() == token)
    }
}

/// The two queues of commands that every channel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Commands of agents. They have priority.
    Interactive,
    /// Commands of campaigns. They get the rest of the channel's rate.
    Bulk,
}

impl Priority {
    /// Both, the more urgent first.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Bulk];

    /// The token in the subject.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Interactive => "send",
            Self::Bulk => "bulk",
        }
    }

    fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.token() == token)
    }
}

/// A subject of imchannel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `imchannel.webhook.{bsp}.{channel}`
    Webhook(BspId, ChannelId),
    /// `imchannel.event.{kind}.{bsp}.{channel}`
    Event(EventKind, BspId, ChannelId),
    /// `imchannel.event.send.none.{channel}`: the result of a command whose channel is not configured, with `unknown`
    /// for a channel that cannot be determined.
    ResultWithoutBsp(Option<ChannelId>),
    /// `imchannel.command.{queue}.{channel}`
    Command(Priority, ChannelId),
    /// `imchannel.deadletter.{origin}.{channel}`, with `unknown` for a channel that cannot be determined.
    DeadLetter(Origin, Option<ChannelId>),
}

impl Subject {
    /// Parses a subject; `None` if it is not a subject of imchannel.
    ///
    /// # Examples
    /// ```
    /// use bus::{EventKind, Subject};
    ///
    /// let subject = Subject::parse("imchannel.event.report.infobip.sales").expect("a subject of imchannel");
    /// assert!(matches!(&subject, Subject::Event(EventKind::Report, _, channel) if channel.as_str() == "sales"));
    /// assert_eq!(subject.to_text(), "imchannel.event.report.infobip.sales");
    /// assert_eq!(Subject::parse("imchannel.event.report.unheard-of.sales"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let mut tokens = text.split('.');
        if tokens.next() != Some("imchannel") {
            return None;
        }
        let kind = tokens.next()?;
        let subject = match kind {
            "webhook" => Self::Webhook(bsp(tokens.next()?)?, channel(tokens.next()?)?),
            "event" => {
                let kind = EventKind::from_token(tokens.next()?)?;
                match (kind, tokens.next()?) {
                    (EventKind::SendResult, NO_BSP) => {
                        Self::ResultWithoutBsp(channel_or_unknown(tokens.next()?)?)
                    }
                    (kind, token) => Self::Event(kind, bsp(token)?, channel(tokens.next()?)?),
                }
            }
            "command" => Self::Command(Priority::from_token(tokens.next()?)?, channel(tokens.next()?)?),
            "deadletter" => {
                let origin = Origin::from_token(tokens.next()?)?;
                Self::DeadLetter(origin, channel_or_unknown(tokens.next()?)?)
            }
            _ => return None,
        };
        tokens.next().is_none().then_some(subject)
    }

    /// The subject as text. Every message needs it, so it is built without `format!`.
    pub fn to_text(&self) -> String {
        let parts = match self {
            Self::Webhook(bsp, channel) => ["webhook", "", bsp.as_str(), channel.as_str()],
            Self::Event(kind, bsp, channel) => ["event", kind.token(), bsp.as_str(), channel.as_str()],
            Self::ResultWithoutBsp(_) => {
                ["event", EventKind::SendResult.token(), NO_BSP, self.channel_token()]
            }
            Self::Command(queue, channel) => ["command", queue.token(), "", channel.as_str()],
            Self::DeadLetter(origin, _) => ["deadletter", origin.token(), "", self.channel_token()],
        };
        let mut text = String::with_capacity(96);
        text.push_str("imchannel");
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            text.push('.');
            text.push_str(part);
        }
        text
    }

    /// The stream that stores it.
    pub fn stream(&self) -> StreamId {
        match self {
            Self::Webhook(..) => StreamId::Webhooks,
            Self::Event(..) | Self::ResultWithoutBsp(..) => StreamId::Events,
            Self::Command(..) => StreamId::Commands,
            Self::DeadLetter(..) => StreamId::DeadLetters,
        }
    }

    /// The channel in its last token; `None` for a dead letter or a result without a known channel.
    pub fn channel(&self) -> Option<&ChannelId> {
        match self {
            Self::Webhook(_, channel) | Self::Event(_, _, channel) | Self::Command(_, channel) => {
                Some(channel)
            }
            Self::ResultWithoutBsp(channel) | Self::DeadLetter(_, channel) => channel.as_ref(),
        }
    }

    /// Its last token, for people and labels: the channel's id, or `unknown`.
    pub fn channel_token(&self) -> &str {
        self.channel().map_or(UNKNOWN_CHANNEL, ChannelId::as_str)
    }

    /// The BSP in it. A dead letter has it in its headers, and a command through its channel.
    pub fn bsp(&self) -> Option<BspId> {
        match self {
            Self::Webhook(bsp, _) | Self::Event(_, bsp, _) => Some(*bsp),
            Self::ResultWithoutBsp(..) | Self::Command(..) | Self::DeadLetter(..) => None,
        }
    }
}

fn bsp(token: &str) -> Option<BspId> {
    registry::find(token).map(|bsp| bsp.profile().id)
}

fn channel(token: &str) -> Option<ChannelId> {
    ChannelId::parse(token).ok()
}

/// Parses a channel token: a channel, `Some(None)` for `unknown`, or `None` if it is invalid.
fn channel_or_unknown(token: &str) -> Option<Option<ChannelId>> {
    if token == UNKNOWN_CHANNEL { Some(None) } else { channel(token).map(Some) }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// Whether every subject that `narrow` matches is also matched by `wide`. Both may have wildcards: `*` for one token,
/// `>` at the end for one or more.
///
/// # Examples
/// ```
/// use bus::subject::covers;
///
/// assert!(covers("imchannel.event.>", "imchannel.event.report.*.sales"));
/// assert!(!covers("imchannel.event.report.*.sales", "imchannel.event.>"));
/// ```
pub fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
}

/// A filter over the subjects of a stream. `None` matches every value.
///
/// nats-server 2.9 accepts a consumer's filter only if one subject of the stream covers it, or if it covers one (its
/// `validFilteredSubject`). Every filter of this type does.
///
/// # Examples
/// ```
/// use bus::{EventKind, subject::Filter};
///
/// let filter = Filter { channel: bsp::ChannelId::parse("sales").ok(), ..Filter::default() };
/// assert_eq!(filter.events(EventKind::Report), "imchannel.event.report.*.sales");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this BSP.
    pub bsp: Option<BspId>,
    /// Only this channel.
    pub channel: Option<ChannelId>,
}

impl Filter {
    /// Filter of the matching webhooks.
    pub fn webhooks(&self) -> String {
        format!("imchannel.webhook.{}.{}", self.bsp_token(), self.channel_token())
    }

    /// Filter of the matching events of one kind.
    pub fn events(&self, kind: EventKind) -> String {
        format!("imchannel.event.{}.{}.{}", kind.token(), self.bsp_token(), self.channel_token())
    }

    /// Filter of the matching events of every kind.
    pub fn all_events(&self) -> String {
        format!("imchannel.event.*.{}.{}", self.bsp_token(), self.channel_token())
    }

    /// Filters of the matching commands. Those of one channel need a filter for each queue: no subject of COMMANDS
    /// covers both. Without a channel, they also match commands that no lane reads. The BSP is not in their subject.
    pub fn commands(&self) -> Vec<String> {
        if self.channel.is_none() {
            return vec!["imchannel.command.>".to_owned()];
        }
        let of = |queue: Priority| format!("imchannel.command.{}.{}", queue.token(), self.channel_token());
        Priority::ALL.map(of).to_vec()
    }

    /// Filter of the matching dead letters. The BSP is not in their subject.
    pub fn dead_letters(&self) -> String {
        format!("imchannel.deadletter.*.{}", self.channel_token())
    }

    fn bsp_token(&self) -> &str {
        self.bsp.map_or("*", BspId::as_str)
    }

    fn channel_token(&self) -> &str {
        self.channel.as_ref().map_or("*", ChannelId::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::streams::{COMMANDS, DEADLETTERS, EVENTS, WEBHOOKS};

    #[test]
    fn every_subject_comes_back_from_its_text() {
        let channel = ChannelId::parse("202105102694809992").unwrap();
        for bsp in registry::REGISTRY {
            let bsp = bsp.profile().id;
            for subject in [
                Subject::Webhook(bsp, channel.clone()),
                Subject::Event(EventKind::Report, bsp, channel.clone()),
                Subject::Event(EventKind::Message, bsp, channel.clone()),
                Subject::Event(EventKind::SendResult, bsp, channel.clone()),
                Subject::Event(EventKind::Media, bsp, channel.clone()),
                Subject::Event(EventKind::Account, bsp, channel.clone()),
                Subject::Event(EventKind::Customer, bsp, channel.clone()),
                Subject::ResultWithoutBsp(Some(channel.clone())),
                Subject::ResultWithoutBsp(None),
                Subject::Command(Priority::Interactive, channel.clone()),
                Subject::Command(Priority::Bulk, channel.clone()),
                Subject::DeadLetter(Origin::Webhook, Some(channel.clone())),
                Subject::DeadLetter(Origin::Command, Some(channel.clone())),
                Subject::DeadLetter(Origin::Command, None),
            ] {
                assert_eq!(Subject::parse(&subject.to_string()), Some(subject));
            }
        }
    }

    #[test]
    fn other_subjects_are_not_parsed() {
        for text in [
            "",
            "imchannel",
            "imchannel.webhook.infobip",
            "imchannel.webhook.pigeon.c",
            "imchannel.webhook.infobip.c.d",
            "imchannel.event.weather.infobip.c",
            "imchannel.event.report.none.c",
            "imchannel.event.send.none.none",
            "imchannel.event.send.none.c.d",
            "imchannel.event.send.infobip.unknown",
            "imchannel.command.push.c",
            "imchannel.command.send",
            "imchannel.command.send.unknown",
            "imchannel.command.send.none",
            "imchannel.command.Send.c",
            "imchannel.deadletter.moon.c",
            "imchannel.deadletter.command.none",
            "other.webhook.infobip.c",
        ] {
            assert_eq!(Subject::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_matches() {
        for (wide, narrow) in [
            (">", "a"),
            (">", "a.>"),
            ("a.>", "a.b"),
            ("a.>", "a.*.c"),
            ("a.*.*", "a.*.*"),
            ("a.*.*", "a.b.c"),
            ("a.b", "a.b"),
            ("a.*", "a.*"),
        ] {
            assert!(covers(wide, narrow), "{wide} covers {narrow}");
        }
        for (wide, narrow) in [
            ("a.>", "a"),
            ("a.*", "a.>"),
            ("a.*", "a.b.c"),
            ("a.*.*", "a.b.>"),
            ("a.b", "a.*"),
            ("a.b.c", "a.b"),
            ("a.b", "a.B"),
        ] {
            assert!(!covers(wide, narrow), "{wide} does not cover {narrow}");
        }
    }

    #[test]
    fn every_filter_fits_one_subject_of_its_stream() {
        let channel = Some(ChannelId::parse("c").unwrap());
        let bsp = Some(registry::REGISTRY[0].profile().id);
        for filter in [
            Filter::default(),
            Filter { bsp, channel: None },
            Filter { bsp: None, channel: channel.clone() },
            Filter { bsp, channel },
        ] {
            let mut all = vec![(&WEBHOOKS, filter.webhooks()), (&EVENTS, filter.all_events())];
            all.extend(EventKind::ALL.map(|kind| (&EVENTS, filter.events(kind))));
            all.extend(filter.commands().into_iter().map(|text| (&COMMANDS, text)));
            all.push((&DEADLETTERS, filter.dead_letters()));
            for (stream, text) in all {
                let fits = |subject: &&str| covers(subject, &text) || covers(&text, subject);
                assert!(stream.subjects.iter().any(fits), "{text} of {}", stream.name);
            }
        }
    }
}
