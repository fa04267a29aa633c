//! Twilio's inbound messages. `MessageType` is not in Twilio's own list, though the AICC's page asks for it, so
//! the fields that are there decide.

use proto::v1::inbound_message::Content;
use proto::v1::{InboundMessage, Location, Media, MessageContext, Reply, Text as TextContent, Unsupported};

use super::{PROFILE, message_sid};
use crate::event_id::EventKey;
use crate::form::Form;
use crate::parsed::{Collector, Refusal};
use crate::text;

/// WhatsApp allows one medium a message and Twilio's API ten; every one becomes a message of its own.
const MEDIA_MAX: usize = 10;

pub(super) fn read(form: &Form<'_>, out: &mut Collector<'_>) -> Result<(), Refusal> {
    let message_id = message_sid(form)?;
    let customer = match form.get("From") {
        "" => form.get("ExternalUserId"),
        from => from,
    };
    let message = InboundMessage {
        message_id: message_id.to_owned(),
        sender: text::address(customer).to_owned(),
        recipient: text::address(form.get("To")).to_owned(),
        profile_name: form.get("ProfileName").to_owned(),
        context: context(form),
        ..out.new_message()
    };
    for (position, content) in contents(form).into_iter().enumerate() {
        // The position tells the media of one message apart; nothing else in the body does.
        let kind = if position == 0 { String::new() } else { format!("media{position}") };
        let event_id = EventKey {
            kind: "message",
            message_id,
            status: &kind,
            time: "",
            error_code: "",
            recipient: customer,
        }
        .id(PROFILE.id, out.webhook.channel);
        out.message(InboundMessage { event_id, content: Some(content), ..message.clone() });
    }
    Ok(())
}

fn context(form: &Form<'_>) -> Option<MessageContext> {
    let message_id = form.get("OriginalRepliedMessageSid");
    (!message_id.is_empty()).then(|| MessageContext {
        message_id: message_id.to_owned(),
        sender: text::address(form.get("OriginalRepliedMessageSender")).to_owned(),
    })
}

/// What the message holds: one content, or one for each medium.
fn contents(form: &Form<'_>) -> Vec<Content> {
    let media: Vec<Content> = (0..MEDIA_MAX).filter_map(|position| medium(form, position)).collect();
    if !media.is_empty() {
        return media;
    }
    let body = form.get("Body");
    let degrees = |name| form.get(name).parse::<f64>().ok().filter(|degrees| degrees.is_finite());
    if let (Some(latitude), Some(longitude)) = (degrees("Latitude"), degrees("Longitude")) {
        let name = if form.has("Label") { form.get("Label") } else { body };
        let address = form.get("Address").to_owned();
        return vec![Content::Location(Location { latitude, longitude, name: name.to_owned(), address })];
    }
    if form.has("ButtonPayload") || form.has("ButtonText") {
        let title = if form.get("ButtonText").is_empty() { body } else { form.get("ButtonText") };
        let id = form.get("ButtonPayload").to_owned();
        return vec![Content::ButtonReply(Reply { id, title: title.to_owned(), description: String::new() })];
    }
    for name in ["InteractiveData", "FlowData"] {
        let data = form.get(name);
        if !data.is_empty() {
            let (r#type, raw_json) = (name.to_owned(), data.to_owned());
            return vec![Content::Unsupported(Unsupported { r#type, raw_json })];
        }
    }
    if form.has("Body") {
        return vec![Content::Text(TextContent { body: body.to_owned() })];
    }
    vec![unsupported(form)]
}

fn medium(form: &Form<'_>, position: usize) -> Option<Content> {
    let url = form.get(&format!("MediaUrl{position}"));
    if url.is_empty() {
        return None;
    }
    let content_type = form.get(&format!("MediaContentType{position}"));
    let media_type = content_type.to_ascii_lowercase();
    let media = Media {
        url: url.to_owned(),
        content_type: content_type.to_owned(),
        // The text belongs to the message, so it stands under its first medium only.
        caption: if position == 0 { form.get("Body").to_owned() } else { String::new() },
        // Account SID and Auth Token, where the account protects its media (default for new accounts).
        requires_auth: true,
        ..Media::default()
    };
    // Without a content type the AICC's own word for the type helps; it writes VIDEO in two ways.
    let (kind, subtype) = match media_type.split_once('/') {
        Some(parts) => parts,
        None => match form.get("MessageType") {
            "IMAGE" => ("image", ""),
            "AUDIO" => ("audio", ""),
            "VIDEO" | "VEDIO" => ("video", ""),
            _ => ("", ""),
        },
    };
    Some(match kind {
        // WhatsApp takes no WebP as an image; a sticker is one.
        "image" if subtype == "webp" => Content::Sticker(media),
        "image" => Content::Image(media),
        "audio" => Content::Audio(media),
        "video" => Content::Video(media),
        _ => Content::Document(media),
    })
}

/// A message without text, medium, place or button: all its fields as a JSON object.
fn unsupported(form: &Form<'_>) -> Content {
    let fields = form.fields().iter().map(|(name, value)| (name.to_string(), value.to_string().into()));
    let object: serde_json::Map<String, serde_json::Value> = fields.collect();
    Content::Unsupported(Unsupported {
        r#type: form.get("MessageType").to_owned(),
        raw_json: serde_json::Value::Object(object).to_string(),
    })
}
