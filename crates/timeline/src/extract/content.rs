//! What a customer's message is, in a few words, without what the customer wrote.

use proto::v1::inbound_message::Content;
use proto::v1::{InboundMessage, Media};

use crate::extract::text;
use crate::row::shown;

/// Such as `image image/jpeg, answers wamid.…Y0AA==`.
pub(super) fn summary(message: &InboundMessage) -> String {
    let mut summary = content(message.content.as_ref());
    if !message.group_id.is_empty() {
        summary.push_str(", in a group");
    }
    if let Some(context) = &message.context {
        if !context.message_id.is_empty() {
            summary.push_str(", answers ");
            summary.push_str(&shown::id(&context.message_id));
        }
        if context.forwarded || context.frequently_forwarded {
            summary.push_str(", forwarded");
        }
    }
    summary
}

fn content(content: Option<&Content>) -> String {
    match content {
        Some(Content::Text(_)) => "text".to_owned(),
        Some(Content::Image(media)) => file("image", media),
        Some(Content::Document(media)) => file("document", media),
        Some(Content::Audio(media)) if media.voice => file("voice note", media),
        Some(Content::Audio(media)) => file("audio", media),
        Some(Content::Video(media)) => file("video", media),
        Some(Content::Sticker(media)) => file("sticker", media),
        Some(Content::Location(_)) => "location".to_owned(),
        Some(Content::Contacts(_)) => "contacts".to_owned(),
        Some(Content::ButtonReply(_)) => "button reply".to_owned(),
        Some(Content::ListReply(_)) => "list reply".to_owned(),
        Some(Content::Reaction(reaction)) if reaction.emoji.is_empty() => {
            about("removed the reaction to", &reaction.message_id)
        }
        Some(Content::Reaction(reaction)) => about("reaction to", &reaction.message_id),
        Some(Content::Order(_)) => "order".to_owned(),
        Some(Content::Unsupported(unsupported)) => {
            format!("unsupported {}", text::words(&unsupported.r#type)).trim_end().to_owned()
        }
        Some(Content::FormReply(form)) => {
            format!("form reply {}", text::words(&form.name)).trim_end().to_owned()
        }
        Some(Content::Edit(edit)) => about("edit of", &edit.message_id),
        Some(Content::Revoke(revoke)) => about("deletion of", &revoke.message_id),
        Some(Content::RequestWelcome(_)) => "opened the chat".to_owned(),
        None => "empty".to_owned(),
    }
}

fn about(words: &str, id: &str) -> String {
    if id.is_empty() { format!("{words} a message") } else { format!("{words} {}", shown::id(id)) }
}

fn file(kind: &str, media: &Media) -> String {
    format!("{kind} {}", text::words(&media.content_type)).trim_end().to_owned()
}
