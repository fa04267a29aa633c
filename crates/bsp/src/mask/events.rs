//! Masks personal data in decoded events, for terminals, tickets and stored timelines. Commands are left to
//! [`commands`](super::commands).

use proto::v1::inbound_message::Content;
use proto::v1::{AccountEvent, CustomerEvent, InboundMessage, ReportEvent, SendResult, edit};

use super::parts::{
    hide, hide_contact, hide_customer, hide_location, hide_media, hide_referral, mask_error, mask_message_id,
    mask_numbers, mask_status,
};

/// Characters of the longest emoji: a family of four with skin tones has eleven.
const EMOJI_CHARS_MAX: usize = 16;

/// Masks a report. Ids stay, because operators correlate events by them; WhatsApp's own are masked.
pub fn report(report: &mut ReportEvent) {
    mask_message_id(&mut report.message_id);
    mask_message_id(&mut report.provider_message_id);
    hide(&mut report.recipient);
    hide(&mut report.sender);
    hide(&mut report.participant);
    // Set by the publisher of the command, or by another sender.
    hide(&mut report.callback_data);
    hide(&mut report.unread_json);
    report.provider_status.iter_mut().for_each(mask_status);
    report.error.iter_mut().chain(&mut report.errors).for_each(mask_error);
}

/// Masks the result of a command.
pub fn result(result: &mut SendResult) {
    mask_message_id(&mut result.message_id);
    hide(&mut result.context);
    result.provider_status.iter_mut().for_each(mask_status);
    result.error.iter_mut().for_each(mask_error);
    for fault in &mut result.faults {
        mask_numbers(&mut fault.field);
        mask_numbers(&mut fault.rule);
    }
}

/// Masks an event about the account. Templates, qualities, limits and decisions stay: they belong to the business, and operators need them.
pub fn account(event: &mut AccountEvent) {
    if let Some(number) = &mut event.number {
        hide(&mut number.display);
    }
    event.errors.iter_mut().for_each(mask_error);
    hide(&mut event.raw_json);
    hide(&mut event.unread_json);
}

/// Masks an event about a customer. The reference of a payment is an order id of the business. It is masked like the context of a message.
pub fn customer(event: &mut CustomerEvent) {
    if let Some(customer) = &mut event.customer {
        hide_customer(customer);
    }
    hide(&mut event.old_number);
    hide(&mut event.old_user_id);
    hide(&mut event.old_parent_user_id);
    if let Some(payment) = &mut event.payment {
        hide(&mut payment.reference);
        payment.error.iter_mut().for_each(mask_error);
    }
    hide(&mut event.raw_json);
    hide(&mut event.unread_json);
}

