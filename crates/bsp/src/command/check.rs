//! Validates commands, with one function for each kind of content: `template`, `card` and `parts` validate those with many fields.

use jiff::Timestamp;
use proto::v1::send_command::Content as ProtoContent;
use proto::v1::{OutboundMedia, OutboundText};

use super::card::read_contacts;
use super::faults::Faults;
use super::parts::{read_location, read_media};
use super::template::read_template;
use super::{Command, Content, ReceivedCommand, RejectedCommand};
use crate::ids::{COMMAND_ID_LENGTH_MAX, CommandId};
use crate::media::MediaKind;
use crate::text;

/// Longest context of the caller in characters: the limit of Infobip's `callbackData`.
pub const CONTEXT_LENGTH_MAX: usize = 4000;
/// Longest text of a message, in characters.
const TEXT_LENGTH_MAX: usize = 4096;
/// E.164 numbers have at most 15 digits. No WhatsApp number has fewer than 5.
const NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 5..=15;

/// Validates a command. An invalid command is rejected with all of its faults.
///
/// # Errors
/// [`RejectedCommand`] with every fault. A fault never quotes a value.
///
/// # Examples
/// ```
/// use bsp::ChannelId;
/// use bsp::command::{self, ReceivedCommand};
///
/// let payload = br#"{"commandId":"c-1","channelId":"sales","recipient":"+49 151 12345","text":{"body":"Hello"}}"#;
/// let decoded = command::decode(Some("application/json"), &payload.as_slice().into()).expect("a command");
/// let channel = ChannelId::parse("sales")?;
/// let command = command::check(ReceivedCommand { channel: &channel, command: &decoded });
/// // White space in a number is an error.
/// assert_eq!(command.unwrap_err().faults[0].field, "recipient");
/// # Ok::<(), bsp::InvalidChannelId>(())
/// ```
pub fn check(received: ReceivedCommand<'_>) -> Result<Command, RejectedCommand> {
    let ReceivedCommand { channel, command } = received;
    let mut faults = Faults::default();
    let id = CommandId::parse(&command.command_id);
    let rule = format!("must have 1 to {COMMAND_ID_LENGTH_MAX} letters, digits, '_' or '-'");
    faults.unless(id.is_some(), "command_id", &rule);
    let is_same = command.channel_id == channel.as_str();
    faults.unless(is_same, "channel_id", "must equal the last token of the subject");
    let recipient = read_recipient(&command.recipient);
    let rule = "must be a telephone number in international form (country code first, 5 to 15 digits, no trunk prefix 0) \
                or a business-scoped user id";
    faults.unless(recipient.is_some(), "recipient", rule);
    faults.at_most("context", &command.context, CONTEXT_LENGTH_MAX);
    let not_after = read_time(command.not_after.as_ref(), &mut faults);
    let content = match &command.content {
        Some(content) => read_content(content, &mut faults),
        None => {
            faults.add(
                "content",
                "must be one of text, image, document, audio, video, location, contacts, template",
            );
            None
        }
    };
    match (id, recipient, content) {
        (Some(id), Some(recipient), Some(content)) if faults.0.is_empty() => Ok(Command {
            id,
            recipient: recipient.to_owned(),
            not_after,
            context: command.context.clone(),
            content,
        }),
        (id, _, _) => {
            let context = command.context.chars().take(CONTEXT_LENGTH_MAX).collect();
            Err(RejectedCommand { id, context, faults: faults.0 })
        }
    }
}

/// The customer in the form that BSPs expect: a number without its international prefix, or a business-scoped
/// user id; `None` if it is neither.
fn read_recipient(raw: &str) -> Option<&str> {
    let address = text::address(raw);
    if text::is_user_id(address) {
        return Some(address);
    }
    // Most countries dial 00 before a country code (ITU-T E.164 leaves the prefix to them).
    let number = address.strip_prefix("00").unwrap_or(address);
    // No country code begins with 0, so such a number lacks its country code.
    let is_number = NUMBER_DIGITS.contains(&number.len())
        && !number.starts_with('0')
        && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(number)
}

fn read_time(time: Option<&proto::Timestamp>, faults: &mut Faults) -> Option<Timestamp> {
    let time = time?;
    let read = Timestamp::new(time.seconds, time.nanos).ok();
    faults.unless(read.is_some(), "not_after", "must be a valid time");
    read
}

fn read_content(content: &ProtoContent, faults: &mut Faults) -> Option<Content> {
    let media = |kind: MediaKind, media: &OutboundMedia, faults: &mut Faults| {
        read_media(kind.name(), kind, media, faults).map(|media| Content::Media(kind, media))
    };
    match content {
        ProtoContent::Text(text) => Some(read_text(text, faults)),
        ProtoContent::Image(image) => media(MediaKind::Image, image, faults),
        ProtoContent::Document(document) => media(MediaKind::Document, document, faults),
        ProtoContent::Audio(audio) => media(MediaKind::Audio, audio, faults),
        ProtoContent::Video(video) => media(MediaKind::Video, video, faults),
        ProtoContent::Location(location) => {
            Some(Content::Location(read_location("location", location, faults)))
        }
        ProtoContent::Contacts(contacts) => Some(read_contacts(contacts, faults)),
        ProtoContent::Template(template) => read_template(template, faults).map(Content::Template),
    }
}

fn read_text(text: &OutboundText, faults: &mut Faults) -> Content {
    faults.between_one_and(TEXT_LENGTH_MAX, "text.body", &text.body);
    Content::Text { body: text.body.clone(), preview_url: text.preview_url }
}
