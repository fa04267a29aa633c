//! Meta's inbound message inside Gupshup's version 3 (Meta, "Webhooks: messages object").

use proto::v1::inbound_message::Content;
use proto::v1::{
    InboundMessage, Location, Media, MessageContext, Order, Reaction, Reply, Text as TextContent, Unsupported,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PROFILE;
use super::v3::Shared;
use crate::event_id::EventKey;
use crate::json::{self, Part, Text};
use crate::parsed::{Collector, Refusal};
use crate::{text, time, whatsapp};

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    from: Text<'a>,
    #[serde(borrow, default)]
    from_user_id: Text<'a>,
    #[serde(borrow, default)]
    timestamp: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    context: Part<'a>,
    #[serde(borrow)]
    contacts: Part<'a>,
    #[serde(borrow)]
    interactive: Part<'a>,
    /// Every other type stands under a key of its own name.
    #[serde(borrow)]
    text: Part<'a>,
    #[serde(borrow)]
    image: Part<'a>,
    #[serde(borrow)]
    document: Part<'a>,
    #[serde(borrow)]
    audio: Part<'a>,
    #[serde(borrow)]
    video: Part<'a>,
    #[serde(borrow)]
    sticker: Part<'a>,
    #[serde(borrow)]
    location: Part<'a>,
    #[serde(borrow)]
    button: Part<'a>,
    #[serde(borrow)]
    reaction: Part<'a>,
    #[serde(borrow)]
    order: Part<'a>,
}

#[derive(Deserialize, Default)]
struct Body<'a> {
    #[serde(borrow, default)]
    body: Text<'a>,
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    url: Text<'a>,
    #[serde(borrow, default)]
    mime_type: Text<'a>,
    #[serde(borrow, default)]
    filename: Text<'a>,
    #[serde(borrow, default)]
    caption: Text<'a>,
    #[serde(borrow, default)]
    latitude: Text<'a>,
    #[serde(borrow, default)]
    longitude: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    address: Text<'a>,
    #[serde(borrow, default)]
    payload: Text<'a>,
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    title: Text<'a>,
    #[serde(borrow, default)]
    description: Text<'a>,
    #[serde(borrow, default)]
    emoji: Text<'a>,
    #[serde(borrow, default)]
    message_id: Text<'a>,
    #[serde(borrow, default)]
    from: Text<'a>,
    #[serde(borrow, default)]
    catalog_id: Text<'a>,
    #[serde(borrow)]
    product_items: Part<'a>,
}

#[derive(Deserialize)]
struct Interactive<'a> {
    #[serde(borrow)]
    button_reply: Part<'a>,
    #[serde(borrow)]
    list_reply: Part<'a>,
}

pub(super) fn read(raw: &RawValue, shared: &Shared, out: &mut Collector<'_>) -> Result<(), Refusal> {
    let message: Message<'_> = serde_json::from_str(raw.get())?;
    if message.id.is_empty() {
        return Err(Refusal::new("missing_id", "a message has an 'id'"));
    }
    let customer = message.from.or(&message.from_user_id);
    let mut event = InboundMessage {
        // The id alone, as in version 2: both versions of one message may come.
        event_id: EventKey {
            kind: "message",
            message_id: message.id.as_str(),
            recipient: customer.as_str(),
            ..EventKey::default()
        }
        .id(PROFILE.id, out.webhook.channel),
        message_id: message.id.owned(),
        sender: text::address(customer.as_str()).to_owned(),
        recipient: shared.our_number.clone(),
        profile_name: shared.name([&message.from, &message.from_user_id]),
        sent_at: time::parse(message.timestamp.as_str()),
        context: body(message.context).filter(|context| !context.id.is_empty()).map(|context| {
            MessageContext {
                message_id: context.id.owned(),
                sender: text::address(context.from.as_str()).to_owned(),
            }
        }),
        ..out.new_message()
    };
    if event.sent_at.is_none() && !message.timestamp.is_empty() {
        out.unrecognised("time", message.timestamp.as_str(), &event.message_id);
    }
    let kind = message.kind.as_str();
    event.content = Some(to_content(&message).unwrap_or_else(|| {
        // Meta itself says `unsupported` for what it does not pass on.
        if kind != "unsupported" {
            out.unrecognised("messages.type", kind, message.id.as_str());
        }
        Content::Unsupported(Unsupported { r#type: kind.to_owned(), raw_json: raw.get().to_owned() })
    }));
    out.message(event);
    Ok(())
}

fn body(part: Part<'_>) -> Option<Body<'_>> {
    json::optional(part).ok().flatten()
}

/// The content of a known type whose fields are there, or `None`.
fn to_content(message: &Message<'_>) -> Option<Content> {
    Some(match message.kind.as_str() {
        "text" => Content::Text(TextContent { body: body(message.text)?.body.present()?.to_owned() }),
        "image" => Content::Image(media(message.image)?),
        "document" => Content::Document(media(message.document)?),
        "audio" | "voice" => Content::Audio(media(message.audio)?),
        "video" => Content::Video(media(message.video)?),
        "sticker" => Content::Sticker(media(message.sticker)?),
        "location" => {
            let place = body(message.location)?;
            Content::Location(Location {
                latitude: place.latitude.number()?,
                longitude: place.longitude.number()?,
                name: place.name.owned(),
                address: place.address.owned(),
            })
        }
        "contacts" => Content::Contacts(whatsapp::contacts(message.contacts)?),
        "button" => {
            let button = body(message.button)?;
            Content::ButtonReply(reply(&button, &button.payload, &button.text))
        }
        "interactive" => interactive(message.interactive)?,
        "reaction" => {
            let reaction = body(message.reaction)?;
            Content::Reaction(Reaction {
                emoji: reaction.emoji.owned(),
                message_id: reaction.message_id.owned(),
            })
        }
        "order" => {
            let order = body(message.order)?;
            let items = whatsapp::order_items(order.product_items)?;
            Content::Order(Order { catalog_id: order.catalog_id.owned(), text: order.text.owned(), items })
        }
        _ => return None,
    })
}

fn media(part: Part<'_>) -> Option<Media> {
    let media = body(part)?;
    Some(Media {
        url: media.url.owned(),
        content_type: media.mime_type.owned(),
        file_name: media.filename.owned(),
        caption: media.caption.owned(),
        requires_auth: false,
        provider_media_id: media.id.owned(),
    })
}

fn interactive(part: Part<'_>) -> Option<Content> {
    let interactive: Interactive<'_> = json::optional(part).ok()??;
    if let Some(button) = body(interactive.button_reply) {
        return Some(Content::ButtonReply(reply(&button, &button.id, &button.title)));
    }
    let row = body(interactive.list_reply)?;
    Some(Content::ListReply(reply(&row, &row.id, &row.title)))
}

fn reply(body: &Body<'_>, id: &Text<'_>, title: &Text<'_>) -> Reply {
    Reply { id: id.owned(), title: title.owned(), description: body.description.owned() }
}
