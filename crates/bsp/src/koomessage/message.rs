//! KooMessage's inbound messages. The AICC's table lists `text`, `url`, `caption` and `filename` of the inner
//! object. The rest is not public, so locations and replies are read by the names of WhatsApp's other
//! formats, and other content is published as `unsupported` with its JSON.

use proto::v1::inbound_message::Content;
use proto::v1::{InboundMessage, Location, Media, MessageContext, Reply, Text as TextContent, Unsupported};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PROFILE;
use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::json::{self, LooseScalar, Part};
use crate::parsed::Rejection;
use crate::whatsapp::Names;
use crate::{text, time};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    sender: LooseScalar<'a>,
    #[serde(borrow, default)]
    user_number: LooseScalar<'a>,
    #[serde(borrow, default)]
    user_name: LooseScalar<'a>,
    #[serde(borrow, default)]
    timestamp: LooseScalar<'a>,
    #[serde(borrow, default)]
    message_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    message_type: LooseScalar<'a>,
    #[serde(borrow)]
    context: Part<'a>,
    #[serde(borrow)]
    message: Part<'a>,
}

#[derive(Deserialize, Default)]
struct Body<'a> {
    #[serde(borrow, default)]
    text: LooseScalar<'a>,
    #[serde(borrow, default)]
    url: LooseScalar<'a>,
    #[serde(borrow, default)]
    caption: LooseScalar<'a>,
    #[serde(borrow, default)]
    filename: LooseScalar<'a>,
    #[serde(borrow, default)]
    latitude: LooseScalar<'a>,
    #[serde(borrow, default)]
    longitude: LooseScalar<'a>,
    #[serde(borrow, default)]
    name: LooseScalar<'a>,
    #[serde(borrow, default)]
    address: LooseScalar<'a>,
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    payload: LooseScalar<'a>,
    #[serde(borrow, default)]
    title: LooseScalar<'a>,
    #[serde(borrow, default)]
    description: LooseScalar<'a>,
}

#[derive(Deserialize)]
struct Context<'a> {
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
}

pub(super) fn read(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let envelope: Envelope<'_> = json::from_str(raw.get())?;
    if envelope.message_id.is_empty() {
        return Err(Rejection::new("missing_id", "missing field 'message_id' in the message"));
    }
    let context = json::optional::<Context<'_>>(envelope.context).ok().flatten();
    let mut event = InboundMessage {
        event_id: event_id(&envelope, out),
        message_id: envelope.message_id.owned(),
        // In reports, `user_number` is the customer and `sender` is the merchant. Inbound messages use the
        // same names.
        sender: text::address(envelope.user_number.as_str()).to_owned(),
        recipient: text::address(envelope.sender.as_str()).to_owned(),
        profile_name: envelope.user_name.owned(),
        sent_at: time::parse(envelope.timestamp.as_str()),
        context: context
            .filter(|context| !context.id.is_empty())
            .map(|context| MessageContext { message_id: context.id.owned(), ..MessageContext::default() }),
        customer: Names { address: envelope.user_number.as_str(), ..Names::default() }.to_customer(),
        ..out.new_message()
    };
    if event.sent_at.is_none() && !envelope.timestamp.is_empty() {
        out.unrecognized("time", envelope.timestamp.as_str(), &event.message_id);
    }
    let kind = envelope.message_type.as_str();
    let body = json::optional::<Body<'_>>(envelope.message).ok().flatten();
    let content = body.and_then(|body| to_content(&kind.to_ascii_lowercase(), &body));
    if content.is_none() {
        out.unrecognized("message_type", kind, &event.message_id);
    }
    event.content = Some(content.unwrap_or_else(|| {
        let raw_json = json::whole(envelope.message.unwrap_or(raw));
        Content::Unsupported(Unsupported { r#type: kind.to_owned(), raw_json })
    }));
    out.message(event);
    Ok(())
}

fn event_id(envelope: &Envelope<'_>, out: &Collector<'_>) -> String {
    EventKey {
        kind: "message",
        message_id: envelope.message_id.as_str(),
        status: envelope.message_type.as_str(),
        time: envelope.timestamp.as_str(),
        error_code: "",
        recipient: envelope.user_number.as_str(),
    }
    .id(PROFILE.id, out.webhook.channel)
}

/// The content of a known type that has its fields; otherwise `None`.
fn to_content(kind: &str, body: &Body<'_>) -> Option<Content> {
    let media = || {
        (!body.url.is_empty()).then(|| Media {
            url: body.url.owned(),
            file_name: body.filename.owned(),
            caption: body.caption.owned(),
            ..Media::default()
        })
    };
    let reply = || {
        let (id, title) = (body.id.or(&body.payload), body.title.or(&body.text));
        let description = body.description.owned();
        (!id.is_empty() || !title.is_empty()).then(|| Reply {
            id: id.owned(),
            title: title.owned(),
            description,
        })
    };
    match kind {
        "text" => body.text.present().map(|text| Content::Text(TextContent { body: text.to_owned() })),
        "image" => media().map(Content::Image),
        "video" => media().map(Content::Video),
        "audio" => media().map(Content::Audio),
        "document" => media().map(Content::Document),
        "interactive_button_reply" | "button" => reply().map(Content::ButtonReply),
        "interactive_list_reply" => reply().map(Content::ListReply),
        "location" => Some(Content::Location(Location {
            latitude: body.latitude.number()?,
            longitude: body.longitude.number()?,
            name: body.name.owned(),
            address: body.address.owned(),
        })),
        _ => None,
    }
}
