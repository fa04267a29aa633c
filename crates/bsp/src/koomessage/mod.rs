//! KooMessage (Huawei Cloud). The only public descriptions of its WhatsApp webhooks are the AICC's pages
//! "Interface for receiving and processing report messages sent by KooMessage" and the corresponding page on
//! inbound messages (2025-11). A body is one flat object. Reports contain no time.

mod credential;
mod message;
mod report;

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::collector::Collector;
use crate::ids::BspId;
use crate::json::{self, LooseScalar, Part};
use crate::parsed::{Parsed, Rejection, Webhook};
use crate::provider::{Bsp, CredentialForm, Profile, WebhookRetries};
use crate::{unread, utf8};

/// The implementation of [`Bsp`].
#[derive(Debug)]
pub(crate) struct KooMessage;

static PROFILE: Profile = Profile {
    id: BspId::new("koomessage"),
    media_type: "application/json",
    challenge: None,
    // KooMessage documents neither its timeout nor its retries: the AICC's pages on its reports and messages (2025-11)
    // name no status, and no page of Huawei Cloud describes its WhatsApp webhooks.
    store_deadline: Duration::from_secs(2),
    retries: WebhookRetries::Undocumented,
    credential: CredentialForm::Password,
    credential_hint: "Authorization: PASSWORD",
    sample_report: r#"{"message_id":"test-1","sender":"441134960001","user_number":"441134960000","status":"delivered"}"#,
    signs_requests: false,
    secret_variables: "",
    logged_keys: &["message_id", "status", "message_type", "timestamp", "id"],
    // Its reports contain a status and no error text.
    error_texts: &[],
    text_keys: &["user_name", "text", "caption", "title", "description"],
    known_members: &[],
    known_around: &[],
};

impl Bsp for KooMessage {
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
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, default)]
    status: LooseScalar<'a>,
    #[serde(borrow, default)]
    message_type: LooseScalar<'a>,
    #[serde(borrow)]
    message: Part<'a>,
}

fn parse(webhook: &Webhook<'_>) -> Parsed {
    let text = utf8::lossy(webhook.body);
    let mut out = Collector::new(&PROFILE, webhook, &text);
    let read = unread::paused(|| out.read_document::<&RawValue>());
    let raw = match read {
        Ok(raw) => raw,
        Err(error) => {
            out.reject_body(error.into());
            return out.finish();
        }
    };
    out.read_body(|out| item(raw, out));
    out.finish()
}

fn item(raw: &RawValue, out: &mut Collector<'_>) -> Result<(), Rejection> {
    let kind: Kind<'_> = json::peek(raw.get())?;
    // An inbound message has no status. A report may have any other members.
    if !kind.status.is_empty() {
        return report::read(raw, out);
    }
    if !kind.message_type.is_empty() || kind.message.is_some() {
        return message::read(raw, out);
    }
    Err(Rejection::new("wrong_shape", "missing field 'status' or 'message_type'"))
}
