//! The cases for which the timeline is there: the page and `imchannel trace` say alone what happened, what is missing and what to
//! do, and show nothing personal. What others write has no effect on a page and on a terminal.

use bus::Priority;
use proto::v1::{SendCommand, Template, send_command};
use reqwest::StatusCode;
use serde_json::Value;
use simulator::infobip_api::Faults;

use super::super::lives::{CUSTOMER, Gateway, gateway};
use super::stage::{
    REFUSED_CUSTOMER, SECRET, WAMID, assert_nothing_personal, customers_message, file, trace,
};
use crate::harness::browser::Browser;
use crate::harness::files::{bytes, stored};
use crate::harness::outbound::text;
use crate::harness::{Webhook, eventually};

/// What a page and `trace` say of an id.
struct Case {
    id: String,
    page: Vec<&'static str>,
    trace: Vec<&'static str>,
    exit: i32,
}

/// What a BSP or a business writes into texts that are shown.
const FOREIGN: &str = "<script>window.owned=1</script><img src=x onerror=window.owned=1>";

const AFTER: [(&str, &str); 3] = [
    ("IMCHANNEL_TIMELINE_REPORT_AFTER", "1s"),
    ("IMCHANNEL_TIMELINE_FETCH_AFTER", "1s"),
    ("IMCHANNEL_TIMELINE_RESULT_AFTER", "1s"),
];

#[tokio::test]
async fn the_page_and_trace_answer_each_case_and_show_nothing_personal() {
    let gateway = gateway(&AFTER).await;
    // No back end reads here, and on a slow machine an event waits for one longer than it may.
    gateway.outbound.installation.bus.delete_durable(&bus::streams::AICC).await.unwrap();
    let browser = Browser::start().await;
    let mut cases = finished(&gateway).await;
    for case in &cases {
        check(&gateway, &browser, case).await;
    }
    check_drawers(&gateway, &browser).await;
    check_foreign_text(&gateway, &browser).await;
    cases = unfinished(&gateway).await;
    for case in &cases {
        check(&gateway, &browser, case).await;
    }
    browser.open(&format!("{}/problems", gateway.timeline.url)).await;
    let problems = browser.text_with("no report for").await;
    for part in ["the file was not fetched", "no result for", "lane is halted"] {
        assert!(problems.contains(part), "no {part:?} in {problems}");
    }
    assert_nothing_personal("the list of problems", &browser.source().await);
}

