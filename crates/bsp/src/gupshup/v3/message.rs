//! Meta's inbound message inside Gupshup's version 3 (Meta, "Webhooks: messages object").

use proto::v1::inbound_message::Content;
use proto::v1::{Customer, InboundMessage, Unsupported};
use serde_json::value::RawValue;

use super::contacts::Contact;
use super::content::to_content;
use super::customer::{self, SystemMessage};
use super::envelope::Shared;
use super::message_object::Message;
use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::gupshup::PROFILE;
use crate::json::{self, LooseScalar};
use crate::parsed::Rejection;
use crate::whatsapp::{Context, Names};
use crate::{text, time, whatsapp};

pub(super) fn read(raw: &RawValue, shared: &Shared<'_>, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let message: Message<'_> = json::from_str(raw.get())?;
    if message.id.is_empty() {
        return Err(Rejection::new("missing_id", "missing field 'id' in the message"));
    }
    if message.kind.as_str() == "system" && customer::system(&message.as_system(raw), out) {
        return Ok(());
    }
    let customer = message.from.or(&message.from_user_id);
    let contact = shared.contacts.find([&message.from, &message.from_user_id, &message.from_parent_user_id]);
    // If a message has no sender, its sender is the only contact. The id is computed from the message alone.
    let no_address = LooseScalar::default();
    let contact_address = contact.map_or(&no_address, Contact::address);
    let context = Context::read(message.context);
    let mut event = InboundMessage {
        // Only the id, as in version 2: the same message may arrive in both versions.
        event_id: EventKey {
            kind: "message",
            message_id: message.id.as_str(),
            recipient: customer.as_str(),
            ..EventKey::default()
        }
        .id(PROFILE.id, out.webhook.channel),
        message_id: message.id.owned(),
        sender: text::address(customer.or(contact_address).as_str()).to_owned(),
        recipient: shared.our_number.clone(),
        profile_name: contact.map(|contact| contact.profile().name.owned()).unwrap_or_default(),
        sent_at: time::parse(message.timestamp.as_str()),
        context: context.to_message_context(),
        customer: message.customer(contact),
        referral: whatsapp::referral(message.referral),
        group_id: message.group_id.owned(),
        ..out.new_message()
    };
    if event.sent_at.is_none() && !message.timestamp.is_empty() {
        out.unrecognized("time", message.timestamp.as_str(), &event.message_id);
    }
    let kind = message.kind.as_str();
    event.content = Some(to_content(&message, &context).unwrap_or_else(|| {
        // Meta itself sends the type `unsupported` for messages that it does not pass on.
        if kind != "unsupported" {
            out.unrecognized("messages.type", kind, message.id.as_str());
        }
        Content::Unsupported(Unsupported { r#type: kind.to_owned(), raw_json: json::whole(raw) })
    }));
    out.message(event);
    Ok(())
}

impl<'a> Message<'a> {
    fn as_system(&'a self, raw: &'a RawValue) -> SystemMessage<'a> {
        SystemMessage {
            id: &self.id,
            from: &self.from,
            from_user_id: &self.from_user_id,
            time: &self.timestamp,
            system: self.system,
            raw: raw.get(),
        }
    }

    /// The sender. Its contact provides the values that the message itself does not contain.
    fn customer(&self, contact: Option<&Contact<'_>>) -> Option<Customer> {
        let unknown = Contact::default();
        let contact = contact.unwrap_or(&unknown);
        let profile = contact.profile();
        let names = Names {
            address: self.from.as_str(),
            number: contact.wa_id.as_str(),
            user_id: self.from_user_id.or(&contact.user_id).as_str(),
            parent_user_id: self.from_parent_user_id.or(&contact.parent_user_id).as_str(),
            username: profile.username.as_str(),
        };
        names.to_customer()
    }
}
