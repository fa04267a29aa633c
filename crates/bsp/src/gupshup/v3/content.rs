//! The contents of Meta's inbound messages, by type (Meta, "Webhooks: messages object", with the pages on
//! `edit`, `revoke` and flows, 2026-11).

use proto::v1::inbound_message::Content;
use proto::v1::{
    Edit, Location, Media, Order, Reaction, Reply, RequestWelcome, Revoke, Text as TextContent, edit,
};
use serde::Deserialize;

use super::message_object::Message;
use crate::json::{self, LooseScalar, Part};
use crate::whatsapp::{self, Context};

#[derive(Deserialize, Default)]
struct Body<'a> {
    #[serde(borrow, default)]
    body: LooseScalar<'a>,
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    url: LooseScalar<'a>,
    #[serde(borrow, default)]
    mime_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    filename: LooseScalar<'a>,
    #[serde(borrow, default)]
    caption: LooseScalar<'a>,
    #[serde(borrow, default)]
    latitude: LooseScalar<'a>,
    #[serde(borrow, default)]
    longitude: LooseScalar<'a>,
    #[serde(borrow, default)]
    name: LooseScalar<'a>,
    #[serde(borrow, default)]
    address: LooseScalar<'a>,
    #[serde(borrow, default)]
    payload: LooseScalar<'a>,
    #[serde(borrow, default)]
    text: LooseScalar<'a>,
    #[serde(borrow, default)]
    title: LooseScalar<'a>,
    #[serde(borrow, default)]
    description: LooseScalar<'a>,
    #[serde(borrow, default)]
    emoji: LooseScalar<'a>,
    #[serde(borrow, default)]
    message_id: LooseScalar<'a>,
    /// In a reaction: Gupshup's own id of the message that it refers to.
    #[serde(borrow, default)]
    gs_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    voice: LooseScalar<'a>,
    #[serde(borrow, default)]
    animated: LooseScalar<'a>,
    #[serde(borrow, default)]
    sha256: LooseScalar<'a>,
    #[serde(borrow, default)]
    catalog_id: LooseScalar<'a>,
    #[serde(borrow)]
    product_items: Part<'a>,
}

#[derive(Deserialize)]
struct Interactive<'a> {
    #[serde(borrow)]
    button_reply: Part<'a>,
    #[serde(borrow)]
    list_reply: Part<'a>,
    #[serde(borrow)]
    nfm_reply: Part<'a>,
}

/// A customer edited or deleted a message.
#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow, default)]
    original_message_id: LooseScalar<'a>,
    /// Only of an edited message: its new content, in the form of a message.
    #[serde(borrow)]
    message: Part<'a>,
}

fn body(part: Part<'_>) -> Option<Body<'_>> {
    json::optional(part).ok().flatten()
}

/// The content of a known type that has its fields; otherwise `None`.
pub(super) fn to_content(message: &Message<'_>, context: &Context<'_>) -> Option<Content> {
    Some(match message.kind.as_str() {
        "text" => Content::Text(TextContent { body: body(message.text)?.body.present()?.to_owned() }),
        "image" => Content::Image(media(message.image)?),
        "document" => Content::Document(media(message.document)?),
        "audio" => Content::Audio(media(message.audio)?),
        // The older name of a voice note, under its own key.
        "voice" => Content::Audio(Media { voice: true, ..media(message.voice.or(message.audio))? }),
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
        "reaction" => Content::Reaction(reaction(message.reaction, context)?),
        "order" => {
            let order = body(message.order)?;
            let items = whatsapp::order_items(order.product_items)?;
            Content::Order(Order { catalog_id: order.catalog_id.owned(), text: order.text.owned(), items })
        }
        "edit" => Content::Edit(edit(message.edit, context)?),
        "revoke" => {
            let change = change(message.revoke)?;
            Content::Revoke(Revoke { message_id: change.original_message_id.owned() })
        }
        "request_welcome" => Content::RequestWelcome(RequestWelcome {}),
        _ => return None,
    })
}

/// A reaction names its message by the same id as reports.
fn reaction(part: Part<'_>, context: &Context<'_>) -> Option<Reaction> {
    let reaction = body(part)?;
    let on = context.gs_id.or(&reaction.gs_id).or(&reaction.message_id).or(&context.id);
    Some(Reaction { emoji: reaction.emoji.owned(), message_id: on.owned() })
}

/// The edited or deleted message, if its id is present.
fn change(part: Part<'_>) -> Option<Change<'_>> {
    let change: Change<'_> = json::optional(part).ok()??;
    (!change.original_message_id.is_empty()).then_some(change)
}

fn edit(part: Part<'_>, context: &Context<'_>) -> Option<Edit> {
    let change = change(part)?;
    let content = match json::optional::<Message<'_>>(change.message).ok()? {
        Some(message) => Some(edited(to_content(&message, context)?)?),
        None => None,
    };
    Some(Edit { message_id: change.original_message_id.owned(), content })
}

/// The contents that WhatsApp lets a customer edit.
fn edited(content: Content) -> Option<edit::Content> {
    Some(match content {
        Content::Text(text) => edit::Content::Text(text),
        Content::Image(media) => edit::Content::Image(media),
        Content::Document(media) => edit::Content::Document(media),
        Content::Audio(media) => edit::Content::Audio(media),
        Content::Video(media) => edit::Content::Video(media),
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
        voice: media.voice.is_true(),
        animated: media.animated.is_true(),
        sha256: media.sha256.owned(),
    })
}

fn interactive(part: Part<'_>) -> Option<Content> {
    let interactive: Interactive<'_> = json::optional(part).ok()??;
    if let Some(button) = body(interactive.button_reply) {
        return Some(Content::ButtonReply(reply(&button, &button.id, &button.title)));
    }
    if let Some(row) = body(interactive.list_reply) {
        return Some(Content::ListReply(reply(&row, &row.id, &row.title)));
    }
    Some(Content::FormReply(whatsapp::form_reply(interactive.nfm_reply)?))
}

fn reply(body: &Body<'_>, id: &LooseScalar<'_>, title: &LooseScalar<'_>) -> Reply {
    Reply { id: id.owned(), title: title.owned(), description: body.description.owned() }
}