/// A delivered message with a file, a rejected one, a dead letter, a customer's message.
async fn finished(gateway: &Gateway) -> Vec<Case> {
    let outbound = &gateway.outbound;
    let normalizer = outbound.installation.normalizer().await;
    let sender = outbound.sender().await;
    let media = outbound.media().await;
    let uploaded = stored(&media.url, "document", "application/pdf", bytes(b"%PDF-1.7", 4000)).await;
    outbound.publish(Priority::Interactive, &file("c-file", uploaded["id"].as_str().unwrap())).await;
    outbound.account.set_faults(Faults {
        rejected: 1.0,
        only_recipient: Some(REFUSED_CUSTOMER.to_owned()),
        ..Faults::default()
    });
    outbound.publish(Priority::Interactive, &text(0, "c-rejected", REFUSED_CUSTOMER, SECRET)).await;
    let template = Template { name: FOREIGN.to_owned(), language: "en".to_owned(), ..Template::default() };
    let content = Some(send_command::Content::Template(template));
    let foreign = SendCommand { content, ..text(0, "c-foreign", CUSTOMER, "") };
    outbound.publish(Priority::Interactive, &foreign).await;
    let reason = format!("{FOREIGN}\\u001b[31mred");
    let failed = format!(
        r#"{{"app":"a","timestamp":1772359199000,"version":2,"type":"message-event","payload":{{"id":"m-foreign","type":"failed","destination":"{CUSTOMER}","payload":{{"code":1002,"reason":"{reason}"}}}}}}"#
    );
    for body in [failed, customers_message()] {
        let answer = Webhook::gupshup(body).post(gateway.ingress.address).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    Webhook::infobip("{ this is no JSON").post(gateway.ingress.address).await;
    gateway.timeline.life("c-file", &["command", "result", "fetch", "report", "webhook"]).await;
    eventually("it is delivered", || async {
        let life = gateway.timeline.life("c-file", &[]).await;
        (life["status"] == "READ" || life["status"] == "DELIVERED").then_some(())
    })
    .await;
    gateway.timeline.life("c-rejected", &["result"]).await;
    gateway.timeline.life("c-foreign", &["result"]).await;
    gateway.timeline.life("m-foreign", &["report"]).await;
    gateway.timeline.life(WAMID, &["message", "webhook"]).await;
    let letter = dead_letter_of(gateway).await;
    normalizer.stop().await;
    media.stop().await;
    sender.stop().await;
    vec![
        case("c-file", &["document", "File fetched", "Report", "nothing is missing"], &["fetch", "report"]),
        case(
            "c-rejected",
            &[
                "It was not sent: the gateway or the BSP refused it.",
                "to do: it was not sent",
                "nothing is missing",
            ],
            &["REJECTED", "to do: it was not sent"],
        ),
        case(
            &letter,
            &["dead letter", "Webhook stored", "to do: imchannel deadletter show 1 shows it"],
            &["dead letter", "`imchannel deadletter replay 1 --publish`"],
        ),
        case(
            WAMID,
            &["The customer's message was received", "from …78", "wamid.…NBQUI="],
            &["from …78", "webhook", "message"],
        ),
    ]
}

/// The place of the webhook that became a dead letter.
async fn dead_letter_of(gateway: &Gateway) -> String {
    let letters = eventually("the dead letter is there", || async {
        Some(gateway.outbound.installation.dead_letters().await).filter(|letters| !letters.is_empty())
    })
    .await;
    let origin = letters[0].headers.get(bus::headers::ORIGIN).unwrap().to_owned();
    let id = origin.rsplit_once('/').unwrap().0.to_owned();
    gateway.timeline.life(&id, &["webhook", "dead_letter"]).await;
    id
}

/// A message whose report never came, one whose file was never fetched, a command in a halted lane. Without media nothing is fetched.
async fn unfinished(gateway: &Gateway) -> Vec<Case> {
    let outbound = &gateway.outbound;
    let media = outbound.media().await;
    let uploaded = stored(&media.url, "document", "application/pdf", bytes(b"%PDF-1.7", 4000)).await;
    media.stop().await;
    let _sender = outbound.sender().await;
    outbound.account.set_faults(Faults { without_reports: true, ..Faults::default() });
    outbound.publish(Priority::Interactive, &text(0, "c-silent", CUSTOMER, SECRET)).await;
    outbound.publish(Priority::Interactive, &file("c-unfetched", uploaded["id"].as_str().unwrap())).await;
    outbound.result("c-silent").await;
    outbound.result("c-unfetched").await;
    outbound.set_paused(0, true).await;
    eventually("the lane is halted", || async {
        outbound.halted(0).await.filter(|why| why.contains("paused"))
    })
    .await;
    outbound.publish(Priority::Interactive, &text(0, "c-waiting", CUSTOMER, SECRET)).await;
    // The timeline reads why a lane is halted a moment after the lane says so.
    for (id, what) in [("c-silent", "no_report"), ("c-unfetched", "not_fetched"), ("c-waiting", "paused")] {
        let is_missing = |answer: &Value| answer["lives"][0]["missing"].to_string().contains(what);
        gateway.timeline.answer(id, what, is_missing).await;
    }
    let missing =
        |id: &str, page: &[&'static str], trace: &[&'static str]| Case { exit: 3, ..case(id, page, trace) };
    vec![
        missing(
            "c-silent",
            &["Missing: no report for", "The BSP has accepted it.", "Rule no_report"],
            &["no report for"],
        ),
        missing(
            "c-unfetched",
            &["Missing: the file was not fetched", "imchannel media stat URL"],
            &["the file was not fetched", "imchannel media stat URL"],
        ),
        missing(
            "c-waiting",
            &["Missing: no result for", "paused", "imchannel lanes list --channel channel-0"],
            &["no result for", "paused", "imchannel lanes list --channel channel-0"],
        ),
    ]
}

fn case(id: &str, page: &[&'static str], trace: &[&'static str]) -> Case {
    Case { id: id.to_owned(), page: page.to_vec(), trace: trace.to_vec(), exit: 0 }
}

async fn check(gateway: &Gateway, browser: &Browser, case: &Case) {
    let id = &case.id;
    browser.open(&format!("{}/timeline?id={}", gateway.timeline.url, id.replace('=', "%3D"))).await;
    let page = browser.text().await;
    for part in &case.page {
        assert!(page.contains(part), "the page of {id} does not say {part:?}: {page}");
    }
    assert_nothing_personal(&format!("the page of {id}"), &browser.source().await);
    let (code, printed) = trace(gateway, id).await;
    assert_eq!(code, Some(case.exit), "{id}: {printed}");
    for part in &case.trace {
        assert!(printed.contains(part), "trace of {id} does not say {part:?}: {printed}");
    }
    assert_nothing_personal(&format!("trace of {id}"), &printed);
}

/// The drawers of a delivered message have the calls, the events, the raw webhooks and the difference, all masked.
async fn check_drawers(gateway: &Gateway, browser: &Browser) {
    browser.open(&format!("{}/timeline?id=c-file", gateway.timeline.url)).await;
    open_drawers(browser).await;
    let page = browser.text_with("What today's parser makes of it").await;
    for part in ["Request", "Response", "Raw webhook", "no difference", "Event", "Command"] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    assert_nothing_personal("the drawers of c-file", &browser.source().await);
    browser.open(&format!("{}/timeline?id={}", gateway.timeline.url, WAMID.replace('=', "%3D"))).await;
    open_drawers(browser).await;
    browser.text_with("no difference").await;
    assert_nothing_personal("the drawers of a customer's message", &browser.source().await);
}

/// Opens every drawer, and waits until each has its full message.
pub(super) async fn open_drawers(browser: &Browser) {
    browser.run("for (const of of document.querySelectorAll('.step details')) { of.open = true; }").await;
    eventually("every drawer has its message", || async {
        let waiting = browser.run("return document.querySelectorAll('.behind > p > a').length;").await;
        (waiting == 0).then_some(())
    })
    .await;
}

/// HTML and escape sequences in names and texts are shown and have no effect.
async fn check_foreign_text(gateway: &Gateway, browser: &Browser) {
    for id in ["m-foreign", "c-foreign"] {
        browser.open(&format!("{}/timeline?id={id}", gateway.timeline.url)).await;
        open_drawers(browser).await;
        let page = browser.text().await;
        assert!(page.contains("<script>window.owned=1</script>"), "{id}: {page}");
        let is_inert =
            "return window.owned === undefined && document.querySelector('main script, main img') === null;";
        assert_eq!(browser.run(is_inert).await, true, "{id}: {}", browser.source().await);
        assert!(!browser.source().await.contains('\u{1b}'), "{id}");
        let (_, printed) = trace(gateway, id).await;
        assert!(printed.contains("<script>") && !printed.contains('\u{1b}'), "{id}: {printed:?}");
    }
}