/// Masks a customer's message.
pub fn message(message: &mut InboundMessage) {
    mask_message_id(&mut message.message_id);
    hide(&mut message.sender);
    hide(&mut message.recipient);
    hide(&mut message.profile_name);
    hide(&mut message.unread_json);
    if let Some(customer) = &mut message.customer {
        hide_customer(customer);
    }
    if let Some(referral) = &mut message.referral {
        hide_referral(referral);
    }
    if let Some(context) = &mut message.context {
        hide(&mut context.sender);
        mask_message_id(&mut context.message_id);
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
        Some(Content::Location(location)) => hide_location(location),
        Some(Content::Contacts(contacts)) => {
            contacts.contacts.iter_mut().for_each(hide_contact);
        }
        Some(Content::Order(order)) => hide(&mut order.text),
        Some(Content::Unsupported(unsupported)) => hide(&mut unsupported.raw_json),
        Some(Content::FormReply(form)) => {
            hide(&mut form.body);
            hide(&mut form.response_json);
        }
        Some(Content::Edit(edit)) => {
            mask_message_id(&mut edit.message_id);
            match &mut edit.content {
                Some(edit::Content::Text(text)) => hide(&mut text.body),
                Some(
                    edit::Content::Image(media)
                    | edit::Content::Document(media)
                    | edit::Content::Audio(media)
                    | edit::Content::Video(media),
                ) => hide_media(media),
                None => {}
            }
        }
        // Buttons and rows are texts of the business.
        Some(Content::ButtonReply(reply) | Content::ListReply(reply)) => {
            [&mut reply.id, &mut reply.title, &mut reply.description].into_iter().for_each(mask_numbers);
        }
        Some(Content::Reaction(reaction)) => {
            mask_message_id(&mut reaction.message_id);
            // An emoji is not personal.
            if reaction.emoji.chars().count() > EMOJI_CHARS_MAX
                || reaction.emoji.chars().any(char::is_alphanumeric)
            {
                hide(&mut reaction.emoji);
            }
        }
        Some(Content::Revoke(revoke)) => mask_message_id(&mut revoke.message_id),
        Some(Content::RequestWelcome(_)) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::{
        AccountNumber, AccountTemplate, CommandFault, Contact, ContactAddress, ContactEmail, ContactPhone,
        ContactUrl, Contacts, Customer, Edit, FormReply, Location, Media, MessageContext, Order, Payment,
        ProviderStatus, Referral, ReportError, Text, Unsupported,
    };

    use super::*;

    const SECRET: &str = "SECRET";

    fn secret() -> String {
        SECRET.to_owned()
    }

    /// The words of a status or an error stay, and its numbers do not.
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
            errors: error.iter().cloned().collect(),
            error,
            participant: secret(),
            callback_data: secret(),
            unread_json: secret(),
            ..ReportEvent::default()
        };
        report(&mut event);
        let shown = format!("{event:?}");
        assert!(!shown.contains(SECRET) && !shown.contains("151 12345"), "{shown}");
        assert_eq!(shown.matches(SHOWN).count(), 8, "{shown}");
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
    fn nothing_personal_of_an_event_about_the_account_or_a_customer_stays() {
        let error =
            || ReportError { description: SAID.to_owned(), code: "U30".to_owned(), ..ReportError::default() };
        let mut event = AccountEvent {
            template: Some(AccountTemplate { name: "promo".to_owned(), ..AccountTemplate::default() }),
            number: Some(AccountNumber { display: secret(), ..AccountNumber::default() }),
            decision: "FLAGGED".to_owned(),
            errors: vec![error(), error()],
            raw_json: secret(),
            unread_json: secret(),
            ..AccountEvent::default()
        };
        account(&mut event);
        let shown = format!("{event:?}");
        assert!(!shown.contains(SECRET) && shown.contains("promo") && shown.contains("FLAGGED"), "{shown}");
        assert_eq!(shown.matches(SHOWN).count(), 2, "{shown}");
        let mut event = CustomerEvent {
            customer: Some(Customer {
                number: secret(),
                user_id: secret(),
                parent_user_id: secret(),
                username: secret(),
            }),
            old_number: secret(),
            old_user_id: secret(),
            old_parent_user_id: secret(),
            payment: Some(Payment { reference: secret(), status: "failed".to_owned(), error: Some(error()) }),
            raw_json: secret(),
            unread_json: secret(),
            ..CustomerEvent::default()
        };
        customer(&mut event);
        let shown = format!("{event:?}");
        assert!(!shown.contains(SECRET) && shown.contains("failed") && shown.contains(SHOWN), "{shown}");
    }

    fn card() -> Contact {
        Contact {
            formatted_name: secret(),
            first_name: secret(),
            last_name: secret(),
            phones: vec![secret()],
            emails: vec![secret()],
            organization: secret(),
            urls: vec![secret()],
            phone_numbers: vec![ContactPhone {
                number: secret(),
                r#type: "CELL".to_owned(),
                wa_id: secret(),
            }],
            email_addresses: vec![ContactEmail { email: secret(), r#type: String::new() }],
            links: vec![ContactUrl { url: secret(), r#type: String::new() }],
            addresses: vec![ContactAddress {
                street: secret(),
                city: secret(),
                state: secret(),
                zip: secret(),
                country: secret(),
                country_code: secret(),
                r#type: "HOME".to_owned(),
            }],
            birthday: secret(),
            department: secret(),
            title: secret(),
            middle_name: secret(),
            prefix: secret(),
            suffix: secret(),
        }
    }

    /// One content of every kind that contains personal data.
    fn contents() -> Vec<Content> {
        let media = || Media { url: secret(), file_name: secret(), caption: secret(), ..Media::default() };
        let edited = |content| Content::Edit(Edit { message_id: "m".to_owned(), content: Some(content) });
        vec![
            Content::Text(Text { body: secret() }),
            Content::Image(media()),
            Content::Document(media()),
            Content::Audio(media()),
            Content::Video(media()),
            Content::Sticker(media()),
            Content::Location(Location { latitude: 1.5, longitude: 2.5, name: secret(), address: secret() }),
            Content::Contacts(Contacts { contacts: vec![card()] }),
            Content::Order(Order { text: secret(), ..Order::default() }),
            Content::Unsupported(Unsupported { r#type: "HOLOGRAM".to_owned(), raw_json: secret() }),
            Content::FormReply(FormReply {
                name: "flow".to_owned(),
                body: secret(),
                response_json: secret(),
            }),
            edited(edit::Content::Text(Text { body: secret() })),
            edited(edit::Content::Image(media())),
            edited(edit::Content::Document(media())),
            edited(edit::Content::Audio(media())),
            edited(edit::Content::Video(media())),
        ]
    }

    #[test]
    fn nothing_personal_of_any_content_stays() {
        for content in contents() {
            let mut event = InboundMessage {
                sender: secret(),
                recipient: secret(),
                profile_name: secret(),
                unread_json: secret(),
                customer: Some(Customer {
                    number: secret(),
                    user_id: secret(),
                    parent_user_id: secret(),
                    username: secret(),
                }),
                referral: Some(Referral {
                    source_url: secret(),
                    headline: secret(),
                    body: secret(),
                    media_url: secret(),
                    click_id: secret(),
                    welcome_message: secret(),
                    ..Referral::default()
                }),
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
