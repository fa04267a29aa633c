//! Nothing that is shown of a row has the customer's number or text, with any content of the message. Messages are generated from the
//! descriptors, so that a field of a later version is tried too.

use bus::Headers;
use proptest::prelude::*;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::*;
use crate::row::stored;

/// Base64 of the number, as it is in [`WAMID`].
const IN_WAMID: &str = "NDkxNTExMjM0NTY3";
/// Digits of the number in a row that may be shown at most.
const DIGITS_MAX: usize = 6;
/// Deepest nesting of a generated message.
const DEPTH_MAX: usize = 5;

/// Fields with what a customer, or the contact center to a customer, has written. Messages whose every text is so end with a dot.
const TEXTS: &[&str] = &[
    "Text.body",
    "OutboundText.body",
    "Contact.",
    "ContactPhone.",
    "ContactEmail.",
    "ContactUrl.",
    "ContactAddress.",
    "Location.name",
    "Location.address",
    "Media.url",
    "Media.file_name",
    "Media.caption",
    "OutboundMedia.url",
    "OutboundMedia.file_name",
    "OutboundMedia.caption",
    "Order.text",
    "Unsupported.raw_json",
    "FormReply.body",
    "FormReply.response_json",
    "Reaction.emoji",
    "InboundMessage.profile_name",
    "Customer.username",
    "Referral.source_url",
    "Referral.headline",
    "Referral.body",
    "Referral.media_url",
    "Referral.click_id",
    "Referral.welcome_message",
    "Template.placeholders",
    "TemplateHeader.text",
    "TemplateButton.",
    "Payment.reference",
    "AccountNumber.display",
    "SendCommand.context",
    "SendResult.context",
    "ReportEvent.callback_data",
    "ReportEvent.unread_json",
    "InboundMessage.unread_json",
    "AccountEvent.unread_json",
    "AccountEvent.raw_json",
    "CustomerEvent.unread_json",
    "CustomerEvent.raw_json",
];
/// Fields that name the customer.
const CUSTOMERS: &[&str] = &[
    "ReportEvent.recipient",
    "InboundMessage.sender",
    "Customer.number",
    "CustomerEvent.old_number",
    "SendCommand.recipient",
];
/// Messages with what a BSP says about a status or an error.
const SAID: &[&str] = &["ProviderStatus.", "ReportError.", "CommandFault."];

/// Fields that the sender has masked (`Attempt` in result.proto).
const MASKED_BY_SENDER: &[&str] = &["Attempt.request", "Attempt.response"];

struct Generator {
    state: u64,
    /// Whether the row knows the customer. Otherwise the number is only in what a BSP says.
    has_customer: bool,
}

impl Generator {
    fn below(&mut self, end: usize) -> usize {
        // A linear congruential generator (Knuth, MMIX): the seed is the test's input.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap() % end
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            // The first of a oneof's members is replaced by a later one now and then.
            let is_absent = field.containing_oneof().is_some() && self.below(4) > 0;
            if is_absent || depth > DEPTH_MAX {
                continue;
            }
            let value = if field.is_list() {
                Value::List((0..self.below(3)).map(|_| self.value(&field, depth)).collect())
            } else {
                self.value(&field, depth)
            };
            message.set_field(&field, value);
        }
        message
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        match field.kind() {
            Kind::String => Value::String(self.text(field)),
            Kind::Bytes => Value::Bytes(TEXT.as_bytes().into()),
            Kind::Bool => Value::Bool(self.below(2) == 0),
            Kind::Int32 => Value::I32(7),
            Kind::Uint32 => Value::U32(7),
            Kind::Int64 => Value::I64(7),
            Kind::Uint64 => Value::U64(7),
            Kind::Double => Value::F64(1.5),
            Kind::Enum(kind) => {
                let known = kind.values().len();
                Value::EnumNumber(i32::try_from(self.below(known + 1)).unwrap())
            }
            Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {
                Value::Message(DynamicMessage::new(inner))
            }
            Kind::Message(inner) => Value::Message(self.message(&inner, depth + 1)),
            kind => panic!("a field of kind {kind:?}"),
        }
    }

    fn text(&mut self, field: &FieldDescriptor) -> String {
        let name = field.full_name().trim_start_matches("imchannel.v1.").to_owned();
        let is_in = |list: &[&str]| {
            list.iter().any(|entry| name == *entry || entry.ends_with('.') && name.starts_with(entry))
        };
        if is_in(MASKED_BY_SENDER) {
            return r#"{"to":"***"}"#.to_owned();
        }
        if is_in(TEXTS) {
            return [TEXT.to_owned(), format!("{TEXT} {NUMBER}")][self.below(2)].clone();
        }
        if is_in(CUSTOMERS) {
            return NUMBER.to_owned();
        }
        if name.ends_with("message_id") {
            return [WAMID, NUMBER, "imc-c-1", "<b>\u{1b}[2J\u{202e}"][self.below(4)].to_owned();
        }
        if self.has_customer || is_in(SAID) {
            let texts =
                [NUMBER.to_owned(), format!("to {NUMBER}: {WAMID}!"), WAMID.to_owned(), String::new()];
            return texts[self.below(texts.len())].clone();
        }
        ["", "a word", "\u{0}\u{9b}2J<script>"][self.below(3)].to_owned()
    }
}

