//! The members of Meta's message object (Meta, "Webhooks: messages object").

use serde::Deserialize;

use crate::json::{LooseScalar, Part};

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) id: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) from: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) from_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) from_parent_user_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) group_id: LooseScalar<'a>,
    #[serde(borrow, default)]
    pub(super) timestamp: LooseScalar<'a>,
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: LooseScalar<'a>,
    #[serde(borrow)]
    pub(super) context: Part<'a>,
    #[serde(borrow)]
    pub(super) referral: Part<'a>,
    #[serde(borrow)]
    pub(super) contacts: Part<'a>,
    #[serde(borrow)]
    pub(super) interactive: Part<'a>,
    /// Every other type is under a key with its own name.
    #[serde(borrow)]
    pub(super) text: Part<'a>,
    #[serde(borrow)]
    pub(super) image: Part<'a>,
    #[serde(borrow)]
    pub(super) document: Part<'a>,
    #[serde(borrow)]
    pub(super) audio: Part<'a>,
    #[serde(borrow)]
    pub(super) voice: Part<'a>,
    #[serde(borrow)]
    pub(super) video: Part<'a>,
    #[serde(borrow)]
    pub(super) sticker: Part<'a>,
    #[serde(borrow)]
    pub(super) location: Part<'a>,
    #[serde(borrow)]
    pub(super) button: Part<'a>,
    #[serde(borrow)]
    pub(super) reaction: Part<'a>,
    #[serde(borrow)]
    pub(super) order: Part<'a>,
    #[serde(borrow)]
    pub(super) edit: Part<'a>,
    #[serde(borrow)]
    pub(super) revoke: Part<'a>,
    /// WhatsApp's own data about the customer.
    #[serde(borrow)]
    pub(super) system: Part<'a>,
}
