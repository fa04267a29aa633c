//! What `up` shows while it runs: on a terminal one short line for each event and dead letter, otherwise every event as
//! `tail` shows it.

use bus::read;
use bus::{Delivery, EventKind, Subject, headers};
use jiff::Timestamp;
use prost::Message;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, MediaFetched, ReportEvent, SendResult};
use service::terminal::escape;

use crate::mask::PersonalData;
use crate::output::{self, BAD, DIM, Out, STRONG, Text, styled, text};
use crate::words::pluralize;
use crate::{mask, show};

/// Width of the column with BSP and channel.
const PLACE_WIDTH: usize = 26;
/// Width of the column with the kind of event.
const KIND_WIDTH: usize = 8;

/// Prints every event as `tail` does, masked.
pub(super) async fn show_events(mut events: read::Messages, out: Out) {
    while let Some(event) = events.next().await {
        let Ok(event) = event else { continue };
        let (object, line) = match event.delivery.address() {
            Some(Subject::Event(EventKind::Report, ..)) => {
                show::report(&event.delivery, PersonalData::Masked)
            }
            Some(Subject::Event(EventKind::Message, ..)) => {
                show::message(&event.delivery, PersonalData::Masked)
            }
            Some(Subject::Event(EventKind::SendResult, ..) | Subject::ResultWithoutBsp(..)) => {
                show::sent(&event.delivery, PersonalData::Masked)
            }
            Some(Subject::Event(EventKind::Media, ..)) => show::fetched(&event.delivery),
            Some(Subject::Event(EventKind::Account, ..)) => {
                show::account(&event.delivery, PersonalData::Masked)
            }
            Some(Subject::Event(EventKind::Customer, ..)) => {
                show::customer(&event.delivery, PersonalData::Masked)
            }
            _ => continue,
        };
        out.object(&object);
        out.print(&line);
    }
}

/// Prints a short line for every message of `messages`: events or dead letters.
pub(super) async fn show_lines(mut messages: read::Messages, out: Out) {
    while let Some(message) = messages.next().await {
        let Ok(message) = message else { continue };
        if let Some(line) = Line::of(&message.delivery) {
            out.print(&line.text(output::width()));
        }
    }
}

/// A line about one event or dead letter. Nothing in it is personal.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    at: Timestamp,
    /// BSP and channel.
    place: String,
    kind: &'static str,
    /// What happened.
    word: String,
    is_bad: bool,
    detail: String,
}

impl Line {
    /// `None` for a message that is neither an event nor a dead letter.
    fn of(delivery: &Delivery) -> Option<Self> {
        let subject = delivery.address()?;
        let brief = match &subject {
            Subject::Event(kind, ..) => event(*kind, delivery),
            Subject::ResultWithoutBsp(_) => event(EventKind::SendResult, delivery),
            Subject::DeadLetter(..) => Ok(dead_letter(delivery)),
            Subject::Webhook(..) | Subject::Command(..) => return None,
        };
        let kind = match &subject {
            Subject::Event(kind, ..) => kind.token(),
            Subject::ResultWithoutBsp(_) => EventKind::SendResult.token(),
            _ => "dead letter",
        };
        let Brief { word, is_bad, detail } = brief.unwrap_or_else(|error| Brief {
            word: "UNREADABLE".to_owned(),
            is_bad: true,
            detail: format!("cannot be decoded: {error}"),
        });
        let bsp = subject.bsp().map(|bsp| bsp.to_string());
        let bsp = bsp.or_else(|| delivery.headers.get(headers::BSP).map(str::to_owned));
        let place = format!("{}/{}", bsp.as_deref().unwrap_or(output::UNKNOWN), subject.channel_token());
        Some(Self { at: delivery.stored_at, place, kind, word, is_bad, detail })
    }

    /// The line, cut to `width` columns.
    fn text(&self, width: usize) -> Text {
        let time = self.at.strftime("%H:%M:%S").to_string();
        let place = cut(&self.place, PLACE_WIDTH);
        let word = escape(&self.word).into_owned();
        let before = time.len() + place.chars().count().max(PLACE_WIDTH) + self.kind.len().max(KIND_WIDTH);
        let room = width.saturating_sub(before + word.chars().count() + 4);
        text!(
            "{} {}{:padding$} {:KIND_WIDTH$} {} {}",
            styled(DIM, &time),
            styled(DIM, &place),
            "",
            self.kind,
            styled(if self.is_bad { BAD } else { STRONG }, &word),
            cut(&self.detail, room),
            padding = PLACE_WIDTH.saturating_sub(place.chars().count()),
        )
    }
}

