//! Strict validation of a send request: an unknown field, a missing one, a wrong type and an exceeded limit are all
//! rejected, like by a real account.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Request {
    pub(super) scenario_key: String,
    pub(super) bulk_id: Option<String>,
    pub(super) destinations: Vec<Destination>,
    pub(super) whats_app: Value,
    pub(super) callback_data: Option<String>,
    #[expect(dead_code, reason = "only its type is checked")]
    pub(super) notify: Option<bool>,
    #[expect(dead_code, reason = "only its type is checked")]
    pub(super) intermediate_report: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Destination {
    pub(super) message_id: Option<String>,
    pub(super) to: To,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct To {
    pub(super) phone_number: Option<String>,
    pub(super) whats_app_user_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WhatsApp {
    text: Option<String>,
    image_url: Option<String>,
    file_url: Option<String>,
    audio_url: Option<String>,
    video_url: Option<String>,
    longitude: Option<f64>,
    latitude: Option<f64>,
    location_name: Option<String>,
    address: Option<String>,
    contacts: Option<Vec<Contact>>,
    preview_url: Option<bool>,
    template_name: Option<String>,
    template_namespace: Option<String>,
    language: Option<String>,
    template_data: Option<Vec<String>>,
    media_template_data: Option<MediaTemplate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaTemplate {
    header: Option<Header>,
    body: Placeholders,
    buttons: Option<Vec<Button>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    text_placeholder: Option<String>,
    document_url: Option<String>,
    document_filename: Option<String>,
    image_url: Option<String>,
    video_url: Option<String>,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Placeholders {
    placeholders: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Button {
    url_placeholder: Option<String>,
    quick_reply_payload: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their types are checked")]
struct Contact {
    name: Name,
    phones: Option<Vec<Phone>>,
    emails: Option<Vec<Email>>,
    urls: Option<Vec<Url>>,
    addresses: Option<Vec<Address>>,
    org: Option<Organization>,
    birthday: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only their types are checked")]
struct Phone {
    phone: Option<String>,
    r#type: Option<PhoneType>,
    wa_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum PhoneType {
    Cell,
    Main,
    Iphone,
    Home,
    Work,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum PlaceType {
    Home,
    Work,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their types are checked")]
struct Email {
    email: Option<String>,
    r#type: Option<PlaceType>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their types are checked")]
struct Url {
    url: Option<String>,
    r#type: Option<PlaceType>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only their types are checked")]
struct Address {
    street: Option<String>,
    city: Option<String>,
    state: Option<String>,
    zip: Option<String>,
    country: Option<String>,
    country_code: Option<String>,
    r#type: Option<PlaceType>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only their types are checked")]
struct Organization {
    company: Option<String>,
    department: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its presence is checked")]
struct Name {
    first_name: String,
    formatted_name: String,
    last_name: Option<String>,
    middle_name: Option<String>,
    name_prefix: Option<String>,
    name_suffix: Option<String>,
}

/// What is wrong with a request: the field and the error.
pub(super) type Fault = (&'static str, String);

/// Longest body of a template with its placeholders filled in, in characters.
const TEMPLATE_BODY_MAX: usize = 1024;
/// Longest text of a template's header with its placeholders filled in, in characters.
const TEMPLATE_HEADER_MAX: usize = 60;

/// Validates a request.
///
/// # Errors
/// The first error.
pub(super) fn read(body: &[u8]) -> Result<Request, Fault> {
    let request: Request = bsp::json::from_slice(body).map_err(|error| ("request", error.to_string()))?;
    if request.destinations.is_empty() {
        return Err(("destinations", "must not be empty".to_owned()));
    }
    for destination in &request.destinations {
        check_destination(destination)?;
    }
    let texts = [("bulkId", &request.bulk_id, 100), ("callbackData", &request.callback_data, 4000)];
    for (field, text, max) in texts {
        at_most(field, text.as_ref(), max)?;
    }
    check_content(&request.whats_app)?;
    Ok(request)
}

fn check_destination(destination: &Destination) -> Result<(), Fault> {
    at_most("destinations.messageId", destination.message_id.as_ref(), 200)?;
    match (&destination.to.phone_number, &destination.to.whats_app_user_id) {
        (Some(number), _) if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(("destinations.to.phoneNumber", "must be digits".to_owned()))
        }
        (None, Some(id)) if !id.contains('.') => {
            Err(("destinations.to.whatsAppUserId", "is not a WhatsApp user id".to_owned()))
        }
        (None, None) => Err(("destinations.to", "must not be empty".to_owned())),
        _ => Ok(()),
    }
}

fn check_content(whats_app: &Value) -> Result<(), Fault> {
    let content: WhatsApp =
        serde_json::from_value(whats_app.clone()).map_err(|error| ("whatsApp", error.to_string()))?;
    let urls = [&content.image_url, &content.file_url, &content.audio_url, &content.video_url];
    for url in urls.into_iter().flatten() {
        if !(url.starts_with("http://") || url.starts_with("https://")) || url.len() > 2048 {
            return Err(("whatsApp.url", "is not a valid url of at most 2048 characters".to_owned()));
        }
    }
    let has_file = urls.iter().any(|url| url.is_some());
    let limit = if has_file { 3000 } else { 4096 };
    at_most("whatsApp.text", content.text.as_ref(), limit)?;
    if content.text.as_ref().is_some_and(|text| text.trim().is_empty()) {
        return Err(("whatsApp.text", "must not be blank".to_owned()));
    }
    if content.audio_url.is_some() && content.text.is_some() {
        return Err(("whatsApp.text", "must be null with audio".to_owned()));
    }
    for (field, text) in
        [("whatsApp.locationName", &content.location_name), ("whatsApp.address", &content.address)]
    {
        at_most(field, text.as_ref(), 1000)?;
    }
    check_template(&content)?;
    check_place_names(&content)?;
    let is_place = match (content.latitude, content.longitude) {
        (Some(latitude), Some(longitude)) if latitude.abs() <= 90.0 && longitude.abs() <= 180.0 => true,
        (None, None) => false,
        _ => return Err(("whatsApp.latitude", "is no place".to_owned())),
    };
    let is_text = content.text.is_some() && !has_file;
    let kinds = [is_text, is_place, content.contacts.is_some(), content.template_name.is_some()];
    let count = kinds.into_iter().filter(|is| *is).count() + urls.into_iter().flatten().count();
    if count != 1 {
        return Err(("whatsApp", "must have exactly one content".to_owned()));
    }
    if content.preview_url.is_some() && !is_text {
        return Err(("whatsApp.previewUrl", "must come with text".to_owned()));
    }
    Ok(())
}

/// A location needs a name and an address, in a message and in the header of its template.
fn check_place_names(content: &WhatsApp) -> Result<(), Fault> {
    let header = content.media_template_data.as_ref().and_then(|data| data.header.as_ref());
    let has_place = content.latitude.is_some() || header.is_some_and(|header| header.latitude.is_some());
    let has_name = content.location_name.is_some() || content.address.is_some();
    if has_name && !has_place {
        return Err(("whatsApp.locationName", "must come with a place".to_owned()));
    }
    Ok(())
}

/// Texts of placeholders: the API itself accepts them, and WhatsApp rejects them later.
fn check_filled(field: &'static str, text: &str) -> Result<(), Fault> {
    if text.contains(['\n', '\r', '\t']) || text.contains("     ") {
        let why = "cannot have new-line/tab characters or more than 4 consecutive spaces";
        return Err((field, why.to_owned()));
    }
    Ok(())
}

fn check_template(content: &WhatsApp) -> Result<(), Fault> {
    let WhatsApp { template_name, template_namespace, language, template_data, media_template_data, .. } =
        content;
    if template_name.is_none() {
        let has_more = template_namespace.is_some()
            || language.is_some()
            || template_data.is_some()
            || media_template_data.is_some();
        return if has_more { Err(("whatsApp.templateName", "must not be null".to_owned())) } else { Ok(()) };
    }
    if language.as_ref().is_none_or(String::is_empty) {
        return Err(("whatsApp.language", "must not be empty".to_owned()));
    }
    let placeholders = match (template_data, media_template_data) {
        (Some(placeholders), None) => placeholders,
        (None, Some(data)) => {
            check_media_template(data)?;
            &data.body.placeholders
        }
        _ => return Err(("whatsApp.templateData", "must be given once".to_owned())),
    };
    if placeholders.iter().any(String::is_empty) {
        return Err(("whatsApp.templateData", "must not have empty entries".to_owned()));
    }
    for placeholder in placeholders {
        check_filled("whatsApp.templateData", placeholder)?;
    }
    at_most("whatsApp.templateData", Some(&placeholders.concat()), TEMPLATE_BODY_MAX)
}

fn check_media_template(data: &MediaTemplate) -> Result<(), Fault> {
    if let Some(header) = &data.header {
        let kinds = [
            header.text_placeholder.is_some(),
            header.document_url.is_some() && header.document_filename.is_some(),
            header.image_url.is_some(),
            header.video_url.is_some(),
            header.latitude.is_some() && header.longitude.is_some(),
        ];
        if kinds.into_iter().filter(|is| *is).count() != 1 {
            return Err(("whatsApp.mediaTemplateData.header", "must be of one kind".to_owned()));
        }
    }
    if let Some(text) = data.header.as_ref().and_then(|header| header.text_placeholder.as_ref()) {
        at_most("whatsApp.mediaTemplateData.header", Some(text), TEMPLATE_HEADER_MAX)?;
        check_filled("whatsApp.mediaTemplateData.header", text)?;
    }
    for button in data.buttons.iter().flatten() {
        at_most("urlPlaceholder", button.url_placeholder.as_ref(), 1500)?;
        check_filled("urlPlaceholder", button.url_placeholder.as_deref().unwrap_or_default())?;
        at_most("quickReplyPayload", button.quick_reply_payload.as_ref(), 128)?;
        if button.url_placeholder.is_some() == button.quick_reply_payload.is_some() {
            return Err(("whatsApp.mediaTemplateData.buttons", "must be of one kind".to_owned()));
        }
    }
    Ok(())
}

fn at_most(field: &'static str, text: Option<&String>, max: usize) -> Result<(), Fault> {
    if text.is_some_and(|text| text.chars().count() > max) {
        return Err((field, format!("size must be between 0 and {max}")));
    }
    Ok(())
}

/// Returns the URL of the file of a message, in any of its fields.
pub(super) fn file_url(whats_app: &Value) -> Option<&str> {
    let header = &whats_app["mediaTemplateData"]["header"];
    let places = [
        &whats_app["imageUrl"],
        &whats_app["fileUrl"],
        &whats_app["audioUrl"],
        &whats_app["videoUrl"],
        &header["imageUrl"],
        &header["documentUrl"],
        &header["videoUrl"],
    ];
    places.into_iter().find_map(Value::as_str)
}
