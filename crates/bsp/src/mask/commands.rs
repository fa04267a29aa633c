//! Masks personal data in a decoded command: the customer, the texts, and what a file is and where.

use bytes::Bytes;
use proto::v1::send_command::Content;
use proto::v1::{OutboundMedia, SendCommand, Template, outbound_media, template_button, template_header};

use super::parts::{hide, hide_contact, hide_location, mask_numbers};
use crate::media::MediaId;

/// Masks a command. Its id, and the name and the language of its template, belong to the business and stay; so does the id of
/// an upload. The bytes of a file are removed.
pub fn command(command: &mut SendCommand) {
    hide(&mut command.recipient);
    hide(&mut command.context);
    match &mut command.content {
        Some(Content::Text(text)) => hide(&mut text.body),
        Some(
            Content::Image(media) | Content::Document(media) | Content::Audio(media) | Content::Video(media),
        ) => hide_file(media),
        Some(Content::Location(location)) => hide_location(location),
        Some(Content::Contacts(contacts)) => contacts.contacts.iter_mut().for_each(hide_contact),
        Some(Content::Template(template)) => hide_values(template),
        None => {}
    }
}

fn hide_file(media: &mut OutboundMedia) {
    match &mut media.source {
        Some(outbound_media::Source::Data(data)) => *data = Bytes::new(),
        Some(outbound_media::Source::Url(url)) => hide(url),
        Some(outbound_media::Source::MediaId(id)) if MediaId::parse(id).is_none() => hide(id),
        Some(outbound_media::Source::MediaId(_)) | None => {}
    }
    hide(&mut media.caption);
    hide(&mut media.file_name);
    mask_numbers(&mut media.content_type);
}

fn hide_values(template: &mut Template) {
    mask_numbers(&mut template.name);
    mask_numbers(&mut template.language);
    template.placeholders.iter_mut().for_each(hide);
    match template.header.as_mut().and_then(|header| header.content.as_mut()) {
        Some(template_header::Content::Text(text)) => hide(text),
        Some(
            template_header::Content::Image(media)
            | template_header::Content::Document(media)
            | template_header::Content::Video(media),
        ) => hide_file(media),
        Some(template_header::Content::Location(location)) => hide_location(location),
        None => {}
    }
    for button in &mut template.buttons {
        match &mut button.content {
            Some(
                template_button::Content::UrlPlaceholder(text)
                | template_button::Content::QuickReplyPayload(text),
            ) => hide(text),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{Contact, Contacts, Location, OutboundText, TemplateButton, TemplateHeader};

    use super::*;

    const SECRET: &str = "SECRET";

    fn secret() -> String {
        SECRET.to_owned()
    }

    fn file(source: outbound_media::Source) -> OutboundMedia {
        OutboundMedia {
            source: Some(source),
            caption: secret(),
            file_name: secret(),
            content_type: "image/jpeg".to_owned(),
        }
    }

    #[test]
    fn nothing_personal_of_any_content_stays() {
        let id = "bb881717-5b71-45a7-be04-af9cb746661b";
        let place = || Location { latitude: 1.5, longitude: 2.5, name: secret(), address: secret() };
        let header = |content| Some(TemplateHeader { content: Some(content) });
        let button = |content| TemplateButton { content: Some(content) };
        let template = |content| {
            Content::Template(Template {
                name: "order_update".to_owned(),
                language: "en".to_owned(),
                placeholders: vec![secret()],
                header: header(content),
                buttons: vec![
                    button(template_button::Content::UrlPlaceholder(secret())),
                    button(template_button::Content::QuickReplyPayload(secret())),
                ],
                ..Template::default()
            })
        };
        for content in [
            Content::Text(OutboundText { body: secret(), preview_url: true }),
            Content::Image(file(outbound_media::Source::Data(SECRET.into()))),
            Content::Document(file(outbound_media::Source::Url(secret()))),
            Content::Audio(file(outbound_media::Source::MediaId(secret()))),
            Content::Video(file(outbound_media::Source::MediaId(id.to_owned()))),
            Content::Location(place()),
            Content::Contacts(Contacts {
                contacts: vec![Contact { first_name: secret(), ..Contact::default() }],
            }),
            template(template_header::Content::Text(secret())),
            template(template_header::Content::Document(file(outbound_media::Source::Url(secret())))),
            template(template_header::Content::Location(place())),
        ] {
            let (is_template, is_upload) =
                (matches!(content, Content::Template(_)), matches!(content, Content::Video(_)));
            let mut masked = SendCommand {
                command_id: "c-1".to_owned(),
                recipient: secret(),
                context: secret(),
                content: Some(content),
                ..SendCommand::default()
            };
            command(&mut masked);
            let shown = format!("{masked:?}");
            assert!(!shown.contains(SECRET) && !shown.contains("1.5") && shown.contains("c-1"), "{shown}");
            assert_eq!(shown.contains("order_update"), is_template, "{shown}");
            assert_eq!(shown.contains(id), is_upload, "{shown}");
        }
    }
}
