//! The row of a command, decoded as the sender decodes it.

use bsp::media::MediaId;
use bsp::{CommandId, command, mask};
use bus::{Delivery, Priority, headers};
use proto::v1::send_command::Content;
use proto::v1::{OutboundMedia, SendCommand, outbound_media, template_header};

use crate::extract::{BULK, Extractor, UNDECODABLE, body, personal, text};
use crate::row::{IdKind, Row};

/// `blank` has what the subject says.
pub(super) fn row(extractor: &Extractor, queue: Option<Priority>, delivery: &Delivery, blank: Row) -> Row {
    let mut row = Row { is_bulk: queue == Some(Priority::Bulk), ..blank };
    let said = fill(extractor, delivery, &mut row);
    row.summary = match queue {
        Some(Priority::Bulk) => [BULK, &said].concat(),
        Some(Priority::Interactive) => said,
        None => [&said, ", no lane reads its subject"].concat(),
    };
    row
}

/// Adds what a command says to a row: its ids, its customer, its body. Returns a few words about it.
pub(super) fn fill(extractor: &Extractor, delivery: &Delivery, row: &mut Row) -> String {
    let content_type = delivery.headers.get(headers::CONTENT_TYPE);
    let mut command = match command::decode(content_type, &delivery.payload) {
        Ok(command) => command,
        Err(undecodable) => {
            // Nothing says which number is the customer's.
            extractor.link_chosen(row, IdKind::Command, &undecodable.command_id);
            if let Some(id) = CommandId::parse(&undecodable.command_id) {
                extractor.link_chosen(row, IdKind::Message, &id.message_id());
            }
            return UNDECODABLE.to_owned();
        }
    };
    link_command(extractor, row, &command.command_id);
    if let Some(id) = uploaded(&command) {
        extractor.link(row, IdKind::Media, id);
    }
    row.recipient = extractor.recipient(&command.recipient);
    let summary = summary(&command);
    let recipient = command.recipient.clone();
    row.body = body::of(extractor, &mut command, mask::commands::command);
    personal::remove(row, &[&recipient], extractor.bodies.are_masked());
    summary
}

/// The id of a command, and that of its message, by which a BSP's support may ask before there is a result.
fn link_command(extractor: &Extractor, row: &mut Row, id: &str) {
    extractor.link(row, IdKind::Command, id);
    if let Some(id) = CommandId::parse(id) {
        extractor.link(row, IdKind::Message, &id.message_id());
    }
}

fn summary(command: &SendCommand) -> String {
    match &command.content {
        Some(Content::Text(_)) => "text".to_owned(),
        Some(Content::Image(media)) => file("image", media),
        Some(Content::Document(media)) => file("document", media),
        Some(Content::Audio(media)) => file("audio", media),
        Some(Content::Video(media)) => file("video", media),
        Some(Content::Location(_)) => "location".to_owned(),
        Some(Content::Contacts(_)) => "contacts".to_owned(),
        Some(Content::Template(template)) => {
            format!("template {} ({})", text::words(&template.name), text::words(&template.language))
        }
        None => "empty".to_owned(),
    }
}

fn file(kind: &str, media: &OutboundMedia) -> String {
    format!("{kind} {}", text::words(&media.content_type)).trim_end().to_owned()
}

/// The id of the upload that the command sends, if there is one.
fn uploaded(command: &SendCommand) -> Option<&str> {
    let media = match &command.content {
        Some(
            Content::Image(media) | Content::Document(media) | Content::Audio(media) | Content::Video(media),
        ) => media,
        Some(Content::Template(template)) => match template.header.as_ref()?.content.as_ref()? {
            template_header::Content::Image(media)
            | template_header::Content::Document(media)
            | template_header::Content::Video(media) => media,
            template_header::Content::Text(_) | template_header::Content::Location(_) => return None,
        },
        _ => return None,
    };
    match &media.source {
        Some(outbound_media::Source::MediaId(id)) => MediaId::parse(id).is_some().then_some(id.as_str()),
        _ => None,
    }
}
