//! What the subject of a message says. More lenient than [`bus::Subject`]: a BSP or a queue that this version does not know
//! still has its row.

use bsp::ChannelId;
use bus::{EventKind, Origin, Priority};

use crate::row::{RowKind, StreamNumber};

/// A subject of a stream. A BSP or channel that is not known is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address<'s> {
    /// A webhook.
    Webhook { bsp: &'s str, channel: &'s str },
    /// An event.
    Event { kind: EventKind, bsp: &'s str, channel: &'s str },
    /// A command; no queue if no lane reads its subject.
    Command { queue: Option<Priority>, channel: &'s str },
    /// A dead letter.
    DeadLetter { origin: Origin, channel: &'s str },
}

impl<'s> Address<'s> {
    /// `None` if it is not a subject of this stream, or is an event of a kind that this version does not know.
    pub(super) fn of(stream: StreamNumber, subject: &'s str) -> Option<Self> {
        let (first, rest) = subject.strip_prefix("imchannel.")?.split_once('.')?;
        let mut tokens = rest.split('.');
        let mut next = || tokens.next().unwrap_or_default();
        match (stream, first) {
            (StreamNumber::Webhooks, "webhook") => {
                Some(Self::Webhook { bsp: name(next()), channel: name(next()) })
            }
            (StreamNumber::Events, "event") => {
                let token = next();
                let kind = EventKind::ALL.into_iter().find(|kind| kind.token() == token)?;
                Some(Self::Event { kind, bsp: name(next()), channel: name(next()) })
            }
            (StreamNumber::Commands, "command") => {
                let token = next();
                let queue = Priority::ALL.into_iter().find(|queue| queue.token() == token);
                Some(Self::Command { queue, channel: name(next()) })
            }
            (StreamNumber::DeadLetters, "deadletter") => {
                let token = next();
                let origin = Origin::ALL.into_iter().find(|origin| origin.token() == token)?;
                Some(Self::DeadLetter { origin, channel: name(next()) })
            }
            _ => None,
        }
    }

    /// The channel's id; empty if it is not known.
    pub(super) fn channel(self) -> &'s str {
        match self {
            Self::Webhook { channel, .. }
            | Self::Event { channel, .. }
            | Self::Command { channel, .. }
            | Self::DeadLetter { channel, .. } => channel,
        }
    }

    /// The BSP; empty if the subject does not name it.
    pub(super) fn bsp(self) -> &'s str {
        match self {
            Self::Webhook { bsp, .. } | Self::Event { bsp, .. } => bsp,
            Self::Command { .. } | Self::DeadLetter { .. } => "",
        }
    }

    /// What happened.
    pub(super) fn kind(self) -> RowKind {
        match self {
            Self::Webhook { .. } => RowKind::Webhook,
            Self::Command { .. } => RowKind::Command,
            Self::DeadLetter { .. } => RowKind::DeadLetter,
            Self::Event { kind, .. } => match kind {
                EventKind::Report => RowKind::Report,
                EventKind::Message => RowKind::Message,
                EventKind::SendResult => RowKind::Result,
                EventKind::Media => RowKind::Fetch,
                EventKind::Account => RowKind::Account,
                EventKind::Customer => RowKind::Customer,
            },
        }
    }
}

/// A token that may be the name of a BSP or a channel; empty for the words that mean that there is none.
fn name(token: &str) -> &str {
    if ChannelId::parse(token).is_ok() { token } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_says_what_it_is_of_which_channel() {
        let address = |stream, subject| Address::of(stream, subject);
        let (bsp, channel) = ("infobip", "sales");
        for (stream, subject, expected) in [
            (StreamNumber::Webhooks, "imchannel.webhook.infobip.sales", Address::Webhook { bsp, channel }),
            (
                StreamNumber::Events,
                "imchannel.event.report.pigeon.sales",
                Address::Event { kind: EventKind::Report, bsp: "pigeon", channel },
            ),
            (
                StreamNumber::Events,
                "imchannel.event.send.none.unknown",
                Address::Event { kind: EventKind::SendResult, bsp: "", channel: "" },
            ),
            (
                StreamNumber::Commands,
                "imchannel.command.bulk.sales",
                Address::Command { queue: Some(Priority::Bulk), channel },
            ),
            (StreamNumber::Commands, "imchannel.command.Send", Address::Command { queue: None, channel: "" }),
            (
                StreamNumber::DeadLetters,
                "imchannel.deadletter.command.unknown",
                Address::DeadLetter { origin: Origin::Command, channel: "" },
            ),
        ] {
            assert_eq!(address(stream, subject), Some(expected), "{subject}");
        }
        for subject in ["", "imchannel", "imchannel.event.weather.infobip.c", "imchannel.webhook.infobip.c"] {
            assert_eq!(address(StreamNumber::Events, subject), None, "{subject}");
        }
    }
}
