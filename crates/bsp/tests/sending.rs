//! The requests to Infobip, and the commands that are rejected. Its responses are tested in `answers.rs`.
#![allow(clippy::unwrap_used, reason = "a test may")]

use bsp::command::{self, Command, ReceivedCommand};
use bsp::sending::{MediaLink, Sending};
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
    let checked = command::check(ReceivedCommand { channel: &channel(), command: &read(content) });
    checked.map_err(|refused| refused.faults.into_iter().map(|fault| fault.field).collect())
}

fn request(content: Value, url: Option<&str>) -> Value {
    let settings = json!({ "scenario_key": "S-1" });
    let link = url.map(|url| MediaLink { url, is_ours: true, file_name: "" });
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
fn the_header_of_a_template_gives_its_place_a_name_and_an_address() {
    let place = json!({ "latitude": 52.5, "longitude": 13.4, "name": "Office", "address": "Am Platz 1" });
    let template =
        json!({ "name": "visit", "language": "en", "placeholders": ["Jo"], "header": { "location": place } });
    let expected = json!({ "templateName": "visit", "language": "en",
        "locationName": "Office", "address": "Am Platz 1",
        "mediaTemplateData": {
            "body": { "placeholders": ["Jo"] }, "header": { "latitude": 52.5, "longitude": 13.4 } } });
    assert_eq!(request(json!({ "template": template }), None), around(expected));
}

#[test]
fn a_document_has_the_name_of_its_upload_if_the_command_has_none() {
    let stored = |more: Value| {
        let mut media = json!({ "mediaId": "bb8b8717-5b71-45a7-be04-af9cb746661b" });
        media.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        media
    };
    let send = |content: Value, file_name: &str| {
        let link = MediaLink { url: "https://gw.example/f", is_ours: true, file_name };
        let settings = json!({ "scenario_key": "S-1" });
        let request = infobip().request(&settings, &check(content).unwrap(), Some(link));
        serde_json::from_slice::<Value>(&request.body).unwrap()["whatsApp"].clone()
    };
    let text = |content: Value, file_name: &str| send(content, file_name)["text"].clone();
    assert_eq!(text(json!({ "document": stored(json!({})) }), "bill.pdf"), "bill.pdf");
    assert_eq!(text(json!({ "document": stored(json!({ "fileName": "b.pdf" })) }), "bill.pdf"), "b.pdf");
    assert_eq!(
        text(json!({ "document": stored(json!({ "caption": "Your bill" })) }), "bill.pdf"),
        "Your bill"
    );
    assert_eq!(text(json!({ "document": stored(json!({})) }), ""), Value::Null);
    // A picture's name is not a caption unless the command sets one.
    assert_eq!(text(json!({ "image": stored(json!({})) }), "IMG_1.jpg"), Value::Null);
    let name = |document: Value, file_name: &str| {
        let header = json!({ "name": "bill", "language": "en", "header": { "document": document } });
        let sent = send(json!({ "template": header }), file_name);
        sent["mediaTemplateData"]["header"]["documentFilename"].clone()
    };
    assert_eq!(name(stored(json!({})), "bill.pdf"), "bill.pdf");
    assert_eq!(name(stored(json!({ "fileName": "b.pdf" })), "bill.pdf"), "b.pdf");
    assert_eq!(name(stored(json!({})), ""), "document");
}

#[test]
fn a_recipient_is_an_international_number_or_a_user_id() {
    let to = |recipient: &str| {
        let content = json!({ "recipient": recipient, "text": { "body": "x" } });
        check(content.clone()).ok()?;
        Some(request(content, None)["destinations"][0]["to"].clone())
    };
    let number = |digits: &str| Some(json!({ "phoneNumber": digits }));
    let user = |id: &str| Some(json!({ "whatsAppUserId": id }));
    for (recipient, expected) in [
        ("4915112345", number("4915112345")),
        ("+4915112345", number("4915112345")),
        ("whatsapp:+4915112345", number("4915112345")),
        ("004915112345", number("4915112345")),
        (" 00393331234567 ", number("393331234567")),
        ("123456789012345", number("123456789012345")),
        ("00123456789012345", number("123456789012345")),
        // A trunk prefix before or after the international prefix: the country is unknown, or the number does
        // not exist.
        ("015112345678", None),
        ("+015112345678", None),
        ("000491511234", None),
        ("0015", None),
        ("00", None),
        ("1234567890123456", None),
        ("+49 151 12345", None),
        ("US.13491208655302741918", user("US.13491208655302741918")),
        ("US.ENT.11815799212886844830", user("US.ENT.11815799212886844830")),
        ("whatsapp:US.ENT.118157", user("US.ENT.118157")),
        ("US.ENT.", None),
        ("US.ABC.118157", None),
        ("US.ENT.11.5", None),
        ("us.13491", None),
        ("US.", None),
    ] {
        assert_eq!(to(recipient), expected, "{recipient}");
    }
}

#[test]
fn the_url_of_a_file_may_contain_an_at_sign_but_no_user() {
    let is_taken = |url: &str| check(json!({ "image": { "url": url } })).is_ok();
    for good in [
        "https://cdn.shop.example/a@2x.png",
        "https://cdn.shop.example/anna@shop.example/a.png",
        "https://cdn.shop.example/a.png?to=anna@shop.example",
    ] {
        assert!(is_taken(good), "{good}");
    }
    for bad in [
        "https://anna@cdn.shop.example/a.png",
        "https://anna:pw@cdn.shop.example/a.png",
        "https://cdn.shop.example:99999/a.png",
        "https://cdn..example/a.png",
    ] {
        assert!(!is_taken(bad), "{bad}");
    }
}

#[test]
fn a_template_value_that_whatsapp_rejects_is_a_fault_of_its_field() {
    let long = |count: usize| "ü".repeat(count);
    let template = |more: Value| {
        let mut template = json!({ "name": "n", "language": "en" });
        template.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        check(json!({ "template": template })).err().unwrap_or_default()
    };
    let placeholders = |texts: Value| template(json!({ "placeholders": texts }));
    let second = ["template.placeholders[1]"];
    for bad in ["two\nlines", "two\r\nlines", "a\ttab", "five     spaces", "at the end     "] {
        assert_eq!(placeholders(json!(["Jo", bad])), second, "{bad:?}");
        assert_eq!(template(json!({ "header": { "text": bad } })), ["template.header.text"], "{bad:?}");
        let buttons = json!({ "buttons": [{ "quickReplyPayload": "x" }, { "urlPlaceholder": bad }] });
        assert_eq!(template(buttons), ["template.buttons[1]"], "{bad:?}");
        // Customers never see it.
        let payload = template(json!({ "buttons": [{ "quickReplyPayload": bad }] }));
        assert!(payload.is_empty(), "{bad:?}");
    }
    assert!(placeholders(json!(["four    spaces", "and    again"])).is_empty());
    assert!(placeholders(json!([long(1000), long(24)])).is_empty());
    assert_eq!(placeholders(json!([long(1000), long(25)])), second);
    assert_eq!(placeholders(json!(["Jo", long(1025), long(2000)])), second);
    assert!(template(json!({ "header": { "text": long(60) } })).is_empty());
    assert_eq!(template(json!({ "header": { "text": long(61) } })), ["template.header.text"]);
}

#[test]
fn a_file_in_a_command_matches_its_type() {
    // <html>login</html> and an MP4's first box.
    let (html, mp4) = ("PGh0bWw+bG9naW48L2h0bWw+", "AAAAGGZ0eXBtcDQyAAAAAG1wNDJpc29t");
    let faults = |content: Value| {
        let refused =
            command::check(ReceivedCommand { channel: &channel(), command: &read(content) }).unwrap_err();
        let faults = refused.faults.into_iter();
        faults.map(|fault| format!("{} {}", fault.field, fault.rule)).collect::<Vec<_>>()
    };
    assert_eq!(
        faults(json!({ "image": { "data": html, "contentType": "image/jpeg" } })),
        ["image.data does not match its content_type: the first bytes are those of HTML, not of image/jpeg"]
    );
    for (content, field) in [
        (json!({ "document": { "data": html, "contentType": "application/pdf" } }), "document.data"),
        (json!({ "video": { "data": html, "contentType": "video/mp4" } }), "video.data"),
        (json!({ "audio": { "data": mp4, "contentType": "audio/ogg" } }), "audio.data"),
        (
            json!({ "template": { "name": "n", "language": "en",
                "header": { "image": { "data": html, "contentType": "image/png" } } } }),
            "template.header.image.data",
        ),
    ] {
        assert_eq!(check(content).err(), Some(vec![field.to_owned()]));
    }
    assert!(check(json!({ "audio": { "data": mp4, "contentType": "audio/x-m4a" } })).is_ok());
    assert!(check(json!({ "video": { "data": mp4, "contentType": "Video/MP4" } })).is_ok());
}

#[test]
fn a_user_id_and_a_context_have_their_fields() {
    let body =
        request(json!({ "recipient": "US.13491", "context": "ticket 7", "text": { "body": "x" } }), None);
    assert_eq!(body["destinations"][0]["to"], json!({ "whatsAppUserId": "US.13491" }));
    assert_eq!(body["callbackData"], "ticket 7");
}

#[test]
fn every_fault_of_a_command_is_reported() {
    let long = |count: usize| "x".repeat(count);
    let cases = [
        (json!({ "text": { "body": "" } }), vec!["text.body"]),
        (json!({ "text": { "body": long(4097) } }), vec!["text.body"]),
        (json!({}), vec!["content"]),
        (
            json!({ "commandId": "a b", "channelId": "c-2", "recipient": "no-number", "context": long(4001) }),
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
    let refused =
        command::check(ReceivedCommand { channel: &channel(), command: &read(content) }).unwrap_err();
    assert!(
        !refused.faults.iter().any(|fault| fault.rule.contains("SECRET") || fault.field.contains("SECRET"))
    );
    assert_eq!(refused.faults.len(), 4);
}
