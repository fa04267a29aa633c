use bus::Headers;
use prost::Message as _;
use proto::v1::send_command::Content;
use proto::v1::{OutboundMedia, OutboundText, SendCommand, Template, outbound_media};

use super::*;
use crate::row::RowKind;

const JSON: &str = "application/json";
const UPLOAD: &str = "bb8b8717-5b71-45a7-be04-af9cb746661b";

fn command(content: Content) -> SendCommand {
    SendCommand {
        command_id: "c-1".to_owned(),
        channel_id: "sales".to_owned(),
        recipient: format!("+{NUMBER}"),
        context: TEXT.to_owned(),
        content: Some(content),
        ..SendCommand::default()
    }
}

fn command_row(headers: Headers, payload: Vec<u8>) -> Row {
    let delivery = delivery("imchannel.command.bulk.sales", headers, payload);
    row(&extractor(Bodies::Masked), StreamNumber::Commands, &delivery)
}

#[test]
fn a_command_is_decoded_in_both_of_its_encodings() {
    let template = Content::Template(Template {
        name: "order_update".to_owned(),
        language: "en".to_owned(),
        placeholders: vec![TEXT.to_owned()],
        ..Template::default()
    });
    let command = command(template);
    let json = serde_json::to_vec(&command).unwrap();
    let protobuf = command_row(Headers::new(), command.encode_to_vec());
    for row in [
        &protobuf,
        &command_row(Headers::new().with(headers::CONTENT_TYPE, JSON), json.clone()),
        &command_row(Headers::new(), json),
    ] {
        assert_eq!(row, &protobuf);
    }
    let row = protobuf;
    assert_eq!((row.kind, &*row.summary), (RowKind::Command, "bulk template order_update (en)"));
    assert_eq!((&*row.bsp, &*row.channel, &*row.tenant), ("infobip", "sales", "shop"));
    assert_eq!(ids(&row), [("stored", "COMMANDS/5"), ("command", "c-1"), ("message", "imc-c-1")]);
    let recipient = row.recipient.as_ref().unwrap();
    assert_eq!(recipient.key, extractor(Bodies::Masked).keys.recipient(NUMBER));
    assert_eq!(recipient.last_digits, "78");
    assert!(row.body.contains(r#""name":"order_update""#), "{}", row.body);
    assert!(!shown_text(&row).contains(NUMBER) && !shown_text(&row).contains(TEXT), "{row:?}");
}

#[test]
fn a_command_names_its_file() {
    let file = |source| OutboundMedia {
        source: Some(source),
        caption: TEXT.to_owned(),
        file_name: "passport.jpg".to_owned(),
        content_type: "image/jpeg".to_owned(),
    };
    let upload = file(outbound_media::Source::MediaId(UPLOAD.to_owned()));
    let row = command_row(Headers::new(), command(Content::Image(upload)).encode_to_vec());
    assert_eq!(row.summary, "bulk image image/jpeg");
    assert_eq!(row.shown(IdKind::Media), Some(UPLOAD));
    let inline = file(outbound_media::Source::Data(vec![1; 900_000].into()));
    let row = command_row(Headers::new(), command(Content::Document(inline)).encode_to_vec());
    assert_eq!((row.shown(IdKind::Media), row.body.len() < 300), (None, true), "{}", row.body);
    assert!(!shown_text(&row).contains("passport") && !shown_text(&row).contains(TEXT));
}

#[test]
fn a_command_that_cannot_be_decoded_has_the_id_that_can() {
    let mut cut = command(Content::Text(OutboundText::default())).encode_to_vec();
    cut.truncate(20);
    for payload in [cut, br#"{"commandId":"c-1","surprise":1}"#.to_vec()] {
        let row = command_row(Headers::new(), payload);
        assert_eq!(row.summary, "bulk cannot be decoded");
        assert_eq!(row.shown(IdKind::Command), Some("c-1"));
        assert_eq!((row.recipient, row.body), (None, String::new()));
    }
    let lost = delivery("imchannel.command.push", Headers::new(), br#"{"commandId":"c-1"}"#.to_vec());
    let row = row(&extractor(Bodies::Masked), StreamNumber::Commands, &lost);
    assert_eq!((&*row.summary, &*row.channel), ("empty, no lane reads its subject", ""));
}

#[test]
fn a_webhook_says_its_route_and_its_size() {
    let headers = Headers::new()
        .with(headers::ROUTE, "report")
        .with(headers::RECEIVED_AT, "2026-03-01T12:00:00Z")
        .with(headers::PAYLOAD_SIZE, "1234");
    let delivery = delivery("imchannel.webhook.gupshup.other", headers, Vec::new());
    let row = row(&extractor(Bodies::Masked), StreamNumber::Webhooks, &delivery);
    assert_eq!((row.kind, &*row.summary), (RowKind::Webhook, "report 1234 bytes"));
    assert_eq!(row.happened_at, HAPPENED_AT.parse().ok());
    assert_eq!((&*row.bsp, &*row.channel, &*row.tenant), ("gupshup", "other", ""));
    assert_eq!(ids(&row), [("stored", "WEBHOOKS/5")]);
}

#[test]
fn a_dead_letter_belongs_to_its_webhook() {
    let headers = Headers::new()
        .with(headers::BSP, "infobip")
        .with(headers::ORIGIN, "WEBHOOKS/17/3")
        .with(headers::REASON_KIND, "wrong_shape")
        .with(headers::REASON, "missing field 'messageId'")
        .with(headers::PART, headers::PART_ITEM)
        .with(headers::TIME, HAPPENED_AT);
    let payload = format!(r#"{{"to":"{NUMBER}","text":"{TEXT}","status":{{"groupName":"DELIVERED"}}}}"#);
    let delivery = delivery("imchannel.deadletter.webhook.sales", headers, payload.into_bytes());
    let row = row(&extractor(Bodies::Masked), StreamNumber::DeadLetters, &delivery);
    assert_eq!((row.kind, row.happened_at), (RowKind::DeadLetter, HAPPENED_AT.parse().ok()));
    assert!(row.summary.starts_with("item 3 of a webhook, "), "{}", row.summary);
    assert_eq!(ids(&row), [("stored", "DEADLETTERS/5"), ("stored", "WEBHOOKS/17")]);
    let error = row.error.as_ref().unwrap();
    assert_eq!((&*error.code, &*error.text), ("wrong_shape", "missing field 'messageId'"));
    assert_eq!(row.body, r#"{"to":"***","text":"***","status":{"groupName":"DELIVERED"}}"#);
}

#[test]
fn a_dead_letter_of_a_command_has_the_commands_ids() {
    let headers = Headers::new()
        .with(headers::ORIGIN, "COMMANDS/40/0")
        .with(headers::REASON_KIND, "no_channel")
        .with(headers::PART, headers::PART_BODY)
        .with(headers::MAY_BE_SENT, "true");
    let text = command(Content::Text(OutboundText { body: TEXT.to_owned(), preview_url: false }));
    let delivery = delivery("imchannel.deadletter.command.unknown", headers, text.encode_to_vec());
    let row = row(&extractor(Bodies::Masked), StreamNumber::DeadLetters, &delivery);
    assert_eq!(row.summary, "command: text, may have been sent");
    assert_eq!(
        ids(&row),
        [("stored", "DEADLETTERS/5"), ("stored", "COMMANDS/40"), ("command", "c-1"), ("message", "imc-c-1"),]
    );
    assert_eq!((&*row.bsp, &*row.channel), ("", ""));
    assert!(row.recipient.is_some() && !shown_text(&row).contains(TEXT), "{row:?}");
}
