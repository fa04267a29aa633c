//! Inbound messages in the format of the Messages API (renderer MO_MESSAGES_API_JSON): a list of contents,
//! each with its own type.

use proto::v1::inbound_message::Content;
use proto::v1::{
    FormReply, InboundMessage, Location, Media, Reaction, Reply, Text as TextContent, Unsupported,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::collector::Collector;
use crate::json::{self, LooseScalar};
use crate::parsed::Rejection;

/// The type of the forms whose responses Infobip passes on.
pub(super) const FLOW: &str = "flow";

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow, default)]
    text: LooseScalar<'a>,
    #[serde(borrow, default)]
    url: LooseScalar<'a>,
    #[serde(borrow, default)]
    id: LooseScalar<'a>,
    #[serde(borrow, default)]
    payload: LooseScalar<'a>,
    #[serde(borrow, default)]
    latitude: LooseScalar<'a>,
    #[serde(borrow, default)]
    longitude: LooseScalar<'a>,
    #[serde(borrow, default)]
    emoji: LooseScalar<'a>,
    #[serde(borrow, default)]
    action: LooseScalar<'a>,
    /// The customer's response to a flow, an object.
    #[serde(borrow)]
    response: json::Part<'a>,
}

/// Reads one event for each content of the list. `event` has the fields that all of them share; `event_id` makes an
/// id from the position of a content.
pub(super) fn read(
    contents: json::Part<'_>,
    event: InboundMessage,
    event_id: impl Fn(&str, &Collector<'_>) -> String,
    out: &mut Collector<'_>,
) -> Result<(), Rejection> {
    let Ok(Some(parts)) = json::optional::<Vec<&RawValue>>(contents) else {
        return Err(Rejection::new("wrong_shape", "field 'content' is not a list"));
    };
    for (position, raw) in parts.into_iter().enumerate() {
        let part = json::from_str::<Part<'_>>(raw.get()).ok();
        let content = part.as_ref().and_then(to_content);
        if content.is_none() {
            let kind = part.as_ref().map(|part| part.kind.as_str()).unwrap_or_default();
            out.unrecognized("content.type", kind, &event.message_id);
        }
        // The position is enough to distinguish the contents of one message.
        let place = if position == 0 { String::new() } else { format!("content{position}") };
        out.message(InboundMessage {
            event_id: event_id(&place, out),
            content: Some(content.unwrap_or_else(|| unsupported(part.as_ref(), raw))),
            ..event.clone()
        });
    }
    Ok(())
}

fn unsupported(part: Option<&Part<'_>>, raw: &RawValue) -> Content {
    let r#type = part.map(|part| part.kind.owned()).unwrap_or_default();
    Content::Unsupported(Unsupported { r#type, raw_json: json::whole(raw) })
}

/// The content of a known type that has its fields; otherwise `None`.
fn to_content(part: &Part<'_>) -> Option<Content> {
    let media = || {
        let url = part.url.filled()?.to_owned();
        Some(Media { url, caption: part.text.owned(), requires_auth: true, ..Media::default() })
    };
    let reply = || {
        let id = part.payload.or(&part.id).owned();
        part.text.filled().map(|title| Reply { id, title: title.to_owned(), description: String::new() })
    };
    Some(match part.kind.as_str() {
        "TEXT" => Content::Text(TextContent { body: part.text.present()?.to_owned() }),
        "URL" => Content::Text(TextContent { body: part.url.or(&part.text).filled()?.to_owned() }),
        "IMAGE" => Content::Image(media()?),
        "AUDIO" => Content::Audio(media()?),
        "VIDEO" => Content::Video(media()?),
        "DOCUMENT" | "FILE" => Content::Document(media()?),
        "BUTTON_REPLY" => Content::ButtonReply(reply()?),
        "LIST_REPLY" => Content::ListReply(reply()?),
        "FLOW_RESPONSE" => Content::FormReply(FormReply {
            name: FLOW.to_owned(),
            body: part.text.owned(),
            response_json: json::whole(part.response?),
        }),
        "LOCATION" => Content::Location(Location {
            latitude: part.latitude.number()?,
            longitude: part.longitude.number()?,
            ..Location::default()
        }),
        "REACTION" => Content::Reaction(Reaction {
            emoji: if part.action.as_str() == "REMOVED" {
                String::new()
            } else {
                part.emoji.filled()?.to_owned()
            },
            message_id: String::new(),
        }),
        _ => return None,
    })
}
