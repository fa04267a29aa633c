use bus::Headers;
use prost::Message as _;
use proto::v1::inbound_message::Content;
use proto::v1::{
    AccountEvent, AccountEventKind, AccountTemplate, Attempt, Customer, CustomerEvent, CustomerEventKind,
    Edit, EventSource, InboundMessage, Media, MediaFetched, MessageContext, ProviderStatus, ReportError,
    ReportEvent, ReportStatus, SendOutcome, SendResult, Text,
};
use serde_json::Value;

use super::*;
use crate::row::{RowKind, Status};

fn source() -> Option<EventSource> {
    Some(EventSource { stream_sequence: 17, item_index: 2, reconciled: false })
}

fn event_row(extractor: &Extractor, kind: &str, payload: Vec<u8>) -> Row {
    let subject = format!("imchannel.event.{kind}.infobip.sales");
    let row = row(extractor, StreamNumber::Events, &delivery(&subject, Headers::new(), payload));
    assert_eq!((&*row.bsp, &*row.channel, &*row.tenant), ("infobip", "sales", "shop"));
    assert!(!row.is_replayed);
    row
}

fn report() -> ReportEvent {
    ReportEvent {
        event_id: "00112233445566778899aabbccddeeff".to_owned(),
        message_id: "imc-c-1".to_owned(),
        provider_message_id: WAMID.to_owned(),
        command_id: "c-1".to_owned(),
        recipient: NUMBER.to_owned(),
        status: ReportStatus::Failed.into(),
        provider_status: Some(ProviderStatus {
            raw: "UNDELIVERABLE_REJECTED_OPERATOR".to_owned(),
            ..ProviderStatus::default()
        }),
        error: Some(ReportError {
            code: "7010".to_owned(),
            name: "EC_NO_SESSION".to_owned(),
            description: format!("{NUMBER} has no session: {WAMID}"),
            permanent: None,
        }),
        occurred_at: happened(),
        source: source(),
        ..ReportEvent::default()
    }
}

#[test]
fn a_report_has_its_ids_its_status_and_its_error() {
    let extractor = extractor(Bodies::Masked);
    let row = event_row(&extractor, "report", report().encode_to_vec());
    assert_eq!(row.kind, RowKind::Report);
    assert_eq!(row.status, Some(Status::Report(ReportStatus::Failed)));
    assert_eq!(row.happened_at, HAPPENED_AT.parse().ok());
    assert_eq!(
        ids(&row),
        [
            ("stored", "EVENTS/5"),
            ("message", "imc-c-1"),
            ("provider_message", SHOWN_WAMID),
            ("command", "c-1"),
            ("event", "00112233445566778899aabbccddeeff"),
            ("stored", "WEBHOOKS/17"),
        ]
    );
    assert_eq!(row.key(IdKind::ProviderMessage), Some(extractor.keys.id(WAMID)));
    let recipient = row.recipient.as_ref().unwrap();
    assert_eq!((recipient.key, &*recipient.last_digits), (extractor.keys.recipient(NUMBER), "78"));
    assert_eq!(row.summary, "UNDELIVERABLE_REJECTED_OPERATOR");
    let error = row.error.as_ref().unwrap();
    let expected = format!("*** has no session: {SHOWN_WAMID}");
    assert_eq!((&*error.code, &*error.name, &*error.text), ("7010", "EC_NO_SESSION", &*expected));
    let body: Value = serde_json::from_str(&row.body).unwrap();
    assert_eq!((&body["recipient"], &body["providerMessageId"]), (&"***".into(), &SHOWN_WAMID.into()));
    assert!(!shown_text(&row).contains("151123"), "{row:?}");
}

#[test]
fn a_report_of_a_group_is_about_its_participant() {
    let extractor = extractor(Bodies::Masked);
    let event = ReportEvent {
        recipient: "group-1".to_owned(),
        group_id: "group-1".to_owned(),
        participant: NUMBER.to_owned(),
        provider_channel: "SMS".to_owned(),
        ..ReportEvent::default()
    };
    let row = event_row(&extractor, "report", event.encode_to_vec());
    assert_eq!(row.recipient.unwrap().key, extractor.keys.recipient(NUMBER));
    assert_eq!(row.summary, "by SMS in a group");
    assert_eq!(row.error, None);
    // A status of a later version.
    let event = ReportEvent { status: 99, ..ReportEvent::default() };
    let row = event_row(&extractor, "report", event.encode_to_vec());
    assert_eq!((row.status, row.recipient, row.body), (None, None, String::new()));
}

#[test]
fn a_report_that_was_read_from_the_message_log_says_so_and_has_no_webhook() {
    let event = ReportEvent {
        message_id: "imc-c-1".to_owned(),
        status: ReportStatus::Failed.into(),
        provider_status: Some(ProviderStatus {
            raw: "REJECTED_NOT_ENOUGH_CREDITS".to_owned(),
            ..Default::default()
        }),
        source: Some(EventSource { reconciled: true, ..EventSource::default() }),
        ..ReportEvent::default()
    };
    let row = event_row(&extractor(Bodies::Masked), "report", event.encode_to_vec());
    assert_eq!(row.summary, "by the message log: REJECTED_NOT_ENOUGH_CREDITS");
    assert!(row.is_from_log());
    assert!(!row.links.iter().any(|link| link.shown.starts_with("WEBHOOKS")), "{:?}", row.links);
}

