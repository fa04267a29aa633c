//! Validates commands, with one function for each kind of content. Module `template` validates templates.

use jiff::Timestamp;
use proto::v1::send_command::Content as ProtoContent;
use proto::v1::{CommandFault, Location, OutboundMedia, OutboundText, outbound_media};

use super::card::read_contacts;
use super::template::read_template;
use super::{Command, Content, Media, ReceivedCommand, RejectedCommand, Source};
use crate::ids::{COMMAND_ID_LENGTH_MAX, CommandId};
use crate::media::{self, MediaId, MediaKind};
use crate::{text, web_url};

/// Longest context of the caller in characters: the limit of Infobip's `callbackData`.
pub const CONTEXT_LENGTH_MAX: usize = 4000;
/// Longest text of a message, in characters.
const TEXT_LENGTH_MAX: usize = 4096;
/// Longest caption of a file, in characters.
const CAPTION_LENGTH_MAX: usize = 3000;
/// Longest URL of a file, in characters.
const URL_LENGTH_MAX: usize = 2048;
/// Longest file name, in characters.
const FILE_NAME_LENGTH_MAX: usize = 240;
/// Longest name or address of a location, in characters.
const PLACE_LENGTH_MAX: usize = 1000;
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
/// use bsp::command::{self, Content, ReceivedCommand};
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
    let mut faults = Faults(Vec::new());
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

/// The faults of a command, field by field.
pub(super) struct Faults(Vec<CommandFault>);

impl Faults {
    pub(super) fn add(&mut self, field: &str, rule: &str) {
        self.0.push(CommandFault { field: field.to_owned(), rule: rule.to_owned() });
    }

    pub(super) fn unless(&mut self, holds: bool, field: &str, rule: &str) {
        if !holds {
            self.add(field, rule);
        }
    }

    pub(super) fn at_most(&mut self, field: &str, text: &str, characters: usize) {
        self.unless(
            text.chars().count() <= characters,
            field,
            &format!("must have at most {characters} characters"),
        );
    }

    pub(super) fn between_one_and(&mut self, characters: usize, field: &str, text: &str) {
        let fits = !text.trim().is_empty() && text.chars().count() <= characters;
        self.unless(fits, field, &format!("must have 1 to {characters} characters, not only spaces"));
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

/// `None` if there is no usable source. The fault is then recorded.
pub(super) fn read_media(
    field: &str,
    kind: MediaKind,
    media: &OutboundMedia,
    faults: &mut Faults,
) -> Option<Media> {
    let at = |name: &str| format!("{field}.{name}");
    if kind == MediaKind::Audio {
        faults.unless(
            media.caption.is_empty(),
            &at("caption"),
            "must be empty: WhatsApp shows no caption with audio",
        );
    }
    faults.at_most(&at("caption"), &media.caption, CAPTION_LENGTH_MAX);
    faults.at_most(&at("file_name"), &media.file_name, FILE_NAME_LENGTH_MAX);
    let content_type = kind.allowed(&media.content_type);
    if !media.content_type.is_empty() || matches!(media.source, Some(outbound_media::Source::Data(_))) {
        let rule = format!("must be one of {}", kind.content_types().join(", "));
        faults.unless(content_type.is_some(), &at("content_type"), &rule);
    }
    let source = match &media.source {
        Some(outbound_media::Source::Data(data)) => {
            let fits = !data.is_empty() && data.len() as u64 <= kind.bytes_max();
            faults.unless(fits, &at("data"), &format!("must have 1 to {} bytes", kind.bytes_max()));
            let content_type = content_type?;
            if fits && let Err(other) = media::check_first_bytes(content_type, data) {
                faults.add(&at("data"), &format!("does not match its content_type: {other}"));
            }
            Source::Inline { data: data.clone(), content_type }
        }
        Some(outbound_media::Source::MediaId(id)) => {
            let id = MediaId::parse(id);
            faults.unless(id.is_some(), &at("media_id"), "must be the id of an upload (a UUID)");
            Source::Stored(id?)
        }
        Some(outbound_media::Source::Url(url)) => {
            let rule = format!(
                "must be an absolute http or https URL of at most {URL_LENGTH_MAX} characters, without user information"
            );
            faults.unless(url.len() <= URL_LENGTH_MAX && web_url::parse(url).is_ok(), &at("url"), &rule);
            Source::Url(url.clone())
        }
        None => {
            faults.add(&at("source"), "must be one of data, media_id, url");
            return None;
        }
    };
    Some(Media { source, caption: media.caption.clone(), file_name: media.file_name.clone() })
}

pub(super) fn read_location(field: &str, location: &Location, faults: &mut Faults) -> Location {
    let at = |name: &str| format!("{field}.{name}");
    faults.unless((-90.0..=90.0).contains(&location.latitude), &at("latitude"), "must be between -90 and 90");
    faults.unless(
        (-180.0..=180.0).contains(&location.longitude),
        &at("longitude"),
        "must be between -180 and 180",
    );
    faults.at_most(&at("name"), &location.name, PLACE_LENGTH_MAX);
    faults.at_most(&at("address"), &location.address, PLACE_LENGTH_MAX);
    location.clone()
}