fn check(row: &Row) {
    let mut shown = vec![row.summary.as_str(), row.body.as_str()];
    shown.extend(row.links.iter().map(|link| link.shown.as_str()));
    if let Some(error) = &row.error {
        shown.extend([error.code.as_str(), error.name.as_str(), error.text.as_str()]);
    }
    let whole = format!("{row:?}");
    shown.push(&whole);
    for text in shown {
        assert!(!text.contains(TEXT) && !text.contains(IN_WAMID), "{text}");
        for digits in NUMBER.as_bytes().windows(DIGITS_MAX + 1) {
            assert!(!text.contains(std::str::from_utf8(digits).unwrap()), "{text}");
        }
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_row_shows_the_customers_number_or_text(seed in any::<u64>()) {
        let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        let extractor = extractor(Bodies::Masked);
        for (stream, subject, name, has_customer) in [
            (StreamNumber::Events, "imchannel.event.report.infobip.sales", "ReportEvent", true),
            (StreamNumber::Events, "imchannel.event.message.infobip.sales", "InboundMessage", true),
            (StreamNumber::Events, "imchannel.event.send.infobip.sales", "SendResult", false),
            (StreamNumber::Events, "imchannel.event.media.infobip.sales", "MediaFetched", false),
            (StreamNumber::Events, "imchannel.event.account.infobip.sales", "AccountEvent", false),
            (StreamNumber::Events, "imchannel.event.customer.infobip.sales", "CustomerEvent", true),
            (StreamNumber::Commands, "imchannel.command.send.sales", "SendCommand", true),
            (StreamNumber::DeadLetters, "imchannel.deadletter.command.sales", "SendCommand", true),
        ] {
            let descriptor = pool.get_message_by_name(&format!("imchannel.v1.{name}")).unwrap();
            let message = Generator { state: seed, has_customer }.message(&descriptor, 0);
            let headers = Headers::new().with(headers::REASON, &format!("to {NUMBER}"));
            let payload = prost::Message::encode_to_vec(&message);
            for row in extractor.rows(stream, &delivery(subject, headers, payload)) {
                check(&row);
                prop_assert!(!row.summary.contains(UNDECODABLE), "{:?}", row);
                let columns = stored::Columns {
                    pointer: row.pointer, stored_at: row.stored_at, kind: row.kind, channel: row.channel.clone(),
                };
                prop_assert_eq!(stored::decode(columns, &stored::encode(&row)).unwrap(), row);
            }
        }
    }

    #[test]
    fn any_bytes_have_one_row_that_says_nothing_of_them(
        payload in proptest::collection::vec(any::<u8>(), 0..200), content_type in "(application/json|.{0,20})",
    ) {
        let extractor = extractor(Bodies::Masked);
        for (stream, subject) in [
            (StreamNumber::Webhooks, "imchannel.webhook.infobip.sales"),
            (StreamNumber::Events, "imchannel.event.report.infobip.sales"),
            (StreamNumber::Events, "imchannel.event.customer.infobip.sales"),
            (StreamNumber::Commands, "imchannel.command.send.sales"),
            (StreamNumber::DeadLetters, "imchannel.deadletter.webhook.sales"),
            (StreamNumber::DeadLetters, "imchannel.deadletter.command.sales"),
        ] {
            let headers = Headers::new().with(headers::CONTENT_TYPE, &content_type).with(headers::ORIGIN, &content_type);
            row(&extractor, stream, &delivery(subject, headers, payload.clone()));
        }
    }
}

#[test]
fn a_megabyte_of_an_id_is_hashed_whole_and_shown_cut() {
    let id = "x".repeat(1024 * 1024);
    let event = proto::v1::ReportEvent { message_id: id.clone(), ..proto::v1::ReportEvent::default() };
    let payload = prost::Message::encode_to_vec(&event);
    let extractor = extractor(Bodies::Masked);
    let delivery = delivery("imchannel.event.report.infobip.sales", Headers::new(), payload);
    let row = row(&extractor, StreamNumber::Events, &delivery);
    assert_eq!(row.key(IdKind::Message), Some(extractor.keys.id(&id)));
    assert!(row.shown(IdKind::Message).unwrap().len() < 100);
    assert!(row.body.len() < 200, "{}", row.body);
}
