//! Infobip: OMNI failover API and WhatsApp API webhooks.
//!
//! Sources: Infobip's OpenAPI of the OMNI failover and WhatsApp APIs (version 3.210.0, read 2026-11) and the
//! AICC's pages on receiving Infobip's reports and messages (2025-11). A body is `{"results": […]}`. The
//! fields of an entry determine its kind.

mod answer;
mod card;
mod credential;
mod error;
mod log;
mod message;
mod messages_api;
mod notification;
mod report;
mod send;
mod settings;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::collector::Collector;
use crate::command::Command;
use crate::ids::BspId;
use crate::json::{self, LooseScalar, Part};
use crate::parsed::{Parsed, Rejection, Webhook};
use crate::provider::{Bsp, CredentialForm, Profile, SettingsContext, WebhookRetries};
use crate::sending::{
    Account, Found, LogAnswer, LookupError, MediaLink, Request, Response, SendResponse, Sending,
};
use crate::toml_table::Table;
use crate::utf8;

/// The implementation of [`Bsp`].
#[derive(Debug)]
pub(crate) struct Infobip;

static PROFILE: Profile = Profile {
    id: BspId::new("infobip"),
    media_type: "application/json",
    challenge: None,
    store_deadline: Duration::from_secs(2),
    // Infobip retries 20 times with growing pauses (1 min + 1 min · n²) if the response is not 200: for 41 h 30 min after
    // the first attempt (Infobip's OpenAPI, `notifyUrl`, and the table of its documentation on delivery reports, read 2026-11).
    retries: WebhookRetries::For(Duration::from_secs((41 * 60 + 30) * 60)),
    credential: CredentialForm::Password,
    credential_hint: "AccountKey: PASSWORD",
    sample_report: r#"{"results":[{"messageId":"test-1","to":"441134960000","status":{"groupName":"DELIVERED"}}]}"#,
    signs_requests: false,
    secret_variables: "INFOBIP_",
    logged_keys: &[
        "messageId",
        "bulkId",
        "pairedMessageId",
        "integrationType",
        "channel",
        "event",
        "type",
        "action",
        "receivedAt",
        "sentAt",
        "sendAt",
        "doneAt",
        "seenAt",
        "deletedAt",
        "groupId",
        "groupName",
        "id",
        "permanent",
        "messageCount",
        "pendingMessageCount",
        "currency",
        "pricePerMessage",
        "templateId",
        "templateName",
        "language",
        "category",
        "quality",
    ],
    error_texts: &[
        "status.name",
        "status.description",
        "error.name",
        "error.description",
        // For a payment, a template or the account, with or without `content`, inside or outside of
        // `results`.
        "message.status",
        "results.status",
        "results.reason",
        "results.rejectionReason",
        "content.status",
        "content.reason",
        "content.rejectionReason",
        ".status",
        ".reason",
        ".rejectionReason",
    ],
    text_keys: &["text", "caption", "description", "title", "address", "body", "headline"],
    // The Messages API's name of the item's kind. It is redundant, because the members of the item determine
    // its kind.
    known_members: &["event"],
    // The number of items in the list, and the number of items that wait for a polling API.
    known_around: &["messageCount", "pendingMessageCount"],
};

impl Sending for Infobip {
    fn account(&self, settings: &serde_json::Value) -> Option<Account> {
        settings::account(settings)
    }

    /// The page on authentication calls it the API key header.
    fn authorization(&self, key: &[u8]) -> Vec<u8> {
        [b"App ", key].concat()
    }

    fn request(
        &self,
        settings: &serde_json::Value,
        command: &Command,
        link: Option<MediaLink<'_>>,
    ) -> Request {
        send::request(settings, command, link)
    }

    fn answer_logged_keys(&self) -> &'static [&'static str] {
        answer::LOGGED_KEYS
    }

    fn answer_error_texts(&self) -> &'static [&'static str] {
        answer::ERROR_TEXTS
    }

    /// Infobip's OpenAPI of the OMNI failover API (3.210.0, read 2026-11) describes no header of a response.
    fn trace_header(&self) -> Option<&'static str> {
        None
    }

    fn answer(&self, response: Response<'_>, message_id: &str) -> SendResponse {
        answer::sending(response, message_id)
    }

    fn lookup_path(&self, message_ids: &[&str]) -> String {
        answer::lookup_path(message_ids)
    }

    fn lookup_answer(&self, status: u16, body: &[u8]) -> Result<Vec<Found>, LookupError> {
        answer::lookup(status, body)
    }

    fn has_reports_in_log(&self) -> bool {
        true
    }

    fn log_reports(&self, log: &LogAnswer<'_>) -> Vec<proto::v1::ReportEvent> {
        log::reports(log)
    }

    /// With ids of 50 characters, the URL stays below 8 KiB.
    fn lookup_ids_max(&self) -> usize {
        100
    }

    /// The rate limit of log queries is 120 per minute (OpenAPI, `x-throttling-info`).
    fn lookup_interval(&self) -> Duration {
        Duration::from_millis(500)
    }
}

