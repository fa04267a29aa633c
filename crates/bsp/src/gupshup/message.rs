//! Gupshup's inbound messages, version 2.
//!
//! For a tap on a template's button, one page of the documents shows the outer type `text` and another page
//! shows `quick_reply`. Both have an inner `"type": "button"`.

use proto::v1::inbound_message::Content;
use proto::v1::{
    InboundMessage, Location, Media, MessageContext, Order, Reaction, Reply, Text as TextContent, Unsupported,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PROFILE;
use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::json::{self, LooseScalar, Part};
use crate::parsed::Rejection;
use crate::whatsapp::{Context, Names};
use crate::{text, time, whatsapp};

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    source: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow)]
    payload: Part<'a>,
    #[serde(borrow)]
    sender: Part<'a>,
    #[serde(borrow)]
    context: Part<'a>,
    /// The advertisement that the customer came from, in Meta's format.
    #[serde(borrow)]
    referral: Part<'a>,
}

#[derive(Deserialize, Default)]
struct Sender<'a> {
    #[serde(borrow, default)]
    name: LooseScalar<'a>,
    #[serde(borrow, default)]
    phone: LooseScalar<'a>,
    /// Business-scoped user id of a customer who hides the number.
    #[serde(borrow, default, rename = "userId")]
    user_id: LooseScalar<'a>,
    #[serde(borrow, default, rename = "parentUserId")]
    parent_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    username: LooseScalar<'a>,
}

/// The fields of every type of message, as far as events carry them.
#[derive(Deserialize, Default)]
struct Body<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow, default)]
    text: LooseScalar<'a>,
    #[serde(borrow, default)]
    url: LooseScalar<'a>,
    #[serde(borrow, default)]
    caption: LooseScalar<'a>,
    #[serde(borrow, default, rename = "contentType")]
    content_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    name: LooseScalar<'a>,
    #[serde(borrow, default)]
    address: LooseScalar<'a>,
    #[serde(borrow, default)]
    latitude: LooseScalar<'a>,
    #[serde(borrow, default)]
    longitude: LooseScalar<'a>,
    #[serde(borrow)]
    contacts: Part<'a>,
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    reply: LooseScalar<'a>,
    #[serde(borrow, default)]
    title: LooseScalar<'a>,
    #[serde(borrow, default, rename = "postbackText")]
    postback_text: LooseScalar<'a>,
    #[serde(borrow, default)]
    description: LooseScalar<'a>,
    #[serde(borrow, default)]
    emoji: LooseScalar<'a>,
    #[serde(borrow, default, rename = "msgId")]
    message_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    voice: LooseScalar<'a>,
    #[serde(borrow, default)]
    animated: LooseScalar<'a>,
    #[serde(borrow, default)]
    sha256: LooseScalar<'a>,
    /// The response to a form, in Meta's format.
    #[serde(borrow)]
    nfm_reply: Part<'a>,
    #[serde(borrow, default, alias = "catalogId")]
    catalog_id: LooseScalar<'a>,
    #[serde(borrow, alias = "productItems")]
    product_items: Part<'a>,
}

