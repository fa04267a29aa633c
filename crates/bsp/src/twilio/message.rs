//! Twilio's inbound messages. `MessageType` is not in Twilio's own list, although the AICC's page requires
//! it. So the present fields determine the type.

use proto::v1::inbound_message::Content;
use proto::v1::{
    Customer, CustomerEvent, CustomerEventKind, FormReply, InboundMessage, Location, Media, MessageContext,
    Referral, Reply, Text as TextContent, Unsupported,
};

use super::{PROFILE, message_sid};
use crate::collector::Collector;
use crate::event_id::EventKey;
use crate::form::Form;
use crate::notice::Notice;
use crate::parsed::Rejection;
use crate::text;
use crate::whatsapp::Names;

/// WhatsApp allows one file per message and Twilio's API ten. Each becomes a separate message.
const MEDIA_MAX: usize = 10;

pub(super) fn read(form: &Form<'_>, out: &mut Collector<'_>) -> Result<(), Rejection> {
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
        customer: to_customer(form),
        referral: referral(form),
        ..out.new_message()
    };
    for (position, content) in contents(form).into_iter().enumerate() {
        // Only the position distinguishes the files of one message.
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
    preference(form, message_id, customer, out);
    Ok(())
}

/// A message with an opt-out or opt-in keyword is both a message and an event about the customer (Twilio,
/// "Advanced Opt-Out", `OptOutType`). `HELP` requests help and changes nothing.
fn preference(form: &Form<'_>, message_id: &str, customer: &str, out: &mut Collector<'_>) {
    let word = form.get("OptOutType");
    let kind = match word.to_ascii_uppercase().as_str() {
        "STOP" => CustomerEventKind::OptedOut,
        "START" => CustomerEventKind::OptedIn,
        _ => return,
    };
    let notice = Notice { about: message_id, word, of: customer, ..Notice::default() };
    let event = CustomerEvent { kind: kind.into(), customer: to_customer(form), ..CustomerEvent::default() };
    out.customer(&notice, event);
}

/// `WaId` contains a number even if `From` has the user id of a customer who hides the number.
fn to_customer(form: &Form<'_>) -> Option<Customer> {
    let names = Names {
        address: form.get("From"),
        number: form.get("WaId"),
        user_id: form.get("ExternalUserId"),
        ..Names::default()
    };
    names.to_customer()
}

fn context(form: &Form<'_>) -> Option<MessageContext> {
    let is_true = |name| form.get(name).eq_ignore_ascii_case("true");
    let message_id = form.get("OriginalRepliedMessageSid");
    let (forwarded, frequently_forwarded) = (is_true("Forwarded"), is_true("FrequentlyForwarded"));
    (!message_id.is_empty() || forwarded || frequently_forwarded).then(|| MessageContext {
        message_id: message_id.to_owned(),
        sender: text::address(form.get("OriginalRepliedMessageSender")).to_owned(),
        forwarded,
        frequently_forwarded,
        referred_product: None,
    })
}

/// The advertisement or post that the customer came from.
fn referral(form: &Form<'_>) -> Option<Referral> {
    let field = |name| form.get(name).to_owned();
    let referral = Referral {
        source_type: form.get("ReferralSourceType").to_ascii_lowercase(),
        source_id: field("ReferralSourceId"),
        source_url: field("ReferralSourceUrl"),
        headline: field("ReferralHeadline"),
        body: field("ReferralBody"),
        media_type: form.get("ReferralMediaContentType").to_ascii_lowercase(),
        media_url: field("ReferralMediaUrl"),
        click_id: field("ReferralCtwaClid"),
        // Twilio does not pass it on.
        welcome_message: String::new(),
    };
    (referral != Referral::default()).then_some(referral)
}

/// The contents of the message: one, or one for each file.
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
    if let Some(reply) = reply(form, &LIST) {
        return vec![Content::ListReply(reply)];
    }
    if let Some(reply) = reply(form, &BUTTON) {
        return vec![Content::ButtonReply(reply)];
    }
    if let Some(reply) = form_reply(form) {
        return vec![Content::FormReply(reply)];
    }
    if form.has("Body") {
        return vec![Content::Text(TextContent { body: body.to_owned() })];
    }
    vec![unsupported(form)]
}

/// The names of the fields of a tap.
struct TapFields {
    id: &'static str,
    title: &'static str,
    description: Option<&'static str>,
}

const LIST: TapFields = TapFields { id: "ListId", title: "ListTitle", description: Some("ListDescription") };
const BUTTON: TapFields = TapFields { id: "ButtonPayload", title: "ButtonText", description: None };

/// The tap whose fields are present. The text of the message repeats its title.
fn reply(form: &Form<'_>, fields: &TapFields) -> Option<Reply> {
    if !form.has(fields.id) && !form.has(fields.title) {
        return None;
    }
    let title = if form.get(fields.title).is_empty() { form.get("Body") } else { form.get(fields.title) };
    Some(Reply {
        id: form.get(fields.id).to_owned(),
        title: title.to_owned(),
        description: fields.description.map(|name| form.get(name)).unwrap_or_default().to_owned(),
    })
}

/// A customer's response to a flow (Twilio, "WhatsApp Flows").
fn form_reply(form: &Form<'_>) -> Option<FormReply> {
    let data = [("", "InteractiveData"), ("flow", "FlowData")];
    let (name, field) = data.into_iter().find(|(_, field)| !form.get(field).is_empty())?;
    Some(FormReply {
        name: name.to_owned(),
        body: form.get("Body").to_owned(),
        response_json: form.get(field).to_owned(),
    })
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
        // The text belongs to the message, so only the first file has it.
        caption: if position == 0 { form.get("Body").to_owned() } else { String::new() },
        // Account SID and Auth Token, if the account protects its media (the default for new accounts).
        requires_auth: true,
        ..Media::default()
    };
    // Without a content type, use the AICC's own name of the type. The AICC writes VIDEO in two ways.
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
        // WhatsApp does not accept WebP as an image. A sticker is WebP.
        "image" if subtype == "webp" => Content::Sticker(media),
        "image" => Content::Image(media),
        "audio" => Content::Audio(media),
        "video" => Content::Video(media),
        _ => Content::Document(media),
    })
}

/// A message without text, file, location, button or form: all its fields as a JSON object.
fn unsupported(form: &Form<'_>) -> Content {
    let fields = form.fields().map(|(name, value)| (name.to_owned(), value.into()));
    let object: serde_json::Map<String, serde_json::Value> = fields.collect();
    Content::Unsupported(Unsupported {
        r#type: form.get("MessageType").to_owned(),
        raw_json: serde_json::Value::Object(object).to_string(),
    })
}
