//! The list of BSPs: the only file outside of a BSP's folder that names it.

use crate::ids::BspId;
use crate::provider::Bsp;
use crate::{gupshup::Gupshup, infobip::Infobip, koomessage::KooMessage, twilio::Twilio};

/// Every BSP, in the order of the documentation.
pub static REGISTRY: &[&dyn Bsp] = &[&Infobip, &KooMessage, &Gupshup, &Twilio];

/// The BSP with that name, as in URLs.
///
/// # Examples
/// ```
/// use bsp::{ChannelId, Outcome, Webhook, registry};
///
/// let bsp = registry::find("infobip").expect("a known BSP");
/// let webhook = Webhook {
///     channel: &ChannelId::parse("sales")?,
///     body: &br#"{"results":[{"messageId":"m-1","to":"4915112345","status":{"groupName":"DELIVERED"}}]}"#.as_slice().into(),
///     received_at: "2026-03-01T12:00:00Z".parse()?,
///     sequence: 7,
/// };
/// let parsed = bsp.parse(&webhook);
/// let Outcome::Report(report) = &parsed.items[0].outcome else { panic!("not a report") };
/// assert_eq!(report.message_id, "m-1");
/// assert_eq!(report.status(), proto::v1::ReportStatus::Delivered);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn find(name: &str) -> Option<&'static dyn Bsp> {
    REGISTRY.iter().copied().find(|bsp| bsp.profile().id.as_str() == name)
}

/// The BSP with an id.
pub fn get(id: BspId) -> &'static dyn Bsp {
    find(id.as_str()).expect("only the registry creates BSP ids")
}

/// Position of a BSP in [`REGISTRY`], for tables with an entry for each BSP.
pub fn position(id: BspId) -> usize {
    REGISTRY.iter().position(|bsp| bsp.profile().id == id).expect("only the registry creates BSP ids")
}