pub(super) fn read(
    raw: &RawValue,
    timestamp: &LooseScalar<'_>,
    our_number: &LooseScalar<'_>,
    out: &mut Collector<'_>,
) -> Result<(), Rejection> {
    let payload: Payload<'_> = json::from_str(raw.get())?;
    if payload.id.is_empty() {
        return Err(Rejection::new("missing_id", "missing field 'payload.id'"));
    }
    let sender = json::optional::<Sender<'_>>(payload.sender).ok().flatten().unwrap_or_default();
    let context = Context::read(payload.context);
    let customer = payload.source.or(&sender.phone).or(&sender.user_id);
    let answered = context.answered();
    let mut event = InboundMessage {
        event_id: EventKey {
            kind: "message",
            message_id: payload.id.as_str(),
            // The id alone identifies the message. Version 3 of the same message has another time, and so may
            // a retry.
            status: "",
            time: "",
            error_code: "",
            recipient: customer.as_str(),
        }
        .id(PROFILE.id, out.webhook.channel),
        message_id: payload.id.owned(),
        sender: text::address(customer.as_str()).to_owned(),
        recipient: text::address(our_number.as_str()).to_owned(),
        profile_name: sender.name.owned(),
        sent_at: time::parse(timestamp.as_str()),
        context: to_message_context(&context, our_number),
        customer: sender.names(&payload.source).to_customer(),
        referral: whatsapp::referral(payload.referral),
        ..out.new_message()
    };
    if event.sent_at.is_none() && !timestamp.is_empty() {
        out.unrecognized("time", timestamp.as_str(), &event.message_id);
    }
    let kind = payload.kind.as_str();
    let body = json::optional::<Body<'_>>(payload.payload).ok().flatten();
    let content = body.and_then(|body| to_content(kind, &body, answered));
    event.content = Some(content.unwrap_or_else(|| {
        out.unrecognized("payload.type", kind, payload.id.as_str());
        let raw_json = payload.payload.map(json::whole).unwrap_or_default();
        Content::Unsupported(Unsupported { r#type: kind.to_owned(), raw_json })
    }));
    out.message(event);
    Ok(())
}

impl<'a> Sender<'a> {
    fn names(&'a self, source: &'a LooseScalar<'_>) -> Names<'a> {
        Names {
            address: source.as_str(),
            number: self.phone.as_str(),
            user_id: self.user_id.as_str(),
            parent_user_id: self.parent_user_id.as_str(),
            username: self.username.as_str(),
        }
    }
}

/// Only messages that were sent through Gupshup have a `gsId`, so in that case the sender of the answered
/// message is our number. Version 3 contains the sender; version 2 does not.
fn to_message_context(context: &Context<'_>, our_number: &LooseScalar<'_>) -> Option<MessageContext> {
    let mut event = context.to_message_context()?;
    if event.sender.is_empty() && !context.gs_id.is_empty() {
        text::address(our_number.as_str()).clone_into(&mut event.sender);
    }
    Some(event)
}

/// The content of a known type that has its fields; otherwise `None`.
fn to_content(kind: &str, body: &Body<'_>, answered: &LooseScalar<'_>) -> Option<Content> {
    let media = || {
        Some(Media {
            url: body.url.filled()?.to_owned(),
            content_type: body.content_type.owned(),
            file_name: body.name.owned(),
            caption: body.caption.owned(),
            voice: body.voice.is_true(),
            animated: body.animated.is_true(),
            sha256: body.sha256.owned(),
            ..Media::default()
        })
    };
    let reply = |id: &LooseScalar<'_>, title: &LooseScalar<'_>| {
        let description = body.description.owned();
        let is_there = !id.is_empty() || !title.is_empty();
        is_there.then(|| Reply { id: id.owned(), title: title.owned(), description })
    };
    Some(match kind {
        "text" | "quick_reply" if body.kind.as_str() == "button" => {
            Content::ButtonReply(reply(&body.id, &body.text)?)
        }
        "text" => Content::Text(TextContent { body: body.text.present()?.to_owned() }),
        "quick_reply" => Content::ButtonReply(reply(&body.id, &body.text)?),
        "image" => Content::Image(media()?),
        "audio" => Content::Audio(media()?),
        "voice" => Content::Audio(Media { voice: true, ..media()? }),
        "video" => Content::Video(media()?),
        "file" => Content::Document(media()?),
        "sticker" => Content::Sticker(media()?),
        "location" => Content::Location(Location {
            latitude: body.latitude.number()?,
            longitude: body.longitude.number()?,
            name: body.name.owned(),
            address: body.address.owned(),
        }),
        "contact" | "contacts" => Content::Contacts(whatsapp::contacts(body.contacts)?),
        "button_reply" => Content::ButtonReply(reply(body.id.or(&body.reply), &body.title)?),
        "list_reply" => {
            Content::ListReply(reply(body.postback_text.or(body.id.or(&body.reply)), &body.title)?)
        }
        "reaction" => Content::Reaction(Reaction {
            emoji: body.emoji.present()?.to_owned(),
            message_id: answered.or(&body.message_id).or(&body.id).owned(),
        }),
        // Gupshup's page on version 2 does not list these types; they are read in Meta's format.
        "order" => Content::Order(Order {
            catalog_id: body.catalog_id.owned(),
            text: body.text.owned(),
            items: whatsapp::order_items(body.product_items)?,
        }),
        "interactive" | "nfm_reply" => Content::FormReply(whatsapp::form_reply(body.nfm_reply)?),
        _ => return None,
    })
}
