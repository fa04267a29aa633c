//! The meaning of Infobip's responses to a send call, and the errors that they report.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use bsp::mask::{self, Unmasked};
use bsp::sending::{LogAnswer, LookupError, NotSent, Response, SendResponse, Sending};
use bsp::{ChannelId, Outcome, Webhook, registry};
use proptest::prelude::*;
use proto::v1::{EventSource, ReportStatus};
use serde_json::{Value, json};

fn infobip() -> &'static dyn Sending {
    registry::find("infobip").unwrap().sending().unwrap()
}

fn kind(answer: &SendResponse) -> &'static str {
    match answer {
        SendResponse::Accepted { .. } => "accepted",
        SendResponse::Rejected { .. } => "rejected",
        SendResponse::NotSent(NotSent { error: Some(_), .. }) => "not sent, own",
        SendResponse::NotSent(NotSent { error: None, .. }) => "not sent, elsewhere",
        SendResponse::Duplicate { .. } => "duplicate",
        SendResponse::Limited => "limited",
        SendResponse::Indeterminate { .. } => "unclear",
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
fn the_entry_of_a_success_determines_its_meaning() {
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
        // An array in place of an object.
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

/// The author of the body determines its subject.
#[test]
fn only_infobips_own_error_about_the_message_rejects_it() {
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

/// ARCHITECTURE.md describes its risk.
#[test]
fn a_503_with_retry_after_that_is_not_infobips_had_no_effect() {
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
    /// Any server in front of the BSP may respond, and any body may be cut.
    #[test]
    fn no_body_of_another_server_rejects_a_message(status in 100u16..600, body in ".{0,200}", cut in 0usize..400) {
        let own = VALIDATION.as_bytes().get(..cut.min(VALIDATION.len() - 1)).unwrap();
        for body in [body.as_bytes(), own] {
            let answer = infobip().answer(Response { status, retry_after: None, body }, "imc-1");
            let is_verdict = matches!(answer, SendResponse::Rejected { .. } | SendResponse::Accepted { .. } | SendResponse::Duplicate { .. });
            prop_assert_eq!(is_verdict, status == 400);
        }
    }
}

#[test]
fn an_error_contains_the_bsps_name_and_text() {
    let SendResponse::Rejected { error, .. } =
        infobip().answer(response(400, r#"{"errorCode":"E400","description":"d"}"#), "m")
    else {
        panic!("not a rejection")
    };
    assert_eq!((error.code.as_str(), error.name.as_str(), error.description.as_str()), ("400", "E400", "d"));
    let why = |status, body: &str| match infobip().answer(response(status, body), "m") {
        SendResponse::NotSent(why) => why.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(why(401, &exception("UNAUTHORIZED")), "401 UNAUTHORIZED");
    assert_eq!(why(404, HTML), "404 from a server in front of the BSP");
    assert_eq!(why(302, ""), "302, an unexpected redirect: check base_url");
}

#[test]
fn the_fields_that_the_bsp_rejects_are_reported_with_its_texts() {
    let faults = |body: &str| match infobip().answer(response(400, body), "m") {
        SendResponse::Rejected { faults, .. } => {
            faults.into_iter().map(|fault| format!("{} {}", fault.field, fault.rule)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(faults(VALIDATION), ["destinations[0].to.phoneNumber is not a valid international number"]);
    let older = |errors: Value| json!({ "requestError": { "serviceException": { "messageId": "BAD_REQUEST", "text": "t", "validationErrors": errors } } });
    let several = json!({ "content.text": ["must not be blank", "size must be between 1 and 4096"], "to": "is wrong", "odd": [7, null], "odd2": {} });
    assert_eq!(
        faults(&older(several).to_string()),
        [
            "content.text must not be blank",
            "content.text size must be between 1 and 4096",
            "odd ",
            "odd ",
            "odd2 ",
            "to is wrong"
        ]
    );
    let violation = |property: &str, violation: &str| json!({ "property": property, "violation": violation });
    let violations = json!({ "errorCode": "E400", "description": "d", "violations": [violation("messages[0].sender", "is missing"), violation("", "is odd"), {}, 7] });
    assert_eq!(faults(&violations.to_string()), ["messages[0].sender is missing", " is odd"]);
    // The ledger stores a limited number of faults and characters.
    let many: serde_json::Map<String, Value> =
        (0..100).map(|n| (format!("{n}{}", "ü".repeat(500)), json!(["ü".repeat(500)]))).collect();
    let found = faults(&older(Value::Object(many)).to_string());
    assert_eq!((found.len(), found[0].chars().count()), (16, 128 + 1 + 200));
    for body in
        ["{}", HTML, r#"{"errorCode":"E400","violations":7}"#, r#"{"errorCode":"E400","violations":[]}"#]
    {
        assert_eq!(faults(body), [""; 0], "{body}");
    }
}

#[test]
fn the_error_of_a_response_is_readable_in_the_log() {
    let readable = Unmasked { keys: infobip().answer_logged_keys(), texts: infobip().answer_error_texts() };
    for (body, line) in [
        (
            VALIDATION,
            r#"{"requestError":{"serviceException":{"messageId":"BAD_REQUEST","text":"Bad request","validationErrors":{"destinations[0].to.phoneNumber":["is not a valid international number"]}}}}"#,
        ),
        (
            r#"{"errorCode":"E400","description":"no +49 151 123456","action":"a","violations":[{"property":"to[0]","violation":"v"}],"x":1}"#,
            r#"{"errorCode":"E400","description":"no ***","action":"a","violations":[{"property":"to[0]","violation":"v"}],"x":"***"}"#,
        ),
        (
            r#"{"messages":[{"to":{"phoneNumber":"49151"},"status":{"id":12,"name":"N","description":"d"}}]}"#,
            r#"{"messages":[{"to":{"phoneNumber":"***"},"status":{"id":12,"name":"N","description":"d"}}]}"#,
        ),
    ] {
        assert_eq!(mask::body("application/json", body.as_bytes(), readable), line);
    }
}

#[test]
fn the_message_log_shows_accepted_messages() {
    let entry = |id: &str, group: i32, status: i32| json!({ "messageId": id, "to": "49", "status": { "groupId": group, "groupName": "", "id": status, "name": "N" } });
    let body =
        json!({ "results": [entry("a", 5, 23), entry("a", 3, 5), entry("b", 5, 12), entry("c", 5, 23), entry("d", 2, 9)] })
            .to_string();
    let found = infobip().lookup_answer(200, body.as_bytes()).unwrap();
    let kinds: Vec<_> = found.iter().map(|found| (found.message_id.as_str(), kind(&found.answer))).collect();
    assert_eq!(kinds, [("a", "accepted"), ("b", "rejected"), ("c", "duplicate"), ("d", "accepted")]);
    assert_eq!(infobip().lookup_path(&["imc-1", "imc-2"]), "/omni/1/logs?messageId=imc-1,imc-2&limit=1000");
    assert_eq!(infobip().lookup_answer(429, b""), Err(LookupError::Limited));
    for (status, body) in [(200, ""), (200, "{}"), (500, r#"{"results":[]}"#)] {
        assert_eq!(infobip().lookup_answer(status, body.as_bytes()), Err(LookupError::Unreadable));
    }
}

#[test]
fn the_message_log_is_read_as_reports_with_ids_of_their_own() {
    let entry = |id: &str, group: &str, status: i32, more: Value| {
        let mut entry = json!({ "messageId": id, "to": "4915112345678", "from": "447860099299", "channel": "WHATSAPP",
            "text": "Hello", "price": { "currency": "EUR" }, "sentAt": "2026-03-01T08:00:00.000+0000",
            "status": { "groupName": group, "id": status, "name": format!("{group}_X") } });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let none = || json!({});
    let done = json!({ "doneAt": "2026-03-01T08:00:05.000+0000" });
    let channel = ChannelId::parse("sales").unwrap();
    let answered_at = "2026-03-01T09:00:00Z".parse().unwrap();
    let read = |results: Value| {
        let body = json!({ "results": results }).to_string();
        infobip().log_reports(&LogAnswer { channel: &channel, body: body.as_bytes(), answered_at })
    };
    let reports = read(json!([
        entry("imc-a", "REJECTED", 23, none()),
        entry("imc-a", "DELIVERED", 5, done.clone()),
        entry("imc-a", "PENDING", 7, none()),
        entry("imc-b", "REJECTED", 12, none()),
        entry("imc-c", "DELIVERED", 5, json!({ "channel": "SMS" })),
        { "messageId": "imc-d" },
        entry("imc-e", "NEW_GROUP", 99, none()),
        7,
    ]));
    let found: Vec<_> = reports.iter().map(|report| (report.message_id.as_str(), report.status())).collect();
    let expected = [
        ("imc-a", ReportStatus::Delivered),
        ("imc-b", ReportStatus::Failed),
        ("imc-e", ReportStatus::Unrecognized),
    ];
    assert_eq!(found, expected);
    let first = &reports[0];
    assert_eq!(first.source, Some(EventSource { reconciled: true, ..EventSource::default() }));
    assert_eq!((first.command_id.as_str(), first.recipient.as_str()), ("a", "4915112345678"));
    assert_eq!(
        (first.channel_id.as_str(), first.bsp.as_str(), first.aicc_status),
        ("sales", "infobip", Some(0))
    );
    assert_eq!(first.unread_json, "", "the log's text and price are no words about the status");
    assert_eq!(first.occurred_at.unwrap().seconds, first.received_at.unwrap().seconds - 3595);
    // docs/compatibility.md promises that an id is the same in every version.
    assert_eq!(first.event_id, "89d2a6b8977697245d8c0f633fbf385b");
    // The same words have the same id, other words another one, and a report another one than the log.
    let ids = |results: Value| read(results).into_iter().map(|report| report.event_id).collect::<Vec<_>>();
    assert_eq!(ids(json!([entry("imc-a", "DELIVERED", 5, done)])), std::slice::from_ref(&first.event_id));
    assert_ne!(ids(json!([entry("imc-a", "DELIVERED", 5, none())])), std::slice::from_ref(&first.event_id));
    let webhook = json!({ "results": [entry("imc-a", "DELIVERED", 5, json!({ "doneAt": "2026-03-01T08:00:05.000+0000" }))] });
    let body = webhook.to_string().into_bytes().into();
    let webhook = Webhook { channel: &channel, body: &body, received_at: answered_at, sequence: 1 };
    let parsed = registry::find("infobip").unwrap().parse(&webhook);
    let Outcome::Report(report) = &parsed.items[0].outcome else { panic!("no report") };
    assert_ne!(report.event_id, first.event_id);
    for body in ["", "{", "[]", r#"{"results":7}"#, r#"{"results":[{}]}"#] {
        let log = LogAnswer { channel: &channel, body: body.as_bytes(), answered_at };
        assert_eq!(infobip().log_reports(&log), [], "{body}");
    }
}
