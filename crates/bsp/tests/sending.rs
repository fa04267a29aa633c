//! What goes to Infobip and what its answers mean, and which commands are refused.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use bsp::command::{self, Command, Received};
use bsp::sending::{Answer, Link, LookupFault, NotSent, Response, Sending};
use bsp::{ChannelId, registry};
use proptest::prelude::*;
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
    let link = url.map(|url| Link { url, is_ours: true, file_name: "" });
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
fn a_document_has_the_name_of_its_upload_where_the_command_gives_none() {
    let stored = |more: Value| {
        let mut media = json!({ "mediaId": "bb8b8717-5b71-45a7-be04-af9cb746661b" });
        media.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        media
    };
    let send = |content: Value, file_name: &str| {
        let link = Link { url: "https://gw.example/f", is_ours: true, file_name };
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
    // A picture's name is no caption unless the command says so.
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
        // A trunk prefix, in front or behind the international one: the country is not known, or nobody has such a number.
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
fn the_address_of_a_file_may_hold_an_at_sign_and_no_user() {
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
fn what_whatsapp_refuses_in_a_template_is_a_fault_of_its_field() {
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
        // It is never shown to anyone.
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
fn a_file_in_a_command_is_what_it_says() {
    // <html>login</html> and an MP4's first box.
    let (html, mp4) = ("PGh0bWw+bG9naW48L2h0bWw+", "AAAAGGZ0eXBtcDQyAAAAAG1wNDJpc29t");
    let faults = |content: Value| {
        let refused = command::check(Received { channel: &channel(), command: &read(content) }).unwrap_err();
        let faults = refused.faults.into_iter();
        faults.map(|fault| format!("{} {}", fault.field, fault.rule)).collect::<Vec<_>>()
    };
    assert_eq!(
        faults(json!({ "image": { "data": html, "contentType": "image/jpeg" } })),
        ["image.data is a file of its content_type (the first bytes are those of HTML, not of image/jpeg)"]
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
        Answer::Rejected { .. } => "rejected",
        Answer::NotSent(NotSent { error: Some(_), .. }) => "not sent, own",
        Answer::NotSent(NotSent { error: None, .. }) => "not sent, elsewhere",
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

fn response(status: u16, body: &str) -> Response<'_> {
    Response { status, retry_after: None, body: body.as_bytes() }
}

#[test]
fn a_success_means_what_its_entry_says() {
    let cases = [
        (200, ok("imc-1", 1, "PENDING", 7), "accepted"),
        (200, ok("other", 1, "PENDING", 7), "accepted"),
        (202, ok("imc-1", 1, "PENDING", 7), "accepted"),
        (200, ok("imc-1", 5, "REJECTED", 12), "rejected"),
        (200, ok("imc-1", 5, "REJECTED", 23), "duplicate"),
        (200, ok("imc-1", 9, "HOVERING", 990), "unclear"),
        (200, r#"{"messages":[{"status":{"groupId":5},"to":"null"}]}"#.to_owned(), "rejected"),
        (200, r#"{"messages":[]}"#.to_owned(), "unclear"),
        (200, "{}".to_owned(), "unclear"),
        // Not an object where one belongs.
        (200, r#"[[["imc-1",["1","PENDING","7"]]]]"#.to_owned(), "unclear"),
        (200, r#"{"messages":[["imc-1",{"groupId":1}]]}"#.to_owned(), "unclear"),
        (
            200,
            r#"{"messages":[{"messageId":"imc-1","status":["1","PENDING","7","","",""]}]}"#.to_owned(),
            "unclear",
        ),
        (200, "<html>".to_owned(), "unclear"),
        (200, String::new(), "unclear"),
        (202, String::new(), "unclear"),
        (200, VALIDATION.to_owned(), "rejected"),
        (200, exception("GENERAL_ERROR"), "unclear"),
    ];
    for (status, body, expected) in cases {
        assert_eq!(kind(&infobip().answer(response(status, &body), "imc-1")), expected, "{status} {body}");
    }
}

const VALIDATION: &str = r#"{"requestError":{"serviceException":{"messageId":"BAD_REQUEST","text":"Bad request",
    "validationErrors":{"destinations[0].to.phoneNumber":["is not a valid international number"]}}}}"#;
const HTML: &str = "<html><body><h1>No</h1></body></html>";

fn exception(name: &str) -> String {
    json!({ "requestError": { "serviceException": { "messageId": name, "text": "t" } } }).to_string()
}

/// Who wrote the body decides about what it speaks.
#[test]
fn only_infobips_own_error_about_the_message_is_a_verdict_on_it() {
    let elsewhere = ["", HTML, "{}", r#"{"message":"no Route matched"}"#, "[1]", "{\"requestErr"];
    for body in elsewhere {
        for status in [401, 402, 403, 404, 405, 407, 408, 409, 413, 421, 425, 301, 302, 307, 308] {
            assert_eq!(
                kind(&infobip().answer(response(status, body), "m")),
                "not sent, elsewhere",
                "{status} {body}"
            );
        }
        for status in [500, 501, 502, 503, 504, 520, 300, 303, 304] {
            assert_eq!(kind(&infobip().answer(response(status, body), "m")), "unclear", "{status} {body}");
        }
        assert_eq!(kind(&infobip().answer(response(429, body), "m")), "limited", "{body}");
        assert_eq!(kind(&infobip().answer(response(400, body), "m")), "rejected", "{body}");
    }
    for (status, name) in [
        (401, "UNAUTHORIZED"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (408, "GENERAL_ERROR"),
        (409, "GENERAL_ERROR"),
    ] {
        assert_eq!(
            kind(&infobip().answer(response(status, &exception(name)), "m")),
            "not sent, own",
            "{status} {name}"
        );
    }
    for status in [400, 401, 403, 404, 409, 413, 422, 429, 500, 503] {
        assert_eq!(kind(&infobip().answer(response(status, VALIDATION), "m")), "rejected", "{status}");
    }
    let violation =
        r#"{"errorCode":"E422","description":"d","violations":[{"property":"p","violation":"v"}]}"#;
    assert_eq!(kind(&infobip().answer(response(404, violation), "m")), "rejected");
    assert_eq!(kind(&infobip().answer(response(422, r#"{"errorCode":"E422"}"#), "m")), "rejected");
    for status in [500, 502, 503, 504] {
        for body in [exception("GENERAL_ERROR"), r#"{"errorCode":"E500","violations":[]}"#.to_owned()] {
            assert_eq!(kind(&infobip().answer(response(status, &body), "m")), "unclear", "{status} {body}");
        }
    }
}

/// Its risk stands in ARCHITECTURE.md.
#[test]
fn a_503_that_is_not_infobips_and_says_when_to_come_back_did_nothing() {
    let at = |status, body: &str| {
        let retry_after = Some(Duration::from_secs(2));
        kind(&infobip().answer(Response { status, retry_after, body: body.as_bytes() }, "m"))
    };
    for body in ["", HTML, r#"{"message":"name resolution failed"}"#] {
        assert_eq!((at(503, body), at(502, body)), ("not sent, elsewhere", "unclear"), "{body}");
    }
    for body in
        [exception("GENERAL_ERROR"), r#"{"errorCode":"E503"}"#.to_owned(), r#"{"error":"x"}"#.to_owned()]
    {
        assert_eq!(at(503, &body), "unclear", "{body}");
    }
}

proptest! {
    /// Whatever stands in front of the BSP answers, and whatever it is cut to.
    #[test]
    fn no_body_of_somebody_else_is_a_verdict(status in 100u16..600, body in ".{0,200}", cut in 0usize..400) {
        let own = VALIDATION.as_bytes().get(..cut.min(VALIDATION.len() - 1)).unwrap();
        for body in [body.as_bytes(), own] {
            let answer = infobip().answer(Response { status, retry_after: None, body }, "imc-1");
            let is_verdict = matches!(answer, Answer::Rejected { .. } | Answer::Accepted { .. } | Answer::Duplicate { .. });
            prop_assert_eq!(is_verdict, status == 400);
        }
    }
}

#[test]
fn an_error_is_told_in_the_bsps_words() {
    let Answer::Rejected { error, .. } =
        infobip().answer(response(400, r#"{"errorCode":"E400","description":"d"}"#), "m")
    else {
        panic!("it is a rejection")
    };
    assert_eq!((error.code.as_str(), error.name.as_str(), error.description.as_str()), ("400", "E400", "d"));
    let why = |status, body: &str| match infobip().answer(response(status, body), "m") {
        Answer::NotSent(why) => why.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(why(401, &exception("UNAUTHORIZED")), "401 UNAUTHORIZED");
    assert_eq!(why(404, HTML), "404 by something in front of the BSP");
    assert_eq!(why(302, ""), "302, a redirect that is not followed: check base_url");
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
