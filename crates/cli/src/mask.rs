//! Hides what is personal in a decoded event, for terminals and tickets. `--reveal` goes around it.

use bsp::mask::{MASK, numbers};
use proto::v1::inbound_message::Content;
use proto::v1::{InboundMessage, Media, ProviderStatus, ReportError, ReportEvent, SendResult};

pub(crate) fn report(report: &mut ReportEvent) {
    hide(&mut report.recipient);
    hide(&mut report.sender);
    report.provider_status.iter_mut().for_each(mask_status);
    report.error.iter_mut().for_each(mask_error);
}

pub(crate) fn result(result: &mut SendResult) {
    hide(&mut result.context);
    result.provider_status.iter_mut().for_each(mask_status);
    result.error.iter_mut().for_each(mask_error);
    for fault in &mut result.faults {
        mask_numbers(&mut fault.field);
        mask_numbers(&mut fault.rule);
    }
}

/// What a BSP says of a status is shown, with the numbers in it masked.
fn mask_status(status: &mut ProviderStatus) {
    let ProviderStatus { group_id, group_name, id, name, description, raw } = status;
    [group_id, group_name, id, name, description, raw].into_iter().for_each(mask_numbers);
}

/// The same of an error.
fn mask_error(error: &mut ReportError) {
    let ReportError { code, name, description, permanent: _ } = error;
    [code, name, description].into_iter().for_each(mask_numbers);
}

fn mask_numbers(text: &mut String) {
    *text = numbers(text);
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

#[cfg(test)]
mod tests {
    use proto::v1::{CommandFault, Contact, Contacts, Location, MessageContext, Order, Text, Unsupported};

    use super::*;

    const SECRET: &str = "SECRET";

    fn secret() -> String {
        SECRET.to_owned()
    }

    /// Every word about a status or an error stays, and no number in it does.
    const SAID: &str = "UNKNOWN_SUBSCRIBER 7010: +49 151 12345 is no customer";
    const SHOWN: &str = "UNKNOWN_SUBSCRIBER 7010: *** is no customer";

    fn said() -> (Option<ProviderStatus>, Option<ReportError>) {
        let said = || SAID.to_owned();
        let status = ProviderStatus {
            group_id: "5".to_owned(),
            group_name: said(),
            id: "7010".to_owned(),
            name: said(),
            description: said(),
            raw: said(),
        };
        let error =
            ReportError { code: "131026".to_owned(), name: said(), description: said(), permanent: None };
        (Some(status), Some(error))
    }

    #[test]
    fn nothing_personal_of_a_report_stays() {
        let (provider_status, error) = said();
        let mut event = ReportEvent {
            recipient: secret(),
            sender: secret(),
            message_id: "m-1".to_owned(),
            provider_status,
            error,
            ..ReportEvent::default()
        };
        report(&mut event);
        let shown = format!("{event:?}");
        assert!(!shown.contains(SECRET) && !shown.contains("151 12345"), "{shown}");
        assert_eq!(shown.matches(SHOWN).count(), 6, "{shown}");
        assert!(shown.contains("m-1") && shown.contains("131026"), "{shown}");
    }

    #[test]
    fn nothing_personal_of_a_result_stays() {
        let (provider_status, error) = said();
        let fault = CommandFault { field: "destinations[0].to".to_owned(), rule: SAID.to_owned() };
        let mut event = SendResult {
            context: secret(),
            command_id: "c-1".to_owned(),
            provider_status,
            error,
            faults: vec![fault],
            ..SendResult::default()
        };
        result(&mut event);
        let shown = format!("{event:?}");
        assert!(!shown.contains(SECRET) && !shown.contains("151 12345"), "{shown}");
        assert_eq!(shown.matches(SHOWN).count(), 7, "{shown}");
        assert!(shown.contains("c-1") && shown.contains("destinations[0].to"), "{shown}");
    }

    #[test]
    fn nothing_personal_of_any_content_stays() {
        let media = || Media { url: secret(), file_name: secret(), caption: secret(), ..Media::default() };
        let card = Contact {
            formatted_name: secret(),
            first_name: secret(),
            last_name: secret(),
            phones: vec![secret()],
            emails: vec![secret()],
            organization: secret(),
            urls: vec![secret()],
        };
        let contents = [
            Content::Text(Text { body: secret() }),
            Content::Image(media()),
            Content::Document(media()),
            Content::Audio(media()),
            Content::Video(media()),
            Content::Sticker(media()),
            Content::Location(Location { latitude: 1.5, longitude: 2.5, name: secret(), address: secret() }),
            Content::Contacts(Contacts { contacts: vec![card] }),
            Content::Order(Order { text: secret(), ..Order::default() }),
            Content::Unsupported(Unsupported { r#type: "HOLOGRAM".to_owned(), raw_json: secret() }),
        ];
        for content in contents {
            let mut event = InboundMessage {
                sender: secret(),
                recipient: secret(),
                profile_name: secret(),
                context: Some(MessageContext { sender: secret(), ..MessageContext::default() }),
                content: Some(content),
                ..InboundMessage::default()
            };
            message(&mut event);
            let shown = format!("{event:?}");
            assert!(!shown.contains(SECRET) && !shown.contains("1.5") && !shown.contains("2.5"), "{shown}");
        }
    }
}
