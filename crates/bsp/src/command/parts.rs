//! Validates the parts that several kinds of content have: files and locations.

use proto::v1::{Location, OutboundMedia, outbound_media};

use super::faults::Faults;
use super::{Media, Source};
use crate::media::{self, MediaId, MediaKind};
use crate::web_url;

/// Longest caption of a file, in characters.
const CAPTION_LENGTH_MAX: usize = 3000;
/// Longest URL of a file, in characters.
const URL_LENGTH_MAX: usize = 2048;
/// Longest file name, in characters.
const FILE_NAME_LENGTH_MAX: usize = 240;
/// Longest name or address of a location, in characters.
const PLACE_LENGTH_MAX: usize = 1000;

/// `None` if there is no usable source. The fault is then recorded.
pub(super) fn read_media(
    field: &str,
    kind: MediaKind,
    media: &OutboundMedia,
    faults: &mut Faults,
) -> Option<Media> {
    let at = |name: &str| format!("{field}.{name}");
    if kind == MediaKind::Audio {
        faults.unless(
            media.caption.is_empty(),
            &at("caption"),
            "must be empty: WhatsApp shows no caption with audio",
        );
    }
    faults.at_most(&at("caption"), &media.caption, CAPTION_LENGTH_MAX);
    faults.at_most(&at("file_name"), &media.file_name, FILE_NAME_LENGTH_MAX);
    let content_type = kind.allowed(&media.content_type);
    if !media.content_type.is_empty() || matches!(media.source, Some(outbound_media::Source::Data(_))) {
        let rule = format!("must be one of {}", kind.content_types().join(", "));
        faults.unless(content_type.is_some(), &at("content_type"), &rule);
    }
    let source = match &media.source {
        Some(outbound_media::Source::Data(data)) => {
            let fits = !data.is_empty() && data.len() as u64 <= kind.bytes_max();
            faults.unless(fits, &at("data"), &format!("must have 1 to {} bytes", kind.bytes_max()));
            let content_type = content_type?;
            if fits && let Err(other) = media::check_first_bytes(content_type, data) {
                faults.add(&at("data"), &format!("does not match its content_type: {other}"));
            }
            Source::Inline { data: data.clone(), content_type }
        }
        Some(outbound_media::Source::MediaId(id)) => {
            let id = MediaId::parse(id);
            faults.unless(id.is_some(), &at("media_id"), "must be the id of an upload (a UUID)");
            Source::Stored(id?)
        }
        Some(outbound_media::Source::Url(url)) => {
            let rule = format!(
                "must be an absolute http or https URL of at most {URL_LENGTH_MAX} characters, without user information"
            );
            faults.unless(url.len() <= URL_LENGTH_MAX && web_url::parse(url).is_ok(), &at("url"), &rule);
            Source::Url(url.clone())
        }
        None => {
            faults.add(&at("source"), "must be one of data, media_id, url");
            return None;
        }
    };
    Some(Media { source, caption: media.caption.clone(), file_name: media.file_name.clone() })
}

pub(super) fn read_location(field: &str, location: &Location, faults: &mut Faults) -> Location {
    let at = |name: &str| format!("{field}.{name}");
    faults.unless((-90.0..=90.0).contains(&location.latitude), &at("latitude"), "must be between -90 and 90");
    faults.unless(
        (-180.0..=180.0).contains(&location.longitude),
        &at("longitude"),
        "must be between -180 and 180",
    );
    faults.at_most(&at("name"), &location.name, PLACE_LENGTH_MAX);
    faults.at_most(&at("address"), &location.address, PLACE_LENGTH_MAX);
    location.clone()
}