/// The text, escaped and cut to `width` characters.
fn cut(text: &str, width: usize) -> String {
    let escaped = escape(text);
    if escaped.chars().count() <= width {
        return escaped.into_owned();
    }
    let mut short: String = escaped.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// One event in a few words.
struct Brief {
    /// What happened.
    word: String,
    is_bad: bool,
    /// What it is about.
    detail: String,
}

fn event(kind: EventKind, delivery: &Delivery) -> Result<Brief, prost::DecodeError> {
    let payload = delivery.payload.clone();
    Ok(match kind {
        EventKind::Report => report(ReportEvent::decode(payload)?),
        EventKind::Message => message(InboundMessage::decode(payload)?),
        EventKind::SendResult => result(SendResult::decode(payload)?),
        EventKind::Media => fetch(&MediaFetched::decode(payload)?),
        EventKind::Account => account(AccountEvent::decode(payload)?),
        EventKind::Customer => customer(CustomerEvent::decode(payload)?),
    })
}

fn report(mut event: ReportEvent) -> Brief {
    mask::report(&mut event);
    let error = event.errors.first().map(|error| format!(" error {}", error.code)).unwrap_or_default();
    let word = event.status().as_str_name().trim_start_matches("REPORT_STATUS_").to_owned();
    let is_bad = matches!(word.as_str(), "FAILED" | "UNRECOGNIZED" | "UNSPECIFIED");
    Brief { word, is_bad, detail: format!("to {} {}{error}", event.recipient, event.message_id) }
}

fn message(mut event: InboundMessage) -> Brief {
    mask::message(&mut event);
    // proto3 JSON names the content by its field: text, image, location.
    let only = InboundMessage { content: event.content.clone(), ..InboundMessage::default() };
    let json = serde_json::to_value(only).unwrap_or_default();
    let kind = json.as_object().and_then(|object| object.keys().next()).cloned();
    let word = kind.unwrap_or_else(|| "empty".to_owned());
    Brief { word, is_bad: false, detail: format!("from {} {}", event.sender, event.message_id) }
}

fn result(mut event: SendResult) -> Brief {
    mask::result(&mut event);
    let word = event.outcome().as_str_name().trim_start_matches("SEND_OUTCOME_").to_owned();
    let error = event.error.as_ref().map(|error| format!(" {} {}", error.code, error.description));
    let is_bad = word != "ACCEPTED";
    Brief { word, is_bad, detail: format!("{}{}", event.command_id, error.unwrap_or_default()) }
}

fn fetch(event: &MediaFetched) -> Brief {
    let detail = format!("{} of {}", pluralize(event.bytes, "byte"), event.media_id);
    Brief { word: event.method.clone(), is_bad: false, detail }
}

fn account(mut event: AccountEvent) -> Brief {
    mask::account(&mut event);
    let word = event.kind().as_str_name().trim_start_matches("ACCOUNT_EVENT_KIND_").to_owned();
    let is_bad = matches!(word.as_str(), "RESTRICTION" | "BAN" | "NUMBER_ERROR");
    let template = event.template.unwrap_or_default();
    let parts = [template.name, template.status, template.reason, event.decision];
    let detail: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Brief { word, is_bad, detail: detail.join(" ") }
}

fn customer(mut event: CustomerEvent) -> Brief {
    mask::customer(&mut event);
    let word = event.kind().as_str_name().trim_start_matches("CUSTOMER_EVENT_KIND_").to_owned();
    let number = event.customer.unwrap_or_default().number;
    let detail = if number.is_empty() { String::new() } else { format!("number {number}") };
    Brief { word, is_bad: false, detail }
}

fn dead_letter(delivery: &Delivery) -> Brief {
    let kind = delivery.headers.get(headers::REASON_KIND).unwrap_or(output::UNKNOWN);
    let detail = format!("imchannel deadletter show {}", delivery.sequence);
    Brief { word: kind.to_owned(), is_bad: true, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(detail: &str) -> Line {
        Line {
            at: "2026-03-01T10:32:07.5Z".parse().unwrap(),
            place: "infobip/202105102694809992".to_owned(),
            kind: "report",
            word: "DELIVERED".to_owned(),
            is_bad: false,
            detail: detail.to_owned(),
        }
    }

    fn plain(line: &Line, width: usize) -> String {
        line.text(width).to_string()
    }

    #[test]
    fn a_line_has_time_channel_kind_and_what_happened() {
        let expected = "10:32:07 infobip/202105102694809992 report   DELIVERED to *** m-1";
        assert_eq!(plain(&line("to *** m-1"), 80), expected);
    }

    #[test]
    fn a_line_is_never_wider_than_the_terminal() {
        for width in [60, 80, 140] {
            let text = plain(&line(&"0123456789 ".repeat(30)), width);
            assert_eq!(text.chars().count(), width, "{text}");
            assert!(text.ends_with('…'), "{text}");
        }
        let long = Line { place: format!("gupshup/{}", "a".repeat(60)), ..line("to *** m-1") };
        assert!(plain(&long, 80).contains("aaa… report"), "{}", plain(&long, 80));
    }

    #[test]
    fn a_number_and_a_text_are_masked() {
        let number = "8618257518838";
        let event =
            ReportEvent { recipient: number.to_owned(), message_id: "m-1".to_owned(), ..Default::default() };
        assert_eq!(report(event).detail, "to *** m-1");
        let event =
            InboundMessage { sender: number.to_owned(), message_id: "m-2".to_owned(), ..Default::default() };
        assert_eq!(message(event).detail, "from *** m-2");
    }
}
