//! The event fields that contain text for people: names, texts, captions and descriptions. They do not affect
//! decisions, so a lost byte is only visible in the text.

use proto::v1::inbound_message::Content;
use proto::v1::{Contact, InboundMessage, Media, Referral, ReportEvent, edit};

use super::Replaced;
use crate::utf8::PLACEHOLDER;

impl Replaced {
    fn text(&mut self, field: &'static str, text: &mut String) {
        if text.contains(PLACEHOLDER) {
            let repaired = text.replace(PLACEHOLDER, "\u{fffd}");
            self.texts.insert(std::mem::replace(text, repaired));
            self.fields.push(field);
        }
    }

    fn texts<const COUNT: usize>(&mut self, fields: [(&'static str, &mut String); COUNT]) {
        for (field, text) in fields {
            self.text(field, text);
        }
    }

    pub(super) fn of_report(&mut self, report: &mut ReportEvent) {
        if let Some(status) = &mut report.provider_status {
            self.text("provider_status.description", &mut status.description);
        }
        for error in &mut report.errors {
            self.texts([("error.name", &mut error.name), ("error.description", &mut error.description)]);
        }
        report.error = report.errors.first().cloned();
    }

    pub(super) fn of_message(&mut self, message: &mut InboundMessage) {
        self.text("profile_name", &mut message.profile_name);
        if let Some(referral) = &mut message.referral {
            self.of_referral(referral);
        }
        match &mut message.content {
            Some(Content::Text(text)) => self.text("text", &mut text.body),
            Some(
                Content::Image(media)
                | Content::Document(media)
                | Content::Audio(media)
                | Content::Video(media)
                | Content::Sticker(media),
            ) => self.of_media(media),
            Some(Content::Location(place)) => {
                self.texts([("location.name", &mut place.name), ("location.address", &mut place.address)]);
            }
            Some(Content::Contacts(contacts)) => {
                contacts.contacts.iter_mut().for_each(|contact| self.of_contact(contact));
            }
            Some(Content::ButtonReply(reply) | Content::ListReply(reply)) => {
                self.texts([
                    ("reply.title", &mut reply.title),
                    ("reply.description", &mut reply.description),
                ]);
            }
            Some(Content::Reaction(reaction)) => self.text("reaction.emoji", &mut reaction.emoji),
            Some(Content::Order(order)) => self.text("order.text", &mut order.text),
            Some(Content::FormReply(form)) => self.text("form_reply.body", &mut form.body),
            Some(Content::Edit(edit)) => self.of_edit(edit.content.as_mut()),
            // These have no such text, or pass on JSON that also contains ids.
            Some(Content::Revoke(_) | Content::RequestWelcome(_) | Content::Unsupported(_)) | None => {}
        }
    }

    fn of_media(&mut self, media: &mut Media) {
        self.texts([("media.caption", &mut media.caption), ("media.file_name", &mut media.file_name)]);
    }

    fn of_edit(&mut self, content: Option<&mut edit::Content>) {
        match content {
            Some(edit::Content::Text(text)) => self.text("text", &mut text.body),
            Some(
                edit::Content::Image(media)
                | edit::Content::Document(media)
                | edit::Content::Audio(media)
                | edit::Content::Video(media),
            ) => self.of_media(media),
            None => {}
        }
    }

    fn of_referral(&mut self, referral: &mut Referral) {
        self.texts([
            ("referral.headline", &mut referral.headline),
            ("referral.body", &mut referral.body),
            ("referral.welcome_message", &mut referral.welcome_message),
        ]);
    }

    fn of_contact(&mut self, contact: &mut Contact) {
        self.texts([
            ("contact", &mut contact.formatted_name),
            ("contact", &mut contact.first_name),
            ("contact", &mut contact.middle_name),
            ("contact", &mut contact.last_name),
            ("contact", &mut contact.prefix),
            ("contact", &mut contact.suffix),
            ("contact", &mut contact.organization),
            ("contact", &mut contact.department),
            ("contact", &mut contact.title),
        ]);
        for address in &mut contact.addresses {
            self.texts([
                ("contact", &mut address.street),
                ("contact", &mut address.city),
                ("contact", &mut address.state),
                ("contact", &mut address.country),
            ]);
        }
    }
}
