//! Hides what is personal in a decoded event, for terminals and tickets. `--reveal` goes around it.

use bsp::mask::MASK;
use proto::v1::inbound_message::Content;
use proto::v1::{InboundMessage, Media, ReportEvent};

pub(crate) fn report(report: &mut ReportEvent) {
    hide(&mut report.recipient);
    hide(&mut report.sender);
}

pub(crate) fn message(message: &mut InboundMessage) {
    hide(&mut message.sender);
    hide(&mut message.recipient);
    hide(&mut message.profile_name);
    if let Some(context) = &mut message.context {
        hide(&mut context.sender);
    }
    match &mut message.content {
        Some(Content::Text(text)) => hide(&mut text.body),
        Some(
            Content::Image(media)
            | Content::Document(media)
            | Content::Audio(media)
            | Content::Video(media)
            | Content::Sticker(media),
        ) => hide_media(media),
        Some(Content::Location(location)) => {
            location.latitude = 0.0;
            location.longitude = 0.0;
            hide(&mut location.name);
            hide(&mut location.address);
        }
        Some(Content::Contacts(contacts)) => {
            for contact in &mut contacts.contacts {
                hide(&mut contact.formatted_name);
                hide(&mut contact.first_name);
                hide(&mut contact.last_name);
                hide(&mut contact.organization);
                for list in [&mut contact.phones, &mut contact.emails, &mut contact.urls] {
                    list.iter_mut().for_each(hide);
                }
            }
        }
        Some(Content::Order(order)) => hide(&mut order.text),
        Some(Content::Unsupported(unsupported)) => hide(&mut unsupported.raw_json),
        // Buttons and rows are our own words; an emoji is nobody's secret.
        Some(Content::ButtonReply(_) | Content::ListReply(_) | Content::Reaction(_)) | None => {}
    }
}

/// A media URL of Infobip's holds our number, and a file name may hold anything.
fn hide_media(media: &mut Media) {
    hide(&mut media.url);
    hide(&mut media.file_name);
    hide(&mut media.caption);
}

/// What is empty stays empty: that nothing is there is worth seeing.
fn hide(text: &mut String) {
    if !text.is_empty() {
        MASK.clone_into(text);
    }
}
