//! The interface of a BSP: its constant facts ([`Profile`]) and its behavior ([`Bsp`]).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::ids::BspId;
use crate::mask::{self, Unmasked};
use crate::parsed::{Parsed, Webhook};
use crate::sending::Sending;
use crate::toml_table::Table;

/// How a channel's webhook credential is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialForm {
    /// A password alone.
    Password,
    /// A user and a password, as in HTTP Basic authentication.
    UserAndPassword,
}

/// What a BSP does with a webhook that was not answered 200, as far as it documents it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookRetries {
    /// It retries for this long, which outlasts an outage of the bus.
    For(Duration),
    /// It gives up within seconds, unless the customer's configuration says otherwise.
    ForSeconds,
    /// It documents no retries, or not for how long.
    Undocumented,
}

impl WebhookRetries {
    /// Whether ingress has to keep a webhook that the bus does not store, because the BSP may not post it again: the default of
    /// a channel's `spool`.
    pub const fn needs_spool(self) -> bool {
        match self {
            Self::For(_) => false,
            Self::ForSeconds | Self::Undocumented => true,
        }
    }
}

/// The fixed facts of a BSP.
#[derive(Debug)]
pub struct Profile {
    /// Its name in URLs and subjects.
    pub id: BspId,
    /// The media type of its webhooks, lower case and without parameters.
    pub media_type: &'static str,
    /// Value of `WWW-Authenticate` on a 401, for a BSP that sends its credential only when challenged.
    pub challenge: Option<&'static str>,
    /// How long ingress may try to store a webhook before it responds 503. Shorter than the BSP's own
    /// timeout, and as long as possible for a BSP that does not retry after 503.
    pub store_deadline: Duration,
    /// Whether and for how long it retries a webhook that was not answered 200.
    pub retries: WebhookRetries,
    /// How its webhook credentials are configured.
    pub credential: CredentialForm,
    /// How a request presents its credential, as text for people.
    pub credential_hint: &'static str,
    /// Body of a webhook with one report, to try a channel out.
    pub sample_report: &'static str,
    /// Whether its requests carry a signature that [`Bsp::verify_signature`] can verify.
    pub signs_requests: bool,
    /// Prefix of the environment variables that may hold this BSP's secrets, such as `INFOBIP_`; empty for a BSP that
    /// needs none. `IMCHANNEL_SECRET_` is allowed for all.
    pub secret_variables: &'static str,
    /// Keys of its bodies whose values are not personal and are not masked in the log.
    pub logged_keys: &'static [&'static str],
    /// Texts about statuses and errors in its webhooks, in the form of [`mask::Unmasked::texts`].
    pub error_texts: &'static [&'static str],
    /// Keys of its bodies that contain only text for people. Invalid UTF-8 in such a value does not reject
    /// the item, even if no event contains the text.
    pub text_keys: &'static [&'static str],
    /// Members of items that are known and redundant: the channel or another member says the same. They do
    /// not count as unread and are not part of an event. Each is a path from the item.
    pub known_members: &'static [&'static str],
    /// The same for members around the items, as paths from the body.
    pub known_around: &'static [&'static str],
}

impl Profile {
    /// The body of a webhook, masked for the log.
    pub fn masked(&self, body: &[u8]) -> String {
        mask::body(self.media_type, body, self.unmasked())
    }

    /// Like [`Profile::masked`] for a body that was read as JSON ([`Parsed::is_json`]), which is not read again: that is half
    /// of the time that masking takes.
    pub fn masked_json(&self, body: &str) -> String {
        mask::known_json(body, self.unmasked())
    }

    fn unmasked(&self) -> Unmasked {
        Unmasked { keys: self.logged_keys, texts: self.error_texts }
    }
}

/// A request whose signature is to be verified. All parts are as received.
#[derive(Clone, Copy)]
pub struct SignedRequest<'a> {
    /// Scheme, host and port under which the BSP reaches the gateway, without a slash at the end.
    pub public_url: &'a str,
    /// Path and query as the BSP called them.
    pub path_and_query: &'a str,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The exact body.
    pub body: &'a [u8],
}

impl std::fmt::Debug for SignedRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedRequest").field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// The gateway operator's settings for all channels, in addition to the channels file.
#[derive(Debug, Clone, Default)]
pub struct SettingsContext {
    /// Hosts that a channel may name in addition to the BSP's own, such as a simulator's (`IMCHANNEL_INFOBIP_HOSTS`).
    pub extra_hosts: Vec<String>,
}

/// One BSP. Every method is pure.
pub trait Bsp: Sync + std::fmt::Debug {
    /// Its fixed facts.
    fn profile(&self) -> &'static Profile;

    /// The credential that a request presents, in the form of [`Bsp::expected_credential`]; `None` if it
    /// presents none.
    fn presented_credential<'h>(&self, headers: &'h HeaderMap) -> Option<Cow<'h, [u8]>>;

    /// The credential that a client with this `user` and `password` presents.
    fn expected_credential(&self, user: Option<&str>, password: &str) -> Vec<u8>;

    /// Whether the request is signed with one of `keys`. Called only for channels that verify signatures,
    /// which only a BSP with signatures can have.
    fn verify_signature(&self, _keys: &[&[u8]], _request: &SignedRequest<'_>) -> bool {
        true
    }

    /// Parses a stored webhook. It never fails as a whole: items that cannot be parsed are among the
    /// outcomes.
    fn parse(&self, webhook: &Webhook<'_>) -> Parsed;

    /// A body that contains only this rejected item, so that it can be parsed again without the rest of its
    /// body. A BSP with one item per body never rejects an item alone.
    fn wrap_item(&self, item: &Bytes) -> Bytes {
        item.clone()
    }

    /// How messages are sent through it; `None` for a BSP that is receive-only.
    fn sending(&self) -> Option<&'static dyn Sending> {
        None
    }

    /// Reads the channel's table with the name of the BSP (`[channel.infobip]`) and records every fault. A
    /// BSP without settings rejects every key.
    fn read_settings(&self, table: &mut Table<'_, '_>, _context: &SettingsContext) -> serde_json::Value {
        table.refuse_unknown_keys();
        serde_json::Value::Null
    }
}
