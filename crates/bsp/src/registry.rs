//! The list of BSPs: the only file outside a BSP's folder that names it.

use crate::contract::Bsp;
use crate::ids::BspId;
use crate::{gupshup::Gupshup, infobip::Infobip, koomessage::KooMessage, twilio::Twilio};

/// Every BSP, in the order of the documentation.
pub static REGISTRY: &[&dyn Bsp] = &[&Infobip, &KooMessage, &Gupshup, &Twilio];

/// The BSP with that name, as in URLs.
pub fn find(name: &str) -> Option<&'static dyn Bsp> {
    REGISTRY.iter().copied().find(|bsp| bsp.profile().id.as_str() == name)
}

/// The BSP with an id.
pub fn get(id: BspId) -> &'static dyn Bsp {
    find(id.as_str()).expect("only the registry makes BSP ids")
}

/// Position of a BSP in [`REGISTRY`], for tables with an entry for each BSP.
pub fn position(id: BspId) -> usize {
    REGISTRY.iter().position(|bsp| bsp.profile().id == id).expect("only the registry makes BSP ids")
}
