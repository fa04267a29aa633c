//! Twilio: WhatsApp through Programmable Messaging. Bodies are forms. A callback has neither a time nor an
//! event id, and its set of fields varies and grows (Twilio, "Track outbound message status" and "Twilio's
//! request to your incoming message webhook URL", read 2026-11).

mod credential;
mod message;
mod report;
mod signature;

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;

use crate::collector::Collector;
use crate::form::Form;
use crate::ids::BspId;
use crate::parsed::{Parsed, Rejection, Webhook};
use crate::provider::{Bsp, CredentialForm, Profile, SignedRequest, WebhookRetries};

/// The implementation of [`Bsp`].
#[derive(Debug)]
pub(crate) struct Twilio;

static PROFILE: Profile = Profile {
    id: BspId::new("twilio"),
    media_type: "application/x-www-form-urlencoded",
    // Twilio sends its credential only after a challenge (Twilio, "Security", HTTP authentication).
    challenge: Some("Basic realm=\"imchannel\""),
    // Twilio waits 15 s and by default does not retry after 503, so the gateway tries for as long as
    // possible.
    store_deadline: Duration::from_secs(12),
    // By default Twilio retries only a failed connection, once. `#rc=5&rp=all` in the callback URL makes it five retries of
    // any failure, all of them within 15 s (Twilio, "Webhooks: connection overrides", read 2026-11).
    retries: WebhookRetries::ForSeconds,
    credential: CredentialForm::UserAndPassword,
    credential_hint: "Authorization: Basic base64(USER:PASSWORD)",
    sample_report: "MessageSid=test-1&MessageStatus=delivered&From=whatsapp%3A%2B441134960001&To=whatsapp%3A%2B441134960000",
    signs_requests: true,
    secret_variables: "TWILIO_",
    logged_keys: &[
        "MessageSid",
        "SmsSid",
        "SmsMessageSid",
        "MessageStatus",
        "SmsStatus",
        "ErrorCode",
        "EventType",
        "NumMedia",
        "NumSegments",
        "MessageType",
        "MediaContentType0",
        "ButtonType",
        "ApiVersion",
        "ChannelPrefix",
        "OriginalRepliedMessageSid",
        "StructuredMessage",
        "MessagingServiceSid",
        "OptOutType",
    ],
    error_texts: &[".ErrorMessage", ".ChannelStatusMessage"],
    text_keys: &[
        "Body",
        "ProfileName",
        "ButtonText",
        "ListTitle",
        "ListDescription",
        "Label",
        "Address",
        "ErrorMessage",
        "ChannelStatusMessage",
        "ReferralHeadline",
        "ReferralBody",
    ],
    known_members: &[
        // The account and its WhatsApp configuration, which the channel identifies, and the version of the
        // API.
        "AccountSid",
        "ChannelInstallSid",
        "ApiVersion",
        // Older names of `MessageSid` and `MessageStatus`.
        "SmsSid",
        "SmsMessageSid",
        "SmsStatus",
        // `whatsapp`, which `From` and `To` repeat, and two counts: of the present files, and of text
        // messages.
        "ChannelPrefix",
        "NumMedia",
        "NumSegments",
    ],
    known_around: &[],
};

impl Bsp for Twilio {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn presented_credential<'h>(&self, headers: &'h HeaderMap) -> Option<Cow<'h, [u8]>> {
        credential::presented(headers)
    }

    fn expected_credential(&self, user: Option<&str>, password: &str) -> Vec<u8> {
        credential::expected(user.unwrap_or_default(), password)
    }

    fn verify_signature(&self, keys: &[&[u8]], request: &SignedRequest<'_>) -> bool {
        signature::holds(keys, request)
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Parsed {
        parse(webhook)
    }
}

fn parse(webhook: &Webhook<'_>) -> Parsed {
    let form = Form::parse(webhook.body);
    let mut out = Collector::of_form(&PROFILE, webhook, form.damaged().to_vec());
    out.read_body(|out| read(&form, out));
    out.keep_unread_of(&form);
    out.finish()
}

fn read(form: &Form<'_>, out: &mut Collector<'_>) -> Result<(), Rejection> {
    // A callback has `MessageStatus`, or in old accounts only its alias `SmsStatus`. An inbound message has
    // `SmsStatus=received`.
    let status = match form.get("MessageStatus") {
        "" => form.get("SmsStatus"),
        status => status,
    };
    // `received` and `receiving` are statuses of inbound messages, unless no other field of a message is
    // present.
    let is_inbound_status = matches!(status, "" | "received" | "receiving");
    let has_message = form.has("Body") || form.has("NumMedia");
    let is_report =
        if form.has("MessageStatus") { !is_inbound_status || !has_message } else { !is_inbound_status };
    if is_report { report::read(form, status, out) } else { message::read(form, out) }
}

/// The message's id. `SmsSid` is its legacy alias.
fn message_sid<'f>(form: &'f Form<'_>) -> Result<&'f str, Rejection> {
    let names = ["MessageSid", "SmsSid", "SmsMessageSid"];
    let found = names.into_iter().map(|name| form.get(name)).find(|sid| !sid.is_empty());
    found.ok_or_else(|| Rejection::new("missing_id", "missing field 'MessageSid'"))
}
