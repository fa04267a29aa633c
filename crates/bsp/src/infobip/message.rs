//! Infobip's inbound messages (OMNI and WhatsApp API, "incoming message"; renderers MO_OTT_CONTACT and
//! MO_OTT_MSISDN). Every type is in upper case; the AICC's page writes the types in lower case.

use proto::v1::inbound_message::Content;
use proto::v1::{
    FormReply, InboundMessage, Location, Media, Order, Reaction, Reply, Text as TextContent, Unsupported,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages_api::{self, FLOW};
use super::notification::CONFIRMATION;
use super::report::WHATSAPP;
use super::{PROFILE, notification};
use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::json::{self, LooseScalar, Part};
use crate::parsed::Rejection;
use crate::whatsapp::{Context, Names};
use crate::{text, time, whatsapp};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    from: LooseScalar<'a>,
    #[serde(borrow, default)]
    to: LooseScalar<'a>,
    /// The Messages API's names for `from` and `to`.
    #[serde(borrow, default)]
    sender: LooseScalar<'a>,
    #[serde(borrow, default)]
    destination: LooseScalar<'a>,
    #[serde(borrow, default)]
    received_at: LooseScalar<'a>,
    #[serde(borrow, default)]
    message_id: LooseScalar<'a>,
    #[serde(borrow)]
    message: Part<'a>,
    /// The Messages API's content, a list.
    #[serde(borrow)]
    content: Part<'a>,
    #[serde(borrow)]
    contact: Part<'a>,
    #[serde(borrow, default)]
    integration_type: LooseScalar<'a>,
    #[serde(borrow, default)]
    channel: LooseScalar<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Profile<'a> {
    #[serde(borrow, default)]
    name: LooseScalar<'a>,
    #[serde(borrow, default)]
    phone_number: LooseScalar<'a>,
    /// Business-scoped user id of a customer who hides the number.
    #[serde(borrow, default)]
    user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    parent_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    username: LooseScalar<'a>,
}

/// The fields of every type of message, as far as events carry them.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow, default)]
    text: LooseScalar<'a>,
    #[serde(borrow, default)]
    url: LooseScalar<'a>,
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
    #[serde(borrow)]
    contacts: Part<'a>,
    #[serde(borrow, default)]
    payload: LooseScalar<'a>,
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    title: LooseScalar<'a>,
    #[serde(borrow, default)]
    description: LooseScalar<'a>,
    #[serde(borrow, default)]
    emoji: LooseScalar<'a>,
    #[serde(borrow, default)]
    action: LooseScalar<'a>,
    #[serde(borrow, default)]
    catalog_id: LooseScalar<'a>,
    #[serde(borrow)]
    product_items: Part<'a>,
    /// The customer's response to a flow, an object.
    #[serde(borrow)]
    response: Part<'a>,
    #[serde(borrow)]
    context: Part<'a>,
    #[serde(borrow)]
    referral: Part<'a>,
}

/// Known types that events cannot represent. They are published as `unsupported`, without a warning.
const UNSUPPORTED_TYPES: [&str; 5] = [
    "UNSUPPORTED",
    "INFECTED_CONTENT",
    CONFIRMATION,
    "INTERACTIVE_CALL_PERMISSION_REPLY",
    "INTERACTIVE_IN_THREAD_AUTHENTICATION_REPLY",
];

pub(super) fn read(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let envelope: Envelope<'_> = json::from_str(raw.get())?;
    if envelope.message_id.is_empty() {
        return Err(Rejection::new("missing_id", "missing field 'messageId' in the message"));
    }
    let from = envelope.from.or(&envelope.sender);
    let mut event = InboundMessage {
        message_id: envelope.message_id.owned(),
        sender: text::address(from.as_str()).to_owned(),
        recipient: text::address(envelope.to.or(&envelope.destination).as_str()).to_owned(),
        ..out.new_message()
    };
    let profile = json::optional::<Profile<'_>>(envelope.contact).ok().flatten().unwrap_or_default();
    event.profile_name = profile.name.owned();
    event.customer = profile.names(from).to_customer();
    if event.sender.is_empty() {
        event.sender = text::address(profile.phone_number.or(&profile.user_id).as_str()).to_owned();
    }
    if !envelope.received_at.is_empty() {
        event.sent_at = time::parse(envelope.received_at.as_str());
        if event.sent_at.is_none() {
            out.unrecognized("time", envelope.received_at.as_str(), &event.message_id);
        }
    }
    if let Some(other) =
        [&envelope.integration_type, &envelope.channel].into_iter().find(|name| is_other(name))
    {
        event.event_id = envelope.event_id(other.as_str(), out);
        keep_unsupported(other.as_str(), Some(raw), &mut event);
        out.message(event);
        return Ok(());
    }
    match envelope.message {
        Some(message) => {
            let kind = read_content(message, &mut event, out)?;
            event.event_id = envelope.event_id(&kind, out);
            let confirms = kind.eq_ignore_ascii_case(CONFIRMATION);
            let customer = if confirms { event.customer.clone() } else { None };
            out.message(event);
            if confirms {
                let (id, time) = (envelope.message_id.as_str(), &envelope.received_at);
                notification::confirmation(message, id, time, customer, out);
            }
        }
        None => messages_api::read(envelope.content, event, |place, out| envelope.event_id(place, out), out)?,
    }
    Ok(())
}

