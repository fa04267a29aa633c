//! Requests to Infobip: `POST /omni/1/advanced` of the OMNI failover API.
//!
//! Source: Infobip's OpenAPI of the OMNI failover API (3.210.0, read 2026-11) and the log lines of the older
//! IMChannel. The scenario determines the sender; the channel's settings contain the scenario.

use proto::v1::Location;
use serde::Serialize;
use serde_json::{Value, json};

use super::card;
use crate::command::{Button, Command, Content, Header, Media, Template};
use crate::media::MediaKind;
use crate::sending::{MediaLink, Request};

/// Path of the API to which messages are posted.
pub(super) const PATH: &str = "/omni/1/advanced";

const LOGGED_KEYS: &[&str] = &["scenarioKey", "messageId", "templateName", "templateNamespace", "language"];
const LOGGED_KEYS_OWN_URL: &[&str] = &[
    "scenarioKey",
    "messageId",
    "templateName",
    "templateNamespace",
    "language",
    "imageUrl",
    "fileUrl",
    "documentUrl",
    "audioUrl",
    "videoUrl",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    scenario_key: &'a str,
    destinations: [Destination<'a>; 1],
    whats_app: WhatsApp<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    callback_data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Destination<'a> {
    message_id: String,
    to: To<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum To<'a> {
    PhoneNumber(&'a str),
    WhatsAppUserId(&'a str),
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct WhatsApp<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview_url: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    longitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latitude: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contacts: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_data: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_template_data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
}

/// The call that sends a command.
pub(super) fn request(settings: &Value, command: &Command, link: Option<MediaLink<'_>>) -> Request {
    let recipient = command.recipient.as_str();
    // A number has only digits; a business-scoped user id contains a dot.
    let to = if recipient.contains('.') { To::WhatsAppUserId(recipient) } else { To::PhoneNumber(recipient) };
    let body = Body {
        scenario_key: settings["scenario_key"].as_str().unwrap_or_default(),
        destinations: [Destination { message_id: command.id.message_id(), to }],
        whats_app: whats_app(&command.content, link),
        callback_data: &command.context,
    };
    Request {
        function: function(&command.content),
        path: PATH,
        body: serde_json::to_vec(&body).expect("all map keys are strings"),
        logged_keys: if link.is_some_and(|link| link.is_ours) { LOGGED_KEYS_OWN_URL } else { LOGGED_KEYS },
        event_keys: LOGGED_KEYS,
    }
}

fn function(content: &Content) -> &'static str {
    match content {
        Content::Media(MediaKind::Image, _) => "sendWhatsAppImageMessage",
        Content::Media(MediaKind::Document, _) => "sendWhatsAppDocumentMessage",
        Content::Media(MediaKind::Audio, _) => "sendWhatsAppAudioMessage",
        Content::Media(MediaKind::Video, _) => "sendWhatsAppVideoMessage",
        Content::Text { .. } | Content::Location(_) | Content::Contacts(_) | Content::Template(_) => {
            "sendMessage"
        }
    }
}

fn whats_app<'a>(content: &'a Content, link: Option<MediaLink<'a>>) -> WhatsApp<'a> {
    match content {
        Content::Text { body, preview_url } => {
            WhatsApp { text: Some(body), preview_url: preview_url.then_some(true), ..WhatsApp::default() }
        }
        Content::Media(kind, media) => file(*kind, media, link),
        Content::Location(location) => WhatsApp {
            longitude: Some(location.longitude),
            latitude: Some(location.latitude),
            location_name: filled(&location.name),
            address: filled(&location.address),
            ..WhatsApp::default()
        },
        Content::Contacts(contacts) => WhatsApp {
            contacts: Some(contacts.iter().map(card::of_contact).collect()),
            ..WhatsApp::default()
        },
        Content::Template(template) => self::template(template, link),
    }
}

/// The API has no field for a file's name. So the name is shown as the caption if there is no other, as in
/// older IMChannels. For the name of an upload this applies only to documents: a picture named `IMG_1.jpg`
/// must not get that as its caption.
fn file<'a>(kind: MediaKind, media: &'a Media, link: Option<MediaLink<'a>>) -> WhatsApp<'a> {
    let url = url(link);
    let name = match kind {
        MediaKind::Document => document_name(media, link),
        MediaKind::Image | MediaKind::Audio | MediaKind::Video => filled(&media.file_name),
    };
    let text = filled(&media.caption).or(name);
    match kind {
        MediaKind::Image => WhatsApp { text, image_url: Some(url), ..WhatsApp::default() },
        MediaKind::Document => WhatsApp { text, file_url: Some(url), ..WhatsApp::default() },
        MediaKind::Video => WhatsApp { text, video_url: Some(url), ..WhatsApp::default() },
        MediaKind::Audio => WhatsApp { audio_url: Some(url), ..WhatsApp::default() },
    }
}

fn url(link: Option<MediaLink<'_>>) -> &str {
    link.map(|link| link.url).unwrap_or_default()
}

/// The name in the command, or else the name of the upload.
fn document_name<'a>(media: &'a Media, link: Option<MediaLink<'a>>) -> Option<&'a str> {
    filled(&media.file_name).or_else(|| link.and_then(|link| filled(link.file_name)))
}

/// A template with text alone uses `templateData`; any other template uses the other form.
fn template<'a>(template: &'a Template, link: Option<MediaLink<'_>>) -> WhatsApp<'a> {
    // The header has no fields for these two values.
    let place = match &template.header {
        Some(Header::Location(location)) => (filled(&location.name), filled(&location.address)),
        Some(Header::Text(_) | Header::Media(..)) | None => (None, None),
    };
    let named = WhatsApp {
        location_name: place.0,
        address: place.1,
        template_name: Some(&template.name),
        template_namespace: filled(&template.namespace),
        language: Some(&template.language),
        ..WhatsApp::default()
    };
    if template.header.is_none() && template.buttons.is_empty() {
        return WhatsApp { template_data: Some(&template.placeholders), ..named };
    }
    let mut data = json!({ "body": { "placeholders": template.placeholders } });
    if let Some(header) = &template.header {
        data["header"] = self::header(header, link);
    }
    if !template.buttons.is_empty() {
        data["buttons"] = template.buttons.iter().map(button).collect();
    }
    WhatsApp { media_template_data: Some(data), ..named }
}

fn header(header: &Header, link: Option<MediaLink<'_>>) -> Value {
    let url = url(link);
    match header {
        Header::Text(text) => json!({ "textPlaceholder": text }),
        Header::Media(MediaKind::Image, _) => json!({ "imageUrl": url }),
        Header::Media(MediaKind::Video, _) => json!({ "videoUrl": url }),
        Header::Media(_, media) => {
            let name = document_name(media, link).unwrap_or("document");
            json!({ "documentUrl": url, "documentFilename": name })
        }
        Header::Location(Location { latitude, longitude, .. }) => {
            json!({ "latitude": latitude, "longitude": longitude })
        }
    }
}

fn button(button: &Button) -> Value {
    match button {
        Button::UrlPlaceholder(text) => json!({ "urlPlaceholder": text }),
        Button::QuickReplyPayload(text) => json!({ "quickReplyPayload": text }),
    }
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
