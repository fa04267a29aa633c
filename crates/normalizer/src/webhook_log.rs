//! The log line of a webhook, in the form that operators of IMChannel search for: `[onMessage] Message
//! received …` and `[onReport] Report received …`, followed by the body as far as the settings allow.

use std::borrow::Cow;

use bsp::{BspId, ChannelId, Outcome, Parsed, Profile, Unrecognized, Webhook, mask};
use service::{LogPayloads, Span};

/// Most message ids in a log line without a body.
const IDS_MAX: usize = 20;

pub(crate) fn write(
    profile: &Profile,
    webhook: &Webhook<'_>,
    parsed: &Parsed,
    payloads: LogPayloads,
    span: &Span,
) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let ids = message_ids(parsed);
    let is_message = parsed.items.iter().any(|item| matches!(item.outcome, Outcome::Message(_)));
    let (function, words) =
        if is_message { ("onMessage", "Message received") } else { ("onReport", "Report received") };
    let body = match payloads {
        LogPayloads::Masked => match std::str::from_utf8(webhook.body) {
            Ok(body) if parsed.is_json => profile.masked_json(body),
            Ok(_) => profile.masked(webhook.body),
            // The body is masked as a whole, but its message ids must be searchable, as far as they are shown.
            Err(_) => [&profile.masked(webhook.body), " ", &ids.join(" ")].concat(),
        },
        LogPayloads::Full => mask::unmasked(webhook.body),
        LogPayloads::Off => ids.join(" "),
    };
    tracing::info!(
        function,
        bsp = profile.id.as_str(),
        channel = webhook.channel.as_str(),
        message_id = ids.first().map(Cow::as_ref).unwrap_or_default(),
        stream_sequence = webhook.sequence,
        trace_id = span.trace_id().unwrap_or_default(),
        "{words} {body}"
    );
}

/// WhatsApp's own ids are masked, because they contain the customer's number.
fn message_ids(parsed: &Parsed) -> Vec<Cow<'_, str>> {
    let ids = parsed.items.iter().filter_map(|item| match &item.outcome {
        Outcome::Report(report) => Some(report.message_id.as_str()),
        Outcome::Message(message) => Some(message.message_id.as_str()),
        Outcome::Account(_) | Outcome::Customer(_) | Outcome::Ignored(_) | Outcome::Rejected(_) => None,
    });
    ids.take(IDS_MAX).map(mask::message_id).collect()
}

/// Logs that a BSP sent a value that this version does not know.
pub(crate) fn warn_unrecognized(bsp: BspId, channel: &ChannelId, unrecognized: &Unrecognized) {
    let Unrecognized { field, value, message_id } = unrecognized;
    let message_id = &*mask::message_id(message_id);
    tracing::warn!(
        function = "normalizer",
        bsp = bsp.as_str(),
        channel = channel.as_str(),
        message_id,
        field,
        "channel {channel}: {bsp} sent an unknown {field} '{value}' for message {message_id}"
    );
}
