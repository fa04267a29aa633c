//! Searching, exporting, following, with a mouse, with a keyboard and without JavaScript.

use bus::Priority;

use super::super::lives::{CUSTOMER, Gateway, gateway};
use super::stage::{SECRET, assert_nothing_personal};
use crate::harness::browser::{Browser, ENTER, TAB};
use crate::harness::eventually;
use crate::harness::files::{client, header};
use crate::harness::outbound::text;

#[tokio::test]
async fn messages_are_found_by_ids_and_numbers_with_and_without_javascript() {
    let gateway = gateway(&[]).await;
    let _normalizer = gateway.outbound.installation.normalizer().await;
    let _sender = gateway.outbound.sender().await;
    for id in ["c-one", "c-two"] {
        gateway.outbound.publish(Priority::Interactive, &text(0, id, CUSTOMER, SECRET)).await;
        gateway.timeline.life(id, &["command", "result", "report"]).await;
    }
    let browser = Browser::start().await;
    by_keyboard(&gateway, &browser).await;
    by_number(&gateway, &browser).await;
    several_ids(&gateway, &browser).await;
    exported(&gateway).await;
    live(&gateway, &browser).await;
    without_javascript(&gateway, &browser).await;
}

const FOCUSED: &str = "return document.activeElement.tagName + ' ' + document.activeElement.textContent;";

async fn by_keyboard(gateway: &Gateway, browser: &Browser) {
    browser.open(&gateway.timeline.url).await;
    browser.press(TAB).await;
    assert_eq!(browser.run(FOCUSED).await, "A Skip to content");
    browser.press("/").await;
    assert_eq!(browser.run("return document.activeElement.id;").await, "q");
    browser.press(&format!("c-one{ENTER}")).await;
    browser.text_with("Text to …78").await;
    assert!(browser.url().await.ends_with("/timeline?id=c%2Done"), "{}", browser.url().await);
    let copies = browser.run("return document.querySelector('[aria-label=\"Copy c-one\"]') !== null;").await;
    assert_eq!(copies, true, "{}", browser.source().await);
    for _ in 0..40 {
        browser.press(TAB).await;
        if browser.run("return document.activeElement.tagName;").await == "SUMMARY" {
            break;
        }
    }
    browser.press(ENTER).await;
    browser.text_with("Stored at").await;
    let is_seen =
        "const style = getComputedStyle(document.activeElement); return style.outlineStyle !== 'none';";
    assert_eq!(browser.run(is_seen).await, true, "the focus is not seen");
}

async fn by_number(gateway: &Gateway, browser: &Browser) {
    browser.open(&gateway.timeline.url).await;
    browser.type_into("#q", "+49 151 1234-5678").await;
    browser.click("main form button").await;
    let list = browser.text_with("Messages of the customer …78").await;
    assert!(list.contains("c-one") && list.contains("c-two"), "{list}");
    assert!(browser.url().await.contains("/searches/"), "{}", browser.url().await);
    assert_nothing_personal("the list of a customer", &browser.source().await);
    assert_nothing_personal("the address", &browser.url().await);
}

async fn several_ids(gateway: &Gateway, browser: &Browser) {
    browser.open(&format!("{}/messages", gateway.timeline.url)).await;
    browser.type_into("#q", "c-one, c-two nothing-here").await;
    browser.click("header form button").await;
    let page = browser.text_with("2 messages").await;
    assert!(page.contains("Not found: nothing-here"), "{page}");
    // The address opens the same view again.
    browser.open(&browser.url().await).await;
    let again = browser.text_with("2 messages").await;
    assert!(["c-one", "c-two", "Not found: nothing-here"].iter().all(|part| again.contains(part)), "{again}");
}

async fn exported(gateway: &Gateway) {
    for (path, line) in [
        ("/timeline.csv?id=c-one", "\"at\",\"happened_at\",\"kind\""),
        ("/messages.csv", "\"began\",\"ended\",\"direction\""),
        ("/problems.csv", "\"due\",\"since\",\"rule\""),
    ] {
        let answer = client().get(format!("{}{path}", gateway.timeline.url)).send().await.unwrap();
        assert_eq!(header(&answer, "content-type"), "text/csv; charset=utf-8");
        let file = String::from_utf8(answer.bytes().await.unwrap().to_vec()).unwrap();
        assert!(file.starts_with(line), "{file}");
        assert_nothing_personal(path, &file);
    }
}

async fn live(gateway: &Gateway, browser: &Browser) {
    browser.open(&format!("{}/live", gateway.timeline.url)).await;
    browser.text_with("New rows appear here.").await;
    gateway.outbound.publish(Priority::Interactive, &text(0, "c-live", CUSTOMER, SECRET)).await;
    browser.text_with("Command stored").await;
    browser.click("#pause").await;
    browser.text_with("Paused.").await;
    assert_nothing_personal("the live view", &browser.source().await);
}

async fn without_javascript(gateway: &Gateway, browser: &Browser) {
    browser.without_scripts().await;
    browser.open(&gateway.timeline.url).await;
    browser.type_into("#q", "c-one").await;
    browser.click("main form button").await;
    let page = eventually("the life is shown", || async {
        Some(browser.source().await).filter(|page| page.contains("class=\"steps\""))
    })
    .await;
    assert!(!page.contains("class=\"copy\"") && !page.contains("class=\"local\""), "scripts ran: {page}");
    browser.click(".step summary").await;
    browser.click(".behind a").await;
    browser.text_with("Timeline of the message").await;
    assert!(browser.url().await.ends_with("/stored/COMMANDS/1"), "{}", browser.url().await);
    assert_nothing_personal("the page of a step", &browser.source().await);
    browser.open(&format!("{}/messages?status=READ&channel=channel-0", gateway.timeline.url)).await;
    browser.text_with("Began").await;
}