fn message(content: Content) -> InboundMessage {
    InboundMessage {
        event_id: "e-1".to_owned(),
        message_id: WAMID.to_owned(),
        sender: NUMBER.to_owned(),
        sent_at: happened(),
        source: source(),
        context: Some(MessageContext { message_id: "imc-c-1".to_owned(), ..MessageContext::default() }),
        customer: Some(Customer {
            number: NUMBER.to_owned(),
            username: "Jane".to_owned(),
            ..Customer::default()
        }),
        content: Some(content),
        ..InboundMessage::default()
    }
}

#[test]
fn a_message_says_what_it_is_and_not_what_the_customer_wrote() {
    let extractor = extractor(Bodies::Masked);
    let text = message(Content::Text(Text { body: TEXT.to_owned() }));
    let row = event_row(&extractor, "message", text.encode_to_vec());
    assert_eq!((row.kind, row.status), (RowKind::Message, None));
    assert_eq!(row.summary, "text, answers imc-c-1");
    assert_eq!(
        ids(&row),
        [("stored", "EVENTS/5"), ("message", SHOWN_WAMID), ("event", "e-1"), ("stored", "WEBHOOKS/17")],
        "the answered message is another one"
    );
    assert!(row.body.contains(r#""text":{"body":"***"}"#), "{}", row.body);
    assert!(!shown_text(&row).contains(TEXT) && !shown_text(&row).contains("Jane"), "{row:?}");
    let image = Media {
        content_type: "image/jpeg".to_owned(),
        file_name: "passport.jpg".to_owned(),
        ..Media::default()
    };
    let row = event_row(&extractor, "message", message(Content::Image(image.clone())).encode_to_vec());
    assert_eq!(row.summary, "image image/jpeg, answers imc-c-1");
    assert!(!shown_text(&row).contains("passport"));
    let edit = Edit {
        message_id: WAMID.to_owned(),
        content: Some(proto::v1::edit::Content::Text(Text { body: TEXT.to_owned() })),
    };
    let row = event_row(&extractor, "message", message(Content::Edit(edit)).encode_to_vec());
    assert_eq!(row.summary, format!("edit of {SHOWN_WAMID}, answers imc-c-1"));
    assert!(!shown_text(&row).contains(TEXT));
}

#[test]
fn a_full_body_is_as_it_came_and_the_rest_of_the_row_is_masked() {
    let text = message(Content::Text(Text { body: TEXT.to_owned() }));
    let row = event_row(&extractor(Bodies::Full), "message", text.encode_to_vec());
    assert!(row.body.contains(TEXT) && row.body.contains(NUMBER) && row.body.contains(WAMID));
    let rest = format!("{row:?}");
    assert!(!rest.contains(NUMBER) && !rest.contains(WAMID), "{rest}");
    let long = message(Content::Text(Text { body: "x".repeat(20_000) }));
    assert_eq!(event_row(&extractor(Bodies::Full), "message", long.encode_to_vec()).body, "");
    // Masked, its body is short.
    assert_ne!(event_row(&extractor(Bodies::Masked), "message", long.encode_to_vec()).body, "");
}

#[test]
fn a_result_belongs_to_its_command() {
    let extractor = extractor(Bodies::Masked);
    let event = SendResult {
        event_id: "e-1".to_owned(),
        command_id: "c-1".to_owned(),
        message_id: "imc-c-1".to_owned(),
        outcome: SendOutcome::Rejected.into(),
        error: Some(ReportError { code: "INVALID_COMMAND".to_owned(), ..ReportError::default() }),
        attempts: 1,
        decided_at: happened(),
        context: TEXT.to_owned(),
        command_sequence: 40,
        ..SendResult::default()
    };
    let row = event_row(&extractor, "send", event.encode_to_vec());
    assert_eq!((row.kind, row.status), (RowKind::Result, Some(Status::Outcome(SendOutcome::Rejected))));
    assert_eq!((&*row.summary, row.happened_at), ("after 1 call", HAPPENED_AT.parse().ok()));
    assert_eq!(row.error.as_ref().map(|error| &*error.code), Some("INVALID_COMMAND"));
    assert_eq!(
        ids(&row),
        [
            ("stored", "EVENTS/5"),
            ("command", "c-1"),
            ("message", "imc-c-1"),
            ("event", "e-1"),
            ("stored", "COMMANDS/40"),
        ]
    );
    assert!(!shown_text(&row).contains(TEXT));
    // Without a channel.
    let delivery = delivery("imchannel.event.send.none.unknown", Headers::new(), event.encode_to_vec());
    let row = super::row(&extractor, StreamNumber::Events, &delivery);
    assert_eq!((&*row.bsp, &*row.channel, &*row.tenant), ("", "", ""));
}

#[test]
fn a_fetch_names_the_file_and_the_command() {
    let event = MediaFetched {
        event_id: "e-1".to_owned(),
        media_id: "bb8b8717-5b71-45a7-be04-af9cb746661b".to_owned(),
        command_id: "c-1".to_owned(),
        method: "GET".to_owned(),
        range: "0-1023".to_owned(),
        bytes: 1024,
        fetched_at: happened(),
        ..MediaFetched::default()
    };
    let row = event_row(&extractor(Bodies::Masked), "media", event.encode_to_vec());
    assert_eq!((row.kind, &*row.summary), (RowKind::Fetch, "GET 1024 bytes of range 0-1023"));
    assert_eq!(row.happened_at, HAPPENED_AT.parse().ok());
    assert_eq!(
        ids(&row),
        [
            ("stored", "EVENTS/5"),
            ("media", "bb8b8717-5b71-45a7-be04-af9cb746661b"),
            ("command", "c-1"),
            ("event", "e-1"),
        ]
    );
}

#[test]
fn digits_in_a_commands_id_that_may_be_a_number_are_masked_where_no_customer_is_named() {
    let extractor = extractor(Bodies::Masked);
    let id = format!("order-{NUMBER}");
    let fetched = MediaFetched { command_id: id.clone(), ..MediaFetched::default() };
    let decided = SendResult {
        command_id: id.clone(),
        message_id: format!("imc-{id}"),
        attempts_made: vec![Attempt::default()],
        ..SendResult::default()
    };
    let subject = "imchannel.event.send.infobip.sales";
    let results =
        extractor.rows(StreamNumber::Events, &delivery(subject, Headers::new(), decided.encode_to_vec()));
    let fetch = event_row(&extractor, "media", fetched.encode_to_vec());
    assert_eq!(results.len(), 2, "the result and its call");
    for row in results.iter().chain([&fetch]) {
        assert_eq!(row.shown(IdKind::Command), Some("order-***"));
        assert_eq!(row.key(IdKind::Command), Some(extractor.keys.id(&id)));
        assert!(!shown_text(row).contains(NUMBER), "{}", shown_text(row));
    }
}

#[test]
fn events_about_the_account_and_customers_say_what_changed() {
    let extractor = extractor(Bodies::Masked);
    let event = AccountEvent {
        event_id: "e-1".to_owned(),
        kind: AccountEventKind::TemplateStatus.into(),
        template: Some(AccountTemplate {
            name: "order_update".to_owned(),
            language: "en".to_owned(),
            status: "REJECTED".to_owned(),
            ..AccountTemplate::default()
        }),
        errors: vec![ReportError { code: "INVALID_FORMAT".to_owned(), ..ReportError::default() }],
        raw_json: TEXT.to_owned(),
        source: source(),
        ..AccountEvent::default()
    };
    let row = event_row(&extractor, "account", event.encode_to_vec());
    assert_eq!((row.kind, &*row.summary), (RowKind::Account, "template status order_update (en) REJECTED"));
    assert_eq!(row.error.as_ref().map(|error| &*error.code), Some("INVALID_FORMAT"));
    assert_eq!(ids(&row), [("stored", "EVENTS/5"), ("event", "e-1"), ("stored", "WEBHOOKS/17")]);
    assert!(!shown_text(&row).contains(TEXT));
    let event = CustomerEvent {
        event_id: "e-2".to_owned(),
        kind: CustomerEventKind::OptedOut.into(),
        customer: Some(Customer { number: NUMBER.to_owned(), ..Customer::default() }),
        old_number: NUMBER.to_owned(),
        raw_json: TEXT.to_owned(),
        ..CustomerEvent::default()
    };
    let row = event_row(&extractor, "customer", event.encode_to_vec());
    assert_eq!((row.kind, &*row.summary), (RowKind::Customer, "opted out"));
    assert_eq!(row.recipient.as_ref().unwrap().key, extractor.keys.recipient(NUMBER));
    assert!(!shown_text(&row).contains(TEXT) && !shown_text(&row).contains(NUMBER));
}

#[test]
fn an_event_that_cannot_be_decoded_has_a_row_too() {
    let extractor = extractor(Bodies::Masked);
    for kind in bus::EventKind::ALL {
        let subject = format!("imchannel.event.{}.infobip.sales", kind.token());
        let headers = Headers::new().with(headers::CE_ID, "e-1").with(headers::REPLAYED, "true");
        let row = row(&extractor, StreamNumber::Events, &delivery(&subject, headers, vec![0xff; 20]));
        assert_eq!((&*row.summary, row.is_replayed, row.body.is_empty()), (UNDECODABLE, true, true));
        assert_eq!(ids(&row), [("stored", "EVENTS/5"), ("event", "e-1")]);
    }
    let other = delivery("imchannel.event.weather.infobip.sales", Headers::new(), Vec::new());
    assert!(extractor.rows(StreamNumber::Events, &other).is_empty());
}
