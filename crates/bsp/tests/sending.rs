//! What goes to Infobip and what its answers mean, and which commands are refused.
#![allow(clippy::unwrap_used, reason = "a test may")]

use bsp::command::{self, Command, Received};
use bsp::sending::{Answer, Link, LookupFault, Sending};
use bsp::{ChannelId, registry};
use proto::v1::SendCommand;
use serde_json::{Value, json};

fn channel() -> ChannelId {
    ChannelId::parse("c-1").unwrap()
}

fn infobip() -> &'static dyn Sending {
    registry::find("infobip").unwrap().sending().unwrap()
}

fn read(content: Value) -> SendCommand {
    let mut command =
        json!({ "commandId": "cmd-1", "channelId": "c-1", "recipient": "whatsapp:+4915112345" });
    command.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
    serde_json::from_value(command).unwrap()
}

fn check(content: Value) -> Result<Command, Vec<String>> {
    let checked = command::check(Received { channel: &channel(), command: &read(content) });
    checked.map_err(|refused| refused.faults.into_iter().map(|fault| fault.field).collect())
}

fn request(content: Value, url: Option<&str>) -> Value {
    let settings = json!({ "scenario_key": "S-1" });
    let link = url.map(|url| Link { url, is_ours: true });
    let request = infobip().request(&settings, &check(content).unwrap(), link);
    assert_eq!(request.path, "/omni/1/advanced");
    serde_json::from_slice(&request.body).unwrap()
}

fn around(whats_app: Value) -> Value {
    json!({
        "scenarioKey": "S-1",
        "destinations": [{ "messageId": "imc-cmd-1", "to": { "phoneNumber": "4915112345" } }],
        "whatsApp": whats_app,
    })
}

#[test]
fn every_kind_of_content_has_infobips_form() {
    let url = "https://gw.example/t/imchannel/getImageMessage/x";
    let stored = "bb8b8717-5b71-45a7-be04-af9cb746661b";
    let media = |more: Value| {
        let mut media = json!({ "mediaId": stored });
        media.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        media
    };
    let cases = [
        (json!({ "text": { "body": "Chat closed." } }), None, json!({ "text": "Chat closed." })),
        (
            json!({ "text": { "body": "a https://x.example", "previewUrl": true } }),
            None,
            json!({ "text": "a https://x.example", "previewUrl": true }),
        ),
        (
            json!({ "image": media(json!({ "fileName": "a.jpg" })) }),
            Some(url),
            json!({ "text": "a.jpg", "imageUrl": url }),
        ),
        (
            json!({ "document": media(json!({ "caption": "bill", "fileName": "b.pdf" })) }),
            Some(url),
            json!({ "text": "bill", "fileUrl": url }),
        ),
        (json!({ "audio": media(json!({ "fileName": "a.ogg" })) }), Some(url), json!({ "audioUrl": url })),
        (json!({ "video": media(json!({})) }), Some(url), json!({ "videoUrl": url })),
        (
            json!({ "location": { "latitude": 52.5, "longitude": 13.4, "name": "Office" } }),
            None,
            json!({ "latitude": 52.5, "longitude": 13.4, "locationName": "Office" }),
        ),
        (
            json!({ "contacts": { "contacts": [
                { "formattedName": "Jo Doe", "firstName": "Jo", "phones": ["+491"], "organization": "X" } ] } }),
            None,
            json!({ "contacts": [{
                "name": { "firstName": "Jo", "formattedName": "Jo Doe" }, "phones": [{ "phone": "+491" }],
                "org": { "company": "X" } }] }),
        ),
        (
            json!({ "template": { "name": "hello", "namespace": "ns", "language": "en", "placeholders": ["Jo"] } }),
            None,
            json!({ "templateName": "hello", "templateNamespace": "ns", "language": "en", "templateData": ["Jo"] }),
        ),
        (
            json!({ "template": { "name": "bill", "language": "en", "placeholders": ["Jo"],
                "header": { "document": media(json!({ "fileName": "b.pdf" })) },
                "buttons": [{ "urlPlaceholder": "x" }, { "quickReplyPayload": "yes" }] } }),
            Some(url),
            json!({ "templateName": "bill", "language": "en", "mediaTemplateData": {
                "body": { "placeholders": ["Jo"] },
                "header": { "documentUrl": url, "documentFilename": "b.pdf" },
                "buttons": [{ "urlPlaceholder": "x" }, { "quickReplyPayload": "yes" }] } }),
        ),
    ];
    for (content, url, expected) in cases {
        assert_eq!(request(content.clone(), url), around(expected), "{content}");
    }
}

#[test]
fn a_user_id_and_a_context_have_their_fields() {
    let body =
        request(json!({ "recipient": "US.13491", "context": "ticket 7", "text": { "body": "x" } }), None);
    assert_eq!(body["destinations"][0]["to"], json!({ "whatsAppUserId": "US.13491" }));
    assert_eq!(body["callbackData"], "ticket 7");
}