impl<'a> Profile<'a> {
    fn names(&'a self, from: &'a LooseScalar<'_>) -> Names<'a> {
        Names {
            address: from.as_str(),
            number: self.phone_number.as_str(),
            user_id: self.user_id.as_str(),
            parent_user_id: self.parent_user_id.as_str(),
            username: self.username.as_str(),
        }
    }
}

/// Whether a message came through another channel than WhatsApp.
fn is_other(name: &LooseScalar<'_>) -> bool {
    name.filled().is_some_and(|name| !name.eq_ignore_ascii_case(WHATSAPP))
}

impl Envelope<'_> {
    fn event_id(&self, raw_type: &str, out: &Collector<'_>) -> String {
        EventKey {
            kind: "message",
            message_id: self.message_id.as_str(),
            status: raw_type,
            time: self.received_at.as_str(),
            error_code: "",
            recipient: self.from.or(&self.sender).as_str(),
        }
        .id(PROFILE.id, out.webhook.channel)
    }
}

/// Sets content, context and referral. Returns the raw type.
fn read_content(
    raw: &RawValue,
    event: &mut InboundMessage,
    out: &mut Collector<'_>,
) -> Result<String, Rejection> {
    let body: Body<'_> = json::from_str(raw.get())?;
    let context = Context::read(body.context);
    event.context = context.to_message_context();
    event.group_id = context.group_id.owned();
    event.referral = whatsapp::referral(body.referral);
    let kind = body.kind.as_str().to_ascii_uppercase();
    let content = to_content(&kind, &body, &context);
    // The event id contains the raw type, so that it stays the same when a later version supports more types.
    let raw_type = body.kind.owned();
    if let Some(content) = content {
        event.content = Some(content);
        return Ok(raw_type);
    }
    if !UNSUPPORTED_TYPES.contains(&kind.as_str()) {
        out.unrecognized("message.type", body.kind.as_str(), &event.message_id);
    }
    keep_unsupported(body.kind.as_str(), Some(raw), event);
    Ok(raw_type)
}

fn keep_unsupported(kind: &str, raw: Part<'_>, event: &mut InboundMessage) {
    let raw_json = raw.map(json::whole).unwrap_or_default();
    event.content = Some(Content::Unsupported(Unsupported { r#type: kind.to_owned(), raw_json }));
}

/// The content of a known type that events can represent; otherwise `None`.
fn to_content(kind: &str, body: &Body<'_>, context: &Context<'_>) -> Option<Content> {
    let reply = |id: &LooseScalar<'_>, title: &LooseScalar<'_>| {
        let description = body.description.owned();
        let is_there = !id.is_empty() || !title.is_empty();
        is_there.then(|| Reply { id: id.owned(), title: title.owned(), description })
    };
    Some(match kind {
        "TEXT" => Content::Text(TextContent { body: body.text.present()?.to_owned() }),
        "IMAGE" => Content::Image(media(body)?),
        // Infobip puts a document's file name into its caption (real webhooks, 2025).
        "DOCUMENT" => Content::Document(Media { file_name: body.caption.owned(), ..media(body)? }),
        "AUDIO" => Content::Audio(media(body)?),
        "VOICE" => Content::Audio(Media { voice: true, ..media(body)? }),
        "VIDEO" => Content::Video(media(body)?),
        "STICKER" => Content::Sticker(media(body)?),
        "LOCATION" | "LOCATE" => Content::Location(Location {
            latitude: body.latitude.number()?,
            longitude: body.longitude.number()?,
            name: body.name.owned(),
            address: body.address.owned(),
        }),
        "CONTACT" => Content::Contacts(whatsapp::contacts(body.contacts)?),
        "BUTTON" => Content::ButtonReply(reply(&body.payload, &body.text)?),
        "INTERACTIVE_BUTTON_REPLY" => Content::ButtonReply(reply(&body.id, &body.title)?),
        "INTERACTIVE_LIST_REPLY" => Content::ListReply(reply(&body.id, &body.title)?),
        "INTERACTIVE_FLOW_REPLY" => Content::FormReply(FormReply {
            name: FLOW.to_owned(),
            body: body.text.owned(),
            response_json: json::whole(body.response?),
        }),
        "REACTION" => Content::Reaction(Reaction {
            emoji: if body.action.as_str() == "REMOVED" { String::new() } else { body.emoji.owned() },
            message_id: context.id.owned(),
        }),
        "ORDER" => Content::Order(Order {
            catalog_id: body.catalog_id.owned(),
            text: body.text.owned(),
            items: whatsapp::order_items(body.product_items)?,
        }),
        _ => return None,
    })
}

fn media(body: &Body<'_>) -> Option<Media> {
    Some(Media {
        url: body.url.filled()?.to_owned(),
        caption: body.caption.owned(),
        // The file is downloaded with `Authorization: App {API key}` (WhatsApp API, "download inbound
        // media").
        requires_auth: true,
        ..Media::default()
    })
}
