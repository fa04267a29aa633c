//! Gupshup: the self-serve and partner WhatsApp API.
//!
//! Sources: Gupshup's documents on message events, inbound messages, subscriptions, BSUIDs and v3 events
//! (read 2026-11) and the AICC's page on Gupshup's reports. In version 2 a body contains one event, whose
//! kind is `type`; reports arrive at the `message` URL. Version 3 passes on Meta's body (see `v3`).

mod account_values;
mod credential;
mod message;
mod notice;
mod report;
mod v3;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::collector::Collector;
use crate::ids::BspId;
use crate::json::{LooseScalar, Part};
use crate::parsed::{Parsed, Rejection, Webhook};
use crate::provider::{Bsp, CredentialForm, Profile, WebhookRetries};
use crate::utf8;

/// The implementation of [`Bsp`].
#[derive(Debug)]
pub(crate) struct Gupshup;

static PROFILE: Profile = Profile {
    id: BspId::new("gupshup"),
    media_type: "application/json",
    challenge: None,
    // Gupshup retries an event that is not answered within 10 s.
    store_deadline: Duration::from_secs(8),
    // "After a brief interval", without a number of attempts (Gupshup, "Webhook key points", read 2026-11).
    retries: WebhookRetries::Undocumented,
    credential: CredentialForm::Password,
    credential_hint: "Authorization: PASSWORD",
    sample_report: r#"{"app":"Demo","timestamp":1780000000000,"version":2,"type":"message-event","payload":{"id":"test-1","type":"delivered","destination":"441134960000","payload":{"ts":1780000000}}}"#,
    signs_requests: false,
    secret_variables: "",
    logged_keys: &[
        "app",
        "timestamp",
        "version",
        "type",
        "id",
        "gsId",
        "ts",
        "code",
        "whatsappMessageId",
        "expiresAt",
        "category",
        "policy",
        "gs_id",
        "meta_msg_id",
        "status",
        "field",
        "object",
        "gs_app_id",
        "event",
        "decision",
        "time",
        "elementName",
        "languageCode",
        "quality",
        "rejectedReason",
        "currentLimit",
        "oldLimit",
        "message_template_id",
        "message_template_name",
        "message_template_language",
        "message_template_category",
        "previous_category",
        "new_category",
        "previous_quality_score",
        "new_quality_score",
        "current_limit",
        "old_limit",
    ],
    error_texts: &[
        // Version 2: the reason of a failure is in the inner payload.
        "payload.reason",
        "errors.title",
        "errors.message",
        "error_data.details",
        // For account and payment events.
        "value.reason",
        "value.rejection_reason",
        "value.status",
        "other_info.title",
        "other_info.description",
        "violation_info.violation_type",
        "restriction_info.restriction_type",
        "restriction_info.expiration",
        "restrictionInfo.restrictionType",
        "restrictionInfo.expiration",
        "ban_info.waba_ban_state",
        "ban_info.waba_ban_date",
        "alert_info.alert_type",
        "alert_info.alert_description",
        "payload.violation_type",
        "error.reason",
    ],
    text_keys: &[
        "name",
        "text",
        "caption",
        "title",
        "description",
        "body",
        "reason",
        "message",
        "details",
        "headline",
    ],
    known_members: &[
        // Gupshup's application. The channel identifies it.
        "app",
        // The two parts of the customer's number.
        "payload.sender.country_code",
        "payload.sender.dial_code",
        // Repeats the name of the member beside it.
        "interactive.type",
        "payload.type",
        // The same in every body.
        "version",
        "value.messaging_product",
        // Meta's number. The channel identifies it.
        "value.metadata.phone_number_id",
        // The time of the body. It is read if no other time exists.
        "timestamp",
    ],
    known_around: &[
        // Gupshup's application, and Meta's account and number. The channel identifies them.
        "gs_app_id",
        "entry[].id",
        "entry[].changes[].value.metadata.phone_number_id",
        // The same in every body.
        "object",
        "entry[].changes[].value.messaging_product",
        // The time of the body. It is read if no other time exists.
        "entry[].time",
    ],
};

impl Bsp for Gupshup {
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
        let text = utf8::lossy(webhook.body);
        let mut out = Collector::new(&PROFILE, webhook, &text);
        match out.read_document::<Envelope<'_>>() {
            Ok(Envelope { entry: Some(entries), .. }) => v3::read(&entries, &mut out),
            // The envelope is dropped there, so that its unread members are recorded by then.
            Ok(envelope) => out.read_body(move |out| version_2(&envelope, out)),
            Err(error) => out.reject_body(error.into()),
        }
        out.finish()
    }

    fn wrap_item(&self, item: &Bytes) -> Bytes {
        v3::wrap_item(item)
    }
}

/// Version 2.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: LooseScalar<'a>,
    #[serde(borrow, default)]
    timestamp: LooseScalar<'a>,
    #[serde(borrow, default)]
    app: LooseScalar<'a>,
    /// Our number, if Gupshup sends it.
    #[serde(borrow, default)]
    phone: LooseScalar<'a>,
    #[serde(borrow)]
    payload: Part<'a>,
    /// Version 3 has this instead of `type`.
    #[serde(borrow)]
    entry: Option<Vec<&'a RawValue>>,
}

fn version_2(envelope: &Envelope<'_>, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let kind = envelope.kind.as_str();
    let around = notice::Around {
        kind,
        time: &envelope.timestamp,
        our_number: &envelope.phone,
        app: &envelope.app,
        payload: envelope.payload,
    };
    if notice::read(&around, out)? {
        return Ok(());
    }
    let Some(payload) = envelope.payload else {
        return Err(Rejection::new("wrong_shape", "missing field 'payload' or 'entry'"));
    };
    match kind {
        // The AICC's table shows message-report. Its example and Gupshup's documents show message-event.
        "message-event" | "message-report" => {
            report::read(payload, &envelope.timestamp, &envelope.phone, out)
        }
        "message" => message::read(payload, &envelope.timestamp, &envelope.phone, out),
        _ => {
            out.unrecognized("type", kind, "");
            Err(Rejection::new("unknown_type", "unknown 'type' in the body"))
        }
    }
}