#[test]
fn every_fault_of_a_command_is_named() {
    let long = |count: usize| "x".repeat(count);
    let cases = [
        (json!({ "text": { "body": "" } }), vec!["text.body"]),
        (json!({ "text": { "body": long(4097) } }), vec!["text.body"]),
        (json!({}), vec!["content"]),
        (
            json!({ "commandId": "a b", "channelId": "c-2", "recipient": "nobody", "context": long(4001) }),
            vec!["command_id", "channel_id", "recipient", "context", "content"],
        ),
        (
            json!({ "image": { "mediaId": "x", "caption": long(3001) } }),
            vec!["image.caption", "image.media_id"],
        ),
        (
            json!({ "image": { "url": "ftp://x/y", "contentType": "image/webp" } }),
            vec!["image.content_type", "image.url"],
        ),
        (json!({ "image": { "data": "AAAA" } }), vec!["image.content_type"]),
        (json!({ "document": {} }), vec!["document.source"]),
        (json!({ "audio": { "url": "https://x.example/a", "caption": "c" } }), vec!["audio.caption"]),
        (
            json!({ "location": { "latitude": 91.0, "longitude": -181.0 } }),
            vec!["location.latitude", "location.longitude"],
        ),
        (json!({ "location": { "latitude": "NaN" } }), vec!["location.latitude"]),
        (json!({ "contacts": { "contacts": [] } }), vec!["contacts.contacts"]),
        (
            json!({ "contacts": { "contacts": [{}] } }),
            vec!["contacts.contacts[0].formatted_name", "contacts.contacts[0].first_name"],
        ),
        (
            json!({ "template": { "placeholders": [""], "header": {}, "buttons": [{}] } }),
            vec![
                "template.name",
                "template.language",
                "template.placeholders[0]",
                "template.header",
                "template.buttons[0]",
            ],
        ),
    ];
    for (content, expected) in cases {
        assert_eq!(
            check(content.clone()).err(),
            Some(expected.into_iter().map(str::to_owned).collect()),
            "{content}"
        );
    }
}

#[test]
fn no_fault_quotes_the_command() {
    let content = json!({ "commandId": "SECRET SECRET", "recipient": "SECRET", "image": { "url": "SECRET", "contentType": "SECRET" } });
    let refused = command::check(Received { channel: &channel(), command: &read(content) }).unwrap_err();
    assert!(
        !refused.faults.iter().any(|fault| fault.rule.contains("SECRET") || fault.field.contains("SECRET"))
    );
    assert_eq!(refused.faults.len(), 4);
}

fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Accepted { .. } => "accepted",
        Answer::Rejected { is_of_account: false, .. } => "rejected",
        Answer::Rejected { is_of_account: true, .. } => "account",
        Answer::Duplicate { .. } => "duplicate",
        Answer::Limited => "limited",
        Answer::Unclear { .. } => "unclear",
    }
}

fn ok(message_id: &str, group: i32, name: &str, id: i32) -> String {
    json!({ "messages": [{ "to": { "phoneNumber": "49" }, "messageId": message_id,
        "status": { "groupId": group, "groupName": name, "id": id, "name": "N", "description": "d" } }] })
    .to_string()
}

#[test]
fn answers_mean_what_infobip_says() {
    let cases = [
        (200, ok("imc-1", 1, "PENDING", 7), "accepted"),
        (200, ok("other", 1, "PENDING", 7), "accepted"),
        (200, ok("imc-1", 5, "REJECTED", 12), "rejected"),
        (200, ok("imc-1", 5, "REJECTED", 23), "duplicate"),
        (200, ok("imc-1", 9, "HOVERING", 990), "unclear"),
        (200, r#"{"messages":[{"status":{"groupId":5},"to":"null"}]}"#.to_owned(), "rejected"),
        (200, r#"{"messages":[]}"#.to_owned(), "unclear"),
        (200, "{}".to_owned(), "unclear"),
        (200, "<html>".to_owned(), "unclear"),
        (200, String::new(), "unclear"),
        (
            400,
            r#"{"requestError":{"serviceException":{"messageId":"BAD_REQUEST","text":"Bad request"}}}"#
                .to_owned(),
            "rejected",
        ),
        (400, "<xml/>".to_owned(), "rejected"),
        (
            401,
            r#"{"requestError":{"serviceException":{"messageId":"UNAUTHORIZED","text":"x"}}}"#.to_owned(),
            "account",
        ),
        (403, String::new(), "account"),
        (404, String::new(), "rejected"),
        (429, r#"{"errorCode":"E429"}"#.to_owned(), "limited"),
        (500, String::new(), "unclear"),
        (503, String::new(), "unclear"),
        (302, String::new(), "unclear"),
        (202, String::new(), "unclear"),
    ];
    for (status, body, expected) in cases {
        assert_eq!(kind(&infobip().answer(status, body.as_bytes(), "imc-1")), expected, "{status} {body}");
    }
    let Answer::Rejected { error, .. } =
        infobip().answer(400, br#"{"errorCode":"E400","description":"d"}"#, "m")
    else {
        panic!("it is a rejection")
    };
    assert_eq!((error.code.as_str(), error.name.as_str(), error.description.as_str()), ("400", "E400", "d"));
}

#[test]
fn the_log_shows_what_arrived() {
    let entry = |id: &str, group: i32, status: i32| json!({ "messageId": id, "to": "49", "status": { "groupId": group, "groupName": "", "id": status, "name": "N" } });
    let body =
        json!({ "results": [entry("a", 5, 23), entry("a", 3, 5), entry("b", 5, 12), entry("c", 5, 23), entry("d", 2, 9)] })
            .to_string();
    let found = infobip().lookup_answer(200, body.as_bytes()).unwrap();
    let kinds: Vec<_> = found.iter().map(|found| (found.message_id.as_str(), kind(&found.answer))).collect();
    assert_eq!(kinds, [("a", "accepted"), ("b", "rejected"), ("c", "duplicate"), ("d", "accepted")]);
    assert_eq!(infobip().lookup_path(&["imc-1", "imc-2"]), "/omni/1/logs?messageId=imc-1,imc-2&limit=1000");
    assert_eq!(infobip().lookup_answer(429, b""), Err(LookupFault::Limited));
    for (status, body) in [(200, ""), (200, "{}"), (500, r#"{"results":[]}"#)] {
        assert_eq!(infobip().lookup_answer(status, body.as_bytes()), Err(LookupFault::Unreadable));
    }
}
