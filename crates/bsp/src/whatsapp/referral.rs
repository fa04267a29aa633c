//! The advertisement or post that led a customer to the chat (Meta, "messages object"; Infobip writes it in
//! camel case and its picture in a separate object).

use proto::v1::Referral as ReferralEvent;
use serde::Deserialize;

use crate::json::{self, LooseScalar, Part};

#[derive(Deserialize)]
struct Referral<'a> {
    #[serde(borrow, default, alias = "sourceType")]
    source_type: LooseScalar<'a>,
    #[serde(borrow, default, alias = "sourceId")]
    source_id: LooseScalar<'a>,
    #[serde(borrow, default, alias = "sourceUrl")]
    source_url: LooseScalar<'a>,
    #[serde(borrow, default)]
    headline: LooseScalar<'a>,
    #[serde(borrow, default)]
    body: LooseScalar<'a>,
    #[serde(borrow, default, alias = "mediaType")]
    media_type: LooseScalar<'a>,
    #[serde(borrow, default, alias = "imageUrl")]
    image_url: LooseScalar<'a>,
    #[serde(borrow, default, alias = "videoUrl")]
    video_url: LooseScalar<'a>,
    /// The still picture of a video.
    #[serde(borrow, default, alias = "thumbnailUrl")]
    thumbnail_url: LooseScalar<'a>,
    /// Infobip's object, which replaces the four members above.
    #[serde(borrow, rename = "referralMedia")]
    media: Part<'a>,
    #[serde(borrow, default, alias = "ctwaClickId", alias = "ctwaClid")]
    ctwa_clid: LooseScalar<'a>,
    #[serde(borrow, alias = "welcomeMessage")]
    welcome_message: Part<'a>,
}

#[derive(Deserialize, Default)]
struct Media<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow, default)]
    url: LooseScalar<'a>,
}

#[derive(Deserialize, Default)]
struct Welcome<'a> {
    #[serde(borrow, default)]
    text: LooseScalar<'a>,
}

/// The referral; `None` if it is absent, empty or of another shape.
pub(crate) fn referral(raw: Part<'_>) -> Option<ReferralEvent> {
    let referral: Referral<'_> = json::optional(raw).ok()??;
    let media: Media<'_> = json::optional(referral.media).ok().flatten().unwrap_or_default();
    let welcome: Welcome<'_> = json::optional(referral.welcome_message).ok().flatten().unwrap_or_default();
    let media_type = referral.media_type.or(&media.kind).as_str().to_ascii_lowercase();
    // Meta sends the picture of a video in a separate member.
    let (first, second) = if media_type == "video" {
        (&referral.video_url, &referral.image_url)
    } else {
        (&referral.image_url, &referral.video_url)
    };
    let event = ReferralEvent {
        source_type: referral.source_type.as_str().to_ascii_lowercase(),
        source_id: referral.source_id.owned(),
        source_url: referral.source_url.owned(),
        headline: referral.headline.owned(),
        body: referral.body.owned(),
        media_url: first.or(second).or(&referral.thumbnail_url).or(&media.url).owned(),
        media_type,
        click_id: referral.ctwa_clid.owned(),
        welcome_message: welcome.text.owned(),
    };
    (event != ReferralEvent::default()).then_some(event)
}