impl Bsp for Infobip {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn presented_credential<'h>(&self, headers: &'h HeaderMap) -> Option<Cow<'h, [u8]>> {
        credential::presented(headers)
    }

    fn expected_credential(&self, _user: Option<&str>, password: &str) -> Vec<u8> {
        password.as_bytes().to_vec()
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Parsed {
        parse(webhook)
    }

    fn wrap_item(&self, item: &Bytes) -> Bytes {
        [b"{\"results\":[", &item[..], b"]}"].concat().into()
    }

    fn sending(&self) -> Option<&'static dyn Sending> {
        Some(&Infobip)
    }

    fn read_settings(&self, table: &mut Table<'_, '_>, context: &SettingsContext) -> serde_json::Value {
        settings::read(table, context)
    }
}

/// The body. Entries stay raw, so that a bad entry does not affect the others.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    results: Option<Vec<&'a RawValue>>,
}

/// The fields that determine the kind of an entry.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    message: Part<'a>,
    #[serde(borrow)]
    content: Part<'a>,
    #[serde(borrow)]
    status: Part<'a>,
    #[serde(borrow, default, rename = "seenAt")]
    seen_at: LooseScalar<'a>,
    #[serde(borrow, default, rename = "deletedAt")]
    deleted_at: LooseScalar<'a>,
    /// Only in the Messages API.
    #[serde(borrow, default)]
    event: LooseScalar<'a>,
}

impl Kind<'_> {
    /// Reports and messages have none of these. In the Messages API, `content` is a list.
    fn may_be_notification(&self) -> bool {
        let is_object = self.content.is_some_and(|content| content.get().starts_with('{'));
        let is_said = !self.event.is_empty() && self.event.as_str() != "MO";
        self.message.is_none() && self.content.is_none_or(|_| is_object) && (is_object || is_said)
    }
}

fn parse(webhook: &Webhook<'_>) -> Parsed {
    let text = utf8::lossy(webhook.body);
    let mut out = Collector::new(&PROFILE, webhook, &text);
    match out.read_document::<Envelope<'_>>() {
        Ok(Envelope { results: Some(results) }) => {
            for entry in results {
                out.read_item(entry.get(), |out| item(entry, out));
            }
        }
        Ok(Envelope { results: None }) => out.read_body(bare),
        Err(error) => out.reject_body(error.into()),
    }
    out.finish()
}

/// A body without `results`: a notification, or an unknown body.
fn bare(out: &mut Collector<'_>) -> Result<(), Rejection> {
    let body: &RawValue = json::peek(out.document())?;
    if notification::read(body, out) {
        return Ok(());
    }
    // The damaged part may be the one that determines the kind.
    out.check_part(body.get())?;
    Err(Rejection::new("wrong_shape", "missing list 'results' in the body"))
}

fn item(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let kind: Kind<'_> = json::peek(raw.get())?;
    if matches!(kind.event.as_str(), "TYPING_STARTED" | "TYPING_STOPPED") {
        out.ignored("typing");
        return Ok(());
    }
    if kind.may_be_notification() && notification::read(raw, out) {
        return Ok(());
    }
    // A failed delivery takes precedence over an unrelated `seenAt`, which some senders leave in. Most reports have no such time,
    // so their status is not read twice.
    let has_time = !kind.deleted_at.is_empty() || !kind.seen_at.is_empty();
    let is_delivery = kind.status.is_some() && (!has_time || report::is_failure(kind.status));
    if kind.message.is_some() || kind.content.is_some() {
        message::read(raw, out)
    } else if is_delivery {
        report::delivery(raw, out)
    } else if !kind.deleted_at.is_empty() {
        report::deleted(raw, out)
    } else if !kind.seen_at.is_empty() {
        report::seen(raw, out)
    } else {
        Err(Rejection::new(
            "wrong_shape",
            "missing field 'message', 'status', 'seenAt' or 'deletedAt' in the entry",
        ))
    }
}
