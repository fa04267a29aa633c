//! Validates templates: the values must keep the message within WhatsApp's limits, as far as this can be
//! checked without the registered texts.

use proto::v1::{OutboundMedia, template_button, template_header};

use super::faults::Faults;
use super::parts::{read_location, read_media};
use super::{Button, Header, Template};
use crate::media::MediaKind;

/// Longest name of a template, in characters.
const NAME_LENGTH_MAX: usize = 512;
/// Most placeholders of a body.
const PLACEHOLDERS_MAX: usize = 100;
/// Most buttons of a template.
const BUTTONS_MAX: usize = 10;
/// Longest body with its placeholders, in characters (Meta, "Templates", read 2026-11; error 132005 for a
/// longer one). The registered text is unknown here, so only the total length of the placeholders can be
/// checked.
const BODY_LENGTH_MAX: usize = 1024;
/// Longest text of a header in characters, with its placeholders filled in (same source).
const HEADER_LENGTH_MAX: usize = 60;
/// Longest placeholder of a button's URL, in characters.
const URL_PLACEHOLDER_LENGTH_MAX: usize = 1500;
/// Longest payload of a quick reply button, in characters.
const PAYLOAD_LENGTH_MAX: usize = 128;
/// Most consecutive spaces that WhatsApp accepts in a value. Meta's text, which Infobip's WhatsApp API
/// (3.210.0) repeats: "cannot have new-line/tab characters or more than 4 consecutive spaces".
const SPACES_IN_A_ROW_MAX: usize = 4;

/// `None` if its header has no usable value. The fault is then recorded.
pub(super) fn read_template(template: &proto::v1::Template, faults: &mut Faults) -> Option<Template> {
    faults.between_one_and(NAME_LENGTH_MAX, "template.name", &template.name);
    faults.unless(!template.language.trim().is_empty(), "template.language", "must not be empty");
    let count = template.placeholders.len();
    faults.unless(
        count <= PLACEHOLDERS_MAX,
        "template.placeholders",
        &format!("must contain at most {PLACEHOLDERS_MAX} values"),
    );
    check_placeholders(&template.placeholders, faults);
    let count = template.buttons.len();
    faults.unless(
        count <= BUTTONS_MAX,
        "template.buttons",
        &format!("must contain at most {BUTTONS_MAX} buttons"),
    );
    let header = template.header.as_ref().map(|header| read_header(header, faults));
    let buttons = template.buttons.iter().take(BUTTONS_MAX).enumerate();
    let buttons: Vec<_> = buttons.filter_map(|(place, button)| read_button(place, button, faults)).collect();
    Some(Template {
        name: template.name.clone(),
        namespace: template.namespace.clone(),
        language: template.language.clone(),
        placeholders: template.placeholders.clone(),
        header: match header {
            Some(header) => Some(header?),
            None => None,
        },
        buttons,
    })
}

/// The fault names the placeholder that makes the body too long.
fn check_placeholders(placeholders: &[String], faults: &mut Faults) {
    let mut length = 0;
    for (place, text) in placeholders.iter().take(PLACEHOLDERS_MAX).enumerate() {
        let field = format!("template.placeholders[{place}]");
        faults.unless(!text.trim().is_empty(), &field, "must not be empty or consist of spaces");
        check_blanks(&field, text, faults);
        let before = length;
        length += text.chars().count();
        if before <= BODY_LENGTH_MAX && length > BODY_LENGTH_MAX {
            let rule = format!(
                "makes the body longer than {BODY_LENGTH_MAX} characters, together with the earlier placeholders"
            );
            faults.add(&field, &rule);
        }
    }
}

fn check_blanks(field: &str, text: &str, faults: &mut Faults) {
    let has_line_or_tab = text.contains(['\n', '\r', '\t']);
    let has_too_many_spaces = text.contains(&" ".repeat(SPACES_IN_A_ROW_MAX + 1));
    let rule =
        format!("must not contain a newline, a tab, or more than {SPACES_IN_A_ROW_MAX} consecutive spaces");
    faults.unless(!has_line_or_tab && !has_too_many_spaces, field, &rule);
}

/// `None` if it has no usable value. The fault is then recorded.
fn read_header(header: &proto::v1::TemplateHeader, faults: &mut Faults) -> Option<Header> {
    use template_header::Content as Proto;
    const FIELD: &str = "template.header";
    let media = |kind, media: &OutboundMedia, faults: &mut Faults| {
        let field = format!("{FIELD}.{}", MediaKind::name(kind));
        faults.unless(media.caption.is_empty(), &format!("{field}.caption"), "must be empty in a template");
        read_media(&field, kind, media, faults).map(|media| Header::Media(kind, media))
    };
    match &header.content {
        Some(Proto::Text(text)) => {
            faults.between_one_and(HEADER_LENGTH_MAX, "template.header.text", text);
            check_blanks("template.header.text", text, faults);
            Some(Header::Text(text.clone()))
        }
        Some(Proto::Image(image)) => media(MediaKind::Image, image, faults),
        Some(Proto::Document(document)) => media(MediaKind::Document, document, faults),
        Some(Proto::Video(video)) => media(MediaKind::Video, video, faults),
        Some(Proto::Location(location)) => {
            Some(Header::Location(read_location("template.header.location", location, faults)))
        }
        None => {
            faults.add(FIELD, "must be one of text, image, document, video, location");
            None
        }
    }
}

/// `None` if it has no usable value. The fault is then recorded.
fn read_button(place: usize, button: &proto::v1::TemplateButton, faults: &mut Faults) -> Option<Button> {
    use template_button::Content as Proto;
    let field = format!("template.buttons[{place}]");
    match &button.content {
        Some(Proto::UrlPlaceholder(text)) => {
            faults.between_one_and(URL_PLACEHOLDER_LENGTH_MAX, &field, text);
            check_blanks(&field, text, faults);
            Some(Button::UrlPlaceholder(text.clone()))
        }
        Some(Proto::QuickReplyPayload(text)) => {
            faults.between_one_and(PAYLOAD_LENGTH_MAX, &field, text);
            Some(Button::QuickReplyPayload(text.clone()))
        }
        None => {
            faults.add(&field, "must be one of url_placeholder, quick_reply_payload");
            None
        }
    }
}
