//! The members around the items of a body of version 3: the entry, and what the items of a change share.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::contacts::Contacts;
use crate::json::{self, LooseScalar, Part};
use crate::parsed::Rejection;
use crate::text;

#[derive(Deserialize)]
pub(super) struct Entry<'a> {
    /// The id of the WhatsApp Business Account.
    #[serde(borrow, default)]
    pub(super) id: LooseScalar<'a>,
    /// The time when Meta created the body, in Unix seconds: the only time of account events.
    #[serde(borrow, default)]
    pub(super) time: LooseScalar<'a>,
    #[serde(borrow)]
    pub(super) changes: Vec<&'a RawValue>,
    /// Whether one of its own keys contains invalid UTF-8. It may have been one of these keys.
    #[serde(skip)]
    pub(super) has_damaged_key: bool,
}

impl Entry<'_> {
    /// Rejects an item whose id or time comes from a damaged entry.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        if self.has_damaged_key { Err(Rejection::no_utf8()) } else { Ok(()) }
    }
}

/// The members that all statuses and messages of a change share. If a part has an unexpected shape, only that
/// part is lost.
#[derive(Default)]
pub(super) struct Shared<'a> {
    /// Our number.
    pub(super) our_number: String,
    pub(super) contacts: Contacts<'a>,
}

impl<'a> Shared<'a> {
    pub(super) fn read(metadata: Part<'_>, contacts: Part<'a>, messages: &[&'a RawValue]) -> Self {
        Self { our_number: our_number(metadata), contacts: Contacts::read(contacts, messages) }
    }
}

/// The channel's number, if the metadata of a change contains it.
pub(super) fn our_number(metadata: Part<'_>) -> String {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow, default)]
        display_phone_number: LooseScalar<'a>,
    }
    let metadata = json::optional::<Metadata<'_>>(metadata).ok().flatten();
    metadata
        .map(|metadata| text::address(metadata.display_phone_number.as_str()).to_owned())
        .unwrap_or_default()
}
